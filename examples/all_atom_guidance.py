"""NEMO as a weak guide of an all-atom simulation: its share of the energy, nemo_scale, falls to 0 during the run.

An alanine-rich peptide in implicit solvent, from AMBER files that ParmEd reads, starts unfolded. The same simulation is
run without NEMO for comparison. What remains at the end is decided by the force field alone. The runs are too short to
say more than how it is done.

python examples/all_atom_guidance.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm
import parmed
import torch
from openmm import app, unit

from openmm_nemo import NemoModel
from openmm_nemo.parmed import create_system, find_proteins

matplotlib.use("Agg")
import matplotlib.pyplot as plt

torch.set_num_threads(1)
out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/all_atom_guidance")
out.mkdir(parents=True, exist_ok=True)

BLOCKS, STEPS, STEP_PS = 40, 10, 0.008
GUIDE = np.linspace(0.3, 0.0, BLOCKS)
"""nemo_scale in each block of steps."""

data = Path(__file__).parent / "data"
structure = parmed.load_file(
    str(data / "alanine_peptide.prmtop"), str(data / "alanine_peptide.inpcrd")
)
(found,) = find_proteins(structure)
protein = NemoModel.from_pretrained("nemo-fold").condition(found.sequence)
system = create_system(protein, structure, implicitSolvent=app.OBC2, constraints=app.HBonds)
*others, nemo = sorted({force.getForceGroup() for force in system.getForces()})
print(f"{len(structure.atoms)} atoms; NEMO acts on {len(found.particles)} of them, {found}.")


def simulate(scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the ends, Angstrom, and NEMO's energy at nemo_scale = 1, kJ/mol, after each block."""
    # NEMO is the costliest and smoothest force: it is computed every fourth step of the others.
    groups = [(nemo, 1), *((group, 4) for group in others)]
    integrator = mm.MTSLangevinIntegrator(300, 5, STEP_PS, groups)
    integrator.setRandomNumberSeed(1)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(structure.positions)
    context.setVelocitiesToTemperature(300, 1)
    distances, energies = [], []
    for scale in scales:
        context.setParameter("nemo_scale", scale)
        integrator.step(STEPS)
        context.setParameter("nemo_scale", 1.0)
        state = context.getState(energy=True, positions=True, groups={nemo})
        x = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)[list(found.particles)]
        distances.append(np.linalg.norm(x[-1] - x[0]))
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
    return np.array(distances), np.array(energies)


time = STEP_PS * STEPS * np.arange(1, BLOCKS + 1)
figure, axes = plt.subplots(3, 1, figsize=(6, 6), sharex=True, constrained_layout=True)
for label, scales, color in (
    ("with NEMO", GUIDE, "tab:red"),
    ("without", np.zeros(BLOCKS), "tab:gray"),
):
    distances, energies = simulate(scales)
    for axis, values in zip(axes, (scales, energies, distances), strict=True):
        axis.plot(time, values, color=color, label=label)
    for when, part in (
        ("first", slice(BLOCKS // 4)),
        ("last", slice(-BLOCKS // 4, None)),
    ):
        print(
            f"{label}, {when} quarter of {time[-1]:.1f} ps: NEMO's energy {energies[part].mean():.0f} kJ/mol, "
            f"distance of the ends {distances[part].mean():.1f} Angstrom"
        )
axes[0].set_ylabel("nemo_scale")
axes[1].set_ylabel("NEMO's energy / kJ/mol")
axes[1].legend(frameon=False)
axes[2].set(ylabel="distance of the ends / Å", xlabel="time / ps")
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig(out / "all_atom_guidance.png", dpi=120)
print(f"Wrote {out / 'all_atom_guidance.png'}.")
