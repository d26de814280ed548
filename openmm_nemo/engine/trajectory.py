"""Trajectories in and out through MDTraj: coarse (one C-alpha per residue) and atomic (five positions per residue)."""

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mdtraj as md
import numpy as np
from mdtraj.formats import DCDTrajectoryFile, HDF5TrajectoryFile, XTCTrajectoryFile

from openmm_nemo.engine.pdb import PdbWriter
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.hdf5 import no_unpickling
from openmm_nemo.residues import THREE_LETTER, Numbering

SIDE_CHAIN_BEAD = "CEN"
"""Atom name of the centre of mass of a side chain, as in the centroid models of Rosetta.

Written as a carbon: programs that do not know an element take the first letter of the name, or warn."""

_ELEMENTS = {
    "N": md.element.nitrogen,
    "CA": md.element.carbon,
    "C": md.element.carbon,
    "O": md.element.oxygen,
    SIDE_CHAIN_BEAD: md.element.carbon,
}

_FILES = {
    ".dcd": DCDTrajectoryFile,
    ".xtc": XTCTrajectoryFile,
    ".h5": HDF5TrajectoryFile,
    ".pdb": PdbWriter,
}

FORMATS = tuple(_FILES)
"""Extensions of trajectory files."""


def coarse_topology(sequence: str, numbering: Numbering | None = None) -> md.Topology:
    """MDTraj topology of one C-alpha per residue, bonded in chain order.

    Parameters
    ----------
    sequence : str
    numbering : Numbering, optional
        Default: chain A, from 1. MDTraj's topology has no insertion codes.
    """
    return _topology(sequence, numbering, ("CA",), (), ("CA", "CA"))


def atom_topology(
    sequence: str, numbering: Numbering | None = None, side_chain_bead: bool = True
) -> md.Topology:
    """MDTraj topology of N, CA, C, O and the side chain's centre of mass (`SIDE_CHAIN_BEAD`) of every residue.

    Parameters
    ----------
    sequence : str
    numbering : Numbering, optional
        As in `coarse_topology`.
    side_chain_bead : bool
        Whether there is an atom at the side chain's centre.
    """
    n = 5 if side_chain_bead else 4
    inside = (("N", "CA"), ("CA", "C"), ("C", "O"), ("CA", SIDE_CHAIN_BEAD))
    return _topology(sequence, numbering, tuple(_ELEMENTS)[:n], inside[: n - 1], ("C", "N"))


def _topology(
    sequence: str,
    numbering: Numbering | None,
    names: tuple[str, ...],
    inside: tuple[tuple[str, str], ...],
    link: tuple[str, str],
) -> md.Topology:
    numbering = numbering or Numbering.consecutive(len(sequence))
    topology = md.Topology()
    residues = iter(list(zip(sequence, numbering.numbers, strict=True)))
    for part in numbering.chains:
        chain = topology.add_chain(part.chain)
        previous: dict[str, Any] = {}
        for letter, number in islice(residues, len(part.residue_ids)):
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
        The extension determines the format: .dcd, .xtc, .h5 (MDTraj's HDF5) or .pdb. An existing file is replaced.
    topology : mdtraj.Topology
    insertion_codes : sequence of str, optional
        For .pdb, one per residue. Default: none.

    Raises
    ------
    InputError
        If the extension is unknown.
    OSError
        Here and in the methods, if the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        topology: md.Topology,
        insertion_codes: Sequence[str] | None = None,
    ):
        self.path = Path(path)
        check_format(self.path)
        self.topology = topology
        self.n_frames = 0
        kind = _FILES[self.path.suffix]
        if kind is PdbWriter:
            self._file: Any = PdbWriter(self.path, topology, insertion_codes)
            return
        # With compression, earlier frames would be rewritten with every new one, and lost if that fails.
        options = {"compression": None} if kind is HDF5TrajectoryFile else {}
        if kind is XTCTrajectoryFile:
            # Before there is a link to it, which MDTraj would remove instead.
            self.path.unlink(missing_ok=True)
        with _name_for_mdtraj(self.path) as name:
            self._file = kind(name, "w", force_overwrite=True, **options)
        if kind is HDF5TrajectoryFile:
            self._file.topology = topology

    def write(self, positions_nm: np.ndarray, step: int) -> None:
        """Append a frame of ``positions_nm (n_atoms, 3)``; ``step`` is its time (ps) where the format has one."""
        xyz = np.asarray(positions_nm, dtype=np.float32)[None]
        time = np.array([step], dtype=np.float32)
        with self._one_kind_of_error():
            if isinstance(self._file, DCDTrajectoryFile):
                self._file.write(xyz * ANGSTROM_PER_NM)
            elif isinstance(self._file, PdbWriter):
                self._file.write(xyz[0], self.n_frames + 1)
            elif isinstance(self._file, XTCTrajectoryFile):
                self._file.write(xyz, time=time, step=np.array([step % 2**31], dtype=np.int32))
            else:
                self._file.write(xyz, time=time)
        self.n_frames += 1

    def flush(self) -> None:
        """Write all frames so far to disk."""
        with self._one_kind_of_error():
            if not isinstance(self._file, DCDTrajectoryFile):  # which does not buffer
                self._file.flush()

    def close(self) -> None:
        """Complete the file."""
        with self._one_kind_of_error():
            self._file.close()

    @contextmanager
    def _one_kind_of_error(self) -> Iterator[None]:
        """Raise OSError: on a full disk MDTraj's DCD fails with a TypeError, HDF5 with a RuntimeError."""
        try:
            yield
        except (TypeError, RuntimeError) as error:
            reason = "writing failed, the disk may be full"
            raise OSError(errno.EIO, reason, str(self.path)) from error

    def take_over(self, earlier: Path, n_frames: int) -> None:
        """Append the first ``n_frames`` frames of an earlier file of the same format and atoms.

        Raises
        ------
        InputError
            If the file cannot be read or has fewer frames.
        """
        for xyz, step in _read_frames(earlier, n_frames, self.topology.n_atoms):
            self.write(xyz, step)
        if self.n_frames < n_frames:
            raise InputError(
                f"{earlier} has {self.n_frames} frames, but its checkpoint was written after "
                f"{n_frames}: start a new run."
            )


def read_trajectory(path: Path, topology: md.Topology, n_frames: int) -> md.Trajectory:
    """Read the first frames of a file that a `TrajectoryWriter` has completed.

    Raises
    ------
    InputError
        If the file cannot be read or has fewer frames.
    """
    frames = [xyz for xyz, _ in _read_frames(path, n_frames, topology.n_atoms)]
    if len(frames) < n_frames:
        raise InputError(
            f"{path} has {len(frames)} frames, but its table has {n_frames} lines: start a new run."
        )
    return md.Trajectory(np.array(frames, dtype=np.float32), topology)


@contextmanager
def _name_for_mdtraj(path: Path) -> Iterator[str | bytes]:
    """A name by which MDTraj can open a file: its DCD and XTC accept only ASCII strings.

    DCD takes bytes. For XTC, it is the name of a symbolic link, which exists until the file is open.
    """
    if path.suffix == ".dcd":
        yield os.fsencode(path)
    elif path.suffix == ".xtc" and not str(path).isascii():
        with TemporaryDirectory() as folder:
            link = Path(folder) / "link.xtc"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


@contextmanager
def _no_c_output() -> Iterator[None]:
    """Discard what C code prints: MDTraj's DCD reader describes every file that it opens."""
    flush = ctypes.CDLL(None).fflush
    flush(None)
    try:
        stdout = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        flush(None)
        os.dup2(stdout, 1)
        os.close(stdout)


def check_format(path: Path) -> None:
    """Raise InputError unless ``path`` has the extension of a trajectory format."""
    if path.suffix not in FORMATS:
        raise InputError(
            f"The trajectory {path.name!r} has no known extension: use one of {', '.join(FORMATS)}."
        )


def _read_frames(path: Path, n_frames: int, n_atoms: int) -> Iterator[tuple[np.ndarray, int]]:
    """Positions (n_atoms, 3), nm, and step (0 if the format has none) of the first frames of a file.

    Anything after them is ignored: a killed program may leave half a frame.
    """
    try:
        if path.suffix == ".pdb":
            yield from islice(_read_pdb(path, n_atoms), n_frames)
            return
        with _name_for_mdtraj(path) as name, _no_c_output(), no_unpickling():
            opened = _FILES[path.suffix](name)
        with opened as file:
            for start in range(0, n_frames, 1000):
                with no_unpickling():
                    frames = file.read(n_frames=min(n_frames - start, 1000))
                xyz = frames[0].reshape(len(frames[0]), n_atoms, 3)
                if path.suffix == ".dcd":
                    xyz, steps = xyz / ANGSTROM_PER_NM, np.zeros(len(xyz), dtype=int)
                else:
                    steps = frames[2 if path.suffix == ".xtc" else 1].astype(int)
                yield from zip(xyz, steps.tolist(), strict=True)
    except Exception as error:  # MDTraj raises errors of many kinds for damaged files
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}): start a new run.") from None


def _read_pdb(path: Path, n_atoms: int) -> Iterator[tuple[np.ndarray, int]]:
    """As `_read_frames`, all complete models."""
    atoms: list[list[float]] = []
    with path.open() as file:
        for line in file:
            if line.startswith("ATOM"):
                atoms.append([float(line[start : start + 8]) for start in (30, 38, 46)])
            elif line.startswith("ENDMDL"):
                yield np.array(atoms).reshape(n_atoms, 3) / ANGSTROM_PER_NM, 0
                atoms = []
