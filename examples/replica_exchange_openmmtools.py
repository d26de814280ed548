"""Replica exchange with openmmtools: NemoLangevinIntegrator as its move, free energies by its analysis.

Four replicas of the Trp-cage exchange temperatures from 300 to 450 K; all steps are exact (metropolis=True).
openmmtools stores the run and estimates the free energy of each temperature, f = -log Z, by MBAR. It is also the
integral of the mean energy over 1/kT, here of replicas that do not exchange. Prints both. (For temperatures alone, the
command 'openmm-nemo exchange' and NemoReplicaExchange are faster, and continue an interrupted run bit by bit.)

python examples/replica_exchange_openmmtools.py [FOLDER]

Needs openmmtools: pip install openmmtools.
"""

import logging
import sys
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm
from openmm import unit

from openmm_nemo import NemoModel
from openmm_nemo.engine import replica_energy

try:
    from openmmtools import mcmc
    from openmmtools.cache import ContextCache
    from openmmtools.multistate import (
        MultiStateReporter,
        ReplicaExchangeAnalyzer,
        ReplicaExchangeSampler,
    )
    from openmmtools.states import SamplerState, ThermodynamicState
except ImportError as error:
    sys.exit(f"This example needs openmmtools ({error}): pip install openmmtools.")

matplotlib.use("Agg")
import matplotlib.pyplot as plt

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/replica_exchange_openmmtools")
out.mkdir(parents=True, exist_ok=True)
logging.getLogger("openmmtools").setLevel(logging.ERROR)

TEMPERATURES = [300.0, 340.0, 390.0, 450.0]  # kelvin
ITERATIONS, INTERVAL = 600, 50

protein = NemoModel.from_pretrained("nemo-fold").condition("NLYIQWLKDGGPSSGRPPPS")
platform = mm.Platform.getPlatformByName("CPU")


class NemoMove(mcmc.BaseIntegratorMove):
    """Steps of the integrator; openmmtools' IntegratorMove would copy it without its Python class."""

    def _get_integrator(self, thermodynamic_state: ThermodynamicState) -> mm.Integrator:
        return protein.create_integrator(thermodynamic_state.temperature, seed=1, metropolis=True)


storage = out / "replicas.nc"
storage.unlink(missing_ok=True)
np.random.seed(1)  # noqa: NPY002 (openmmtools decides on exchanges with it)
sampler = ReplicaExchangeSampler(
    mcmc_moves=NemoMove(n_steps=INTERVAL),
    number_of_iterations=ITERATIONS,
    online_analysis_interval=None,
)
sampler.energy_context_cache = sampler.sampler_context_cache = ContextCache(
    platform, {"Threads": "1"}
)
starts = [protein.initial_positions(seed=seed) for seed in range(1, len(TEMPERATURES) + 1)]
sampler.create(
    [ThermodynamicState(protein.create_system(), t * unit.kelvin) for t in TEMPERATURES],
    [SamplerState(start) for start in starts],
    MultiStateReporter(str(storage), checkpoint_interval=ITERATIONS),
)
sampler.run()
reporter = MultiStateReporter(str(storage), open_mode="r")
states = np.asarray(reporter.read_replica_thermodynamic_states())
analyzer = ReplicaExchangeAnalyzer(reporter)
free_energies, errors = (np.asarray(table)[0] for table in analyzer.get_free_energy())

# The same replicas, which do not exchange, in one context.
replicas = len(TEMPERATURES)
integrator = protein.create_integrator(
    seed=2, replicas=replicas, temperatures=TEMPERATURES, metropolis=True
)
context = mm.Context(
    protein.create_system(replicas=replicas), integrator, platform, {"Threads": "1"}
)
context.setPositions(protein.initial_positions(seed=2, replicas=replicas))
integrator.step(2000)
energies = np.zeros((ITERATIONS, replicas))
for row in energies:
    integrator.step(INTERVAL)
    row[:] = [replica_energy(context, r) for r in range(replicas)]

# Trapezoids, corrected at each temperature by the slope of the mean energy, which is minus its variance.
gas_constant = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
width = np.diff(1 / (gas_constant * np.array(TEMPERATURES)))
mean, variance = energies.mean(axis=0), energies.var(axis=0)
areas = width * (mean[1:] + mean[:-1]) / 2 + width**2 * np.diff(variance) / 12
integral = np.append(0, np.cumsum(areas))

for t, f, error, area in zip(TEMPERATURES, free_energies, errors, integral, strict=True):
    print(f"{t:.0f} K: f = {f:.2f} ± {error:.2f} by MBAR, {area:.2f} by integration")
figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
axes[0].plot(np.take(TEMPERATURES, states[:, 0]), lw=0.8)
axes[0].set(xlabel="iteration", ylabel="temperature of one replica / K", yticks=TEMPERATURES)
axes[1].axhline(0, color="tab:gray", lw=1)
axes[1].errorbar(
    TEMPERATURES, free_energies - integral, errors, fmt="o", color="tab:blue", capsize=3
)
axes[1].set(xlabel="temperature / K", ylabel="f by MBAR - f by integration", xticks=TEMPERATURES)
axes[1].set(ylim=(-1, 1))
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig(out / "replica_exchange_openmmtools.png", dpi=150)
print(f"Wrote {out / 'replica_exchange_openmmtools.png'}.")
