"""The energy of one protein or complex, and its serialisation: numbers and names, never code."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from openmm_nemo.config import CONFIG_VERSION, NemoConfig, UnknownKeyError
from openmm_nemo.energies.energy import Energy
from openmm_nemo.energies.registry import terms_of
from openmm_nemo.errors import InputError
from openmm_nemo.residues import BREAK, check_chains

FORMAT = "openmm_nemo protein energy"
FORMAT_VERSION = 2
"""Version 2 has complexes. Energies of one chain are written as version 1."""

_HEADER = "openmm_nemo"


class Origin(NamedTuple):
    """The model that the energy of a protein comes from.

    Attributes
    ----------
    model : str
        Name or folder of the model; empty if it was never read from one.
    sha256 : str
        `openmm_nemo.NemoModel.fingerprint` of the model.
    config : NemoConfig
        Configuration of the model.
    """

    model: str
    sha256: str
    config: NemoConfig


class Constant(nn.Module):
    """A tensor that moves with its module, also in TorchScript."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)


class ProteinEnergy(nn.Module):
    """U of one protein of L residues: the energy's network with the coefficients of a sequence.

    Parameters
    ----------
    network : Energy
    coefficients : sequence of Tensor
        Coefficients of the network's terms, without a batch dimension, kT.
    sequence : str
        One letter per residue.
    origin : Origin

    Attributes
    ----------
    chain_lengths : list of int
        Number of residues of each chain: one number, except in a `ComplexEnergy`.
    """

    chain_lengths: list[int]

    def __init__(
        self, network: Energy, coefficients: Sequence[Tensor], sequence: str, origin: Origin
    ) -> None:
        super().__init__()
        self.network = network
        self.chain_lengths = [len(chain) for chain in sequence.split(BREAK)]
        # In the order in which they are read back: sums in another order are rounded differently.
        self.coefficients: Any = nn.ModuleList(
            Constant(values.detach().contiguous()) for values in coefficients
        )
        self.sequence = sequence
        self.origin = origin
        self.eval()
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Energies (B,), kT, of ``x (B, L, 3)``, Angstrom; differentiable."""
        energies: Tensor = self.network(x, self.coefficient_values(), torch.ones_like(x[:, :, 0]))
        return energies

    def coefficient_values(self) -> list[Tensor]:
        """The coefficients, with a batch dimension of 1."""
        values: list[Tensor] = []
        for coefficient in self.coefficients:
            values.append(coefficient.value.unsqueeze(0))
        return values

    def to_bytes(self) -> bytes:
        """The energy as safetensors, with a digest of names and numbers."""
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()
        }
        header = {
            "format": FORMAT,
            "format_version": 1 if len(self.chain_lengths) == 1 else FORMAT_VERSION,
            "model": self.origin.model,
            "model_sha256": self.origin.sha256,
            "config_version": CONFIG_VERSION,
            "config": self.origin.config.to_dict(),
            "sequence": self.sequence,
        }
        text = json.dumps(header | {"sha256": _digest(header, tensors)}, sort_keys=True)
        return safetensors.torch.save(tensors, {_HEADER: text})

    @classmethod
    def from_bytes(cls, content: bytes) -> "ProteinEnergy":
        """Inverse of `to_bytes`.

        Raises
        ------
        InputError
            If the content is not a protein energy, was written by a newer version or has changed since it was written.
        """
        try:
            header, tensors = _read(content)
            config = _config(header)
            names = [f"coefficients.{k}.value" for k in range(len(_shapes(config, 0)))]
            coefficients = [tensors[name] for name in names]
            chains = check_chains(header["sequence"])
            if [values.shape for values in coefficients] != _shapes(config, sum(map(len, chains))):
                raise ValueError
            network = Energy(config).to(coefficients[0].dtype)
            origin = Origin(header["model"], header["model_sha256"], config)
            kind = ProteinEnergy if len(chains) == 1 else ComplexEnergy
            energy = kind(network, coefficients, BREAK.join(chains), origin)
            energy.load_state_dict(tensors)
        except InputError:
            raise
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise InputError(
                f"The energy of a protein cannot be read ({type(error).__name__}): "
                "create the system again with create_system."
            ) from None
        return energy


class ComplexEnergy(ProteinEnergy):
    """U of several chains: the sum of the energies of the chains alone and of all pairs of chains.

    Parameters
    ----------
    network : Energy
        All of its terms have `EnergyTerm.joins_chains`.
    coefficients : sequence of Tensor
        As for one chain of the residues of all, chain after chain.
    sequence : str
        One letter per residue, and a colon between chains.
    origin : Origin
    """

    def forward(self, x: Tensor) -> Tensor:
        """Energies (B,), kT, of ``x (B, L, 3)``, Angstrom, the residues of all chains; differentiable."""
        u = x.new_zeros(x.shape[0])
        starts: list[int] = []
        end = 0
        # First chains, then pairs: the energy of two identical chains is exactly the same if they change places.
        for size in self.chain_lengths:
            starts.append(end)
            end = end + size
            chain = x[:, starts[-1] : end]
            own = self._part(starts[-1], size, starts[-1], size)
            u = u + self.network(chain, own, torch.ones_like(chain[:, :, 0]))
        for k, size in enumerate(self.chain_lengths):
            first = x[:, starts[k] : starts[k] + size]
            for m in range(k + 1, len(starts)):
                other = self.chain_lengths[m]
                u = u + self.network.between(
                    first,
                    x[:, starts[m] : starts[m] + other],
                    self._part(starts[k], size, starts[m], other),
                    self._part(starts[m], other, starts[k], size),
                )
        return u

    def _part(self, row: int, rows: int, column: int, columns: int) -> list[Tensor]:
        """Coefficients of a chain's residues, and of their pairs with those of a chain, with a batch dimension."""
        parts: list[Tensor] = []
        for values in self.coefficient_values():
            part = values[:, row : row + rows]
            if part.dim() == 4:
                part = part[:, :, column : column + columns]
            parts.append(part)
        return parts


def _read(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors as they were written."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_HEADER])
    tensors = safetensors.torch.load(content)
    if header["format"] != FORMAT:
        raise ValueError
    if header["format_version"] > FORMAT_VERSION:
        raise _newer()
    if header.pop("sha256") != _digest(header, tensors):
        raise InputError(
            "The energy of a protein has changed since it was written: create the system again with create_system."
        )
    return header, tensors


def _config(header: dict[str, Any]) -> NemoConfig:
    version: int = header["config_version"]
    try:
        return NemoConfig.from_dict(header["config"], version)
    except UnknownKeyError:
        if version > CONFIG_VERSION:
            raise _newer() from None
        raise


def _newer() -> InputError:
    return InputError(
        "The energy of a protein was written by a newer version of openmm_nemo: install that version."
    )


def _shapes(config: NemoConfig, length: int) -> list[tuple[int, ...]]:
    """Shapes of the coefficients of a protein, without a batch dimension."""
    return [
        (length, length, what.channels) if what.of_pairs else (length, what.channels)
        for term in terms_of(config).values()
        for what in term.coefficients(config)
    ]


def _digest(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
