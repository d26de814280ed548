"""Training of a flow from energies alone: hot first, then annealed."""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmm as mm
import torch
from torch import Tensor

from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.boltzmann.flow import MoleculeFlow
from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT
from openmm_nemo.errors import InputError
from openmm_nemo.progress import Progress, silent

CLASH = 150.0
"""U/kT above the minimum, from which energies count logarithmically in training, and stiff coordinates harmonically."""
CLIPPED = 10_000
"""In training, the largest 1 in so many weights count as the smallest of them. More would clip rare modes away."""
MASS = 12.0
"""Of all atoms in local moves, dalton: masses do not change the distribution, and equal ones allow long steps."""
TIME_STEP, FRICTION = 0.002, 2.0
"""Of local moves, ps and 1/ps."""
RARE = 0.3
"""Structures are chosen for the likelihood by their weights over this power of the density of their torsions."""
TRIALS = 24
"""Temperatures that a stage tries."""


@dataclass(frozen=True)
class FitSettings:
    """How a flow is trained.

    Attributes
    ----------
    hot : float
        Temperature of the beginning, kelvin, at which barriers are low; at least the one that is wanted.
    hot_updates : int
        Updates at this temperature by the reverse Kullback-Leibler divergence alone.
    draws : int
        Samples of the flow that each stage weights. With too few, rare modes get lost by chance.
    buffer : int
        Structures that are chosen from these by their weights, for the likelihood.
    moves : int
        Steps of Langevin dynamics that separate structures that were chosen more than once.
    updates : int
        Updates per stage.
    last_stages : int
        Number of stages at the final temperature.
    batch : int
        Structures per update.
    learning_rate : float
        Of Adam at the beginning, and half of it in stages; it falls along a cosine in each.
    patience : float
        A stage lowers the temperature as far as this fraction of the effective sample size is left.
    coldest : float
        Lowest ratio of the temperatures of successive stages.
    """

    hot: float = 1200.0
    hot_updates: int = 800
    draws: int = 65_536
    buffer: int = 8192
    moves: int = 25
    updates: int = 300
    last_stages: int = 4
    batch: int = 512
    learning_rate: float = 2e-3
    patience: float = 0.6
    coldest: float = 0.7


@dataclass(frozen=True)
class Stage:
    """What was found at the beginning of a stage.

    Attributes
    ----------
    temperature : float
        Temperature of the stage, kelvin.
    effective : float
        Effective sample size of the flow at the temperature it was trained for, as a fraction of ``draws``.
    clipped : float
        The same with clipped weights, which chooses the next temperature.
    evaluations, failures : int
        Energies until then, and those that were not finite.
    """

    temperature: float
    effective: float
    clipped: float
    evaluations: int
    failures: int


def regularised(u: Tensor) -> Tensor:
    """Energies for training: from `CLASH` on, their logarithm; clashes would otherwise outweigh all else.

    Weights of samples take the energies as they are. See Noe et al., Science 365, eaaw1147, 2019, section 1.3 of the
    supplement, for this choice.
    """
    return torch.where(u < CLASH, u, CLASH + torch.log1p((u - CLASH).clamp(min=0)))


def effective_fraction(log_weights: Tensor) -> float:
    """(sum w)^2 / sum w^2 / n (Kish): the fraction of n samples with weights that are worth as many without."""
    if not torch.isfinite(log_weights).any():
        return 0.0
    w = torch.softmax(log_weights, 0)
    return float(1 / (w.square().sum() * len(w)))


class Fit:
    """The fit of a flow, stage by stage.

    Parameters
    ----------
    flow : MoleculeFlow
    system : openmm.System
    pool : EnergyPool
    temperature : float
        The final one, kelvin.
    minimum : float
        Energy from which others are measured, kJ/mol.
    settings : FitSettings
    seed : int
    """

    def __init__(
        self,
        flow: MoleculeFlow,
        system: mm.System,
        pool: EnergyPool,
        temperature: float,
        minimum: float,
        settings: FitSettings,
        seed: int,
    ) -> None:
        self.flow, self.pool, self.settings = flow, pool, settings
        self.target, self.minimum = temperature, minimum / GAS_CONSTANT
        self.random = torch.Generator().manual_seed(seed)
        self.dynamics = _LocalMoves(system, pool.platform, seed)
        self.temperature = max(settings.hot, temperature)
        self.stages: list[Stage] = []

    def run(self, progress: Progress = silent) -> list[Stage]:
        """Train; returns what was found on the way.

        Raises
        ------
        InputError
            If the flow has learned too little for the next stage.
        """
        settings = self.settings
        with progress(f"Training at {self.temperature:.0f} K", 0, settings.hot_updates) as done:
            self.flow.stiff.widen(math.sqrt(self.temperature / self.target))
            loss = functools.partial(self._reverse, settings.batch)
            self._train(settings.hot_updates, settings.learning_rate, loss, done)
        last = 0
        while last < settings.last_stages:
            loss = functools.partial(self._both, *self._next_stage())
            last += self.temperature == self.target
            label = f"Stage {len(self.stages)}, {self.temperature:.0f} K"
            with progress(label, 0, settings.updates) as done:
                self._train(settings.updates, settings.learning_rate / 2, loss, done)
        return self.stages

    def _train(
        self,
        updates: int,
        learning_rate: float,
        loss: Callable[[], Tensor],
        done: Callable[[int], None],
    ) -> None:
        optimizer = torch.optim.Adam(self.flow.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(updates, 1))
        for update in range(updates):
            optimizer.zero_grad()
            loss().backward()
            torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            done(update + 1)

    def _reverse(self, n: int) -> Tensor:
        """Reverse Kullback-Leibler divergence from the flow to the energy, but for the constant ln Z."""
        d, w, log_q = self.flow.sample(n, self.random)
        x, log_volume = self.flow.coordinates.cartesian(d, w)
        u = self._energies(x)
        # Widths that only clash, or are impossible, would else cost less than their entropy brings.
        harmonic = 0.5 * w.square().sum(-1) * self.target / self.temperature
        impossible = CLASH + harmonic + log_q
        loss = regularised(u) + torch.where(u < CLASH, 0, harmonic) - log_volume + log_q
        return torch.where(torch.isfinite(loss), loss, impossible).mean()

    def _both(self, d: Tensor, w: Tensor) -> Tensor:
        """With it, the negative log-likelihood of structures, which is large where the flow misses one."""
        chosen = torch.randint(len(d), (self.settings.batch,), generator=self.random)
        likelihood: Tensor = self.flow.log_prob(d[chosen], w[chosen])
        return self._reverse(self.settings.batch // 2) - likelihood.mean()

    def _next_stage(self) -> tuple[Tensor, Tensor]:
        """Choose the next temperature; return structures of it, dihedrals and stiff coordinates."""
        n = self.settings.draws
        with torch.no_grad():
            d, w, log_q = self.flow.sample(n, self.random)
            x, log_volume = self.flow.coordinates.cartesian(d, w)
            energies = self._energies(x) * self.temperature
        volume = log_volume - log_q

        def log_weights(temperature: float) -> Tensor:
            return volume - energies / temperature

        def clipped(temperature: float) -> Tensor:
            weights = log_weights(temperature)
            return weights.clamp(max=weights.topk(n // CLIPPED + 1).values[-1])

        before, effective = self.temperature, effective_fraction(clipped(self.temperature))
        found = Stage(
            before,
            effective_fraction(log_weights(before)),
            effective,
            self.pool.evaluations,
            self.pool.failures,
        )
        self.stages.append(found)
        if effective * n < 2:
            raise InputError(
                f"Training has failed at {before:.0f} K, where a single one of {n} samples has all the weight: "
                "give more hot_updates, or a higher temperature as hot."
            )
        lowest = max(self.target, self.settings.coldest * before)
        for temperature in np.geomspace(before, lowest, TRIALS):
            if effective_fraction(clipped(temperature)) < self.settings.patience * effective:
                break
            self.temperature = float(temperature)
        self.flow.stiff.widen(math.sqrt(self.temperature / before))
        # The reverse divergence gives less to modes that it fits less well, which are the rare ones.
        with torch.no_grad():
            rare = -RARE * self.flow.torsions.log_prob(self.flow.coordinates.folded(d))
        chosen = self._chosen(torch.softmax(clipped(self.temperature) + rare, 0))
        moved = self.dynamics.move(x[chosen], self.temperature, self.settings.moves)
        d, w = self.flow.coordinates.internal(moved)
        return d.to(log_q), w.to(log_q)

    def _chosen(self, probabilities: Tensor) -> Tensor:
        """Indices of the buffer's structures, by systematic resampling: numbers of copies are at most one off."""
        n = self.settings.buffer
        places = (torch.arange(n) + torch.rand(1, generator=self.random)) / n
        return torch.searchsorted(probabilities.cumsum(0), places.to(probabilities)).clamp(
            max=len(probabilities) - 1
        )

    def _energies(self, x: Tensor) -> Tensor:
        return self.pool(x, self.temperature) - self.minimum / self.temperature


class _LocalMoves:
    """A few steps of Langevin dynamics of many structures, each with new velocities."""

    def __init__(self, system: mm.System, platform: mm.Platform, seed: int) -> None:
        system = copy.deepcopy(system)
        for i in range(system.getNumParticles()):
            system.setParticleMass(i, MASS)
        self.integrator = mm.LangevinMiddleIntegrator(300, FRICTION, TIME_STEP)
        self.integrator.setRandomNumberSeed(seed + 1)  # 0 would be a random one
        self.context = mm.Context(system, self.integrator, platform)
        self.seeds = np.random.default_rng(seed)

    def move(self, x: Tensor, temperature: float, steps: int) -> Tensor:
        """Positions (n, N, 3) after the steps from ``x (n, N, 3)``, Angstrom; where they fail, x."""
        self.integrator.setTemperature(temperature)
        moved = x.clone()
        for i, positions in enumerate(x.numpy() / ANGSTROM_PER_NM):
            self.context.setPositions(positions)
            seed = int(self.seeds.integers(1, 2**31))
            try:
                self.context.setVelocitiesToTemperature(temperature, seed)
                self.integrator.step(steps)
                state = self.context.getState(positions=True)
            except mm.OpenMMException:
                continue
            found = state.getPositions(asNumpy=True)._value
            if np.isfinite(found).all():
                moved[i] = ANGSTROM_PER_NM * torch.from_numpy(found)
        return moved
