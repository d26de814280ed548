"""Known contacts, as restraints by OpenMM's CustomBondForce, guide the simulation of a domain whose profile is unknown.

From the sequence alone, nemo-fold does not fold this domain. Sixteen long-range contacts, here taken from its native
structure as if they were known from cross-links or coevolution, bring it closer. A restraint costs nothing below 8
Angstrom, and its force is bounded, so that a contact that does not fit cannot tear the chain apart. All forces of the
system drive both the Cartesian and the internal-coordinate step. Ten replicas are annealed in one context, with and
without the restraints. Prints the RMSD from the native and the share of these contacts that are formed.

python examples/contact_restraint.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import openmm as mm
import torch
from openmm import unit

from openmm_nemo import NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.geometry.superposition import rmsd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

torch.set_num_threads(1)
out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/contact_restraint")
out.mkdir(parents=True, exist_ok=True)

REPLICAS, STEPS, BLOCKS = 10, 1000, 50
LIMIT, FORCE = 0.8, 200.0  # nm, kJ/mol/nm

native = read_structure(Path(__file__).parent / "data" / "2p5m.pdb")
protein = NemoModel.from_pretrained("nemo-fold").condition(native.sequence)
n = len(native.sequence)
i, j = np.triu_indices(n, 12)
close = np.linalg.norm(native.ca[i] - native.ca[j], axis=1) < 10 * LIMIT
pairs = np.stack([i[close], j[close]], axis=1)
contacts = pairs[np.linspace(0, len(pairs) - 1, n // 5).astype(int)]


def restraint() -> mm.CustomBondForce:
    """Zero below `LIMIT`, then harmonic, then linear with the slope `FORCE`; for each replica."""
    force = mm.CustomBondForce(
        "slope*width*(sqrt(1 + (excess/width)^2) - 1); excess = max(0, r - limit)"
    )
    for name, value in (("slope", FORCE), ("width", 0.2), ("limit", LIMIT)):
        force.addGlobalParameter(name, value)
    for replica in range(REPLICAS):
        for first, second in (contacts + replica * n).tolist():
            force.addBond(first, second)
    return force


def simulate(forces: list[mm.Force]) -> tuple[np.ndarray, np.ndarray]:
    """RMSD, Angstrom, and share of contacts below 1 nm, after each block of steps: (BLOCKS, REPLICAS)."""
    system = protein.create_system(replicas=REPLICAS)
    for force in forces:
        system.addForce(force)
    integrator = protein.create_integrator(
        300 * unit.kelvin, seed=1, schedule=protein.schedule(STEPS), replicas=REPLICAS
    )
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(protein.initial_positions(seed=1, replicas=REPLICAS))
    distances, formed = np.zeros((2, BLOCKS, REPLICAS))
    for block in range(BLOCKS):
        integrator.step(STEPS // BLOCKS)
        state = context.getState(positions=True)
        x = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom).reshape(REPLICAS, n, 3)
        distances[block] = [rmsd(torch.tensor(a), torch.tensor(native.ca)) for a in x]
        vectors = x[:, contacts[:, 0]] - x[:, contacts[:, 1]]
        formed[block] = (np.linalg.norm(vectors, axis=-1) < 10).mean(axis=1)
    return distances, formed


steps = STEPS // BLOCKS * np.arange(1, BLOCKS + 1)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
for label, forces, color in (
    ("from the sequence alone", [], "tab:gray"),
    (f"with {len(contacts)} contacts", [restraint()], "tab:blue"),
):
    for axis, values in zip(axes, results := simulate(forces), strict=True):
        axis.plot(steps, values, color=color, lw=0.5, alpha=0.6)
        axis.plot(steps, values.mean(axis=1), color=color, lw=2.5, label=label)
    distances, formed = results
    print(
        f"{label}: RMSD {distances[-1].mean():.1f} Angstrom on average, {distances[-1].min():.1f} at best; "
        f"{formed[-1].mean():.0%} of the contacts"
    )
axes[0].set(xlabel="step", ylabel="RMSD / Å")
axes[1].set(xlabel="step", ylabel="share of contacts formed")
axes[1].legend(frameon=False)
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig(out / "contact_restraint.png", dpi=150)
print(f"Wrote {out / 'contact_restraint.png'}.")
