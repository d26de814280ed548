"""The files of replica exchange in a simulation: who was where, a summary and a plot."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from openmm import app

from openmm_nemo.dynamics.exchange import count_swaps, round_trips
from openmm_nemo.engine.exchange import NemoReplicaExchange
from openmm_nemo.files import completing
from openmm_nemo.runs.outputs import GrowingFile
from openmm_nemo.runs.plots import plot_exchange, read_table
from openmm_nemo.runs.settings import (
    EXCHANGE_FILE,
    EXCHANGE_PLOT_FILE,
    SUMMARY_FILE,
    SimulationSettings,
)


class ExchangeOutputs:
    """Exchanges between the replicas of a simulation: their table, a summary and a plot.

    Parameters
    ----------
    folder : Path
    settings : SimulationSettings
        With exchange.
    """

    def __init__(self, folder: Path, settings: SimulationSettings):
        assert settings.exchange is not None
        self.folder = folder
        self.settings = settings
        self.exchange = settings.exchange
        self._file = GrowingFile(folder / EXCHANGE_FILE)

    @contextmanager
    def open(self, simulation: app.Simulation) -> Iterator[None]:
        """Open the table, with everything from the steps so far, and let the simulation exchange replicas.

        Reporters that the simulation gets later report the state after the exchange.
        """
        with ExitStack() as at_end:
            at_end.callback(self._file.new.unlink, missing_ok=True)
            interval, step = self.exchange.interval, simulation.currentStep
            self._reporter = NemoReplicaExchange(self._file.new, interval)
            at_end.enter_context(closing(self._reporter))
            if step > 0:
                n = self.settings.replicas
                self._reporter.take_over(self._file.earlier(), step // interval + 1, n)
            self._reporter.begin(simulation)
            simulation.reporters.append(self._reporter)
            self._file.begin()
            yield

    def complete(self, title: str) -> None:
        """Close the table, give it its final name, and write the summary and the plot with a title."""
        self._reporter.close()
        self._file.complete()
        steps, walkers = read_walkers(self._file.path)
        summary = summary_of(self.settings, walkers)
        with completing(self.folder / SUMMARY_FILE) as partial:
            partial.write_text(json.dumps(summary, indent=1) + "\n")
        with completing(self.folder / EXCHANGE_PLOT_FILE) as partial:
            plot_exchange(partial, title, steps, walkers, summary)


def read_walkers(table: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (N + 1,) and the walker at each temperature then (N + 1, R), from the table of exchanges."""
    columns = read_table(table)
    values = np.stack(list(columns.values()), axis=1).astype(int)
    return values[:, 0], values[:, 1:]


def summary_of(settings: SimulationSettings, walkers: np.ndarray) -> dict[str, Any]:
    """What was exchanged, as JSON.

    Parameters
    ----------
    settings : SimulationSettings
        With exchange.
    walkers : ndarray, shape (N + 1, R), int
        Walker at each temperature at the start and after every attempt.
    """
    exchange = settings.exchange
    assert exchange is not None
    attempted, accepted = count_swaps(walkers)
    trips = round_trips(walkers)
    pairs = zip(pairwise(exchange.temperatures), attempted.tolist(), accepted.tolist(), strict=True)
    return {
        "temperatures_kelvin": exchange.temperatures,
        "interval_steps": exchange.interval,
        "metropolis": settings.metropolis,
        "attempts": len(walkers) - 1,
        "acceptance_wanted": exchange.acceptance,
        "pairs": [
            {
                "temperatures_kelvin": list(pair),
                "attempted": tried,
                "accepted": taken,
                "acceptance": taken / tried if tried else None,
            }
            for pair, tried, taken in pairs
        ],
        "round_trips": int(trips.sum()),
        "round_trips_of_walkers": trips.tolist(),
    }
