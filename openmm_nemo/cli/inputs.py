"""What several verbs read: structures and the names of models."""

from pathlib import Path
from typing import Any

import click

from openmm_nemo.data import Structure, read_structure
from openmm_nemo.models.pretrained import find_model, model_folders

DEFAULT_MODEL = "nemo-mini"


def read_chain(path: Path, **choice: Any) -> Structure:
    """Read a chain of a structure file, see `read_structure`, and print the notes on it."""
    structure = read_structure(path, **choice)
    for note in structure.notes:
        click.echo(f"{path.name}: {note}")
    return structure


def name_of_model(model: str) -> str:
    """Name of an installed model, or the whole path of another one."""
    folder = find_model(model)
    return model if folder.parent in model_folders() else str(folder.resolve())
