"""Protein chains from PDB and mmCIF files.

The reader is gemmi: it reads PDB and mmCIF, knows altlocs, insertion codes, modified residues and
microheterogeneity, and is a small wheel without compiled dependencies of its own.
"""

import gzip
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import gemmi
import numpy as np

from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS, MIN_LENGTH, THREE_LETTER

MAX_BYTES = 128 * 2**20
"""Largest text, after gunzip, that is parsed; gemmi needs several times that much memory."""

MAX_CA_DISTANCE = 4.2
MIN_CA_DISTANCE = 2.0
"""Angstrom. Neighbours in a chain are 3.8 apart (trans) or 2.9 (cis)."""

SAME_PLACE = 0.1
"""Angstrom. A backbone atom given twice farther apart than this is an atom of two molecules."""

MAX_PEPTIDE_BOND = 2.0
"""Angstrom from C to the next N; the ideal length is 1.33."""

SIDE_CHAIN_ATOMS = {
    "A": 1, "C": 2, "D": 4, "E": 5, "F": 7, "G": 0, "H": 6, "I": 4, "K": 5, "L": 4,
    "M": 4, "N": 4, "P": 3, "Q": 5, "R": 7, "S": 2, "T": 3, "V": 3, "W": 10, "Y": 8,
}  # fmt: skip
"""Heavy atoms beyond N, CA, C and O."""

BACKBONE = ("N", "CA", "C", "O")
TERMINAL_OXYGENS = {"OXT", "OT1", "OT2", "O1", "O2"}
STANDARD = {name: letter for letter, name in THREE_LETTER.items()}

# Protonation states as the Amber and CHARMM force fields name them; gemmi does not know these.
FORCE_FIELD_NAMES = {
    "HID": "H", "HIE": "H", "HIP": "H", "HSD": "H", "HSE": "H", "HSP": "H",
    "CYX": "C", "CYM": "C", "ASH": "D", "GLH": "E", "LYN": "K",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Structure:
    """One unbroken protein chain.

    Attributes
    ----------
    name : str
        File name without folder and extensions, like "1l2y".
    chain : str
        Author chain name; empty if the file leaves it blank.
    model : int
        Model number as given in the file.
    sequence : str
        One letter a residue, modified residues as their parents, length L.
    ca : np.ndarray
        CA positions in Angstrom, shape (L, 3), float64.
    backbone : np.ndarray
        N, CA, C, O and the centre of mass of the side chain's heavy atoms (glycine: CA) in
        Angstrom, shape (L, 5, 3), float64; NaN where the file lacks the atoms.
    residue_ids : tuple[str, ...]
        Author numbering with insertion code, like "52A".
    notes : tuple[str, ...]
        One sentence for each choice that was made in reading the file.
    """

    name: str
    chain: str
    model: int
    sequence: str
    ca: np.ndarray
    backbone: np.ndarray
    residue_ids: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Residue:
    """A residue after the choice of one conformer; ``atoms`` are its heavy atoms by name."""

    name: str
    number: str
    letter: str
    atoms: dict[str, gemmi.Atom]
    conformer_count: int
    other_names: tuple[str, ...]  # microheterogeneity: what else the file has in this place
    has_doubles: bool  # an atom is there twice with no altloc to tell them apart

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


def read_structure(
    path: str | Path, chain: str | None = None, model_index: int | None = None
) -> Structure:
    """Read one protein chain from a PDB or mmCIF file, plain or gzipped.

    The format is told by the content, so the extension does not matter.

    Parameters
    ----------
    path : str or Path
        The file.
    chain : str, optional
        Author chain name; the first protein chain of at least four known residues by default.
    model_index : int, optional
        Position of the model in the file, from 1; the first by default.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If the file cannot be read, is cut short or holds no such model or protein chain, or if the
        chain is not one unbroken L-protein of at least four known residues with a CA atom each.
    """
    path = Path(path)
    parsed = _parse(_read_bytes(path), path)
    model, model_notes = _choose_model(parsed, model_index, path)
    chain_name, polymer, chain_notes = _choose_chain(model, chain, path)
    place = f"chain {_shown(chain_name)} of {path}"
    residues, cap_notes = _known_residues(polymer, place)
    backbone = _backbone(residues)
    _check_trace(residues, backbone[:, 1], place)
    return Structure(
        name=re.sub(r"\.(pdb|ent|cif|mmcif)$", "", re.sub(r"(?i)\.gz$", "", path.name), flags=re.I),
        chain=chain_name,
        model=model.num,
        sequence="".join(residue.letter for residue in residues),
        ca=backbone[:, 1].copy(),
        backbone=backbone,
        residue_ids=tuple(residue.number for residue in residues),
        notes=(*model_notes, *chain_notes, *cap_notes, *_notes_on_residues(residues, backbone)),
    )


def _read_bytes(path: Path) -> bytes:
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


def _parse(content: bytes, path: Path) -> gemmi.Structure:
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
        letter = _parent(residue.name)
        names = {atom.name for atom in residue if not _element(residue.name, atom).is_hydrogen}
        complete = 4 + SIDE_CHAIN_ATOMS.get(letter, -4)
        missing.append(len(names) < complete)
    return missing == [False, True]


def _choose_model(
    parsed: gemmi.Structure, model_index: int | None, path: Path
) -> tuple[gemmi.Model, list[str]]:
    count = len(parsed)
    if model_index is None:
        notes = [f"Took model 1 of {count}; choose with --model-index."] if count > 1 else []
        return parsed[0], notes
    if not 1 <= model_index <= count:
        raise InputError(
            f"{path} has no model {model_index}: choose --model-index from 1 to {count}."
        )
    return parsed[model_index - 1], []


def _choose_chain(
    model: gemmi.Model, wanted: str | None, path: Path
) -> tuple[str, list[gemmi.Residue], list[str]]:
    """Return the name of the chain, its protein residues and the note on the choice."""
    # An mmCIF chain comes in parts: the polymer, its ligands, its waters.
    parts: dict[str, list[gemmi.Residue]] = {}
    for part in model:
        parts.setdefault(part.name, []).extend(part)
    polymers = {name: _polymer(residues) for name, residues in parts.items()}
    proteins = {
        name: residues
        for name, residues in polymers.items()
        if 2 * sum(_is_amino_acid(residue.name) for residue in residues) > len(residues)
    }
    if not proteins:
        raise InputError(f"{path} has no protein chain: give a file that holds a protein.")
    listed = ", ".join(map(_shown, proteins))
    if wanted is not None:
        wanted = wanted.strip()
        if wanted not in proteins:
            what = "is not a protein" if wanted in parts else "is not there"
            raise InputError(
                f"Chain {_shown(wanted)} of {path} {what}: choose --chain from {listed}."
            )
        return wanted, proteins[wanted], []
    chosen = next(
        (name for name, residues in proteins.items() if _known_count(residues) >= MIN_LENGTH),
        next(iter(proteins)),
    )
    notes = []
    if len(proteins) > 1:
        notes.append(f"Took chain {_shown(chosen)} of {listed}; choose with --chain.")
    return chosen, proteins[chosen], notes


def _shown(chain_name: str) -> str:
    return chain_name or "''"


def _known_count(residues: list[gemmi.Residue]) -> int:
    return len({str(residue.seqid) for residue in residues if residue.name != "UNK"})


def _polymer(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    """Return the residues that are linked into the chain, not its ligands, ions and waters.

    What the file says (mmCIF entities, PDB residues before TER) counts. Files that say nothing are
    read by record: amino acids in ATOM records belong to the chain, those in HETATM records if they
    are bonded to a neighbour that does.
    """
    belongs = [
        residue.entity_type == gemmi.EntityType.Polymer
        or (residue.het_flag != "H" and _is_amino_acid(residue.name))
        for residue in residues
    ]
    last = len(residues) - 1
    for order, step in ((range(1, last + 1), -1), (range(last - 1, -1, -1), 1)):
        for i in order:
            if belongs[i + step] and residues[i].entity_type == gemmi.EntityType.Unknown:
                pair = (
                    (residues[i - 1], residues[i]) if step < 0 else (residues[i], residues[i + 1])
                )
                belongs[i] = belongs[i] or _is_bonded(*pair)
    return [residue for residue, inside in zip(residues, belongs, strict=True) if inside]


def _is_bonded(residue: gemmi.Residue, following: gemmi.Residue) -> bool:
    """Tell if a peptide bond links the two, by the CA atoms where there are no others."""
    for first, second, limit in (("C", "N", MAX_PEPTIDE_BOND), ("CA", "CA", MAX_CA_DISTANCE)):
        if first in residue and second in following:
            return residue[first][0].pos.dist(following[second][0].pos) < limit
    return False


def _is_amino_acid(name: str) -> bool:
    return name in FORCE_FIELD_NAMES or gemmi.find_tabulated_residue(name).is_amino_acid()


def _parent(name: str) -> str:
    """Return the one-letter code of the residue or of its parent, or an empty string."""
    if name in FORCE_FIELD_NAMES:
        return FORCE_FIELD_NAMES[name]
    letter = gemmi.find_tabulated_residue(name).one_letter_code.strip().upper()
    return letter if letter in AMINO_ACIDS and _is_amino_acid(name) else ""


def _known_residues(polymer: list[gemmi.Residue], place: str) -> tuple[list[_Residue], list[str]]:
    """Choose a conformer a residue and check that NEMO knows every residue."""
    polymer, caps = _split_caps(polymer)
    notes = []
    if caps:
        names = ", ".join(f"{cap.name} {cap.seqid}" for cap in caps)
        notes.append(f"Left out the groups that cap the chain: {names}.")
    residues = [_one_conformer(group, place) for group in _positions(polymer)]
    for residue in residues:
        if gemmi.find_tabulated_residue(residue.name).kind == gemmi.ResidueKind.AAD:
            raise InputError(
                f"Residue {residue.number} of {place} is the D-amino acid {residue.name}: NEMO's "
                "mirror-image-sensitive energy is for L-proteins; choose another chain "
                "with --chain."
            )
    if residues and all(residue.name == "UNK" for residue in residues):
        raise InputError(
            f"The residues of {place} are unknown (UNK): choose another chain with --chain."
        )
    for residue in residues:
        if not residue.letter:
            raise InputError(
                f"Residue {residue} of {place} has no parent among the twenty amino acids: "
                "choose another chain with --chain, or cut the file to a segment without it."
            )
        if "CA" not in residue.atoms:
            raise InputError(
                f"Residue {residue} of {place} has no CA atom: choose another chain with --chain, "
                "or cut the file to a segment without it."
            )
    if len(residues) < MIN_LENGTH:
        raise InputError(
            f"Only {len(residues)} residues are in {place}: NEMO needs at least {MIN_LENGTH}."
        )
    return residues, notes


def _split_caps(
    polymer: list[gemmi.Residue],
) -> tuple[list[gemmi.Residue], list[gemmi.Residue]]:
    """Part the chain from groups such as ACE and NH2 at its ends."""

    def is_cap(residue: gemmi.Residue) -> bool:
        return not _is_amino_acid(residue.name) and "CA" not in residue

    start, end = 0, len(polymer)
    while start < end and is_cap(polymer[start]):
        start += 1
    while start < end and is_cap(polymer[end - 1]):
        end -= 1
    return polymer[start:end], polymer[:start] + polymer[end:]


def _positions(polymer: list[gemmi.Residue]) -> Iterator[list[gemmi.Residue]]:
    """Yield the residues that share a place in the chain: several under microheterogeneity."""
    for _, same_number in groupby(polymer, key=lambda residue: str(residue.seqid)):
        group = list(same_number)
        # Only altlocs make alternatives; without them the numbering of the file is at fault.
        if all(atom.has_altloc() for residue in group for atom in residue):
            yield group
        else:
            yield from ([residue] for residue in group)


def _element(residue_name: str, atom: gemmi.Atom) -> gemmi.Element:
    """Return the element, from the atom's name where that is sure.

    Files without element columns and with shifted names make gemmi read CA as calcium.
    """
    if residue_name in STANDARD or residue_name in FORCE_FIELD_NAMES:
        return gemmi.Element(atom.name.lstrip("0123456789")[:1])
    return atom.element


def _one_conformer(group: list[gemmi.Residue], place: str) -> _Residue:
    """Return the conformer of highest mean occupancy, of equals the first by letter."""
    occupancies: dict[str, list[float]] = {}
    for residue in group:
        for atom in residue:
            if atom.has_altloc() and not _element(residue.name, atom).is_hydrogen:
                occupancies.setdefault(atom.altloc, []).append(atom.occ)
    means = {letter: sum(values) / len(values) for letter, values in occupancies.items()}
    ranked = sorted(means, key=lambda letter: (-means[letter], letter))
    best = ranked[0] if ranked else "\0"
    residue = next((r for r in group if any(atom.altloc == best for atom in r)), group[0])
    number = str(residue.seqid)

    atoms: dict[str, gemmi.Atom] = {}
    has_doubles = False
    # An atom that the best conformer lacks comes from the next best.
    for letter in ["\0", *ranked]:
        names = set(atoms)
        for atom in residue:
            if atom.altloc != letter or _element(residue.name, atom).is_hydrogen:
                continue
            if atom.name in atoms and atom.name not in names:
                has_doubles = True
                if atom.name in BACKBONE and atom.pos.dist(atoms[atom.name].pos) > SAME_PLACE:
                    raise InputError(
                        f"Residue {residue.name} {number} of {place} has atom {atom.name} in two "
                        "places: give each molecule of the file its own chain name."
                    )
            if not all(map(math.isfinite, atom.pos.tolist())):
                raise InputError(
                    f"Atom {atom.name} of residue {residue.name} {number} of {place} has "
                    "coordinates that are not finite: mend the file."
                )
            atoms.setdefault(atom.name, atom)
    return _Residue(
        name=residue.name,
        number=number,
        letter=_parent(residue.name),
        atoms=atoms,
        conformer_count=len(ranked),
        other_names=tuple(other.name for other in group if other is not residue),
        has_doubles=has_doubles,
    )


def _backbone(residues: list[_Residue]) -> np.ndarray:
    """Return N, CA, C, O and side-chain centres of mass, shape (L, 5, 3), Angstrom."""
    backbone = np.full((len(residues), 5, 3), np.nan)
    for i, residue in enumerate(residues):
        for j, name in enumerate(BACKBONE):
            if name in residue.atoms:
                backbone[i, j] = residue.atoms[name].pos.tolist()
        modified = residue.name not in STANDARD and residue.name not in FORCE_FIELD_NAMES
        others = {"OXT"} if modified else TERMINAL_OXYGENS
        side_chain = [
            atom for name, atom in residue.atoms.items() if name not in others.union(BACKBONE)
        ]
        if residue.letter == "G":
            backbone[i, 4] = backbone[i, 1]
        elif len(side_chain) >= SIDE_CHAIN_ATOMS[residue.letter]:
            masses = [_element(residue.name, atom).weight for atom in side_chain]
            positions = [atom.pos.tolist() for atom in side_chain]
            backbone[i, 4] = np.average(positions, axis=0, weights=masses)
    return backbone


def _check_trace(residues: list[_Residue], ca: np.ndarray, place: str) -> None:
    remedy = "choose another chain with --chain, or cut the file to one unbroken segment."
    steps = np.linalg.norm(np.diff(ca, axis=0), axis=1)
    for i in np.flatnonzero(steps > MAX_CA_DISTANCE)[:1]:
        raise InputError(
            f"The chain breaks between residues {residues[i]} and {residues[i + 1]} of {place}, "
            f"whose CA atoms are {steps[i]:.1f} Angstrom apart: {remedy}"
        )
    for i in range(len(ca) - 1):
        distances = np.linalg.norm(ca[i + 1 :] - ca[i], axis=1)
        nearest = int(np.argmin(distances))
        if distances[nearest] < MIN_CA_DISTANCE:
            raise InputError(
                f"Residues {residues[i]} and {residues[i + 1 + nearest]} of {place} overlap: their "
                f"CA atoms are {distances[nearest]:.1f} Angstrom apart; {remedy}"
            )


def _notes_on_residues(residues: list[_Residue], backbone: np.ndarray) -> list[str]:
    notes = []
    several = [residue for residue in residues if residue.conformer_count > 1]
    if several:
        notes.append(f"Took the conformer of highest occupancy in {_count(several)}.")
    mixed = [residue for residue in residues if residue.other_names]
    if mixed:
        listed = ", ".join(f"{residue} (not {', '.join(residue.other_names)})" for residue in mixed)
        notes.append(f"Took the residue of highest occupancy: {listed}.")
    doubled = [residue for residue in residues if residue.has_doubles]
    if doubled:
        notes.append(f"Took the first of atoms given twice without altlocs in {_count(doubled)}.")
    mapped = Counter(
        f"{residue.name}->{THREE_LETTER[residue.letter]}"
        for residue in residues
        if residue.name not in STANDARD
    )
    if mapped:
        listed = ", ".join(f"{pair} x{count}" for pair, count in mapped.items())
        notes.append(f"Took modified residues as their parents: {listed}.")
    unseen = [
        residue for residue in residues if any(atom.occ == 0 for atom in residue.atoms.values())
    ]
    if unseen:
        notes.append(f"Used atoms of occupancy 0 as they stand in {_count(unseen)}.")
    missing = np.isnan(backbone[:, :, 0])
    for what, rows in (
        ("N, C or O", missing[:, :4].any(axis=1)),
        ("side-chain atoms", missing[:, 4]),
    ):
        if rows.any():
            lacking = [residues[i] for i in np.flatnonzero(rows)]
            notes.append(f"The file lacks {what} in {_count(lacking)}.")
    return notes


def _count(residues: list[_Residue]) -> str:
    if len(residues) == 1:
        return f"residue {residues[0]}"
    return f"{len(residues)} residues, the first {residues[0]}"
