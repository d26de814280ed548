"""Common interface of both implementations of `NemoLangevinIntegrator`: arguments, getters, setters, counters."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from openmm import unit

from openmm_nemo.dynamics import Schedule
from openmm_nemo.engine.units import value_in

Detrend = bool | Literal["system"]

DETREND_CODES: dict[Detrend, int] = {False: 0, True: 1, "system": 2}


CONSTANT = Schedule(1, 1.0, 1.0)
"""What an integrator without a schedule has."""


class Settings(NamedTuple):
    """Settings that are fixed when an integrator is made.

    Attributes
    ----------
    detrend, measure_correction, metropolis
        As for the integrator; ``detrend`` as its number in `DETREND_CODES`.
    cartesian_preconditioner : ndarray, shape (N,) or (0,)
    internal_preconditioner : ndarray, shape (N, 3) or (0, 3)
        Empty: 1.
    chains : list of list of int
        Empty: all particles, divided evenly among the replicas, one chain each.
    replicas : int
    """

    detrend: int
    measure_correction: bool
    metropolis: bool
    cartesian_preconditioner: np.ndarray
    internal_preconditioner: np.ndarray
    chains: list[list[int]]
    replicas: int


class LangevinInterface:
    """Overdamped Langevin dynamics of chains, in Cartesian and internal coordinates at once.

    Every step evaluates the forces once, takes a Cartesian step, takes a step in bond lengths, angles and dihedrals
    from there, and removes the net translation and rotation of every chain (Ingraham et al., ICLR 2019, Algorithm 3):

        dx = (eps_x / 2) C_x F / kT + sqrt(eps_x C_x) p,    dz = (eps_z / 2) C_z J^T F / kT + sqrt(eps_z C_z) p'

    F are the forces of all force groups that the integrator integrates, so restraints and other forces take part in
    both. Particles in no chain take the Cartesian step only, and stay where they are if their mass is 0. Constraints
    are refused; virtual sites follow their particles.

    There are no velocities and no physical time: a step counts as 1 ps in reports, velocities stay as the user set them
    and have no meaning, and the kinetic energy is 0. The noise depends only on seed, step, chain and bead: the same
    seed gives the same trajectory on every platform, to rounding, and after a restart from a checkpoint.

    As for OpenMM's own integrators, the noise belongs to the integrator, not to the state of a replica. A checkpoint
    restores it and replays the same steps. A State, with or without integrator parameters, never sets it back and does
    not change the seed: replicas that take turns in one Context, as in OpenMM's and openmmtools' samplers, draw
    independent noise. A new integrator with the same seed that loads a State continues from its step. Without a seed,
    each integrator draws its own, and so does each copy, also from XML or a pickle. Integrators that were given the
    same seed draw the same noise: give them different ones if they move replicas of one system.

    The step as printed is not exact: its samples deviate from a Boltzmann distribution by the size of the step, by the
    speed limit, by the detrending and, without ``measure_correction``, by the volume element of the internal
    coordinates. With ``metropolis=True`` the sampler is exact at any step size. Every step is then a Cartesian sub-step
    followed by an internal sub-step. Each leaves exp(-U/kT) dx invariant, and so does their composition. A sub-step
    proposes w' = w - (v/2) g(w) + sqrt(v) p and accepts it with probability min(1, A),

        log A = log pi(w') - log pi(w) + log q(w | w') - log q(w' | w),    q(w' | w) = N(w'; w - (v/2) g(w), v)

    (Metropolis-adjusted Langevin; Roberts & Tweedie, Bernoulli 2, 341, 1996). Cartesian: w = x, v = eps_x C_x, pi(x) =
    exp(-U/kT), g = grad U/kT. Internal: w = z = (b~, a~, d), v = eps_z C_z, with x' = F(z + dz) built exactly, bead by
    bead, while the first bead, the direction of the first bond and the plane of the first three beads stay. Given
    these, exp(-U/kT) dx is pi(z) dz with pi(z) = exp(-U/kT) |det dx/dz| and the log-volume of nemo.md section 2,
    whether or not U depends on them; the Cartesian sub-step moves them. g is minus the gradient of log pi. Dihedrals
    are taken as real numbers of which U and F are periodic functions, so that -dz leads back from z' to z. Each
    sub-step evaluates energy and forces once, in all particles at once. Detrending and the speed limit are off; a
    rejected sub-step leaves everything in place. It is exact to the rounding of the platform's energies, and computed
    on the host.

    With a schedule, the run is annealed: the factor of a step, counted by `getNumSteps`, multiplies the temperature,
    eps_x and eps_z, which the getters return without it. With ``metropolis=True``, each step is then proposed and
    decided at its own temperature: it leaves exp(-U/kT) dx of that temperature invariant. XML and copies keep the
    schedule; checkpoints and States keep only the number of steps, so give it to a new integrator that loads one.

    With replicas, the chains are divided evenly, in order, among independent copies of a system. They move as they
    would alone: each has a temperature and noise of its own, and with ``metropolis=True`` the moves of each are decided
    on its own energy. The replica, counted from 0, is the second word of the key of its noise, see
    `openmm_nemo.dynamics.noise.replica_seed`. All moving particles are in chains. OpenMM gives only the energy of the
    whole system. To decide on moves, every force must therefore have the global parameter ``nemo_replica``, which
    chooses the replica whose energy is computed, or all if it is -1. NEMO's own force for replicas has it. In a custom
    force with a parameter ``replica`` per bond or particle, multiply the energy by ``select(nemo_replica+1,
    delta(nemo_replica-replica), 1)``.

    Parameters
    ----------
    temperature : Quantity or float
        Temperature, kelvin; it determines kT, together with the schedule if there is one.
    cartesian_step : Quantity or float
        eps_x, nm^2: variance of the Cartesian noise per step where C = 1.
    internal_step : float
        eps_z: the same, in the units of z (b~ from Angstrom, a~ and d dimensionless).
    cartesian_preconditioner : array, shape (N,), optional
        C_x of each particle. Default: 1.
    internal_preconditioner : array, shape (N, 3), optional
        C_z of b~, a~ and d in the row of the particle that they place. Default: 1.
    max_displacement : Quantity or float
        Speed limit of the internal step, nm per step; infinite: none.
    detrend : bool or "system"
        Remove net translation and rotation of every chain, or with "system" those of all moving particles, so that
        chains are free to move relative to each other.
    measure_correction : bool
        Make the internal step also sample exp(-U/kT) dx (nemo.md 5.6).
    seed : int, optional
        Random seed, non-negative. Default, or 0: chosen at random by each integrator, see `getRandomNumberSeed`.
    chains : lists of int, optional
        Particle indices of every chain, in chain order. Default: all particles are one chain.
    metropolis : bool
        Accept or reject each sub-step, see above. Needs the compiled integrator.
    schedule : Schedule, optional
        Factors of the temperature and both step sizes, see `openmm_nemo.dynamics.Schedule`; `ConditionedModel.schedule`
        makes one. Default: the temperature is constant.
    replicas : int
        Number of independent copies in the system.
    temperatures : sequence of Quantity or float, optional
        Temperature of each replica, kelvin. Default: ``temperature``.

    Raises
    ------
    ValueError
        If a parameter is out of range, chains overlap, or they or ``temperatures`` do not fit the number of replicas.
    """

    def __init__(
        self,
        temperature: Any,
        cartesian_step: Any,
        internal_step: float,
        cartesian_preconditioner: Any = None,
        internal_preconditioner: Any = None,
        max_displacement: Any = 0.2,
        detrend: Detrend = True,
        measure_correction: bool = False,
        seed: int | None = None,
        chains: Sequence[Sequence[int]] | None = None,
        metropolis: bool = False,
        schedule: Schedule | None = None,
        replicas: int = 1,
        temperatures: Sequence[Any] | None = None,
    ):
        if detrend not in DETREND_CODES:
            raise ValueError(f"detrend is {detrend!r}: it must be True, False or 'system'.")
        _check_replicas(replicas, chains, detrend)
        self._create(
            Settings(
                0 if metropolis else DETREND_CODES[detrend],
                bool(measure_correction or metropolis),
                bool(metropolis),
                _preconditioner("cartesian_preconditioner", cartesian_preconditioner, ()),
                _preconditioner("internal_preconditioner", internal_preconditioner, (3,)),
                _check_chains(chains),
                replicas,
            )
        )
        self.setTemperatures([temperature] * replicas if temperatures is None else temperatures)
        self.setCartesianStep(cartesian_step)
        self.setInternalStep(internal_step)
        self.setMaxDisplacement(math.inf if metropolis else max_displacement)
        self.setRandomNumberSeed(seed or 0)
        self.setSchedule(schedule)

    def _create(self, settings: Settings) -> None:
        """Make the OpenMM object."""
        raise NotImplementedError

    def _get(self, name: str) -> float:
        """Value of a parameter or counter."""
        raise NotImplementedError

    def _set(self, name: str, value: float) -> None:
        """Set a parameter."""
        raise NotImplementedError

    def _get_temperatures(self) -> list[float]:
        """Temperature of each replica, kelvin."""
        raise NotImplementedError

    def _set_temperatures(self, temperatures: list[float]) -> None:
        """Set as many temperatures as there are replicas."""
        raise NotImplementedError

    def _get_schedule(self) -> Schedule:
        """The schedule, or `CONSTANT`."""
        raise NotImplementedError

    def _set_schedule(self, schedule: Schedule) -> None:
        """Set a schedule that has been checked."""
        raise NotImplementedError

    def getChains(self) -> list[list[int]] | None:
        """Particle indices of every chain; None: all particles are one chain."""
        raise NotImplementedError

    # Parameters

    def getTemperature(self) -> unit.Quantity:
        """Temperature, kelvin; of the first replica."""
        return self._get("temperature") * unit.kelvin

    def setTemperature(self, temperature: Any) -> None:
        """Set the temperature, kelvin, of all replicas."""
        self.setTemperatures([temperature] * self.getNumReplicas())

    def getNumReplicas(self) -> int:
        """Number of replicas; 1 unless there are several."""
        return len(self._get_temperatures())

    def getTemperatures(self) -> unit.Quantity:
        """Temperature of each replica, kelvin."""
        return self._get_temperatures() * unit.kelvin

    def setTemperatures(self, temperatures: Sequence[Any]) -> None:
        """Set the temperature of each replica, kelvin."""
        values = [value_in(temperature, unit.kelvin) for temperature in temperatures]
        n = self.getNumReplicas()
        if len(values) != n:
            raise ValueError(
                f"temperatures has {len(values)} values: give one for each of the {n} replicas."
            )
        for value in values:
            _check_positive("temperature", value)
        self._set_temperatures(values)

    def getCartesianStep(self) -> unit.Quantity:
        """eps_x, nm^2."""
        return self._get("cartesian_step") * unit.nanometer**2

    def setCartesianStep(self, step: Any) -> None:
        """Set eps_x, nm^2; 0 turns the Cartesian step off."""
        self._set_positive("cartesian_step", value_in(step, unit.nanometer**2), or_zero=True)

    def getInternalStep(self) -> float:
        """eps_z."""
        return self._get("internal_step")

    def setInternalStep(self, step: float) -> None:
        """Set eps_z; 0 turns the internal step off."""
        self._set_positive("internal_step", value_in(step, unit.dimensionless), or_zero=True)

    def getMaxDisplacement(self) -> unit.Quantity:
        """Speed limit of the internal step, nm per step."""
        return self._get("max_displacement") * unit.nanometer

    def setMaxDisplacement(self, displacement: Any) -> None:
        """Set the speed limit of the internal step, nm per step; infinite: none."""
        self._set_positive("max_displacement", value_in(displacement, unit.nanometer))

    def getSchedule(self) -> Schedule | None:
        """Factors of the temperature and both step sizes; None: they are constant."""
        schedule = self._get_schedule()
        return None if schedule == CONSTANT else schedule

    def setSchedule(self, schedule: Schedule | None) -> None:
        """Set the factors of the temperature and both step sizes, from the next step on; None: they are constant."""
        if schedule is None or schedule.is_constant:
            schedule = CONSTANT
        for name, value in schedule._asdict().items():
            if not 0 < value < math.inf:
                raise ValueError(
                    f"{name} is {value} in {schedule}: it must be positive and finite."
                )
        for name, number in (("steps", schedule.steps), ("block", schedule.block)):
            if number != int(number):
                raise ValueError(f"{name} is {number} in {schedule}: it must be a whole number.")
        self._set_schedule(schedule)

    def getDetrend(self) -> Detrend:
        """Whose net translation and rotation are removed: True (each chain), False (none) or "system"."""
        code = int(self._get("detrend"))
        return next(name for name, number in DETREND_CODES.items() if number == code)

    def getMeasureCorrection(self) -> bool:
        """Whether the internal drift is corrected for the volume element."""
        return bool(self._get("measure_correction"))

    def getMetropolis(self) -> bool:
        """Whether sub-steps are accepted or rejected."""
        return bool(self._get("metropolis"))

    def getRandomNumberSeed(self) -> int:
        """Seed of the noise: the one that was set, drawn at random or restored from a checkpoint."""
        return int(self._get("noise_seed"))

    def setRandomNumberSeed(self, seed: int) -> None:
        """Set the seed of the noise, from the next step on; 0: choose one at random."""
        if seed < 0 or seed >= 2**31:
            raise ValueError(f"The seed is {seed}: it must be from 0 to 2147483647.")
        self._set("seed", seed)

    # Counters

    def getNumSteps(self) -> int:
        """Steps taken since the integrator was made; a checkpoint restores it, a State never sets it back."""
        return int(self._get("steps"))

    def getNumClippedSteps(self) -> int:
        """Steps in which the internal step of a chain hit the speed limit."""
        return int(self._get("clipped_steps"))

    def getLargestDisplacement(self) -> unit.Quantity:
        """Largest displacement of a particle of a chain in the last step, nm."""
        return self._get("largest_displacement") * unit.nanometer

    def getAcceptanceRates(self) -> tuple[float, float]:
        """Fractions of the proposed Cartesian and internal sub-steps that were accepted; 1 where none was proposed."""
        if not self.getMetropolis():
            return 1.0, 1.0
        proposed = self._get("proposed_cartesian"), self._get("proposed_internal")
        accepted = self._get("accepted_cartesian"), self._get("accepted_internal")
        cartesian, internal = (a / p if p else 1.0 for a, p in zip(accepted, proposed, strict=True))
        return cartesian, internal

    def _set_positive(self, name: str, value: float, or_zero: bool = False) -> None:
        _check_positive(name, value, or_zero)
        self._set(name, float(value))


def _check_positive(name: str, value: float, or_zero: bool = False) -> None:
    if not (value > 0 or (or_zero and value == 0)):
        raise ValueError(f"{name} is {value}: it must be positive{' or zero' if or_zero else ''}.")
    if math.isinf(value) and name != "max_displacement":
        raise ValueError(f"{name} is {value}: it must be finite.")


def split_chains(flat: Sequence[int]) -> list[list[int]] | None:
    """Chains from a list of their particles with -1 after each chain; None if there are none."""
    chains: list[list[int]] = [[]]
    for particle in flat:
        if particle < 0:
            chains.append([])
        else:
            chains[-1].append(int(particle))
    return chains[:-1] or None


def _preconditioner(name: str, values: Any, row: tuple[int, ...]) -> np.ndarray:
    if values is None:
        return np.zeros((0, *row))
    array = np.asarray(values, dtype=float)
    if array.ndim == 0 or array.shape[1:] != row:
        expected = "(N, 3)" if row else "(N,)"
        raise ValueError(f"{name} has shape {array.shape}: it must be {expected}.")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative.")
    return array


def _check_replicas(
    replicas: int, chains: Sequence[Sequence[int]] | None, detrend: Detrend
) -> None:
    if replicas < 1:
        raise ValueError(f"replicas is {replicas}: it must be at least 1.")
    if chains is not None and len(chains) % replicas:
        raise ValueError(
            f"There are {len(chains)} chains, which cannot be divided evenly among {replicas} replicas."
        )
    if detrend == "system" and replicas > 1:
        raise ValueError(
            "detrend='system' would move all replicas together: use detrend=True or detrend=False."
        )


def _check_chains(chains: Sequence[Sequence[int]] | None) -> list[list[int]]:
    if chains is None:
        return []
    lists = [[int(particle) for particle in chain] for chain in chains]
    if not lists or not all(lists):
        raise ValueError(
            "chains is empty or has an empty chain: give lists of particle indices, or None."
        )
    flat = np.concatenate([np.array(chain) for chain in lists])
    if flat.min() < 0:
        raise ValueError(f"chains has the particle index {flat.min()}: indices start at 0.")
    values, counts = np.unique(flat, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"chains has particle {values[counts > 1][0]} twice: every particle is in one chain at most."
        )
    return lists
