"""Positions and forces of one chain in the frames of a simulation, for force matching (nemo.md, 6)."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from openmm_nemo.errors import InputError
from openmm_nemo.files import arrays_digest, completing
from openmm_nemo.residues import check_sequence

FORMAT = "openmm_nemo force frames"
VERSION = "1"

_REMEDY = "write it again with ForceFrames.write."


@dataclass(frozen=True, eq=False)
class ForceFrames:
    """F frames of a chain of L residues, see `openmm_nemo.engine.record_forces`.

    Attributes
    ----------
    sequence : str
        One letter per residue.
    positions : ndarray, shape (F, L, 3), float32
        Positions of the C-alphas, Angstrom.
    forces : ndarray, shape (F, L, 3), float32
        Forces on them, kT/Angstrom, with kT at ``temperature``.
    temperature : float
        Temperature of the simulation, kelvin.

    Raises
    ------
    InputError
        If the parts do not fit together or are not as described here.
    """

    sequence: str
    positions: np.ndarray
    forces: np.ndarray
    temperature: float

    def __post_init__(self) -> None:
        check_sequence(self.sequence)
        shape = (len(self.positions), len(self.sequence), 3)
        for name in ("positions", "forces"):
            array = getattr(self, name)
            if array.shape != shape or not len(array):
                raise InputError(
                    f"The {name} of force frames have shape {array.shape}: give one or more frames, the same number "
                    f"of positions and of forces, of {len(self.sequence)} residues and three coordinates."
                )
            if not np.isfinite(array).all():
                frame = int(np.argmin(np.isfinite(array).all((1, 2))))
                raise InputError(
                    f"The {name} of frame {frame} of force frames are not finite: leave out this frame."
                )
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(
                f"The temperature of force frames is {self.temperature}: give one in kelvin, above zero."
            )

    def __len__(self) -> int:
        return len(self.positions)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file, which appears when it is complete.

        Parameters
        ----------
        path : path
            An existing file is replaced.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        # safetensors silently writes other memory layouts wrongly.
        tensors = {
            name: np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            for name in ("positions", "forces")
        }
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "sequence": self.sequence,
            "temperature_kelvin": repr(float(self.temperature)),
        }
        metadata["sha256"] = _digest(tensors, metadata)
        try:
            with completing(Path(path)) as partial:
                # Its own writer makes files that other users cannot read.
                partial.write_bytes(save(tensors, metadata))
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}): choose another place."
            ) from None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "ForceFrames":
        """Read a file written by `write`.

        Raises
        ------
        InputError
            If the file cannot be read, is not one of force frames, or is damaged.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise InputError(f"{path} is not a file of force frames: {_REMEDY}")
                if metadata["version"] != VERSION:
                    raise InputError(
                        f"{path} was written by another version of openmm_nemo: {_REMEDY}"
                    )
                tensors = {name: file.get_tensor(name) for name in ("positions", "forces")}
            if _digest(tensors, metadata) != metadata["sha256"]:
                raise InputError(f"{path} is damaged (its checksum is wrong): {_REMEDY}")
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): {_REMEDY}") from None
        return cls(
            metadata["sequence"],
            tensors["positions"],
            tensors["forces"],
            float(metadata["temperature_kelvin"]),
        )


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    words = f"{metadata['sequence']} {metadata['temperature_kelvin']}".encode()
    return arrays_digest(tensors | {"words": np.frombuffer(words, dtype=np.uint8)})
