"""The integrator that is driven from Python, for installations without a C++ compiler: a wrapper of `mixed_step`."""

import gc
import math
import random
import weakref
from typing import Any, NamedTuple

import numpy as np
import openmm as mm
import torch
from torch import Tensor

from openmm_nemo.dynamics import (
    Schedule,
    StepOptions,
    StepParameters,
    langevin_noise,
    mixed_step,
)
from openmm_nemo.dynamics.noise import replica_seed
from openmm_nemo.dynamics.schedule import scaled
from openmm_nemo.dynamics.steps import cartesian_displacement
from openmm_nemo.engine.integrator.interface import (
    CONSTANT,
    LangevinInterface,
    Settings,
    split_chains,
)
from openmm_nemo.engine.integrator.layout import ChainLayout, chain_layout, summary
from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT
from openmm_nemo.geometry import detrend, detrend_rigidly
from openmm_nemo.plugin import plugin_problem

NOISE_BLOCK = 64


class Progress(NamedTuple):
    """Variables of an integrator that hold what it has done, and the seed of its noise.

    Attributes
    ----------
    seed : float
        Negative: minus a seed that was drawn at random, as copies do again. 0: not drawn yet.
    steps, clipped_steps, largest_displacement : float
        See `LangevinInterface`.
    """

    seed: float
    steps: float
    clipped_steps: float
    largest_displacement: float


class PythonIntegrator(LangevinInterface, mm.CustomIntegrator):  # noqa: D101 (below)
    __doc__ = LangevinInterface.__doc__

    # Parameters and counters are variables of the C++ object, so that OpenMM saves them in XML, states and checkpoints.
    _context: Any = None  # weakref.ref[mm.Context]
    _layout: ChainLayout | None = None
    _noise: tuple[tuple[int, int], Tensor] | None = None
    # OpenMM restores the variables of a CustomIntegrator from States and checkpoints alike. Only a checkpoint may set
    # the progress back, or replicas that share an integrator would draw the same noise.
    _progress: Progress | None = None  # after the last step in the context
    _loaded_checkpoint = False  # since then

    def _create(self, settings: Settings) -> None:
        if settings.metropolis:
            raise ValueError(
                "metropolis=True needs the compiled integrator, which is not in use"
                + (f" because {problem}." if (problem := plugin_problem()) else ".")
            )
        mm.CustomIntegrator.__init__(self, 1.0)
        for name in (
            "temperature",
            "cartesian_step",
            "internal_step",
            "max_displacement",
            "detrend",
            "measure_correction",
            "metropolis",
            "seed",
            "steps",
            "clipped_steps",
            "largest_displacement",
            "zero",
        ):
            self.addGlobalVariable(name, 0.0)
        for replica in range(1, settings.replicas):
            self.addGlobalVariable(f"temperature_{replica}", 0.0)
        # Only `step` below moves particles. When run from C++, as by a CompoundIntegrator, this makes positions
        # infinite, which is better than a simulation that silently stands still.
        self.addComputePerDof("x", "x/zero")
        self._set("detrend", settings.detrend)
        self._set("measure_correction", float(settings.measure_correction))
        flat = [particle for chain in settings.chains for particle in [*chain, -1]]
        self._add_table("cartesian_preconditioner", settings.cartesian_preconditioner)
        self._add_table("internal_preconditioner", settings.internal_preconditioner.reshape(-1))
        self._add_table("chains", np.array(flat, dtype=float))

    def setRandomNumberSeed(self, seed: int) -> None:
        """Set the seed of the noise, from the next step on; 0: choose one at random."""
        super().setRandomNumberSeed(seed)
        if self._progress is not None:
            self._progress = self._progress._replace(seed=seed)

    def getChains(self) -> list[list[int]] | None:
        """Particle indices of every chain; None: all particles are one chain."""
        return split_chains(self._table("chains").astype(int).tolist())

    # OpenMM's interface

    @classmethod
    def from_xml(cls, xml: str) -> "PythonIntegrator":
        """Integrator from the XML that `openmm.XmlSerializer.serialize` made."""
        integrator = cls.__new__(cls)
        integrator.__setstate__(xml)
        return integrator

    def __setstate__(self, xml: str) -> None:
        custom = mm.XmlSerializer.deserialize(xml)
        if not isinstance(custom, mm.CustomIntegrator):
            raise mm.OpenMMException(f"A {type(custom).__name__} is not a NEMO integrator.")
        self.this = custom.this
        self._table("chains")
        self._set("seed", max(self.getGlobalVariableByName("seed"), 0))

    def __copy__(self) -> "PythonIntegrator":
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
            If the integrator has no context, the system has constraints, a chain does not fit it, or energy, forces or
            step are not finite; positions and counters are then those of the last good step.
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
            self.getDetrend() is True,
            self.getMeasureCorrection(),
        )
        temperature = torch.tensor(self._get_temperatures(), dtype=torch.float64)
        kt = GAS_CONSTANT * temperature[layout.replica].unsqueeze(-1)
        schedule = self._get_schedule()
        self._progress, self._loaded_checkpoint = self._reconcile(), False
        for _ in range(steps):
            state = context.getState(positions=True, forces=True, energy=True, groups=groups)
            before = torch.from_numpy(state.getPositions(asNumpy=True)._value) * ANGSTROM_PER_NM
            force = torch.from_numpy(state.getForces(asNumpy=True)._value)
            number = int(self._progress.steps)
            if not torch.isfinite(force).all():
                raise mm.OpenMMException(f"The forces are not finite at step {number}.")
            if not math.isfinite(state.getPotentialEnergy()._value):
                raise mm.OpenMMException(f"The energy is not finite at step {number}.")
            factor = schedule.factor(number)
            now = scaled(parameters, factor)
            gradient = force / (-kt * factor * ANGSTROM_PER_NM)
            noise = self._draw(number, int(abs(self._progress.seed)), layout)
            chains, longest = layout.particles.shape
            result = mixed_step(
                before[layout.particles],
                gradient[layout.particles],
                noise[:chains, :longest],
                now,
                options,
            )
            x, inside = before.clone(), layout.mask > 0
            if len(layout.free):
                x[layout.free] += cartesian_displacement(
                    gradient[layout.free].unsqueeze(0),
                    noise[-1:, layout.free, 0],
                    now._replace(
                        cartesian_step=now.cartesian_step[:1],
                        cartesian_preconditioner=layout.free_preconditioner,
                    ),
                )[0]
            x[layout.particles[inside]] = result.x[inside]
            largest = float(result.largest_displacement.max())
            if self.getDetrend() == "system":
                remove = detrend_rigidly if options.measure_correction else detrend
                dx = remove(before, x - before, layout.moving)
                x = before + dx
                largest = float(dx[layout.particles[inside]].norm(dim=-1).max())
            if not torch.isfinite(x).all():
                raise mm.OpenMMException(f"The positions are not finite after step {number}.")
            context.setPositions(x.numpy() / ANGSTROM_PER_NM)
            if layout.has_virtual_sites:
                context.computeVirtualSites()
            clipped = self._progress.clipped_steps + float(result.clipped.any())
            self._progress = Progress(
                self._progress.seed, number + 1, clipped, largest / ANGSTROM_PER_NM
            )
            self._write(self._progress)
            context.setStepCount(context.getStepCount() + 1)
            context.setTime(context.getTime() + self.getStepSize())

    def _reconcile(self) -> Progress:
        """Progress after what has been restored since the last step."""
        found = Progress(*map(self.getGlobalVariableByName, Progress._fields))
        kept = found
        if self._progress is not None:
            seed = self._progress.seed
            if self._loaded_checkpoint:
                kept = found._replace(seed=found.seed or seed)
            else:
                kept = max(self._progress, found._replace(seed=seed), key=lambda p: p.steps)
        if not kept.seed:
            kept = kept._replace(seed=-random.SystemRandom().randrange(1, 2**31))
        if kept != found:
            self._write(kept)
        return kept

    def _write(self, progress: Progress) -> None:
        for name, value in progress._asdict().items():
            self._set(name, value)

    def _draw(self, step: int, seed: int, layout: ChainLayout) -> Tensor:
        """Noise of a step, (chains + 1, beads, 2, 3); the last row is for particles in no chain, by index."""
        key = (step // NOISE_BLOCK, seed)
        if self._noise is None or self._noise[0] != key:
            rows = len(layout.particles) + (1 if len(layout.free) else 0)
            beads = int(max([layout.particles.shape[1], *(layout.free + 1).tolist()]))
            # Particles in no chain are the last chain of the only replica.
            chains = rows // self.getNumReplicas()
            row = torch.arange(rows)
            seeds = replica_seed(seed, row // chains)
            block = langevin_noise(seeds, row % chains, key[0] * NOISE_BLOCK, NOISE_BLOCK, beads)
            self._noise = (key, block)
        return self._noise[1][step % NOISE_BLOCK]

    def _bind(self) -> tuple[mm.Context, ChainLayout]:
        """Context of the integrator and the layout of its system."""
        context = None if self._context is None else self._context()
        if context is None:
            context = _context_of(self)
            self._context = weakref.ref(context)
            self._layout = None
            self._progress = None
            self._watch(context)
        system = context.getSystem()
        # A system may be changed and its context reinitialized.
        if self._layout is None or self._layout.system != summary(system):
            self._layout = chain_layout(
                system,
                self.getChains(),
                self.getDetrend() == "system",
                self._table("cartesian_preconditioner"),
                self._table("internal_preconditioner"),
                self.getNumReplicas(),
            )
            self._noise = None
            # TorchScript rewrites a module after its first call, which changes the last bits of the forces. That call
            # is made here, so that a resumed run repeats an uninterrupted one.
            context.getState(forces=True, groups=self.getIntegrationForceGroups())
        return context, self._layout

    def _watch(self, context: mm.Context) -> None:
        """Learn of checkpoints that are loaded into a context."""
        # Without a reference cycle, which would keep the memory of the context until the next collection.
        load, own = type(context).loadCheckpoint, weakref.ref(context)

        def load_checkpoint(checkpoint: bytes) -> None:
            load(own(), checkpoint)
            self._loaded_checkpoint = True

        context.loadCheckpoint = load_checkpoint

    def _temperature_names(self) -> list[str]:
        names = map(self.getGlobalVariableName, range(self.getNumGlobalVariables()))
        return ["temperature", *(name for name in names if name.startswith("temperature_"))]

    def _get_temperatures(self) -> list[float]:
        return [self.getGlobalVariableByName(name) for name in self._temperature_names()]

    def _set_temperatures(self, temperatures: list[float]) -> None:
        for name, value in zip(self._temperature_names(), temperatures, strict=True):
            self._set(name, value)

    def _get_schedule(self) -> Schedule:
        if "schedule" not in self._tables():
            return CONSTANT
        steps, hottest, coldest, block = self._table("schedule").tolist()
        return Schedule(int(steps), hottest, coldest, int(block))

    def _set_schedule(self, schedule: Schedule) -> None:
        # A table is kept in XML, but not in checkpoints, whose form does not change then.
        tables = self._tables()
        if "schedule" in tables:
            values = [float(len(schedule)), *schedule]
            tables["schedule"].setFunctionParameters(values)
        elif schedule != CONSTANT:
            self._add_table("schedule", np.array(schedule, dtype=float))

    def _add_table(self, name: str, values: np.ndarray) -> None:
        # A table must not be empty: its first entry is the number of the others.
        self.addTabulatedFunction(
            name, mm.Discrete1DFunction([float(len(values)), *values.tolist()])
        )

    def _tables(self) -> dict[str, mm.Discrete1DFunction]:
        n = self.getNumTabulatedFunctions()
        return {self.getTabulatedFunctionName(i): self.getTabulatedFunction(i) for i in range(n)}

    def _table(self, name: str) -> np.ndarray:
        tables = self._tables()
        if name not in tables:
            raise mm.OpenMMException(f"This integrator has no {name}: it is not a NEMO integrator.")
        return np.array(tables[name].getFunctionParameters()[1:])

    def _get(self, name: str) -> float:
        if name == "noise_seed":
            return abs(self._reconcile().seed)
        if name in Progress._fields:
            return getattr(self._reconcile(), name)
        return self.getGlobalVariableByName(name)

    def _set(self, name: str, value: float) -> None:
        self.setGlobalVariableByName(name, value)


def _context_of(integrator: PythonIntegrator) -> mm.Context:
    """The context that an integrator is bound to.

    OpenMM's Context keeps its integrator, but an integrator does not know its context. The search takes milliseconds
    and is done once per context.
    """
    for candidate in gc.get_objects():
        # type(), because isinstance() runs code of objects that claim another class.
        found = issubclass(type(candidate), mm.Context)
        if found and getattr(candidate, "_integrator", None) is integrator:
            return candidate
    raise mm.OpenMMException("This Integrator is not bound to a context!")
