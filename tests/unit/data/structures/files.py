"""Files that the tests of reading share: where they are, and small changes to PDB lines."""

import gzip
from pathlib import Path

TESTS = Path(__file__).parents[3]
DATA = TESTS / "data"
CASES = DATA / "cases"
TRP_CAGE = TESTS.parent / "examples" / "data" / "1l2y.pdb"
TRP_CAGE_SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"


def text_of(path: Path) -> str:
    """Unzipped text."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def trp_cage_lines() -> list[str]:
    """The 304 atom lines of the first model of 1l2y."""
    first = TRP_CAGE.read_text().split("ENDMDL")[0].splitlines()
    return [line for line in first if line.startswith("ATOM")]


def number(line: str) -> int:
    return int(line[22:26])


def named(lines: list[str], residue: int, name: str) -> list[str]:
    """Give a residue a name of up to four letters, in columns 18 to 21."""
    return [
        line[:17] + name.ljust(4) + line[21:] if number(line) == residue else line for line in lines
    ]


def shifted(lines: list[str], x: float) -> list[str]:
    """Move atoms along x, Angstrom."""
    return [f"{line[:30]}{float(line[30:38]) + x:8.3f}{line[38:]}" for line in lines]


def molecule(
    names: tuple[str, ...],
    residue: str,
    number: int,
    x: float,
    chain: str = "A",
    record: str = "ATOM",
) -> list[str]:
    """PDB lines of a small molecule, its atoms 1 Angstrom apart."""
    return [
        f"{record:6s}{900 + i:5d}  {atom:<3s} {residue:<4s}{chain:1s}{number % 10000:4d}    {x:8.3f}{i:8.3f}{50:8.3f}"
        f"  1.00  0.00          {atom[:1]:>2s}"
        for i, atom in enumerate(names)
    ]
