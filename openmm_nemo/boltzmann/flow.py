"""Normalising flow over torsions and stiff coordinates."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from openmm_nemo.boltzmann.coordinates import Coordinates
from openmm_nemo.geometry.zmatrix import wrapped
from openmm_nemo.optional import load_zuko

zuko = load_zuko()

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class TorsionFlow(nn.Module):
    """Density on a torus of K angles: each is distributed given those before it.

    The conditional density of an angle is that of a uniform one after two circular rational-quadratic splines (Rezende
    et al., Normalizing Flows on Tori and Spheres, 2020). Their knots are functions of sines and cosines, so that the
    density has no seam in the angles before; that in the angle itself, where a spline has slope 1, is at another place
    in the second spline.

    Parameters
    ----------
    k : int
    bins : int
        Bins per spline.
    hidden : int
        Width of the two hidden layers of each network.
    """

    def __init__(self, k: int, bins: int, hidden: int) -> None:
        super().__init__()
        self.bins = bins
        outputs = 2 * (3 * bins - 1)
        # The first angle depends on nothing: it gets a constant as its input.
        self.networks = nn.ModuleList(_network(max(2 * i, 1), outputs, hidden) for i in range(k))

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Angles (n, K) and their log-density (n,)."""
        uniform = torch.rand(n, len(self.networks), generator=generator)
        t = uniform[:, :0]
        log_q = torch.full((n,), -len(self.networks) * math.log(2 * math.pi))
        for i in range(len(self.networks)):
            angle = (2 * uniform[:, i] - 1) * math.pi
            for spline in self._splines(i, t):
                angle, log_slope = spline.call_and_ladj(angle)
                angle, log_q = wrapped(angle + math.pi), log_q - log_slope
            t = torch.cat([t, angle.unsqueeze(-1)], -1)
        return t, log_q

    def log_prob(self, t: Tensor) -> Tensor:
        """Log-density (n,) at angles ``t (n, K)``."""
        log_q = torch.full(t.shape[:1], -len(self.networks) * math.log(2 * math.pi))
        for i in range(len(self.networks)):
            angle = t[:, i]
            for spline in reversed(self._splines(i, t[:, :i])):
                angle = spline.inv(wrapped(angle - math.pi))
                log_q = log_q - spline.call_and_ladj(angle)[1]
        return log_q

    def _splines(self, i: int, before: Tensor) -> list[Any]:
        inputs = (
            torch.cat([torch.cos(before), torch.sin(before)], -1)
            if i
            else torch.ones(len(before), 1)
        )
        knots = self.networks[i](inputs)
        sizes = [self.bins, self.bins, self.bins - 1]
        return [
            zuko.transforms.MonotonicRQSTransform(*part.split(sizes, -1), bound=math.pi)
            for part in knots.chunk(2, -1)
        ]


class StiffFlow(nn.Module):
    """Normal distribution of M coordinates whose mean and standard deviations are functions of the torsions.

    w = mean(c) + deviation(c) * (1 + L) e, with e standard normal and L a strictly lower triangular matrix.

    Parameters
    ----------
    features : int
        Size of c.
    m : int
    hidden : int
        Width of the two hidden layers.
    """

    def __init__(self, features: int, m: int, hidden: int) -> None:
        super().__init__()
        self.network = _network(features, 2 * m, hidden)
        self.lower = nn.Parameter(torch.zeros(m, m))

    def sample(self, c: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Coordinates w (n, M) for features ``c (n, F)``, and their log-density (n,)."""
        mean, log_deviation = self.network(c).chunk(2, -1)
        e = torch.randn(mean.shape, generator=generator)
        w = mean + torch.exp(log_deviation) * (e @ self._triangle().T)
        return w, self._log_prob(e, log_deviation)

    def log_prob(self, w: Tensor, c: Tensor) -> Tensor:
        """Log-density (n,) at ``w (n, M)`` for features ``c (n, F)``."""
        mean, log_deviation = self.network(c).chunk(2, -1)
        standard = (w - mean) * torch.exp(-log_deviation)
        e = torch.linalg.solve_triangular(
            self._triangle(), standard.T, upper=False, unitriangular=True
        )
        return self._log_prob(e.T, log_deviation)

    def widen(self, factor: float) -> None:
        """Multiply all standard deviations by a factor."""
        with torch.no_grad():
            last: Any = self.network[-1]
            last.bias.chunk(2)[1].add_(math.log(factor))

    def _triangle(self) -> Tensor:
        return self.lower.tril(-1) + torch.eye(len(self.lower))

    @staticmethod
    def _log_prob(e: Tensor, log_deviation: Tensor) -> Tensor:
        return -(0.5 * e.square() + HALF_LOG_2PI + log_deviation).sum(-1)


class MoleculeFlow(nn.Module):
    """Density of the `Coordinates` of a molecule: of its torsions, and of the stiff coordinates given these.

    Parameters
    ----------
    coordinates : Coordinates
    bins, hidden : int
        See `TorsionFlow`; the network of the stiff coordinates is twice as wide.
    """

    def __init__(self, coordinates: Coordinates, bins: int = 16, hidden: int = 64) -> None:
        super().__init__()
        self.coordinates, self.bins, self.hidden = coordinates, bins, hidden
        k = len(coordinates.folds)
        self.torsions = TorsionFlow(k, bins, hidden)
        self.stiff = StiffFlow(4 * k, len(coordinates.centre), 2 * hidden)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Dihedrals (n, K), stiff coordinates (n, M) and their log-density (n,)."""
        t, log_q = self.torsions.sample(n, generator)
        turns = [torch.randint(fold, (n,), generator=generator) for fold in self.coordinates.folds]
        d = self.coordinates.dihedrals(t, torch.stack(turns, -1))
        w, log_stiff = self.stiff.sample(_features(t, d), generator)
        return d, w, log_q + log_stiff

    def log_prob(self, d: Tensor, w: Tensor) -> Tensor:
        """Log-density (n,) of dihedrals ``d (n, K)`` and stiff coordinates ``w (n, M)``.

        Folds do not change it: the density of t is 1 / fold of that of its dihedrals, each of which is chosen with the
        probability 1 / fold.
        """
        t = self.coordinates.folded(d)
        return self.torsions.log_prob(t) + self.stiff.log_prob(w, _features(t, d))


def _features(t: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.cos(t), torch.sin(t), torch.cos(d), torch.sin(d)], -1)


def _network(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    """A network that is zero at the beginning."""
    network: nn.Sequential = zuko.nn.MLP(inputs, outputs, [hidden, hidden], activation=nn.SiLU)
    last: Any = network[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return network
