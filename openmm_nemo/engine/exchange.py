"""Replica exchange between the replicas of one OpenMM context."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from openmm_nemo.dynamics.exchange import exchange
from openmm_nemo.dynamics.noise import NOISE_BLOCK, exchange_numbers
from openmm_nemo.engine.forces import replica_energy
from openmm_nemo.engine.integrator import LangevinInterface
from openmm_nemo.engine.reporters import earlier_lines
from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.errors import InputError


class NemoReplicaExchange:
    """Replica exchange in temperature, as the last reporter of a simulation of replicas.

    Replica r keeps the temperature that the integrator has for it, and accepted swaps move configurations, so that what
    other reporters write of a replica is an ensemble at one temperature. Append it after them: they then report the
    state before the swap. See `openmm_nemo.dynamics.exchange` for the pairs and the criterion.

    The decisions depend only on the energies, the seed of the integrator and the step. A run that is continued from a
    checkpoint is the same bit by bit as an uninterrupted one.

    Swaps leave the Boltzmann distribution of every replica invariant. The dynamics between them does so only with
    ``metropolis=True``; without, ensembles deviate by its discretisation error, see `NemoLangevinIntegrator`.

    Parameters
    ----------
    file : path
        CSV with the walker at each temperature, at the start and after every attempt: columns step, replica-0,
        replica-1, ... Every line is on disk as soon as it is written. An existing file is replaced.
    interval : int
        Steps between attempts.

    Attributes
    ----------
    walkers : ndarray, shape (R,), int
        Walker that each replica has: the number of the replica in which its configuration began.
    """

    def __init__(self, file: str | os.PathLike[str], interval: int):
        if interval < 1:
            raise ValueError(f"The interval of exchanges is {interval}: it must be 1 or more.")
        self._interval = interval
        self._out = open(file, "w", newline="")  # noqa: SIM115 (closed by close)
        self._csv = csv.writer(self._out, lineterminator="\n")
        self.walkers = np.empty(0, dtype=int)
        self._drawn = (-1, -1), np.empty(0)

    def begin(self, simulation: app.Simulation) -> None:
        """Number the walkers and write the first line, unless that has been done; otherwise the first step does it.

        Raises
        ------
        ValueError
            If the simulation is not of several replicas at constant temperatures.
        """
        if len(self.walkers):
            return
        integrator = simulation.integrator
        n = integrator.getNumReplicas() if isinstance(integrator, LangevinInterface) else 1
        if n < 2:
            raise ValueError(
                "Replica exchange needs replicas: give create_system, create_integrator and create_topology the same "
                "replicas, 2 or more."
            )
        if integrator.getSchedule() is not None:
            raise ValueError(
                "Replica exchange needs constant temperatures: create the integrator without a schedule."
            )
        self._write_header(n)
        self.walkers = np.arange(n)
        self._write(simulation.currentStep)

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """When the next attempt is due and what it needs."""
        self.begin(simulation)
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation: app.Simulation, state: mm.State) -> None:
        """Attempt exchanges."""
        self.begin(simulation)
        integrator, n = simulation.integrator, len(self.walkers)
        step = simulation.currentStep
        kt = GAS_CONSTANT * np.array(integrator.getTemperatures().value_in_unit(unit.kelvin))
        energies = np.array([replica_energy(simulation.context, r) for r in range(n)])
        attempt = step // self._interval
        uniform = self._numbers(integrator.getRandomNumberSeed(), attempt)
        source = exchange(energies, kt, uniform, attempt)
        if (source != np.arange(n)).any():
            positions = state.getPositions(asNumpy=True)._value
            moved = positions.reshape(n, -1, 3)[source].reshape(-1, 3)
            simulation.context.setPositions(moved)
            self.walkers = self.walkers[source]
        self._write(step)

    def take_over(self, earlier: Path, n_lines: int, n_replicas: int) -> None:
        """Continue from the first ``n_lines`` lines of an earlier file.

        Raises
        ------
        InputError
            If the file cannot be read or has fewer lines.
        """
        rows, numbers = earlier_lines(earlier, n_lines, n_replicas + 1)
        walkers = numbers[:, 1:]
        if (np.sort(walkers) != np.arange(n_replicas)).any():
            raise InputError(
                f"{earlier} has a line that does not name every replica once: start a new run."
            )
        self._write_header(n_replicas)
        self.walkers = walkers[-1].astype(int)
        self._csv.writerows(rows)
        self._out.flush()

    def close(self) -> None:
        """Close the file."""
        self._out.close()

    def _numbers(self, seed: int, attempt: int) -> np.ndarray:
        """Numbers that decide on an attempt (R - 1,); they are drawn for many at once."""
        block, row = divmod(attempt, NOISE_BLOCK)
        if self._drawn[0] != (seed, block):
            attempts = torch.arange(block * NOISE_BLOCK, (block + 1) * NOISE_BLOCK)
            numbers = exchange_numbers(seed, self._interval * attempts, len(self.walkers) - 1)
            self._drawn = (seed, block), numbers.numpy()
        return self._drawn[1][row]

    def _write_header(self, n_replicas: int) -> None:
        self._csv.writerow(["step", *(f"replica-{r}" for r in range(n_replicas))])

    def _write(self, step: int) -> None:
        self._csv.writerow([step, *self.walkers.tolist()])
        self._out.flush()
