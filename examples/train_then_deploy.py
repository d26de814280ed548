"""Train a tiny model on a handful of real domains, export it, and simulate a protein with it in OpenMM.

The simulation in OpenMM follows the simulator in which the model was trained: same seed, same trajectory.

python examples/train_then_deploy.py [FOLDER]

Needs the packages for training: pip install "openmm-nemo[train]".
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import openmm as mm
import openmm.app as app
import openmm.unit as unit
import torch

from openmm_nemo import NemoModel
from openmm_nemo.data import DomainSet, make_split
from openmm_nemo.data.sets.building import SET_FILE, build_set
from openmm_nemo.training.curves import read_metrics
from openmm_nemo.training.export import export
from openmm_nemo.training.train import train

CONFIG = """
description = "Tiny example model, trained on a few small domains."
seed = 1
warm_up = 10
ema_decay = 0.95
validate_every = 50
[data]
set = "set"
split = "split.json"
max_length = 40
batch_size = 16
validation_domains = 4
[model]
preset = "tiny"
cooling = 6.0
# First what is cheap to learn: the initial state, the atoms and the secondary structure.
[[stages]]
updates = 200
learning_rate = 3e-3
losses = {initial_distances = 1, initial_angles = 5, initial_bonds = 1, imputation = 1, secondary_structure = 1}
# Then end to end, through the last steps of each simulation.
[[stages]]
updates = 30
steps = 12
backpropagated = 6
from_data = 0.125
learning_rate = 2e-3
losses = {distances = 1, angles = 5, bonds = 1, imputation = 1, initial_distances = 1, initial_angles = 5}
"""
STEPS, SEED = 50, 7


def main() -> None:
    """Train, export, deploy, compare."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/train_then_deploy")
    shutil.rmtree(out, ignore_errors=True)
    torch.set_num_threads(1)  # the networks are small

    # Real domains from the Protein Data Bank, some of them held out by their CATH codes.
    build_set([Path(__file__).parent / "data" / "small_domains.jsonl.gz"], out / "set", workers=1)
    domains = list(DomainSet(out / "set" / SET_FILE))
    split = make_split(domains, 1, validation=0.12, test=0.06, test_classes=(), workers=1)
    split.write(out / "split.json")
    (out / "config.toml").write_text(CONFIG)

    train(out / "config.toml", out / "training")
    export(out / "training" / "last.ckpt", out / "model")
    show_losses(out / "training" / "metrics.csv")

    # A protein that was not in the training set.
    held_out = next(domain for domain in domains if domain.id in split.ids("validation"))
    model = NemoModel.from_pretrained(out / "model").double()
    protein = model.condition(held_out.sequence)
    simulation = app.Simulation(
        protein.topology,
        protein.create_system(),
        protein.create_integrator(temperature=300 * unit.kelvin, seed=SEED),
        mm.Platform.getPlatformByName("CPU"),
    )
    simulation.context.setPositions(protein.initial_positions())
    deployed = [simulation.context.getState(positions=True)]
    for _ in range(STEPS):
        simulation.step(1)
        deployed.append(simulation.context.getState(positions=True))
    x = np.array([s.getPositions(asNumpy=True).value_in_unit(unit.angstrom) for s in deployed])
    mirror = protein.rollout(STEPS, seed=SEED).x[:, 0].numpy()
    print(
        f"{held_out.id}, {STEPS} steps in OpenMM and in the training simulator: "
        f"the largest difference between positions is {np.abs(x - mirror).max():.1e} Angstrom; "
        f"residues moved by {np.linalg.norm(mirror[-1] - mirror[0], axis=-1).mean():.1f} Angstrom."
    )
    print(
        f"See {out / 'training' / 'curves.png'} and the model card {out / 'model' / 'README.md'}."
    )


def show_losses(table: Path) -> None:
    """Print the errors at the start and the end of each stage."""
    series = read_metrics(table)
    for name, what in (
        ("loss/initial_distances", "Distances of z(0), all updates"),
        ("loss/distances", "Distances after the simulation, second stage"),
    ):
        values = series[name][:, 1]
        print(
            f"{what}: mean error {values[0]:.2f} Angstrom at the start, {values[-2:].mean():.2f} at the end."
        )


if __name__ == "__main__":
    main()
