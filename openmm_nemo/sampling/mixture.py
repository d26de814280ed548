"""Jumps that a generator proposes, mixed with moves of any OpenMM integrator, in one Markov chain."""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import openmm as mm
from openmm import unit

from openmm_nemo.engine.integrator import LangevinInterface
from openmm_nemo.engine.platforms import preferred_platforms
from openmm_nemo.engine.units import value_in
from openmm_nemo.errors import InputError
from openmm_nemo.progress import Progress, silent


class WeightedSamples(Protocol):
    """Independent samples of a generator.

    Attributes
    ----------
    positions : ndarray, shape (n, N, 3)
        nm.
    log_weights : ndarray, shape (n,), float64
        -U/kT - log q, where q is the density with which the generator draws; the same constant may be missing from all.
        Minus infinity: impossible.
    """

    @property
    def positions(self) -> np.ndarray: ...  # noqa: D102

    @property
    def log_weights(self) -> np.ndarray: ...  # noqa: D102


class Generator(Protocol):
    """What draws independent samples of a System, and knows how likely it draws any positions."""

    @property
    def system(self) -> mm.System:
        """The System whose energy is in the weights."""

    @property
    def temperature(self) -> float:
        """Temperature of the weights, kelvin."""

    def sample(self, n: int, seed: int) -> WeightedSamples:
        """Draw n samples."""

    def log_weights(self, positions: np.ndarray) -> np.ndarray:
        """Log-weights (n,) of positions (n, N, 3), nm, with the same constant missing as from those of samples."""


class MixedSamples(NamedTuple):
    """Part of a chain.

    Attributes
    ----------
    positions : ndarray, shape (n, N, 3), float64
        nm. All have the same weight.
    proposed, accepted : int
        Jumps in this part.
    """

    positions: np.ndarray
    proposed: int
    accepted: int


class MixtureSampler:
    """Markov chain of a generator's jumps and an integrator's steps.

    A jump goes from x to a sample x' of the generator, and is accepted with probability min(1, w(x') / w(x)), where w =
    exp(-U/kT) / q: independent Metropolis-Hastings (Tierney, Ann. Statist. 22, 1701, 1994). It leaves exp(-U/kT) dx
    invariant whatever the generator, and crosses barriers that the generator has learned to cross. Between jumps, the
    integrator moves as it always does, and finds what the generator draws too rarely.

    With an accepted jump, velocities are drawn from the Maxwell distribution. In the space of positions and velocities,
    this is a jump to (x', v') with v' from the very distribution that exp(-K/kT) gives it, which cancels in the ratio:
    the criterion is the same, and exp(-(U + K)/kT) dx dv stays invariant. A rejected jump changes neither.

    The chain is as exact as its integrator. `NemoLangevinIntegrator` with ``metropolis=True`` is exact at any step
    size; others, such as LangevinMiddleIntegrator, bring the bias of their step with them, which jumps do not take
    away.

    Parameters
    ----------
    generator : Generator
    integrator : openmm.Integrator, optional
        It will belong to the sampler's Context; its random seed is its own. Default: jumps only.
    steps : int
        Steps of the integrator between two jumps.
    positions : ndarray, shape (N, 3), optional
        First state, nm. Default: the generator's first sample with a finite weight.
    seed : int
        Of the proposals, their acceptance, and the velocities. With the same seed, also of the integrator, the chain is
        the same, whether it is run at once or in parts.
    batch : int
        Number of proposals that the generator draws at once.
    platform : openmm.Platform, optional
        Default: the fastest one.

    Raises
    ------
    InputError
        If the integrator has another temperature than the generator, or a schedule of temperatures; if ``steps`` or
        ``batch`` is not positive; or if ``positions`` are of another shape than the System or have no finite weight, or
        none of the first batch has.
    """

    def __init__(
        self,
        generator: Generator,
        integrator: mm.Integrator | None = None,
        steps: int = 100,
        positions: np.ndarray | None = None,
        seed: int = 0,
        batch: int = 256,
        platform: mm.Platform | None = None,
    ):
        for name, value in (("steps", steps), ("batch", batch)):
            if value < 1:
                raise InputError(f"{name} is {value}: give a positive number.")
        if integrator is not None:
            _check_temperature(integrator, generator.temperature)
        self._generator, self._steps, self._batch = generator, steps, batch
        self._random = np.random.default_rng(seed)
        self._draw()
        self._x, self._log_weight = self._first() if positions is None else self._given(positions)
        self._context: mm.Context | None = None
        if integrator is not None:
            chosen = platform or mm.Platform.getPlatformByName(preferred_platforms()[0])
            self._context = mm.Context(generator.system, integrator, chosen)
            self._place(self._context)

    def run(self, n: int, progress: Progress = silent) -> MixedSamples:
        """Continue the chain.

        Parameters
        ----------
        n : int
            Number of states: each is the one after a jump was proposed and the integrator has taken its steps.
        progress : Progress
            For instance `openmm_nemo.progress.progress`.

        Returns
        -------
        MixedSamples
        """
        states, accepted = np.empty((n, *self._x.shape)), 0
        with progress("Sampling", 0, n) as update:
            for k in range(n):
                accepted += self._jump()
                if self._context is not None:
                    self._move(self._context)
                states[k] = self._x
                update(k + 1)
        return MixedSamples(states, n, accepted)

    def _jump(self) -> bool:
        """Propose the next sample; whether it was accepted."""
        if self._next == self._batch:
            self._draw()
        proposal = self._proposals[self._next]
        log_weight = float(self._log_weights[self._next])
        self._next += 1
        # Never if one of them is NaN.
        accepted = -self._random.standard_exponential() < log_weight - self._log_weight
        if accepted:
            self._x, self._log_weight = proposal, log_weight
            if self._context is not None:
                self._place(self._context)
        return accepted

    def _move(self, context: mm.Context) -> None:
        """Take the integrator's steps."""
        context.getIntegrator().step(self._steps)
        self._x = context.getState(positions=True).getPositions(asNumpy=True)._value
        self._log_weight = float(self._generator.log_weights(self._x[None])[0])

    def _place(self, context: mm.Context) -> None:
        """Bring the state into the context, with new velocities."""
        context.setPositions(self._x)
        temperature = self._generator.temperature
        context.setVelocitiesToTemperature(temperature, int(self._random.integers(1, 2**31)))

    def _draw(self) -> None:
        """Draw the next batch of proposals."""
        samples = self._generator.sample(self._batch, int(self._random.integers(2**31)))
        self._proposals = np.asarray(samples.positions, dtype=np.float64)
        self._log_weights = np.asarray(samples.log_weights, dtype=np.float64)
        self._next = 0

    def _first(self) -> tuple[np.ndarray, float]:
        """First sample with a finite weight, and its log-weight; proposals begin behind it."""
        possible = np.flatnonzero(np.isfinite(self._log_weights))
        if not len(possible):
            raise InputError(
                f"None of the generator's first {self._batch} samples has a finite weight: give positions to start "
                "from, or a better generator."
            )
        self._next = int(possible[0]) + 1
        return self._proposals[possible[0]], float(self._log_weights[possible[0]])

    def _given(self, positions: np.ndarray) -> tuple[np.ndarray, float]:
        """Positions that were given, and their log-weight."""
        x = np.array(positions, dtype=np.float64)
        expected = (self._generator.system.getNumParticles(), 3)
        if x.shape != expected:
            raise InputError(
                f"positions have the shape {x.shape}: give {expected}, as the System has."
            )
        log_weight = float(self._generator.log_weights(x[None])[0])
        if not math.isfinite(log_weight):
            raise InputError(
                f"The log-weight of the given positions is {log_weight}: start from a structure that the generator "
                "can draw, of finite energy."
            )
        return x, log_weight


def _check_temperature(integrator: Any, expected: float) -> None:
    """Refuse an integrator that samples at another temperature; some, such as VerletIntegrator, have none."""
    if isinstance(integrator, LangevinInterface) and integrator.getSchedule() is not None:
        raise InputError(
            "The integrator has a schedule: create it without one, so that its temperature is the generator's."
        )
    if hasattr(integrator, "getTemperature"):
        temperature = value_in(integrator.getTemperature(), unit.kelvin)
        if not math.isclose(temperature, expected):
            raise InputError(
                f"The integrator has {temperature:g} K and the generator {expected:g} K: give both the same "
                "temperature."
            )
