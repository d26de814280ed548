"""Parts of a model that a stage can train alone."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from openmm_nemo.conditioning.sequence import SequenceNetwork
from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.scales import Scales
from openmm_nemo.models import NemoModel


def _scales(model: NemoModel) -> Iterable[nn.Module]:
    parts = [] if model.energy is None else model.energy.modules()
    return [part for part in parts if isinstance(part, Scales)]


def _heads(model: NemoModel) -> Iterable[nn.Module]:
    network = model.sequence_network
    return [network.term_heads] if isinstance(network, SequenceNetwork) else []


PARTS: dict[str, Callable[[NemoModel], Iterable[nn.Module]]] = {"scales": _scales, "heads": _heads}
"""Parts by name, as used in the settings of a stage: the scales of the energy's terms, see
`openmm_nemo.energies.scales`, and the last layers that give the coefficients of the energy."""


def has_part(config: NemoConfig, name: str) -> bool:
    """Whether a model with these hyperparameters has weights in a part."""
    with torch.random.fork_rng(devices=[]):
        modules = PARTS[name](NemoModel(config))
    return any(len(list(module.parameters())) for module in modules)


def train_only(model: NemoModel, parts: Iterable[str]) -> None:
    """Let only the weights of some parts have gradients; without parts, all weights."""
    chosen = [PARTS[part](model) for part in parts]
    model.requires_grad_(not chosen)
    for modules in chosen:
        for module in modules:
            module.requires_grad_()
