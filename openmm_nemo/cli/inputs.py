"""What several verbs read: structures, profiles and the names of models."""

import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from openmm_nemo.data import Structure, read_structure
from openmm_nemo.errors import InputError
from openmm_nemo.networks.pretrained import find_model, model_folders

DEFAULT_MODEL = "nemo-tiny"


def read_chain(path: Path, **choice: Any) -> Structure:
    """Read a chain of a structure file, see `read_structure`, and print the notes on it."""
    structure = read_structure(path, **choice)
    for note in structure.notes:
        click.echo(f"{path.name}: {note}")
    return structure


def read_profile(path: Path) -> list[list[float]]:
    """Sequence profile (L, 20) of a text file, a line for each residue; .csv: with commas."""
    try:
        with warnings.catch_warnings(action="error"):
            delimiter = "," if path.suffix == ".csv" else None
            return np.loadtxt(path, ndmin=2, delimiter=delimiter).tolist()
    except (OSError, ValueError, UserWarning) as error:
        raise InputError(
            f"The profile {path} cannot be read ({error}): give 20 numbers a line."
        ) from None


def name_of_model(model: str) -> str:
    """Name of an installed model, or the whole path of another one."""
    folder = find_model(model)
    return model if folder.parent in model_folders() else str(folder.resolve())
