"""Models outside the installation: in a folder that several people share, or at a URL.

A place for models has one folder per model, as `NemoModel.save_pretrained` writes it, and ``registry.json`` with the
SHA-256 of their files, which `write_registry` makes. Nothing is fetched unless a user has given a URL.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from openmm_nemo.errors import InputError
from openmm_nemo.files import can_name_a_file, completing

REGISTRY_FILE = "registry.json"
REGISTRY_VERSION = 1
NEEDED = ("config.json", "model.safetensors")
FILES = (*NEEDED, "split.json")
"""Files of a model that a registry lists and that are fetched; TorchScript, which is code, is not."""
PLACE_VARIABLE = "NEMO_MODEL_PATH"
TIMEOUT = 30
"""Seconds without an answer after which a server counts as out of reach."""


def is_url(place: str) -> bool:
    """Whether it is the address of a server."""
    return place.startswith(("https://", "http://"))


def model_at_url(url: str) -> Path:
    """Folder with a model that was fetched from ``PLACE/NAME``, now or before.

    Files that are there already, with the right digests, are not fetched again, and if the server is out of reach, the
    last registry counts.

    Raises
    ------
    InputError
        If pooch is not installed, the server is out of reach, the registry lacks the model, or a file is another one
        than the registry says.
    """
    place, _, name = url.rstrip("/").rpartition("/")
    if not place.partition("://")[2].strip("/"):
        raise InputError(
            f"The URL {url} has no name of a model: give PLACE/NAME, such as {url.rstrip('/')}/nemo-fold."
        )
    pooch = _load_pooch()
    cache = Path(pooch.os_cache("openmm_nemo")) / hashlib.sha256(place.encode()).hexdigest()[:16]
    registry = f"{place}/{REGISTRY_FILE}"
    digests = _files_of(name, _fetched_registry(pooch, registry, cache), registry)
    store = pooch.create(path=cache / name, base_url=f"{place}/{name}/", registry=digests)
    for file in digests:
        try:
            store.fetch(file, downloader=pooch.HTTPDownloader(timeout=TIMEOUT))
        except ValueError:
            raise _other_file(f"{place}/{name}/{file}", registry) from None
        except OSError as error:
            raise _out_of_reach(f"{place}/{name}/{file}", error) from None
    return cache / name


def model_in_folder(name: str, place: Path) -> Path:
    """Folder of a model in a folder of models, whose files are compared with the registry.

    Raises
    ------
    InputError
        If the registry is missing or lacks the model, or a file is another one than the registry says.
    """
    path = place / REGISTRY_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): set {PLACE_VARIABLE} to a URL or folder of models with a "
            "registry, which 'openmm-nemo models --write-registry FOLDER' makes."
        ) from None
    digests = _files_of(name, _parsed(content, str(path)), str(path))
    for file, digest in digests.items():
        try:
            same = _digest(place / name / file) == digest
        except OSError as error:
            raise InputError(
                f"{place / name / file} cannot be read ({error.strerror}), but {path} lists it: get the model again."
            ) from None
        if not same:
            raise _other_file(str(place / name / file), str(path))
    return place / name


def write_registry(folder: str | Path) -> Path:
    """Write ``registry.json`` for all models in a folder.

    Parameters
    ----------
    folder : str or Path
        It has one folder per model, as `NemoModel.save_pretrained` writes it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If there is no model in the folder.
    """
    folder = Path(folder)
    models = {
        model.name: {file: _digest(model / file) for file in FILES if (model / file).is_file()}
        for model in sorted(folder.glob("*"))
        if all((model / file).is_file() for file in NEEDED)
    }
    if not models:
        raise InputError(
            f"{folder} has no model folders: give a folder with one folder per model, each written by save_pretrained."
        )
    path = folder / REGISTRY_FILE
    content = {"format_version": REGISTRY_VERSION, "models": models}
    with completing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    return path


def place_of_models() -> str | None:
    """Where the user keeps models: the value of ``NEMO_MODEL_PATH``."""
    return os.environ.get(PLACE_VARIABLE) or None


def _load_pooch() -> ModuleType:
    try:
        import pooch
    except ImportError:
        raise InputError(
            'Pooch is missing, which fetches models from a URL: install it with pip install "openmm-nemo[hub]", or '
            "give the folder of a model."
        ) from None
    pooch.get_logger().setLevel(logging.ERROR)
    module: ModuleType = pooch
    return module


def _fetched_registry(pooch: ModuleType, url: str, cache: Path) -> dict[str, Any]:
    """The registry at a URL, or, if it is out of reach, as it was the last time."""
    cache.mkdir(parents=True, exist_ok=True)
    last = cache / REGISTRY_FILE
    try:
        with completing(last) as partial:
            pooch.HTTPDownloader(timeout=TIMEOUT)(url, str(partial), None)
            models = _parsed(partial.read_bytes(), url)
    except OSError as error:
        if not last.is_file():
            raise _out_of_reach(url, error) from None
        models = _parsed(last.read_bytes(), str(last))
    return models


def _parsed(content: bytes, place: str) -> dict[str, Any]:
    """Models of a registry."""
    try:
        values = json.loads(content)
    except ValueError:
        values = None
    models = values.get("models") if isinstance(values, dict) else None
    if not isinstance(models, dict) or values.get("format_version") != REGISTRY_VERSION:
        raise InputError(
            f"{place} is not a registry of models in format {REGISTRY_VERSION}: write it with 'openmm-nemo models "
            "--write-registry FOLDER'."
        )
    return models


def _files_of(name: str, models: Mapping[str, Any], registry: str) -> dict[str, str]:
    """Digests of a model's files by their names."""
    if name not in models or not can_name_a_file(name):
        listed = ", ".join(sorted(models)) or "none"
        raise InputError(
            f"{registry} has no model {name!r} that can be used: choose one of its models ({listed})."
        )
    files = models[name]
    found = files if isinstance(files, dict) else {}
    digests = {file: str(found[file]) for file in FILES if file in found}
    known = all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests.values())
    if not known or not digests.keys() >= set(NEEDED):
        raise InputError(
            f"{registry} has no SHA-256 of {' and '.join(NEEDED)} for the model {name!r}: write it again with "
            "'openmm-nemo models --write-registry FOLDER'."
        )
    return digests


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _other_file(place: str, registry: str) -> InputError:
    return InputError(
        f"{place} is not the file that {registry} lists (its SHA-256 differs): tell whoever keeps these models, and "
        "do not use it."
    )


def _out_of_reach(url: str, error: OSError) -> InputError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = f"status {status}" if status else type(error).__name__
    return InputError(
        f"{url} cannot be fetched ({reason}): check the URL and the network, or give the folder of a model."
    )
