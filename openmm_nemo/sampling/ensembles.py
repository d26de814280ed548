"""Ensembles of structures on disk: what ``openmm-nemo sample`` writes and ``openmm-nemo evaluate`` reads.

A folder of ensembles has one folder per protein, named by its id:

    coarse.h5      C-alpha traces: MDTraj's HDF5 with the topology inside, one frame per structure, nm
    atoms.h5       N, CA, C, O and the side chain's centre (CEN; SC in version 0.1) of the same structures
    native.h5      the C-alpha trace of the experimental structure, if it is known
    samples.csv    one line per structure: sample, seed, u_kt, radius_of_gyration_angstrom
"""

import csv
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mdtraj as md
import numpy as np
import torch

from openmm_nemo.engine.trajectory import SIDE_CHAIN_BEAD, atom_topology, coarse_topology
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.files import can_name_a_file
from openmm_nemo.geometry.similarity import radius_of_gyration
from openmm_nemo.hdf5 import no_unpickling
from openmm_nemo.residues import Numbering

COARSE_FILE = "coarse.h5"
ATOMS_FILE = "atoms.h5"
NATIVE_FILE = "native.h5"
SAMPLES_FILE = "samples.csv"
_OLD_BEAD = "SC"
COLUMNS = ("sample", "seed", "u_kt", "radius_of_gyration_angstrom")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Independent structures of one protein.

    Attributes
    ----------
    id : str
        Unique within a folder of ensembles.
    sequence : str
        One letter per residue, length L.
    x : ndarray, shape (n, L, 3), float32
        C-alpha positions, Angstrom.
    atoms : ndarray, shape (n, L, 5, 3), float32
        N, CA, C, O and side-chain centre, Angstrom.
    energy : ndarray, shape (n,)
        U at x, kT.
    native : ndarray, shape (L, 3), optional
        C-alpha positions of the experimental structure, Angstrom.
    seeds : ndarray, shape (n,), int64, optional
        Random seed of each structure.
    numbering : Numbering, optional
        Names of the chain and its residues in the files, except insertion codes, for which they have no place. Default:
        chain A, from 1. Not read back.
    """

    id: str
    sequence: str
    x: np.ndarray
    atoms: np.ndarray
    energy: np.ndarray
    native: np.ndarray | None = None
    seeds: np.ndarray | None = None
    numbering: Numbering | None = None


def ensemble_folder(folder: str | os.PathLike[str], id: str) -> Path:
    """Folder of one protein.

    Raises
    ------
    InputError
        If the id is not a valid folder name.
    """
    if not can_name_a_file(id):
        raise InputError(
            f"The id {id!r} cannot be the name of a folder: give one without slashes or a leading dot."
        )
    return Path(folder) / id


def ensemble_ids(folder: str | os.PathLike[str]) -> list[str]:
    """Ids of the complete ensembles in a folder, sorted; none if there is no such folder."""
    names = (path.parent.name for path in Path(folder).glob(f"*/{SAMPLES_FILE}"))
    return sorted(name for name in names if not name.startswith("."))


def ensemble_size(folder: str | os.PathLike[str], id: str) -> int:
    """Number of structures in the complete ensemble of one protein; 0 if there is none.

    Raises
    ------
    InputError
        If the table of its samples is damaged.
    """
    path = ensemble_folder(folder, id) / SAMPLES_FILE
    return len(_read_samples(path)[1]) if path.is_file() else 0


def write_ensemble(folder: str | os.PathLike[str], ensemble: Ensemble) -> None:
    """Write an ensemble; its folder appears when it is complete.

    Parameters
    ----------
    folder : path
        Folder of ensembles, made if it does not exist.
    ensemble : Ensemble

    Raises
    ------
    InputError
        If the id is not a valid folder name, or something with that name exists.
    OSError
        If a file cannot be written.
    """
    place = ensemble_folder(folder, ensemble.id)
    if place.exists():
        raise InputError(f"{place} already exists: remove it or write to another folder.")
    coarse = coarse_topology(ensemble.sequence, ensemble.numbering)
    atoms = atom_topology(ensemble.sequence, ensemble.numbering)
    with _partial_of(place) as partial:
        _write_frames(partial / COARSE_FILE, _in_nm(ensemble.x, coarse), coarse)
        _write_frames(partial / ATOMS_FILE, _in_nm(ensemble.atoms, atoms), atoms)
        if ensemble.native is not None:
            _write_frames(partial / NATIVE_FILE, _in_nm(ensemble.native, coarse), coarse)
        _write_samples(partial / SAMPLES_FILE, ensemble)
        partial.rename(place)


def extend_ensemble(folder: str | os.PathLike[str], added: Ensemble) -> None:
    """Add structures to an ensemble on disk, which keeps the ones it has exactly.

    The larger ensemble replaces the other one when it is complete; `restore_ensembles` finishes or undoes a replacement
    that was interrupted.

    Parameters
    ----------
    folder : path
    added : Ensemble
        The structures to add; its ``native`` is not used.

    Raises
    ------
    InputError
        If there is no such ensemble, or one of its files is damaged.
    OSError
        If a file cannot be written.
    """
    place = ensemble_folder(folder, added.id)
    before = read_ensemble(folder, added.id)
    n = len(before.x)
    with _partial_of(place) as partial:
        for name, x in ((COARSE_FILE, added.x), (ATOMS_FILE, added.atoms)):
            earlier = _read_trajectory(place / name, n, added.sequence)
            xyz = np.concatenate([earlier.xyz, _in_nm(x, earlier.topology)])
            _write_frames(partial / name, xyz, earlier.topology)
        if before.native is not None:
            shutil.copy(place / NATIVE_FILE, partial)
        shutil.copy(place / SAMPLES_FILE, partial)
        _write_samples(partial / SAMPLES_FILE, added, first=n)
        old = _hidden(place, "old")
        place.rename(old)
        partial.rename(place)
        shutil.rmtree(old, ignore_errors=True)


def restore_ensembles(folder: str | os.PathLike[str]) -> None:
    """Finish or undo what `extend_ensemble` left if it was killed while it replaced an ensemble."""
    for old in Path(folder).glob(".*.old"):
        place = old.with_name(old.name[1:].removesuffix(".old"))
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(place)


def read_ensemble(folder: str | os.PathLike[str], id: str) -> Ensemble:
    """Read the ensemble of one protein.

    Raises
    ------
    InputError
        If there is none, or one of its files is damaged.
    """
    place = ensemble_folder(folder, id)
    if not (place / SAMPLES_FILE).is_file():
        raise InputError(f"{folder} has no ensemble of {id}: make one with 'openmm-nemo sample'.")
    seeds, energy = _read_samples(place / SAMPLES_FILE)
    n = len(energy)
    sequence, x = _read_frames(place / COARSE_FILE, n, None)
    _, atoms = _read_frames(place / ATOMS_FILE, n, sequence)
    native = None
    if (place / NATIVE_FILE).exists():
        native = _read_frames(place / NATIVE_FILE, 1, sequence)[1][0]
    return Ensemble(id, sequence, x, atoms.reshape(n, len(sequence), -1, 3), energy, native, seeds)


def read_ensembles(folder: str | os.PathLike[str]) -> Iterator[Ensemble]:
    """Read all ensembles in a folder one by one, in the order of their ids.

    Raises
    ------
    InputError
        If there are none; during reading, if a file is damaged.
    """
    ids = ensemble_ids(folder)
    if not ids:
        raise InputError(
            f"{folder} has no ensembles: give a folder that 'openmm-nemo sample' wrote."
        )
    return (read_ensemble(folder, id) for id in ids)


def _hidden(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}")


@contextmanager
def _partial_of(place: Path) -> Iterator[Path]:
    """Yield a new hidden folder, which is removed unless it was renamed."""
    partial = _hidden(place, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _in_nm(x: np.ndarray, topology: md.Topology) -> np.ndarray:
    """Positions (n_frames, n_atoms, 3), nm, of those in Angstrom."""
    return np.asarray(x, dtype=np.float32).reshape(-1, topology.n_atoms, 3) / ANGSTROM_PER_NM


def _write_frames(path: Path, xyz: np.ndarray, topology: md.Topology) -> None:
    """Write positions (n_frames, n_atoms, 3), nm."""
    try:
        md.Trajectory(xyz, topology).save_hdf5(str(path))
    except RuntimeError as error:  # from HDF5, on a full disk
        reason = "writing failed, the disk may be full"
        raise OSError(errno.EIO, reason, str(path)) from error


def _read_frames(path: Path, n_frames: int, sequence: str | None) -> tuple[str, np.ndarray]:
    """Sequence and positions (n_frames, n_atoms, 3), Angstrom."""
    trajectory = _read_trajectory(path, n_frames, sequence)
    found = "".join(residue.code for residue in trajectory.topology.residues)
    return found, trajectory.xyz * np.float32(ANGSTROM_PER_NM)


def _read_trajectory(path: Path, n_frames: int, sequence: str | None) -> md.Trajectory:
    try:
        with no_unpickling():
            trajectory = md.load_hdf5(str(path))
        found = "".join(residue.code for residue in trajectory.topology.residues)
        names = [atom.name for atom in trajectory.topology.atoms]
    except Exception as error:  # MDTraj raises errors of many kinds for damaged files
        raise _damaged(path, _one_line(error)) from None
    per_residue = ["N", "CA", "C", "O", SIDE_CHAIN_BEAD] if path.name == ATOMS_FILE else ["CA"]
    current = [SIDE_CHAIN_BEAD if name == _OLD_BEAD else name for name in names]
    if sequence not in (None, found) or current != per_residue * len(found):
        raise _damaged(path, "its atoms are not those of the protein")
    if trajectory.n_frames != n_frames:
        raise _damaged(path, f"it has {trajectory.n_frames} structures instead of {n_frames}")
    if not np.isfinite(trajectory.xyz).all():
        raise _damaged(path, "it has positions that are not finite")
    return trajectory


def _write_samples(path: Path, ensemble: Ensemble, first: int = 0) -> None:
    """Write the table of samples, or append to it if they are not the first."""
    rg = radius_of_gyration(torch.from_numpy(ensemble.x)).tolist()
    n = len(ensemble.x)
    seeds = [""] * n if ensemble.seeds is None else ensemble.seeds.tolist()
    with path.open("a" if first else "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not first:
            writer.writerow(COLUMNS)
        for k in range(n):
            # float32 needs nine digits.
            writer.writerow([first + k, seeds[k], f"{ensemble.energy[k]:.9g}", f"{rg[k]:.6g}"])


def _read_samples(path: Path) -> tuple[np.ndarray | None, np.ndarray]:
    """Seeds, if there are any, and energies (n,)."""
    try:
        content = path.read_text()
        rows = list(csv.DictReader(content.splitlines(), strict=True))
        if [row["sample"] for row in rows] != [str(k) for k in range(len(rows))] or not rows:
            raise ValueError("samples are missing")
        if not content.endswith("\n"):
            raise ValueError("its last line is cut short")
        energy = np.array([row["u_kt"] for row in rows], dtype=np.float32)
        seeds = [row["seed"] for row in rows]
        return np.array(seeds, dtype=np.int64) if any(seeds) else None, energy
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise _damaged(path, _one_line(error)) from None


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({reason}): remove {path.parent} and sample it again.")


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
