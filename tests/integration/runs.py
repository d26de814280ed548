"""Simulations in folders: how the tests start them and what they read of them."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np

from openmm_nemo import ConditionedModel, NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.runs.plots import read_table
from tests.helpers import Outcome, command_line

TESTS = Path(__file__).parents[1]
DATA = TESTS / "data"
TRP_CAGE = TESTS.parent / "examples" / "data" / "1l2y.pdb"
SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"
MODEL = "nemo-tiny"

FORMATS = ("dcd", "xtc", "h5", "pdb")

COORDINATES = {"dcd": 2e-7, "xtc": 1.1e-3, "h5": 2e-7, "pdb": 1.1e-4}
"""What a format keeps of a coordinate below 10 nm, nm; DCD and HDF5: relative to 1 nm."""


def simulate(out: Path, *options: str | Path | int) -> Outcome:
    """`openmm-nemo simulate` with a small untrained model, on a platform that every machine has."""
    options = _with_default("--platform", "Reference", options)
    options = _with_default("--model", MODEL, options)
    return command_line("simulate", "--out", out, *map(str, options))


def _with_default(
    name: str, value: str, options: tuple[str | Path | int, ...]
) -> tuple[str | Path | int, ...]:
    return options if "--resume" in options or name in options else (name, value, *options)


def complete(out: Path, *options: str | Path | int) -> Path:
    """Folder of a run that ends well."""
    outcome = simulate(out, *options)
    assert outcome.code == 0, outcome
    return out


def process(
    *options: str | Path | int, setup: str = "pass", **streams: Any
) -> subprocess.Popen[str]:
    """`openmm-nemo simulate` in a process of its own.

    ``setup`` is Python to run before, with the modules s (runs.simulation) and p (progress).
    """
    program = (
        "import openmm_nemo.cli, openmm_nemo.runs.simulation as s, openmm_nemo.progress as p\n"
        f"{setup}\nopenmm_nemo.cli.main()"
    )
    options = _with_default("--model", MODEL, options)
    command = [sys.executable, "-c", program, "simulate", *map(str, options)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, text=True, **streams)


def frames(folder: Path, name: str) -> md.Trajectory:
    """A trajectory as its reader would load it: with the final structure for what the format lacks."""
    path = folder / name
    if path.suffix in (".h5", ".pdb"):
        return md.load(str(path))
    final = "final_coarse.pdb" if md_atoms(path) == md_atoms(folder / "final_coarse.pdb") else None
    return md.load(str(path), top=str(folder / (final or "final_atoms.pdb")))


def md_atoms(path: Path) -> int:
    """Atoms of a frame."""
    if path.suffix == ".pdb":
        return md.load(str(path), frame=0).n_atoms
    with md.open(str(path)) as file:
        return file.read(n_frames=1)[0].shape[1]


def table(folder: Path) -> dict[str, np.ndarray]:
    return read_table(folder / "state.csv")


@functools.cache
def trp_cage() -> np.ndarray:
    """C-alpha positions of the first model of 1l2y, Angstrom."""
    return read_structure(TRP_CAGE).ca


@functools.cache
def protein(double: bool = True) -> ConditionedModel:
    """The Trp cage in nemo-tiny."""
    model = NemoModel.from_pretrained(MODEL)
    return (model.double() if double else model).condition(SEQUENCE)
