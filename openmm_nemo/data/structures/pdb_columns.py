"""Columns 18 to 27 of PDB files as programs fill them: four-letter names, unnamed chains.

The format has three columns for the name of a residue (18 to 20), an empty one (21) and one for the chain (22).
Molecular dynamics programs extend four-letter names, such as NASN, HISE and TIP3, into column 21; other programs,
including gemmi, use it for two-letter chain names. Some leave the chain blank, or restart the numbering within it.
"""

import string
from dataclasses import dataclass, field

import gemmi

from openmm_nemo.data.structures.names import Kind, is_amino_acid, look_up

_SIGNS = string.ascii_letters + string.digits + "!#$%&()*+,-./:;<=>?@[]^_{|}"


@dataclass(eq=False)
class _Part:
    """Residues of one chain: up to a TER record, or until an atom of an amino acid is repeated."""

    index: int
    chain: str
    after_ter: bool
    ter: bool = False
    has_atom_records: bool = False
    atoms: dict[str, set[str]] = field(
        default_factory=dict
    )  # atoms of amino acids, by residue number


class PdbColumns:
    """Reads names and chains from the atom records of one file.

    gemmi reads only three columns of a name, and joins residues with the same number wherever they are in a chain. So
    it is given tokens in these columns, from `token_line`; `restore` replaces them by the original names.
    """

    def __init__(self, atom_lines: list[str]) -> None:
        self._two_letter_chains = _two_letter_chains(atom_lines)
        self._tokens: dict[str, str] = {}
        self._models: list[list[_Part]] = [[]]
        self._last: _Part | None = None
        self._number = ""

    def new_model(self) -> None:
        """Start the next model."""
        if self._models[-1]:
            self._models.append([])
        self._last = None

    def ter(self) -> None:
        """End a part, as a TER record does."""
        if self._last is not None and self._last.atoms:
            self._last.ter = True
        self._last = None

    def token_line(self, line: str, serial: int) -> str:
        """Return an atom record with tokens for its residue name and its part, and with ``serial`` as its number."""
        name, chain = self._name_and_chain(line)
        number, atom = line[22:27] + line[72:76], line[12:17]
        part = self._last
        if part is None or part.chain != chain:
            part = self._continued(chain) or self._new_part(chain)
        if is_amino_acid(name):
            if number != self._number and atom in part.atoms.get(number, ()):
                part = self._new_part(chain)
            part.atoms.setdefault(number, set()).add(atom)
            part.has_atom_records |= line.startswith("ATOM")
        self._last, self._number = part, number
        token = self._tokens.setdefault(name, _token(len(self._tokens), 3))
        return f"{line[:6]}{_serial(serial)}{line[11:17]}{token}{_token(part.index, 2)}{line[22:]}"

    def restore(self, parsed: gemmi.Structure) -> None:
        """Replace tokens by names and chains, and record what TER records say about the residues."""
        names = {token: name for name, token in self._tokens.items()}
        for model, parts in zip(parsed, filter(None, self._models), strict=True):
            by_token = {_token(part.index, 2): part for part in parts}
            for chain in model:
                part = by_token[chain.name]
                chain.name = part.chain
                for residue in chain:
                    residue.name = names[residue.name]
                    residue.subchain = str(part.index)
                    residue.entity_type = _entity_type(residue, part)

    def _name_and_chain(self, line: str) -> tuple[str, str]:
        if line[20] == " " or line[20:22] in self._two_letter_chains:
            return line[17:20].strip(), line[20:22].strip()
        return line[17:21].strip(), line[21].strip()

    def _continued(self, chain: str) -> _Part | None:
        """Return the part that another chain interrupted, or the solvent, where each molecule may have a TER."""
        earlier = [part for part in self._models[-1] if part.chain == chain]
        return None if not earlier or earlier[-1].ter else earlier[-1]

    def _new_part(self, chain: str) -> _Part:
        parts = self._models[-1]
        after_ter = any(part.ter for part in parts if part.chain == chain)
        parts.append(_Part(len(parts), chain, after_ter))
        return parts[-1]


def _two_letter_chains(atom_lines: list[str]) -> set[str]:
    """Return the contents of columns 21 and 22 that name a chain.

    Column 21 belongs to the names if the table has all of them, or if those that it lacks are not just three letters of
    another name and a chain. It belongs to the chain if residues such as ALA would otherwise have a fourth letter, but
    not if these are the ones that a one-letter chain lacks.
    """
    words: dict[str, set[str]] = {}
    numbers: dict[str, set[str]] = {}
    for line in atom_lines:
        words.setdefault(line[20:22], set()).add(line[17:21])
        numbers.setdefault(line[20:22], set()).add(line[22:27])
    chains = set()
    for columns, found in words.items():
        one_letter = numbers.get(" " + columns[1])
        fills_gaps = one_letter and len(found) <= 2 and not numbers[columns] & one_letter
        if columns[0] != " " and not fills_gaps and any(map(_is_three_letters, found)):
            chains.add(columns)
    return chains


def _is_three_letters(word: str) -> bool:
    """Whether a four-character word is a common name plus a character that is not part of it."""
    common = look_up(word[:3])
    return (
        look_up(word) is None
        and common is not None
        and common.kind in (Kind.AMINO_ACID, Kind.D_AMINO_ACID, Kind.NUCLEOTIDE, Kind.SOLVENT)
    )


def _entity_type(residue: gemmi.Residue, part: _Part) -> gemmi.EntityType:
    """Return the type implied by TER records: amino acids before one are in the chain, those after it are ligands.

    Only for amino acids: programs also write TER after the solvent. What a later molecule holds besides amino acids is
    left open.
    """
    if part.ter and is_amino_acid(residue.name) and (part.has_atom_records or not part.after_ter):
        return gemmi.EntityType.Polymer
    is_ligand = part.after_ter and not part.has_atom_records
    return gemmi.EntityType.NonPolymer if is_ligand else gemmi.EntityType.Unknown


def _token(number: int, length: int) -> str:
    signs = []
    for _ in range(length):
        number, rest = divmod(number, len(_SIGNS))
        signs.append(_SIGNS[rest])
    if number:
        raise ValueError("more names or molecules than can be distinguished")
    return "".join(signs)


def _serial(number: int) -> str:
    """Five columns: gemmi reads numbers from 100000 on as hybrid-36."""
    if number < 100_000:
        return f"{number:5d}"
    number += 10 * 36**4 - 100_000
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = (string.digits + string.ascii_uppercase)[rest] + digits
    return digits
