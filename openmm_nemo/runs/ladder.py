"""Temperatures of replica exchange, chosen by a short trial run."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import openmm as mm

from openmm_nemo.dynamics.ladder import geometric_ladder, spaced_ladder
from openmm_nemo.engine import NemoReplicaExchange, replica_energy
from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.errors import InputError
from openmm_nemo.runs.settings import ExchangeSettings, SimulationSettings
from openmm_nemo.runs.simulation import create_simulation, load_protein

TRIAL_REPLICAS = 8

TRIAL_INTERVAL = 10
"""Steps between energies and exchanges in the trial run."""


def choose_ladder(
    settings: SimulationSettings,
    lowest: float,
    highest: float,
    acceptance: float,
    steps: int,
    progress: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """The fewest temperatures at which neighbouring replicas exchange with a given acceptance.

    A trial run with exchange between geometrically spaced temperatures gives the deviation of the energy at each of
    them; its first half is discarded. See `openmm_nemo.dynamics.ladder` for the spacing.

    Parameters
    ----------
    settings : SimulationSettings
        Of the run that needs temperatures.
    lowest, highest : float
        Temperatures of the ends, kelvin.
    acceptance : float
    steps : int
        Steps of the trial run.
    progress : callable
        Called with the step number.

    Returns
    -------
    list of float
        Increasing, kelvin, to 0.01 K.

    Raises
    ------
    InputError
        If a number is out of range, the simulation cannot run here, its energies are not finite, or the temperatures
        would be closer than 0.01 K.
    """
    if not 0 < acceptance < 1:
        raise InputError(f"The acceptance is {acceptance:g}: give a number between 0 and 1.")
    if not 0 < lowest < highest < np.inf:
        raise InputError(
            f"The lowest temperature is {lowest:g} K and the highest {highest:g} K: the former must be positive and "
            "the latter larger."
        )
    if steps < 4 * TRIAL_INTERVAL:
        raise InputError(
            f"The trial run has {steps} steps: it needs at least {4 * TRIAL_INTERVAL}."
        )
    temperatures = geometric_ladder(lowest, highest, TRIAL_REPLICAS)
    trial = replace(
        settings,
        replicas=TRIAL_REPLICAS,
        exchange=ExchangeSettings(temperatures.tolist(), TRIAL_INTERVAL),
    )
    energies = _energies(trial, steps, progress)
    half = energies[len(energies) // 2 :]
    if not np.isfinite(half).all():
        raise InputError(
            "The energies of the trial run are not finite: give the temperatures with --temperatures, or a lower "
            "--highest."
        )
    deviations = half.std(0) / (GAS_CONSTANT * temperatures)
    ladder = spaced_ladder(temperatures, deviations, acceptance).round(2)
    if not (np.diff(ladder) > 0).all():
        raise InputError(
            f"An acceptance of {acceptance:g} from {lowest:g} to {highest:g} K needs {len(ladder)} temperatures, some "
            "closer than 0.01 K: give a lower --acceptance or a higher --highest."
        )
    return ladder.tolist()


def _energies(
    settings: SimulationSettings, steps: int, progress: Callable[[int], None]
) -> np.ndarray:
    """Energies (N, R) of replicas during a run without files, kJ/mol."""
    _, protein = load_protein(settings)
    simulation = create_simulation(protein, settings)
    energies = []
    with closing(NemoReplicaExchange(os.devnull, TRIAL_INTERVAL)) as exchange:
        simulation.reporters.append(exchange)
        try:
            while simulation.currentStep < steps:
                simulation.step(TRIAL_INTERVAL)
                energies.append(
                    [replica_energy(simulation.context, r) for r in range(settings.replicas)]
                )
                progress(simulation.currentStep)
        except mm.OpenMMException as error:
            raise InputError(
                f"The trial run failed ({' '.join(str(error).split())}): give the temperatures with --temperatures, or "
                "a lower --highest."
            ) from None
    return np.array(energies)
