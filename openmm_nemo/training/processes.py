"""Means over the processes that share each update, which keep these processes, and resumed runs, identical."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from openmm_nemo.networks import BatchRenorm


def mean_over_processes(tensors: Iterable[Tensor]) -> None:
    """Replace floating-point tensors by their means over all processes; a single process keeps its own.

    Every process must call this with tensors of the same shapes, in the same order.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    values = list(tensors)
    flat = torch.cat([value.detach().flatten() for value in values])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for value, mean in zip(values, flat.split([value.numel() for value in values]), strict=True):
        value.detach().copy_(mean.view_as(value))


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Running means and variances of all normalisations."""
    return [
        statistic
        for part in module.modules()
        if isinstance(part, BatchRenorm)
        for statistic in (part.running_mean, part.running_var)
    ]
