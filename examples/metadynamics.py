"""Well-tempered metadynamics on the radius of gyration, with OpenMM's Metadynamics, compared with a plain simulation.

The bias grows where the Trp-cage has been, and drives it to more compact and more extended chains than it would visit
otherwise. From the bias follows the free energy along the radius of gyration. A plain simulation of as many steps gives
the same free energy, but only as far as it gets. Both sample exactly (metropolis=True). Prints how far each gets, and
how much the two free energies differ where the plain simulation has been often.

python examples/metadynamics.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm
from openmm import app, unit

from openmm_nemo import NemoModel

matplotlib.use("Agg")
import matplotlib.pyplot as plt

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/metadynamics")
out.mkdir(parents=True, exist_ok=True)

TEMPERATURE = 300 * unit.kelvin
KT = (unit.MOLAR_GAS_CONSTANT_R * TEMPERATURE).value_in_unit(unit.kilojoule_per_mole)
LIMITS, WIDTH = (0.7, 2.1), 0.03  # of the bias and of its Gaussians, nm
STEPS, EQUILIBRATION, INTERVAL = 150_000, 5_000, 25

protein = NemoModel.from_pretrained("nemo-fold-seq").condition("NLYIQWLKDGGPSSGRPPPS")


def start(system: mm.System) -> app.Simulation:
    """An equilibrated exact simulation."""
    integrator = protein.create_integrator(TEMPERATURE, seed=1, metropolis=True)
    platform = mm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(protein.topology, system, integrator, platform, {"Threads": "1"})
    simulation.context.setPositions(protein.initial_positions(seed=1))
    simulation.step(EQUILIBRATION)
    return simulation


# The variable is the energy of any force; that of RGForce is the radius of gyration.
system = protein.create_system()
variable = app.BiasVariable(mm.RGForce(), *LIMITS, WIDTH, gridWidth=101)
metadynamics = app.Metadynamics(
    system, [variable], TEMPERATURE, biasFactor=6, height=0.3 * KT, frequency=INTERVAL
)
biased, plain = start(system), start(protein.create_system())

radii = np.zeros((2, STEPS // INTERVAL))
for k in range(STEPS // INTERVAL):
    metadynamics.step(biased, INTERVAL)
    radii[0, k] = metadynamics.getCollectiveVariables(biased)[0]
    plain.step(INTERVAL)
    x = plain.context.getState(positions=True).getPositions(asNumpy=True)._value
    radii[1, k] = np.sqrt(x.var(axis=0).sum())

# Free energies in kT: of the bias at every point of its grid, and of the histogram around every point.
grid = np.linspace(*LIMITS, variable.gridWidth)
edges = np.append(grid, 2 * grid[-1] - grid[-2]) - (grid[1] - grid[0]) / 2
from_bias = metadynamics.getFreeEnergy().value_in_unit(unit.kilojoule_per_mole) / KT
visited, counts = (np.histogram(radius, edges)[0] for radius in radii)
often = counts >= 0.01 * counts.sum()
with np.errstate(divide="ignore"):
    from_counts = -np.log(counts / counts.max())
from_bias -= np.average((from_bias - from_counts)[often], weights=counts[often])
difference = np.average((from_bias - from_counts)[often] ** 2, weights=counts[often]) ** 0.5

figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
labels, colors = ("metadynamics", "plain simulation"), ("tab:blue", "tab:gray")
for label, color, radius in zip(labels, colors, radii, strict=True):
    steps = INTERVAL * np.arange(1, len(radius) + 1)
    axes[0].plot(steps / 1000, radius, color=color, lw=0.5, label=label)
    print(f"{label}: radius of gyration from {radius.min():.2f} to {radius.max():.2f} nm")
axes[0].set(xlabel="step / 1000", ylabel="radius of gyration / nm")
axes[1].plot(grid[visited > 0], from_bias[visited > 0], color=colors[0])
seen = counts > 0
axes[1].plot(grid[seen], from_counts[seen], "o", ms=3, color=colors[1])
axes[1].set(xlabel="radius of gyration / nm", ylabel="free energy / kT")
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
figure.legend(
    *axes[0].get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=2
)
figure.savefig(out / "metadynamics.png", dpi=150)
print(f"The free energies differ by {difference:.2f} kT (root mean square).")
print(f"Wrote {out / 'metadynamics.png'}.")
