"""Batch Renormalisation (Ioffe, NeurIPS 2017) over the valid positions of padded batches."""

import torch
from torch import Tensor, nn

R_MAX, D_MAX = 3.0, 5.0
"""Limits at the end of training (Ioffe 2017, section 4)."""


class BatchRenorm(nn.Module):
    """Batch Renormalisation of 1D (B, C, L) and 2D (B, C, L, L) features.

    Training: y = ((x - mu_batch) / sigma_batch * r + d) * weight + bias, where no gradient flows
    through
        r = clip(sigma_batch / sigma_running, 1 / r_max, r_max),
        d = clip((mu_batch - mu_running) / sigma_running, -d_max, d_max).
    Evaluation: the running statistics. As in `torch.nn.BatchNorm1d`, sigma^2 = variance + eps, the
    batch is normalised by its biased variance and the running variance follows the unbiased one.

    Parameters
    ----------
    channels : int
    momentum : float
        Weight of the newest batch in the running statistics. Zero freezes them.
    eps : float

    Attributes
    ----------
    r_max, d_max : float
        Limits of the correction, to be raised during training, see `limits`. The defaults 1 and 0 are Batch
        Normalisation; with both infinite, training normalises by the running statistics alone.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.r_max = 1.0
        self.d_max = 0.0
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise.

        Parameters
        ----------
        x : Tensor, shape (B, C, ...)
        mask : Tensor, shape (B, ...)
            1 for valid positions, 0 for padding, which is also normalised but does not enter the statistics.

        Returns
        -------
        Tensor, shape of ``x``
        """
        if self.training:
            scale, shift = self._training_transform(x.flatten(2), mask.flatten(1).unsqueeze(1))
        else:
            scale = torch.rsqrt(self.running_var + self.eps)
            shift = -self.running_mean * scale
        scale = scale * self.weight
        shift = shift * self.weight + self.bias
        shape = [1, x.shape[1]] + [1] * (x.dim() - 2)
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    def _training_transform(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (C,) from x (B, C, N) and mask (B, 1, N); updates the statistics."""
        count = mask.sum().clamp_min(1)
        mean = (x * mask).sum(dim=[0, 2]) / count
        deviation = (x - mean.view(1, -1, 1)) * mask
        variance = (deviation * deviation).sum(dim=[0, 2]) / count
        sigma = torch.sqrt(variance + self.eps)
        with torch.no_grad():
            running_sigma = torch.sqrt(self.running_var + self.eps)
            r = (sigma / running_sigma).clamp(1 / self.r_max, self.r_max)
            d = ((mean - self.running_mean) / running_sigma).clamp(-self.d_max, self.d_max)
            unbiased = variance * (count / (count - 1).clamp_min(1))
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        scale = r / sigma
        return scale, d - mean * scale


def limits(update: int, first: int, last: int) -> tuple[float, float]:
    """r_max and d_max in an update: 1 and 0 up to ``first``, then rising to `R_MAX` and `D_MAX` at ``last``."""
    share = min(max((update - first) / (last - first), 0.0), 1.0)
    return 1 + share * (R_MAX - 1), share * D_MAX
