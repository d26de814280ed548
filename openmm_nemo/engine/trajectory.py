"""Trajectories in and out through MDTraj: coarse (one C-alpha per residue) and atomic (five positions per residue)."""

import os
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np
from mdtraj.formats import (
    DCDTrajectoryFile,
    HDF5TrajectoryFile,
    PDBTrajectoryFile,
    XTCTrajectoryFile,
)

from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.residues import THREE_LETTER

_SIDE_CHAIN = "SC"
_ELEMENTS = {
    "N": md.element.nitrogen,
    "CA": md.element.carbon,
    "C": md.element.carbon,
    "O": md.element.oxygen,
    _SIDE_CHAIN: md.element.virtual,
}

FORMATS = (".dcd", ".xtc", ".h5", ".pdb")
"""Extensions of trajectory files."""


def coarse_topology(sequence: str) -> md.Topology:
    """MDTraj topology of one C-alpha per residue, bonded in chain order."""
    return _topology(sequence, ("CA",), (), ("CA", "CA"))


def atom_topology(sequence: str) -> md.Topology:
    """MDTraj topology of N, CA, C, O and the side chain's centre of mass (atom SC) of every residue."""
    inside = (("N", "CA"), ("CA", "C"), ("C", "O"), ("CA", _SIDE_CHAIN))
    return _topology(sequence, tuple(_ELEMENTS), inside, ("C", "N"))


def _topology(
    sequence: str,
    names: tuple[str, ...],
    inside: tuple[tuple[str, str], ...],
    link: tuple[str, str],
) -> md.Topology:
    topology = md.Topology()
    chain = topology.add_chain()
    previous: dict[str, Any] = {}
    for number, letter in enumerate(sequence, start=1):
        residue = topology.add_residue(THREE_LETTER[letter], chain, resSeq=number)
        atoms = {name: topology.add_atom(name, _ELEMENTS[name], residue) for name in names}
        for first, second in inside:
            topology.add_bond(atoms[first], atoms[second])
        if previous:
            topology.add_bond(previous[link[0]], atoms[link[1]])
        previous = atoms
    return topology


class TrajectoryWriter:
    """Writes a trajectory frame by frame; all frames are on disk after `flush`.

    Parameters
    ----------
    path : path
        Its extension chooses the format: .dcd, .xtc, .h5 (MDTraj's HDF5) or .pdb. An existing file is replaced.
    topology : mdtraj.Topology

    Raises
    ------
    InputError
        If the extension is unknown.
    """

    def __init__(self, path: str | os.PathLike[str], topology: md.Topology):
        self.path = Path(path)
        check_format(self.path)
        self.topology = topology
        self.n_frames = 0
        kind = {
            ".dcd": DCDTrajectoryFile,
            ".xtc": XTCTrajectoryFile,
            ".h5": HDF5TrajectoryFile,
            ".pdb": PDBTrajectoryFile,
        }[self.path.suffix]
        self._file = kind(str(self.path), "w", force_overwrite=True)
        if kind is HDF5TrajectoryFile:
            self._file.topology = topology

    def write(self, positions_nm: np.ndarray, step: int) -> None:
        """Append a frame of ``positions_nm (n_atoms, 3)``; ``step`` is its time (ps) where the format has one."""
        xyz = np.asarray(positions_nm, dtype=np.float32)[None]
        time = np.array([step], dtype=np.float32)
        if isinstance(self._file, DCDTrajectoryFile):
            self._file.write(xyz * ANGSTROM_PER_NM)
        elif isinstance(self._file, PDBTrajectoryFile):
            model = self.n_frames + 1
            self._file.write(xyz[0] * ANGSTROM_PER_NM, self.topology, modelIndex=model)
        elif isinstance(self._file, XTCTrajectoryFile):
            self._file.write(xyz, time=time, step=np.array([step % 2**31], dtype=np.int32))
        else:
            self._file.write(xyz, time=time)
        self.n_frames += 1

    def flush(self) -> None:
        """Put all frames so far on disk."""
        if isinstance(self._file, PDBTrajectoryFile):
            self._file._file.flush()
        elif not isinstance(self._file, DCDTrajectoryFile):  # which does not buffer
            self._file.flush()

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def take_over(self, earlier: Path, n_frames: int) -> None:
        """Append the first ``n_frames`` frames of an earlier file of the same format and atoms.

        Raises
        ------
        InputError
            If the file cannot be read or has fewer frames.
        """
        top = {} if earlier.suffix in (".h5", ".pdb") else {"top": self.topology}
        try:
            for chunk in md.iterload(str(earlier), chunk=1000, **top):
                for xyz, time in zip(chunk.xyz, chunk.time, strict=True):
                    if self.n_frames < n_frames:
                        self.write(xyz, int(time))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{earlier} cannot be read ({error}): start the run anew.") from None
        if self.n_frames < n_frames:
            raise InputError(
                f"{earlier} has {self.n_frames} frames, but its checkpoint was written after "
                f"{n_frames}: start the run anew."
            )


def check_format(path: Path) -> None:
    """Raise InputError unless the extension of ``path`` is one of a trajectory."""
    if path.suffix not in FORMATS:
        raise InputError(
            f"The trajectory {path.name!r} has no known extension: use {', '.join(FORMATS)}."
        )
