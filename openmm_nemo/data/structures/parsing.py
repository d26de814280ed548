"""From the bytes of a PDB or mmCIF file to gemmi's models, chains and residues; cut and damaged files are refused."""

import gzip
import math
import re
import zlib
from collections import Counter
from pathlib import Path

import gemmi

from openmm_nemo.data.structures.names import SIDE_CHAIN_ATOMS, element, parent
from openmm_nemo.errors import InputError

MAX_BYTES = 128 * 2**20
"""Largest text, after gunzip, that is parsed; gemmi needs several times that much memory."""


def read_bytes(path: Path) -> bytes:
    """Return the unzipped content."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: give a PDB or mmCIF file in it.")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not an ordinary file: give a PDB or mmCIF file.")
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if zipped else file as plain:
                content = plain.read(MAX_BYTES + 1)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} is not there: check the file name.") from None
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
        if re.match(rb"(\s|#[^\n]*\n)*data_", content, re.IGNORECASE):
            parsed = _parse_mmcif(content, path)
        elif re.search(rb"^(ATOM  |HETATM)", content, re.MULTILINE) and b"\0" not in content:
            parsed = _parse_pdb(content, path)
        else:
            raise InputError(f"{path} is not a PDB or mmCIF file with atoms: give one that is.")
    except InputError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is damaged or cut short ({reason}): fetch it again or mend it."
        ) from None
    if not any(len(model) for model in parsed):
        raise InputError(f"{path} holds no atoms: give a file with coordinates.")
    return parsed


def _parse_mmcif(content: bytes, path: Path) -> gemmi.Structure:
    document = gemmi.cif.read_string(content)
    blocks = [block for block in document if block.find_values("_atom_site.Cartn_x")]
    if len(blocks) != 1:
        raise InputError(
            f"{path} has {len(blocks)} data blocks with _atom_site coordinates: "
            "give the mmCIF file of one structure."
        )
    # The archive's files set '#' between tables and after the last one: a missing last one tells of
    # a cut between two atoms, which the grammar allows. PyMOL's files end without it; they lack the
    # dictionary's name.
    if (
        b"_audit_conform.dict_name" in content
        and re.search(rb"^#\s*\nloop_\s*\n_atom_site\.", content, re.MULTILINE)
        and not content.rstrip().endswith(b"#")
    ):
        raise InputError(
            f"{path} is cut short: fetch it again, or end it with a line '#' if it is complete."
        )
    return gemmi.make_structure_from_block(blocks[0])


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
            # gemmi stops at END and would leave these atoms out without a word.
            raise InputError(
                f"{path} goes on with atoms at line {number} after its END: give one file for "
                "each structure, or part the models by MODEL and ENDMDL."
            )
        # gemmi reads a field such as '********' as zero.
        try:
            position = [float(line[start : start + 8]) for start in (30, 38, 46)]
        except ValueError:
            position = [math.nan]
        if len(line) < 54 or not all(map(math.isfinite, position)):
            raise InputError(
                f"{path} is cut short or damaged at line {number}: the atom there lacks "
                "three finite coordinates in columns 31 to 54; fetch it again or mend it."
            )
        atom_lines.append(line)
    parsed = gemmi.read_pdb_string("\n".join([*lines, ""]))

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


def _ends_within_residue(parsed: gemmi.Structure) -> bool:
    """Tell if the last residue lacks heavy atoms and the one before it has all."""
    last_two = list(parsed[-1][-1])[-2:]
    missing = []
    for residue in last_two:
        letter = parent(residue.name)
        names = {atom.name for atom in residue if not element(residue.name, atom).is_hydrogen}
        complete = 4 + SIDE_CHAIN_ATOMS.get(letter, -4)
        missing.append(len(names) < complete)
    return missing == [False, True]
