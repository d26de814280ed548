"""Protein chains from frames of trajectories, read by MDTraj."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import gemmi
import mdtraj as md

from openmm_nemo.data.structures.chains import (
    Source,
    SourceFile,
    Structure,
    structure_of,
)
from openmm_nemo.data.structures.gro import ANGSTROM_PER_NM, cell_of
from openmm_nemo.data.structures.names import is_amino_acid
from openmm_nemo.data.structures.parsing import parse, read_bytes
from openmm_nemo.data.structures.selection import Selection
from openmm_nemo.errors import InputError
from openmm_nemo.hdf5 import no_unpickling

OWN_FORMATS = (".pdb", ".ent", ".cif", ".mmcif", ".gro")
"""Topology formats read by our structure reader, which keeps names, chains and insertion codes unchanged."""


def read_frame(
    trajectory: str | Path,
    topology: str | Path,
    frame: int = 0,
    chain: str | None = None,
    residues: str | None = None,
    longest_segment: bool = False,
) -> Structure:
    """Read one unbroken protein chain, or a segment of one, from a frame of a trajectory.

    Molecules that were cut by a periodic box are made whole.

    Parameters
    ----------
    trajectory : str or Path
        File in a format that MDTraj reads, such as .xtc, .trr, .dcd, .nc or .h5.
    topology : str or Path
        File that names the atoms of the trajectory: PDB, mmCIF or GRO, or another format that MDTraj reads, such as
        .prmtop, .psf or .h5.
    frame : int
        Index of the frame, from 0; negative numbers count from the last one, -1.
    chain, residues, longest_segment
        See `read_structure`.

    Returns
    -------
    Structure
        Named after the trajectory.

    Raises
    ------
    InputError
        If a file cannot be read, the files do not belong together, or there is no such frame; and as for
        `read_structure`.
    """
    trajectory, topology = Path(trajectory), Path(topology)
    parsed = _read_topology(topology)
    atoms = [atom for part in parsed[0] for residue in part for atom in residue]
    count, loaded = _load(trajectory, len(atoms), frame, topology)
    positions = ANGSTROM_PER_NM * loaded.xyz[0].astype(float)
    for atom in atoms:
        atom.pos = gemmi.Position(*positions[atom.serial])
    box = loaded.unitcell_vectors
    index = frame % count
    notes = [] if count == 1 else [f"Took frame {index} of {count}, from 0."]
    source = Source(
        place=f"frame {index} of {trajectory}",
        name=trajectory.stem,
        files=(SourceFile.of(trajectory), SourceFile.of(topology)),
        model=parsed[0],
        model_index=1,
        cell=None if box is None else cell_of(ANGSTROM_PER_NM * box[0].astype(float)),
        notes=notes,
        frame=index,
    )
    return structure_of(source, Selection(chain, residues, longest_segment))


def _read_topology(path: Path) -> gemmi.Structure:
    """Return a structure whose atoms have their indices in a frame as serial numbers."""
    if path.name.lower().removesuffix(".gz").endswith(OWN_FORMATS):
        return parse(read_bytes(path), path)
    _check_is_file(path)
    try:
        with warnings.catch_warnings(), no_unpickling():
            warnings.simplefilter("ignore")
            topology = md.load_topology(str(path))
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a topology ({_one_line(error)}): give one that MDTraj reads."
        ) from None
    model = gemmi.Model(1)
    for chain in topology.chains:
        part = gemmi.Chain(getattr(chain, "chain_id", None) or "")
        for residue in chain.residues:
            copy = gemmi.Residue()
            copy.name = residue.name
            copy.seqid = gemmi.SeqId(residue.resSeq, " ")
            copy.segment = residue.segment_id or ""
            copy.subchain = str(chain.index)
            copy.het_flag = "A" if is_amino_acid(residue.name) else "H"
            for atom in residue.atoms:
                new = gemmi.Atom()
                new.name = atom.name
                new.serial = atom.index
                if atom.element is not None:
                    new.element = gemmi.Element(atom.element.symbol)
                copy.add_atom(new)
            part.add_residue(copy)
        model.add_chain(part)
    parsed = gemmi.Structure()
    parsed.add_model(model)
    return parsed


def _load(path: Path, n_atoms: int, frame: int, topology: Path) -> tuple[int, md.Trajectory]:
    """Return the number of frames in a trajectory, and one of them."""
    _check_is_file(path)
    # MDTraj needs a topology, of which only the number of atoms matters here.
    atoms = md.Topology()
    residue = atoms.add_residue("X", atoms.add_chain())
    for _ in range(n_atoms):
        atoms.add_atom("X", md.element.virtual, residue)
    with warnings.catch_warnings(), no_unpickling():
        warnings.simplefilter("ignore")
        try:
            count, load = _frames(path, atoms)
            loaded = load(frame % count) if -count <= frame < count else None
        except Exception as error:
            raise _refusal(path, topology, n_atoms, _one_line(error)) from None
    if loaded is None:
        raise InputError(
            f"{path} has no frame {frame}: choose --frame from 0 to {count - 1}, or -1 for the last."
            if count
            else f"{path} has no frames: give a trajectory with frames."
        )
    if loaded.n_atoms != n_atoms:
        raise _refusal(path, topology, n_atoms, f"it has {loaded.n_atoms}")
    return count, loaded


def _frames(path: Path, atoms: md.Topology) -> tuple[int, Callable[[int], md.Trajectory]]:
    """Return the number of frames and a function that loads one."""
    try:
        with md.open(str(path)) as file:
            count = len(file)
            file.seek(0)
    except (
        Exception
    ):  # text formats, which are read as a whole, or a file that cannot be read at all
        whole = md.load(str(path), top=atoms)
        return len(whole), whole.__getitem__
    return count, lambda index: md.load_frame(str(path), index, top=atoms)


def _refusal(path: Path, topology: Path, n_atoms: int, reason: str) -> InputError:
    return InputError(
        f"{path} cannot be read with the {n_atoms} atoms of {topology} ({reason}): give a trajectory in a "
        "format of MDTraj, and the topology of the same atoms."
    )


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is not a file: check the file name.")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    mismatch = re.search(r"You supplied \(\d+, (\d+), 3\)", text)  # MDTraj's message
    return f"it has {mismatch[1]}" if mismatch else text
