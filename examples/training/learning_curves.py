"""What time, data, width, the length of crops and profiles are worth: short trainings that differ in one thing each.

The first of them has the losses of examples/configs/nemo-fold.toml, and fewer updates; all are compared on the same
validation domains by openmm-nemo compare. Writes to FOLDER: the runs and models, compare/compare.md, and
learning_curves.png. Trained models stay there: the same command goes on after an interruption.

python examples/training/learning_curves.py SET SPLIT FOLDER [--updates 500] [--domains 64]

SET and SPLIT are made by the first commands in examples/configs/nemo-fold.toml. One core takes two hours.
Needs the packages for training: pip install "openmm-nemo[train]".
"""

import argparse
import csv
import dataclasses
import shutil
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from openmm_nemo.cli.comparison import compare
from openmm_nemo.data import DomainSet
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.splits import Place, Split
from openmm_nemo.errors import InputError
from openmm_nemo.training.export import export
from openmm_nemo.training.train import train

STEPS = 250

CONFIG = """
description = "Learning curves: {name}."
warm_up = 50
max_gradient_norm = 1.0
ema_decay = 0.98
precision = "{precision}"
validate_every = 500
[data]
set = "{set}"
split = "{split}"
min_length = {min_length}
max_length = {max_length}
batch_size = {batch_size}
profile_dropout = {profile_dropout}
without_near_held_out = {without_near}
validation_domains = 4
[model]
preset = "fold"
profile = {profile}
changes = {{dropout = 0.0{changes}}}
[[stages]]
updates = {updates}
learning_rate = 2e-3
losses = {{{losses}}}
"""

DIRECT = (
    "pair_likelihood = 1.0, chain_likelihood = 1.0, secondary_structure = 0.3, imputation = 0.5, "
    "initial_angles = 0.5, initial_bonds = 0.5"
)
END_TO_END = (  # of the baseline, as in examples/configs/rnn-fold.toml
    "initial_distances = 1.0, initial_angles = 5.0, initial_bonds = 1.0, initial_tm = 5.0, imputation = 1.0, "
    "secondary_structure = 1.0"
)

BASE = {
    "precision": "bf16",
    "min_length": 64,
    "max_length": 120,
    "batch_size": 8,
    "profile_dropout": 0.25,
    "without_near": "false",
    "profile": "true",
    "changes": "",
    "losses": DIRECT,
    "part_of_updates": 1.0,
    "part_of_clusters": 1.0,
}

HALF_WIDTH = ", node_channels = 32, pair_channels = 16"
VARIANTS = {
    "base": {},
    "sequence alone": {"profile": "false", "profile_dropout": 0.0},
    "LSTM": {
        "precision": "32",
        "batch_size": 16,
        "changes": ", lstm_units = 160",
        "losses": END_TO_END,
    },
    "nothing near": {"without_near": "true"},
    "1/4 of the updates": {"part_of_updates": 0.25},
    "1/2 of the updates": {"part_of_updates": 0.5},
    "1/64 of the clusters": {"part_of_clusters": 1 / 64},
    "1/8 of the clusters": {"part_of_clusters": 1 / 8},
    "half the width": {"changes": HALF_WIDTH},
    "crops of 48 to 64": {"min_length": 48, "max_length": 64},
    "crops of 64 to 200": {"max_length": 200},
}
SEEDS = {"base": 3, "sequence alone": 3, "LSTM": 3}  # of others, one
PANELS = {  # title: variants from left to right
    "updates": ("1/4 of the updates", "1/2 of the updates", "base"),
    "data": ("1/64 of the clusters", "1/8 of the clusters", "base"),
    "width": ("half the width", "base"),
    "crops": ("crops of 48 to 64", "base", "crops of 64 to 200"),
    "model": ("LSTM", "sequence alone", "nothing near", "base"),
}


def main() -> None:
    """Train, export, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--domains", type=int, default=64)
    arguments = parser.parse_args()
    models = []
    # All variants have their first seed before any has its second.
    for seed in range(1, max(SEEDS.values()) + 1):
        for name in VARIANTS:
            if seed <= SEEDS.get(name, 1):
                models += ["--model", f"{name}={trained(name, seed, arguments)}"]
    out = arguments.folder / "compare"
    command = [
        *("--set", arguments.set, "--split", arguments.split, "--part", "validation", "--whole"),
        *("--max-length", 200, "--windows", arguments.domains, "--steps", STEPS),
        *("--profile-kind", "deep", "--no-controls", "--out", out, *models),
    ]
    compare(list(map(str, command)), standalone_mode=False)
    draw(out / "compare.csv", arguments.folder / "learning_curves.png")


def trained(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Folder of the model of a variant, which is trained if it is not there."""
    values = BASE | VARIANTS[name]
    folder = arguments.folder.resolve() / f"{name.replace('/', ' of ')}, seed {seed}"
    model, training = folder / "model", folder / "run"
    if model.is_dir():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    split = Split.read(arguments.split)
    if values["part_of_clusters"] != 1:
        split = smaller(split, arguments.set, float(values["part_of_clusters"]))
    split.write(folder / "split.json")
    config = folder / "config.toml"
    config.write_text(
        CONFIG.format(
            **values,
            name=name,
            set=arguments.set.resolve(),
            split=folder / "split.json",
            updates=round(arguments.updates * float(values["part_of_updates"])),
        )
    )
    resume = (training / "last.ckpt").is_file()
    if not resume:
        shutil.rmtree(training, ignore_errors=True)
    outcome = train(config, training, resume=resume, seed=seed)
    if outcome is None or outcome.interrupted:
        sys.exit(130)
    export(training / "last.ckpt", model)
    return model


def smaller(split: Split, domain_set: Path, part: float) -> Split:
    """The split with a part of its training clusters, drawn at random."""
    training = set(split.ids("train"))
    cluster = {
        domain.id: domain.cluster or domain.id
        for domain in DomainSet(domain_set / SET_FILE)
        if domain.id in training
    }
    clusters = sorted(set(cluster.values()))
    count = max(round(len(clusters) * part), 1)
    drawn = set(np.random.default_rng(1).permutation(clusters)[:count])
    left = {name for name in training if cluster[name] not in drawn}
    places = split.places | {name: Place("unused", reason="not drawn") for name in left}
    return dataclasses.replace(split, places=places)


def draw(file: Path, picture: Path) -> None:
    """Print and draw the TM-score and the precision of contacts of each variant."""
    measures = {"tm": "TM-score", "pairs_l5_24": "L/5 contacts, 24 or more apart"}
    found: dict[str, dict[str, list[float]]] = {}
    with file.open() as lines:
        for row in csv.DictReader(lines):
            last = row["steps"] == str(STEPS) or (row["group"] == "LSTM" and row["steps"] == "0")
            if last and not row["level"]:
                for key in measures:
                    values = found.setdefault(row["group"], {}).setdefault(key, [])
                    values.append(float(row[key] or "nan"))
    for name, figures in found.items():
        text = ", ".join(
            f"{title} {np.mean(figures[key]):.3f}"
            + (f" ± {np.std(figures[key], ddof=1):.3f}" if len(figures[key]) > 1 else "")
            for key, title in measures.items()
        )
        seeds = len(figures["tm"])
        print(f"{name}: {text} ({seeds} {'seed' if seeds == 1 else 'seeds'})")
    figure, panels = plt.subplots(
        2, len(PANELS), figsize=(13, 6), sharey="row", layout="constrained"
    )
    for column, (title, names) in enumerate(PANELS.items()):
        for row, (key, label) in enumerate(measures.items()):
            axes = panels[row, column]
            for x, name in enumerate(names):
                values = found[name][key]
                axes.plot([x] * len(values), values, "o", color="C0", alpha=0.7)
            if title != "model":  # which has no order
                axes.plot([np.mean(found[name][key]) for name in names], color="C0")
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
            axes.set_xlim(-0.4, len(names) - 0.6)
            axes.grid(axis="y", alpha=0.3)
            if row == 0:
                axes.set_title(title)
                axes.tick_params(labelbottom=False)
            if column == 0:
                axes.set_ylabel(label)
    figure.savefig(picture, dpi=120)
    print(f"Wrote {picture}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
