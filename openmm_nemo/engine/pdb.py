"""PDB files of coarse and atomic models, written by gemmi so that other programs read them without a guess.

All bonds are CONECT records: no program knows those between C-alpha atoms or to the bead of a side chain.
"""

import os
import string
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import gemmi
import mdtraj as md
import numpy as np

from openmm_nemo.engine.units import ANGSTROM_PER_NM

LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
"""What PDB files call chains."""


def chain_letters(names: Sequence[str]) -> list[str]:
    """The letter of each chain in a PDB file; a space for a chain without a name.

    Names of one letter are kept. A longer one becomes its first letter, or, if another chain has that, the first letter
    or digit that none has: otherwise programs would take two chains for one.
    """
    taken = {name for name in names if len(name) == 1}
    letters = []
    for name in names:
        letter = name or " "
        if len(name) > 1:
            free = (c for c in name[0] + LETTERS if c not in taken)
            letter = next(free, name[0])  # more chains than the format has names
            taken.add(letter)
        letters.append(letter)
    return letters


class PdbWriter:
    """Writes models to a PDB file one by one; bonds and the end follow when it is closed.

    Parameters
    ----------
    path : path
        An existing file is replaced.
    topology : mdtraj.Topology
        The format has one letter for the name of a chain, see `chain_letters`.
    insertion_codes : sequence of str, optional
        One per residue, which MDTraj's topology does not hold. Default: none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        topology: md.Topology,
        insertion_codes: Sequence[str] | None = None,
    ):
        self._structure = _structure(topology, insertion_codes)
        self._atoms = [each.atom for each in self._structure[0].all()]
        self._options = gemmi.PdbWriteOptions(minimal=True, cryst1_record=False)
        self._file = Path(path).open("w", encoding="ascii")  # noqa: SIM115 (closed by close)

    def write(self, positions_nm: np.ndarray, number: int | None = None) -> None:
        """Write a model.

        Parameters
        ----------
        positions_nm : ndarray, shape (n_atoms, 3)
        number : int, optional
            Default: a file of this one model, without a number.
        """
        positions = np.asarray(positions_nm, dtype=float) * ANGSTROM_PER_NM
        for atom, position in zip(self._atoms, positions.tolist(), strict=True):
            atom.pos = gemmi.Position(*position)
        text = self._structure.make_pdb_string(self._options)
        if number is not None:
            text = f"MODEL     {number:4d}\n{text}ENDMDL\n"
        self._file.write(text)

    def flush(self) -> None:
        """Write all models so far to disk."""
        self._file.flush()

    def close(self) -> None:
        """Complete the file."""
        if not self._file.closed:
            with self._file:
                bonds = gemmi.PdbWriteOptions(minimal=True, atom_records=False, cryst1_record=False)
                bonds.conect_records = bonds.end_record = True
                self._file.write(self._structure.make_pdb_string(bonds))


def write_pdb(
    path: str | os.PathLike[str],
    positions_nm: np.ndarray,
    topology: md.Topology,
    insertion_codes: Sequence[str] | None = None,
) -> None:
    """Write one model of ``positions_nm (n_atoms, 3)``, see `PdbWriter`."""
    with closing(PdbWriter(path, topology, insertion_codes)) as writer:
        writer.write(positions_nm)


def _structure(topology: md.Topology, insertion_codes: Sequence[str] | None) -> gemmi.Structure:
    codes = [""] * topology.n_residues if insertion_codes is None else insertion_codes
    model = gemmi.Model(1)
    letters = chain_letters([chain.chain_id or "" for chain in topology.chains])
    for chain, letter in zip(topology.chains, letters, strict=True):
        part = gemmi.Chain(letter)
        for residue in chain.residues:
            copy = gemmi.Residue()
            copy.name = residue.name
            copy.seqid = gemmi.SeqId(residue.resSeq, codes[residue.index] or " ")
            copy.entity_type = gemmi.EntityType.Polymer
            copy.het_flag = "A"
            for atom in residue.atoms:
                new = gemmi.Atom()
                new.name = atom.name
                new.element = gemmi.Element(atom.element.symbol)
                new.serial = atom.index + 1
                new.b_iso = 0.0
                copy.add_atom(new)
            part.add_residue(copy)
        model.add_chain(part)
    structure = gemmi.Structure()
    structure.add_model(model)
    for first, second in topology.bonds:
        structure.add_conect(first.index + 1, second.index + 1, 1)
    return structure
