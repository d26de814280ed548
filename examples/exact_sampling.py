"""Sampling with large steps: they bias the plain integrator; with metropolis=True the distribution is exact.

A chain of five beads has an energy for which the densities of bonds and angles are known in closed form. Both samplers
take the same steps; the plot compares their samples with these densities.

python examples/exact_sampling.py [FOLDER]
"""

import math
import sys
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm

from openmm_nemo import NemoLangevinIntegrator

matplotlib.use("Agg")
import matplotlib.pyplot as plt

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/exact_sampling")
out.mkdir(parents=True, exist_ok=True)

KT = 300 * 8.31446261815324e-3  # kJ/mol
N_BEADS, N_FRAMES, STEPS_BETWEEN = 5, 20000, 40
BOND, ANGLE = (3.8, 10.0), (1.9, 20.0)  # minimum and spring constant, Angstrom, radian and kT

# Energies are in kT at 300 K, lengths in Angstrom; OpenMM needs kJ/mol and nm.
system = mm.System()
bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
for _ in range(N_BEADS):
    system.addParticle(100.0)
for i in range(N_BEADS - 1):
    bonds.addBond(i, i + 1, BOND[0] / 10, 100 * BOND[1] * KT)
for i in range(N_BEADS - 2):
    angles.addAngle(i, i + 1, i + 2, ANGLE[0], ANGLE[1] * KT)
system.addForce(bonds)
system.addForce(angles)
zigzag = [[0.31 * i, 0.22 * (i % 2), 0.02 * i * i] for i in range(N_BEADS)]


def sample(**options) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Bond lengths, angles and acceptance rates of a run."""
    integrator = NemoLangevinIntegrator(
        300, 3e-4, 0.06, max_displacement=math.inf, detrend=False, seed=1, **options
    )
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(zigzag)
    integrator.step(20 * STEPS_BETWEEN)
    frames = []
    for _ in range(N_FRAMES):
        integrator.step(STEPS_BETWEEN)
        state = context.getState(positions=True)
        frames.append(10 * state.getPositions(asNumpy=True)._value)
    bond = np.diff(frames, axis=1)
    length = np.linalg.norm(bond, axis=-1)
    cosine = -(bond[:, 1:] * bond[:, :-1]).sum(-1) / (length[:, 1:] * length[:, :-1])
    return length.ravel(), np.arccos(cosine).ravel(), integrator.getAcceptanceRates()


*plain, _ = sample(measure_correction=True)
*exact, rates = sample(metropolis=True)

figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
panels = [
    ("bond length / Å", (2.4, 5.4), BOND, lambda b: b**2),
    ("angle / radian", (0.8, 3.0), ANGLE, np.sin),
]
for axis, (label, limits, (centre, spring), volume), *values in zip(
    axes, panels, plain, exact, strict=True
):
    q = np.linspace(*limits, 400)
    density = volume(q) * np.exp(-0.5 * spring * (q - centre) ** 2)
    density /= np.trapezoid(density, q)
    bins = np.linspace(*limits, 70)
    axis.hist(
        values[0], bins, density=True, color="tab:orange", alpha=0.55, label="plain integrator"
    )
    axis.hist(
        values[1],
        bins,
        density=True,
        histtype="step",
        color="tab:blue",
        lw=1.6,
        label="metropolis=True",
    )
    axis.plot(q, density, "k--", lw=1.2, label="exp(-U/kT) dx")
    axis.set(xlabel=label, ylabel="density", xlim=limits)
    axis.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)
figure.suptitle(
    "The same large steps with and without the Metropolis criterion "
    f"(accepted: {rates[0]:.0%} of Cartesian, {rates[1]:.0%} of internal sub-steps)"
)
figure.savefig(out / "exact_sampling.png", dpi=150)
print(f"Accepted {rates[0]:.0%} of the Cartesian and {rates[1]:.0%} of the internal sub-steps.")
print(f"Wrote {out / 'exact_sampling.png'}.")
