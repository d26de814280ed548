"""Two chains dock: a domain that the model has not seen, cut in two at a loop.

Chains that are 35 Angstrom apart, turned at random, are annealed by moves of rigid bodies alone: first with the shapes
that they have in the native structure, then with those into which the model folds each chain on its own. The model was
trained on single chains, and knows of contacts between chains only what it knows of contacts within one. It brings the
native halves back to their places. Those that it has folded itself, two to six Angstrom from the native ones, it puts
together in other ways, in part with a lower energy than the native complex has. The picture shows one of each.

python examples/dock_two_chains.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
import openmm as mm
import torch
from matplotlib.figure import Figure

from openmm_nemo import NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.data.families.profiles import read_profile
from openmm_nemo.engine import RigidBodyMoves
from openmm_nemo.engine.rigid_moves import reach_of
from openmm_nemo.geometry import rmsd, superpose

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/dock_two_chains")
out.mkdir(parents=True, exist_ok=True)

DATA = Path(__file__).parent / "data"
CUT = 46
STEPS = 1000
BLOCKS, MOVES = 150, 40
HOT, COLD = 9000, 300  # K

torch.set_num_threads(1)
structure = read_structure(DATA / "2p5m.pdb")
native = torch.tensor(structure.ca)
sequence, profile = structure.sequence, read_profile(DATA / "2p5m_profile.txt")
halves = [slice(0, CUT), slice(CUT, None)]

model = NemoModel.from_pretrained("nemo-fold")
alone = [model.condition(sequence[half], profile[half]) for half in halves]
pair = model.condition(
    ":".join(sequence[half] for half in halves), [profile[half] for half in halves]
)
cpu = mm.Platform.getPlatformByName("CPU")


def positions_of(context):
    """Positions, Angstrom."""
    state = context.getState(positions=True)
    return torch.tensor(state.getPositions(asNumpy=True)._value * 10)


def fold(protein, seed):
    """Positions of a chain after an annealed simulation of it alone."""
    integrator = protein.create_integrator(300, seed=seed, schedule=protein.schedule(STEPS))
    context = mm.Context(protein.create_system(), integrator, cpu)
    context.setPositions(protein.initial_positions(seed))
    integrator.step(STEPS)
    return positions_of(context)


def dock(chains, seed):
    """Positions of both chains after annealing by rigid-body moves, from a random orientation."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    first, second = (x - x.mean(0) for x in chains)
    second = second @ torch.tensor(q * np.linalg.det(q)) + torch.tensor([35.0, 0.0, 0.0])
    context = mm.Context(pair.create_system(), mm.VerletIntegrator(0.001), cpu)
    context.setPositions(torch.cat([first, second]).numpy() / 10)
    moves = RigidBodyMoves(pair.chains, seed, reach=reach_of(pair.chain_lengths))
    for block, temperature in enumerate(np.geomspace(HOT, COLD, BLOCKS)):
        moves.run(context, [temperature], block * MOVES, MOVES)
    return positions_of(context)


def draw(axes, x, title):
    """Both chains over the native ones, viewed along their shortest axis."""
    fitted = superpose(x, native)
    _, _, axis = torch.linalg.svd(native - native.mean(0), full_matrices=False)
    for points, colours in ((native, ("0.7", "0.7")), (fitted, ("tab:blue", "tab:orange"))):
        for half, colour in zip(halves, colours, strict=True):
            axes.plot(*(points[half] @ axis[:2].T).T, color=colour, linewidth=3)
    axes.set_title(title)
    axes.set_aspect("equal")
    axes.set_axis_off()


def energy_of(x):
    """Energy, kT."""
    return float(pair.energy(x.float()))


print(f"native: {energy_of(native):.0f} kT")
figure = Figure(figsize=(11, 5.5), layout="constrained")
panels = figure.subplots(1, 2)
for axes, name in zip(panels, ("native chains", "folded chains"), strict=True):
    found = {}
    for seed in (1, 2, 3):
        if name == "native chains":
            chains = [native[half] for half in halves]
        else:
            chains = [fold(protein, seed) for protein in alone]
        apart = [float(rmsd(x, native[half])) for x, half in zip(chains, halves, strict=True)]
        x = dock(chains, seed)
        found[energy_of(x)] = x
        print(
            f"{name}, seed {seed}: {energy_of(x):.0f} kT, RMSD of the chains {apart[0]:.1f} and {apart[1]:.1f}, "
            f"of the complex {float(rmsd(x, native)):.1f} Angstrom",
            flush=True,
        )
    lowest = min(found)
    error = float(rmsd(found[lowest], native))
    draw(axes, found[lowest], f"{name}: {lowest:.0f} kT, RMSD {error:.1f} Å (native grey)")
figure.savefig(out / "dock_two_chains.png", dpi=100)
print(f"Wrote {out / 'dock_two_chains.png'}.")
