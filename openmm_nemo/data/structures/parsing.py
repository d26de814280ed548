"""From the bytes of a PDB, mmCIF or GRO file to gemmi's models, chains and residues.

Truncated and damaged files are refused. Serial numbers of atoms are their indices in each model of the file, from 0.
"""

import gzip
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gemmi

from openmm_nemo.data.structures.gro import is_gro, parse_gro
from openmm_nemo.data.structures.names import SIDE_CHAIN_ATOMS, element, parent
from openmm_nemo.data.structures.pdb_columns import PdbColumns
from openmm_nemo.errors import InputError

MAX_BYTES = 128 * 2**20
"""Largest text, after decompression, that is parsed; gemmi needs several times that much memory."""


def read_bytes(path: Path) -> bytes:
    """Return the unzipped content."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: give a PDB, mmCIF or GRO file in it.")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not an ordinary file: give a PDB, mmCIF or GRO file.")
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if zipped else file as plain:
                content = plain.read(MAX_BYTES + 1)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the file name.") from None
    except PermissionError:
        raise InputError(f"{path} may not be read: ask for permission to read it.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is a damaged or cut gzip file ({error}): fetch it again."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): check the file.") from None
    if len(content) > MAX_BYTES:
        raise InputError(
            f"{path} holds more than {MAX_BYTES // 2**20} MiB of text: cut it to one chain."
        )
    if not content.strip():
        raise InputError(f"{path} is empty: fetch it again.")
    return content.removeprefix(b"\xef\xbb\xbf")


def parse(content: bytes, path: Path) -> gemmi.Structure:
    """Return the content as gemmi's models, chains and residues."""
    try:
        for kind in FORMATS.values():
            if kind.matches(content):
                parsed = kind.parse(content, path)
                break
        else:
            raise InputError(
                f"{path} holds no atoms in a known format ({', '.join(FORMATS)}): give a structure file."
            )
    except InputError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is damaged or cut short ({reason}): fetch it again or fix it."
        ) from None
    if not any(len(model) for model in parsed):
        raise InputError(f"{path} holds no atoms: give a file with coordinates.")
    return parsed


def _is_mmcif(content: bytes) -> bool:
    return re.match(rb"(\s|#[^\n]*\n)*data_", content, re.IGNORECASE) is not None


def _is_pdb(content: bytes) -> bool:
    atoms = re.search(rb"^(ATOM  |HETATM)", content, re.MULTILINE)
    return atoms is not None and b"\0" not in content


def _parse_mmcif(content: bytes, path: Path) -> gemmi.Structure:
    document = gemmi.cif.read_string(content)
    blocks = [block for block in document if block.find_values("_atom_site.Cartn_x")]
    if len(blocks) != 1:
        raise InputError(
            f"{path} has {len(blocks)} data blocks with _atom_site coordinates: "
            "give the mmCIF file of one structure."
        )
    # Files of the archive have '#' between tables and after the last one: if the last one is missing, the file was cut
    # between two atoms, which the grammar allows. PyMOL's files end without it, but lack the dictionary's name.
    if (
        b"_audit_conform.dict_name" in content
        and re.search(rb"^#\s*\nloop_\s*\n_atom_site\.", content, re.MULTILINE)
        and not content.rstrip().endswith(b"#")
    ):
        raise InputError(
            f"{path} is cut short: fetch it again, or end it with a line '#' if it is complete."
        )
    _complete_columns(blocks[0])
    parsed = gemmi.make_structure_from_block(blocks[0])
    for model in parsed:
        # The polymer is one part, its ligands and waters are others; files without entities have one part for
        # everything.
        for chain in model:
            for residue in chain:
                residue.subchain = residue.subchain or chain.name
    return parsed


def _complete_columns(block: gemmi.cif.Block) -> None:
    """Fill in label columns that a program left out, from the author columns, and number the atoms."""
    loop = block.find_loop("_atom_site.Cartn_x").get_loop()
    prefix = "_atom_site."
    if loop is None:
        return  # a single atom, as pairs
    for name in ("atom_id", "comp_id", "asym_id"):
        label, author = f"{prefix}label_{name}", f"{prefix}auth_{name}"
        if label not in loop.tags and author in loop.tags:
            values = list(block.find_values(author))
            loop.add_columns([label], ".")
            column = block.find_values(label)
            for i, value in enumerate(values):
                column[i] = value
    for name, default in (("id", "0"), ("label_alt_id", "."), ("label_seq_id", ".")):
        if f"{prefix}{name}" not in loop.tags:
            loop.add_columns([f"{prefix}{name}"], default)
    models = f"{prefix}pdbx_PDB_model_num"
    model = list(block.find_values(models)) if models in loop.tags else ["1"] * loop.length()
    numbers = block.find_values(f"{prefix}id")
    counts: Counter[str] = Counter()
    for i, of_model in enumerate(model):
        numbers[i] = str(counts[of_model])
        counts[of_model] += 1


def _parse_pdb(content: bytes, path: Path) -> gemmi.Structure:
    lines = content.decode("latin-1").split("\n")
    while not lines[-1].strip():
        lines.pop()
    atom_lines = []
    ended = False
    for number, line in enumerate(lines, start=1):
        ended = ended or line.rstrip() == "END"
        if not line.startswith(("ATOM  ", "HETATM")):
            continue
        if ended:
            # gemmi stops at END and would silently drop these atoms.
            raise InputError(
                f"{path} continues with atoms at line {number} after its END: give one file for "
                "each structure, or separate the models by MODEL and ENDMDL."
            )
        # gemmi reads a field such as '********' as zero.
        try:
            position = [float(line[start : start + 8]) for start in (30, 38, 46)]
        except ValueError:
            position = [math.nan]
        if len(line) < 54 or not all(map(math.isfinite, position)):
            raise InputError(
                f"{path} is cut short or damaged at line {number}: the atom there lacks "
                "three finite coordinates in columns 31 to 54; fetch it again or fix it."
            )
        atom_lines.append(line)
    parsed = _read_pdb_lines(lines, atom_lines)

    records = Counter(line[:6].strip() for line in lines)
    last = lines[-1]
    unterminated = not content.endswith(b"\n")
    ends_in_atoms = last.startswith(("ATOM", "HETATM", "ANISOU"))
    from_archive = any(re.match(r"HEADER.{56}\w{4}", line) for line in lines)
    if not ended and (
        records["MODEL"] > records["ENDMDL"]
        or (unterminated and ("HETATM".startswith(last) or "ATOM  ".startswith(last)))
        or (
            ends_in_atoms
            and (
                from_archive
                or (unterminated and len(last) < len(atom_lines[-2:][0]))
                or _ends_within_residue(parsed)
            )
        )
    ):
        raise InputError(
            f"{path} is cut short at line {len(lines)}: fetch it again, "
            "or end it with a line END if it is complete."
        )
    return parsed


def _read_pdb_lines(lines: list[str], atom_lines: list[str]) -> gemmi.Structure:
    columns = PdbColumns(atom_lines)
    kept = []
    serial = 0
    for line in lines:
        record = line[:6].rstrip()
        if record in ("ATOM", "HETATM"):
            kept.append(columns.token_line(line, serial))
            serial += 1
        elif record in ("MODEL", "ENDMDL"):
            columns.new_model()
            serial = 0
            kept.append(line)
        elif record == "TER":
            columns.ter()
        elif record in ("CRYST1", "END"):
            kept.append(line)
    parsed = gemmi.read_pdb_string("\n".join([*kept, ""]))
    columns.restore(parsed)
    return parsed


def _ends_within_residue(parsed: gemmi.Structure) -> bool:
    """Whether the last residue lacks heavy atoms while the one before it has all."""
    last_two = list(parsed[-1][-1])[-2:]
    missing = []
    for residue in last_two:
        letter = parent(residue.name)
        names = {atom.name for atom in residue if not element(residue.name, atom).is_hydrogen}
        complete = 4 + SIDE_CHAIN_ATOMS.get(letter, -4)
        missing.append(len(names) < complete)
    return missing == [False, True]


class StructureFormat(NamedTuple):
    """A format of structure files.

    Attributes
    ----------
    suffixes : tuple of str
        Suffixes of file names, by which `openmm_nemo.data.sets.building` finds files in folders.
    matches : callable
        Whether unzipped content has this format; the first format that matches is taken.
    parse : callable
        Parses the content into gemmi's structure; takes the path for messages. InputError or ValueError if it is
        damaged.
    """

    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    parse: Callable[[bytes, Path], gemmi.Structure]


FORMATS = {
    "mmCIF": StructureFormat((".cif", ".mmcif"), _is_mmcif, _parse_mmcif),
    "PDB": StructureFormat((".pdb", ".ent"), _is_pdb, _parse_pdb),
    "GRO": StructureFormat((".gro",), is_gro, lambda content, path: parse_gro(content)),
}
"""Formats of structure files, by their names in messages."""
