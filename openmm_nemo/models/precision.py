"""Mixed precision in training: networks that multiply 16-bit numbers (bfloat16) between 32-bit inputs and outputs.

Convolutions and matrix products use 16 bits and everything else 32: residual sums, the statistics of normalisations,
geometry, energies, steps, losses and the weights. Values whose rounding would move a chain, such as z(0), are also
computed from the networks' features in 32 bits.
"""

from typing import Any

import torch
from torch import Tensor

from openmm_nemo.conditioning.baseline import BaselineNetwork
from openmm_nemo.conditioning.sequence import SequenceNetwork
from openmm_nemo.geometry import chain_features
from openmm_nemo.geometry.padding import without_padding
from openmm_nemo.models.imputation import Imputation


def sequence_output(
    network: SequenceNetwork | BaselineNetwork, s: Tensor, mask: Tensor, precision: str
) -> Any:
    """``network(s, mask)``, see `SequenceNetwork`.

    Parameters
    ----------
    network : SequenceNetwork or BaselineNetwork
        The latter always uses 32 bits.
    s : Tensor, shape (B, L, q)
    mask : Tensor, shape (B, L)
    precision : str
        "32" or "bf16".

    Returns
    -------
    SequenceOutput or BaselineOutput
        In 32 bits.
    """
    if precision == "32" or isinstance(network, BaselineNetwork):
        return network(s, mask)
    with torch.autocast(s.device.type, torch.bfloat16):
        h, p = network.features(s, mask)
    return network.heads(h.float(), p.float(), mask)


def imputed_atoms(
    network: Imputation, x: Tensor, s: Tensor, mask: Tensor, precision: str
) -> Tensor:
    """``network(x, s, mask)``, see `Imputation`: positions and frames use 32 bits.

    Parameters
    ----------
    network : Imputation
    x : Tensor, shape (B, L, 3)
        Angstrom.
    s : Tensor, shape (B, L, q)
    mask : Tensor, shape (B, L)
    precision : str
        "32" or "bf16".

    Returns
    -------
    Tensor, shape (B, L, 5, 3)
        Angstrom, 32 bits.
    """
    if precision == "32":
        return network(x, s, mask)
    x = without_padding(x, mask)
    features = chain_features(x)
    with torch.autocast(s.device.type, torch.bfloat16):
        offsets = network.offsets(features, s, mask)
    return network.place(x, offsets.float(), mask)
