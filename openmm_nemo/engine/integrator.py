"""`NemoLangevinIntegrator`: the mixed Cartesian and internal-coordinate Langevin step in OpenMM (nemo.md 5.5)."""

import gc
import math
import random
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm as mm
import torch
from openmm import unit
from torch import Tensor

from openmm_nemo.engine.layout import ChainLayout, chain_layout, summary
from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT, value_in
from openmm_nemo.simulator import StepOptions, StepParameters, langevin_noise, mixed_step
from openmm_nemo.simulator.steps import cartesian_displacement

NOISE_BLOCK = 64


class NemoLangevinIntegrator(mm.CustomIntegrator):
    """Overdamped Langevin dynamics of chains, in Cartesian and internal coordinates at once.

    Every step evaluates the forces once, takes a Cartesian step, takes a step in bond lengths, angles and dihedrals
    from there, and removes the net translation and rotation of every chain (Ingraham et al., ICLR 2019, Algorithm 3):

        dx = (eps_x / 2) C_x F / kT + sqrt(eps_x C_x) p,    dz = (eps_z / 2) C_z J^T F / kT + sqrt(eps_z C_z) p'

    F are the forces of all force groups that the integrator integrates, so restraints and other forces take part in
    both. Particles in no chain take the Cartesian step only, and stay where they are if their mass is 0.

    There are no velocities and no physical time: a step counts as 1 ps in reports. The noise depends on seed, step,
    chain and bead alone: the same seed gives the same trajectory, also after a restart from a checkpoint.

    Parameters
    ----------
    temperature : Quantity or float
        Kelvin. kT comes from it alone.
    cartesian_step : Quantity or float
        eps_x, nm^2: variance of the Cartesian noise per step where C = 1.
    internal_step : float
        eps_z: the same in the units of z (b~ from Angstrom, a~ and d dimensionless).
    cartesian_preconditioner : array, shape (N,), optional
        C_x of every particle. Default: 1.
    internal_preconditioner : array, shape (N, 3), optional
        C_z of b~, a~ and d in the row of the particle that they place. Default: 1.
    max_displacement : Quantity or float
        Speed limit of the internal step, nm per step; infinite: none.
    detrend : bool
        Remove net translation and rotation of every chain.
    measure_correction : bool
        Make the internal step, too, sample exp(-U/kT) dx (nemo.md 5.6).
    seed : int, optional
        Not negative. Default, or 0: one chosen at random, see `getRandomNumberSeed`.
    chains : lists of int, optional
        Particle indices of every chain, in chain order. Default: all particles are one chain.

    Raises
    ------
    ValueError
        If a parameter is out of range or chains overlap.
    """

    # Parameters and counters are variables of the C++ object, so that OpenMM's XML, states and checkpoints keep them.
    _context: Any = None  # weakref.ref[mm.Context]
    _layout: ChainLayout | None = None
    _noise: tuple[tuple[int, int], Tensor] | None = None

    def __init__(
        self,
        temperature: Any,
        cartesian_step: Any,
        internal_step: float,
        cartesian_preconditioner: Any = None,
        internal_preconditioner: Any = None,
        max_displacement: Any = 0.2,
        detrend: bool = True,
        measure_correction: bool = False,
        seed: int | None = None,
        chains: Sequence[Sequence[int]] | None = None,
    ):
        super().__init__(1.0)
        for name in (
            "temperature",
            "cartesian_step",
            "internal_step",
            "max_displacement",
            "detrend",
            "measure_correction",
            "seed",
            "steps",
            "clipped_steps",
            "largest_displacement",
        ):
            self.addGlobalVariable(name, 0.0)
        # Only `step` below moves particles. Run from C++ (a CompoundIntegrator does), this makes all positions
        # infinite: better than a simulation that silently stands still.
        self.addComputePerDof("x", "x + 1/0")
        self.setTemperature(temperature)
        self.setCartesianStep(cartesian_step)
        self.setInternalStep(internal_step)
        self.setMaxDisplacement(max_displacement)
        self.setGlobalVariableByName("detrend", float(detrend))
        self.setGlobalVariableByName("measure_correction", float(measure_correction))
        self.setRandomNumberSeed(seed or 0)
        self._add_table("cartesian_preconditioner", _preconditioner(cartesian_preconditioner, 1))
        self._add_table("internal_preconditioner", _preconditioner(internal_preconditioner, 3))
        self._add_table("chains", _flatten_chains(chains))

    # Parameters

    def getTemperature(self) -> unit.Quantity:
        """Temperature, kelvin."""
        return self._get("temperature") * unit.kelvin

    def setTemperature(self, temperature: Any) -> None:
        """Set the temperature, kelvin."""
        self._set_positive("temperature", value_in(temperature, unit.kelvin))

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

    def getDetrend(self) -> bool:
        """Whether net translation and rotation are removed."""
        return bool(self._get("detrend"))

    def getMeasureCorrection(self) -> bool:
        """Whether the internal drift is corrected for the volume element."""
        return bool(self._get("measure_correction"))

    def getRandomNumberSeed(self) -> int:
        """Seed of the noise."""
        return int(self._get("seed"))

    def setRandomNumberSeed(self, seed: int) -> None:
        """Set the seed of the noise; 0: choose one at random."""
        if seed < 0 or seed >= 2**31:
            raise ValueError(f"The seed is {seed}: it must be from 0 to 2147483647.")
        self._set("seed", seed or random.randrange(1, 2**31))
        self._noise = None

    def getChains(self) -> list[list[int]] | None:
        """Particle indices of every chain; None: all particles are one chain."""
        flat = self._table("chains")
        if len(flat) == 0:
            return None
        ends = np.flatnonzero(flat < 0)
        return [part[part >= 0].astype(int).tolist() for part in np.split(flat, ends)][:-1]

    # Counters

    def getNumSteps(self) -> int:
        """Steps taken since the integrator was made; kept in checkpoints."""
        return int(self._get("steps"))

    def getNumClippedSteps(self) -> int:
        """Steps in which the internal step of a chain met the speed limit."""
        return int(self._get("clipped_steps"))

    def getLargestDisplacement(self) -> unit.Quantity:
        """Largest displacement of a particle of a chain in the last step, nm."""
        return self._get("largest_displacement") * unit.nanometer

    # OpenMM's interface

    @classmethod
    def from_xml(cls, xml: str) -> "NemoLangevinIntegrator":
        """Integrator from the text that `openmm.XmlSerializer.serialize` made of one."""
        integrator = cls.__new__(cls)
        custom = mm.XmlSerializer.deserialize(xml)
        if not isinstance(custom, mm.CustomIntegrator):
            raise mm.OpenMMException(f"A {type(custom).__name__} is not a NEMO integrator.")
        integrator.this = custom.this
        integrator._table("chains")
        return integrator

    def __copy__(self) -> "NemoLangevinIntegrator":
        return self.from_xml(mm.XmlSerializer.serialize(self))

    def step(self, steps: int) -> None:
        """Advance the simulation.

        Parameters
        ----------
        steps : int
            Number of steps.

        Raises
        ------
        openmm.OpenMMException
            If the integrator has no context, the system has constraints, a chain is not possible in it, or energy,
            forces or step are not finite; positions and counters are then those of the last good step.
        """
        context, layout = self._bind()
        groups = self.getIntegrationForceGroups()
        once = torch.ones(len(layout.particles), dtype=torch.float64)
        parameters = StepParameters(
            once * (self._get("cartesian_step") * ANGSTROM_PER_NM**2),
            once * self._get("internal_step"),
            layout.cartesian_preconditioner,
            layout.internal_preconditioner,
            layout.mask,
        )
        options = StepOptions(
            self._get("max_displacement") * ANGSTROM_PER_NM,
            self.getDetrend(),
            self.getMeasureCorrection(),
        )
        kt = GAS_CONSTANT * self._get("temperature")
        for _ in range(steps):
            state = context.getState(positions=True, forces=True, energy=True, groups=groups)
            x = torch.from_numpy(state.getPositions(asNumpy=True)._value) * ANGSTROM_PER_NM
            force = torch.from_numpy(state.getForces(asNumpy=True)._value)
            number = self.getNumSteps()
            if not torch.isfinite(force).all():
                raise mm.OpenMMException(f"The forces are not finite at step {number}.")
            if not math.isfinite(state.getPotentialEnergy()._value):
                raise mm.OpenMMException(f"The energy is not finite at step {number}.")
            gradient = force / (-kt * ANGSTROM_PER_NM)
            noise = self._draw(number, layout)
            chains, longest = layout.particles.shape
            result = mixed_step(
                x[layout.particles],
                gradient[layout.particles],
                noise[:chains, :longest],
                parameters,
                options,
            )
            inside = layout.mask > 0
            if len(layout.free):
                x[layout.free] += cartesian_displacement(
                    gradient[layout.free].unsqueeze(0),
                    noise[-1:, layout.free, 0],
                    parameters._replace(
                        cartesian_step=parameters.cartesian_step[:1],
                        cartesian_preconditioner=layout.free_preconditioner,
                    ),
                )[0]
            x[layout.particles[inside]] = result.x[inside]
            if not torch.isfinite(x).all():
                raise mm.OpenMMException(f"The positions are not finite after step {number}.")
            context.setPositions(x.numpy() / ANGSTROM_PER_NM)
            if layout.has_virtual_sites:
                context.computeVirtualSites()
            self._set("steps", number + 1)
            self._set("clipped_steps", self._get("clipped_steps") + float(result.clipped.any()))
            self._set(
                "largest_displacement", float(result.largest_displacement.max()) / ANGSTROM_PER_NM
            )
            context.setStepCount(context.getStepCount() + 1)
            context.setTime(context.getTime() + self.getStepSize())

    def _draw(self, step: int, layout: ChainLayout) -> Tensor:
        """Noise of a step, (chains + 1, beads, 2, 3); the last row is for the particles in no chain, by index."""
        key = (step // NOISE_BLOCK, self.getRandomNumberSeed())
        if self._noise is None or self._noise[0] != key:
            rows = len(layout.particles) + (1 if len(layout.free) else 0)
            beads = int(max([layout.particles.shape[1], *(layout.free + 1).tolist()]))
            chain = torch.arange(rows)
            seed = torch.full_like(chain, key[1])
            block = langevin_noise(seed, chain, key[0] * NOISE_BLOCK, NOISE_BLOCK, beads)
            self._noise = (key, block)
        return self._noise[1][step % NOISE_BLOCK]

    def _bind(self) -> tuple[mm.Context, ChainLayout]:
        """Context of the integrator and the layout of its system."""
        context = None if self._context is None else self._context()
        if context is None:
            context = _context_of(self)
            self._context = weakref.ref(context)
            self._layout = None
        system = context.getSystem()
        # A system may be changed and its context reinitialized.
        if self._layout is None or self._layout.system != summary(system):
            self._layout = chain_layout(
                system,
                self.getChains(),
                self._table("cartesian_preconditioner"),
                self._table("internal_preconditioner"),
            )
            self._noise = None
            # TorchScript rewrites a module after its first call, which changes the last bits of the forces. That call
            # is made here, so that a run that is resumed repeats the one that was not interrupted.
            context.getState(forces=True, groups=self.getIntegrationForceGroups())
        return context, self._layout

    def _add_table(self, name: str, values: np.ndarray) -> None:
        # A table must not be empty: its first entry is the number of the others.
        self.addTabulatedFunction(
            name, mm.Discrete1DFunction([float(len(values)), *values.tolist()])
        )

    def _table(self, name: str) -> np.ndarray:
        for i in range(self.getNumTabulatedFunctions()):
            if self.getTabulatedFunctionName(i) == name:
                return np.array(self.getTabulatedFunction(i).getFunctionParameters()[1:])
        raise mm.OpenMMException(f"This integrator has no {name}: it is not a NEMO integrator.")

    def _get(self, name: str) -> float:
        return self.getGlobalVariableByName(name)

    def _set(self, name: str, value: float) -> None:
        self.setGlobalVariableByName(name, value)

    def _set_positive(self, name: str, value: float, or_zero: bool = False) -> None:
        if not (value > 0 or (or_zero and value == 0)):
            raise ValueError(
                f"{name} is {value}: it must be positive{' or zero' if or_zero else ''}."
            )
        if math.isinf(value) and name != "max_displacement":
            raise ValueError(f"{name} is {value}: it must be finite.")
        self._set(name, float(value))


def _context_of(integrator: NemoLangevinIntegrator) -> mm.Context:
    """The context that an integrator is bound to.

    OpenMM's Context keeps its integrator, but an integrator does not know its context. The search takes milliseconds,
    once per context.
    """
    for candidate in gc.get_objects():
        # type(), because isinstance() runs code of objects that claim another class.
        found = issubclass(type(candidate), mm.Context)
        if found and getattr(candidate, "_integrator", None) is integrator:
            return candidate
    raise mm.OpenMMException("This Integrator is not bound to a context!")


def _preconditioner(values: Any, width: int) -> np.ndarray:
    if values is None:
        return np.zeros(0)
    array = np.asarray(values, dtype=float)
    name, shape = (
        ("cartesian_preconditioner", "(N,)")
        if width == 1
        else ("internal_preconditioner", "(N, 3)")
    )
    if array.ndim != (1 if width == 1 else 2) or (width > 1 and array.shape[1] != width):
        raise ValueError(f"{name} has shape {array.shape}: it must be {shape}.")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative.")
    return array.reshape(-1)


def _flatten_chains(chains: Sequence[Sequence[int]] | None) -> np.ndarray:
    """Particle indices, -1 after every chain; empty for None."""
    if chains is None:
        return np.zeros(0)
    flat = [int(particle) for chain in chains for particle in chain]
    if not flat or any(len(chain) == 0 for chain in chains):
        raise ValueError(
            "chains is empty or has an empty chain: give lists of particle indices, or None."
        )
    if min(flat) < 0:
        raise ValueError(f"chains has the particle index {min(flat)}: indices start at 0.")
    if len(set(flat)) < len(flat):
        twice = next(p for p in flat if flat.count(p) > 1)
        raise ValueError(
            f"chains has particle {twice} twice: every particle is in one chain at most."
        )
    return np.array([p for chain in chains for p in [*chain, -1]], dtype=float)
