"""Reading and writing of model folders: JSON and safetensors, nothing that could run code."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from openmm_nemo.config import CONFIG_VERSION, NemoConfig, UnknownKeyError
from openmm_nemo.errors import InputError
from openmm_nemo.models.hub import (
    PLACE_VARIABLE,
    is_url,
    model_at_url,
    model_in_folder,
    place_of_models,
)
from openmm_nemo.models.migration import current_names
from openmm_nemo.version import __version__

FORMAT_VERSION = 2
"""Version of the file format; version 1 can still be read."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class ModelFiles(NamedTuple):
    """Contents of a model folder.

    Attributes
    ----------
    config : NemoConfig
    trained : bool
        False for random weights.
    description : str
        One sentence for users.
    weights : dict of str to Tensor
        Parameters and running statistics by name.
    """

    config: NemoConfig
    trained: bool
    description: str
    weights: dict[str, Tensor]


def model_folders() -> list[Path]:
    """Folders of installed models: in the package, or next to it when run from its sources."""
    package = Path(__file__).resolve().parents[1]
    installed, source = package / "torchscript_models", package.parent
    if installed.is_dir():
        return [installed]
    # Next to an installed package, that folder could be anyone's.
    in_source_tree = (source / "pyproject.toml").is_file()
    return [source / "torchscript_models"] if in_source_tree else []


def list_models() -> dict[str, str]:
    """Names and descriptions of the installed models.

    Returns
    -------
    dict of str to str
        Descriptions by name, sorted by name.

    Examples
    --------
    >>> "nemo-fold" in list_models()
    True
    """
    found = {
        path.parent.name: str(_read_metadata(path.parent).get("description", ""))
        for folder in model_folders()
        for path in folder.glob(f"*/{CONFIG_FILE}")
    }
    return dict(sorted(found.items()))


def find_model(name_or_path: str | Path) -> Path:
    """Folder of an installed model, of a user's own, or of one at a URL, which is fetched.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `list_models`, or else a URL, a path, or the name of a model in the folder or at the URL that the
        environment variable NEMO_MODEL_PATH gives.

    Raises
    ------
    InputError
        If it is none of these, and as for `openmm_nemo.models.hub.model_at_url`.
    """
    for folder in model_folders():
        if str(name_or_path) in {path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}")}:
            return folder / name_or_path
    if is_url(str(name_or_path)):
        return model_at_url(str(name_or_path))
    path = Path(name_or_path)
    if path.is_dir():
        return path
    place = place_of_models()
    if place is not None and path.name == str(name_or_path):
        if is_url(place):
            return model_at_url(f"{place.rstrip('/')}/{path.name}")
        return model_in_folder(path.name, Path(place))
    names = ", ".join(list_models()) or "none"
    raise InputError(
        f"There is no model {str(name_or_path)!r}: give the path of a model folder, an installed name ({names}) or a "
        f"URL, or set {PLACE_VARIABLE} to where it is."
    )


def write_model(folder: str | Path, files: ModelFiles) -> None:
    """Write a model folder, each file atomically.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.
    files : ModelFiles
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {
        name: tensor.detach().cpu().contiguous() for name, tensor in files.weights.items()
    }
    weights = safetensors.torch.save(contiguous)
    metadata: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "written_by": f"openmm_nemo {__version__}",
        "config_version": CONFIG_VERSION,
        "config": files.config.to_dict(),
        "trained": files.trained,
        "description": files.description,
    }
    metadata["sha256"] = _digest(metadata, weights)
    _replace(folder / WEIGHTS_FILE, weights)
    _replace(folder / CONFIG_FILE, (json.dumps(metadata, indent=2) + "\n").encode())


def read_model(folder: str | Path) -> ModelFiles:
    """Read a model folder.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    ModelFiles

    Raises
    ------
    InputError
        If a file is missing or cannot be read, was written by another version or has changed since
        it was written.
    """
    folder = Path(folder)
    metadata = _read_metadata(folder)
    weights_path = folder / WEIGHTS_FILE
    if not weights_path.is_file():
        raise InputError(
            f"{folder} has no {WEIGHTS_FILE}: give a folder written by save_pretrained."
        )
    weights = weights_path.read_bytes()
    if metadata.get("sha256") != _digest(metadata, weights):
        raise InputError(
            f"{CONFIG_FILE} or {WEIGHTS_FILE} in {folder} has changed since it was written: "
            "get both files again."
        )
    config, trained = metadata.get("config"), metadata.get("trained")
    description, version = metadata.get("description"), metadata.get("config_version", 1)
    if not (
        isinstance(config, dict)
        and isinstance(trained, bool)
        and isinstance(description, str)
        and isinstance(version, int)
    ):
        raise InputError(
            f"{folder / CONFIG_FILE} lacks config, trained or description: "
            "write the model again with save_pretrained."
        )
    try:
        tensors = safetensors.torch.load(weights)
    except SafetensorError as error:
        raise InputError(
            f"{weights_path} is not a safetensors file ({error}): get it again."
        ) from None
    try:
        hyperparameters = NemoConfig.from_dict(config, version)
    except UnknownKeyError as error:
        writer = metadata.get("written_by")
        if version <= CONFIG_VERSION or not writer:
            raise InputError(f"{folder / CONFIG_FILE}: {error}") from None
        raise InputError(
            f"{folder / CONFIG_FILE} was written by {writer}, with hyperparameters that this version does not know "
            f"({error.key!r}): install {writer} or later."
        ) from None
    except InputError as error:
        raise InputError(f"{folder / CONFIG_FILE}: {error}") from None
    return ModelFiles(hyperparameters, trained, description, current_names(tensors))


def check_weights(weights: dict[str, Tensor], expected: dict[str, Tensor], folder: Path) -> None:
    """Compare names and shapes of weights with those of a model.

    Raises
    ------
    InputError
        If a tensor is missing, unknown or has another shape; the message names the first one.
    """
    path = folder / WEIGHTS_FILE
    for name, tensor in expected.items():
        if name not in weights:
            raise InputError(f"{path} lacks the tensor {name}: use weights of this configuration.")
        if weights[name].shape != tensor.shape:
            found, wanted = tuple(weights[name].shape), tuple(tensor.shape)
            raise InputError(
                f"{path} has the tensor {name} with shape {found} instead of {wanted}: "
                "use weights of this configuration."
            )
    for name in weights:
        if name not in expected:
            raise InputError(
                f"{path} has an unknown tensor {name}: use weights of this configuration."
            )


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} has no {CONFIG_FILE}: give a folder written by save_pretrained."
        )
    try:
        metadata = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not readable JSON ({error}): get it again.") from None
    if not isinstance(metadata, dict):
        raise InputError(f"{path} is not a JSON object: get it again.")
    version = metadata.get("format_version")
    if version not in (1, FORMAT_VERSION):
        writer = metadata.get("written_by", "the version of openmm_nemo that wrote it")
        raise InputError(
            f"{path} has format version {version!r}, but this openmm_nemo reads 1 and {FORMAT_VERSION}: "
            f"install {writer}."
        )
    return metadata


def _digest(metadata: dict[str, Any], weights: bytes) -> str:
    """SHA-256 of the canonical JSON of all metadata except the digest, followed by the weight file."""
    content = {key: value for key, value in metadata.items() if key != "sha256"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical + weights).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
