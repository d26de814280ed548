"""Boltzmann generator of alanine dipeptide: no mode is dropped, where training at 300 K alone drops some.

The generator has learned from energies alone. Its samples, with their weights, are compared with parallel tempering
(parallel_tempering.py), and with a generator that was trained by the reverse Kullback-Leibler divergence at 300 K
alone. Both come with the package: they are drawn from in a minute. With --train they are trained anew, with the
same random seed or another one; that takes about 11 minutes of processor time for the first one and 6 for the other.

python examples/alanine/boltzmann_generator.py [FOLDER] [--train] [--seed 1]
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from basins import BASINS, basin_weights
from parallel_tempering import basins_of
from peptide import DATA, backbone_dihedrals, create_system, read

from openmm_nemo.boltzmann import BoltzmannGenerator, FitSettings
from openmm_nemo.progress import progress

SETTINGS = {
    "annealed": FitSettings(),
    "cold": FitSettings(hot=300, hot_updates=3000, last_stages=0),
}
"""The second has 1.5 million energies for its training, the first 1.8 million."""
TITLES = {
    "annealed": "generator, from 1,200 to 300 K",
    "cold": "reverse KL at 300 K alone",
}
N_SAMPLES = 400_000
TEMPERATURE = 300.0


def generators(folder: Path, train: bool, seed: int) -> dict[str, BoltzmannGenerator]:
    """Train and save both generators, or read those that come with the package."""
    if not train:
        return {
            name: BoltzmannGenerator.load(DATA / f"alanine_dipeptide_{name}") for name in SETTINGS
        }
    topology, positions = read(1)
    found = {}
    for name, settings in SETTINGS.items():
        found[name] = BoltzmannGenerator.fit(
            create_system(topology),
            topology,
            TEMPERATURE,
            positions,
            settings,
            seed=seed,
            progress=progress,
        )
        for stage in found[name].stages:
            print(f"{stage.temperature:6.0f} K: {stage.effective:.1%} of the samples are effective")
        found[name].save(folder / name)
        pool = found[name].pool
        print(
            f"Trained {name} with {pool.evaluations} energies, {pool.failures} of them not finite."
        )
    return found


def trans(generator: BoltzmannGenerator, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phi, psi (n,) and weights (n,) of samples.

    A cis peptide bond, which the reference leaves out, has no weight.
    """
    samples = generator.sample(N_SAMPLES, seed)
    turns = backbone_dihedrals(generator.topology, samples.positions)
    weights = samples.weights * (np.abs(turns["omega"]) > np.pi / 2).all(-1)
    fraction = samples.effective_sample_size / N_SAMPLES
    print(f"{fraction:.1%} of {N_SAMPLES} samples are effective; cis: {1 - weights.sum():.2g}")
    return turns["phi"][:, 0], turns["psi"][:, 0], weights / weights.sum()


def shares(phi: np.ndarray, psi: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights of all basins, and kT by which phi > 0 is above phi < 0."""
    right = weights[phi > 0].sum() / weights.sum()
    with np.errstate(divide="ignore"):  # a dropped mode
        difference = np.log((1 - right) / right)
    return np.array([*basin_weights(phi, psi, weights).values(), difference])


def bootstrap(phi: np.ndarray, psi: np.ndarray, weights: np.ndarray, n: int = 50) -> np.ndarray:
    """Standard errors of `shares`."""
    random = np.random.default_rng(1)
    chosen = (random.integers(len(phi), size=len(phi)) for _ in range(n))
    return np.array([shares(phi[k], psi[k], weights[k]) for k in chosen]).std(0)


def draw_map(axis: plt.Axes, histogram: np.ndarray, edges: np.ndarray, title: str) -> None:
    """Free energy in phi and psi, kT above the minimum."""
    with np.errstate(divide="ignore"):
        energy = -np.log(histogram / histogram.max())
    mesh = axis.pcolormesh(edges, edges, energy.T, vmin=0, vmax=9, cmap="viridis_r")
    axis.set(title=title, xlabel="phi / degree", aspect="equal")
    axis.set(xticks=[-180, -90, 0, 90, 180], yticks=[-180, -90, 0, 90, 180])
    axis.figure.colorbar(mesh, ax=axis, shrink=0.75, label="F / kT")


def main() -> None:
    """Compare, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="run/boltzmann_generator", type=Path)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    reference = np.load(DATA / "alanine_dipeptide_reference.npz")
    expected = basins_of(reference)
    edges = reference["edges"]
    figure, axes = plt.subplots(
        1, 4, figsize=(17, 4.2), layout="constrained", width_ratios=[3, 3, 3, 2.6]
    )
    draw_map(axes[0], reference["probability"].sum(0), edges, "reference, parallel tempering")
    axes[0].set_ylabel("psi / degree")
    rows = {"reference": np.array([value for value, _ in expected.values()])}
    errors = {"reference": np.array([error for _, error in expected.values()])}
    for axis, (name, generator) in zip(
        axes[1:], generators(given.folder, given.train, given.seed).items(), strict=False
    ):
        phi, psi, weights = trans(generator, seed=given.seed)
        rows[name], errors[name] = shares(phi, psi, weights), bootstrap(phi, psi, weights)
        histogram, _, _ = np.histogram2d(
            np.degrees(phi), np.degrees(psi), bins=edges, weights=weights
        )
        draw_map(axis, histogram, edges, TITLES[name])

    for k, (name, values) in enumerate(rows.items()):
        axes[3].errorbar(
            np.arange(len(BASINS)) + 0.2 * (k - 1),
            values[:-1],
            errors[name][:-1],
            fmt="os^"[k],
            capsize=3,
            label=TITLES.get(name, "reference"),
        )
    axes[3].set_xticks(range(len(BASINS)), BASINS, rotation=30)
    axes[3].set(yscale="log", ylim=(1e-5, 1), title="weights of the basins")
    axes[3].legend(frameon=False, loc="lower left", fontsize="small")
    axes[3].spines[["top", "right"]].set_visible(False)
    figure.savefig(given.folder / "boltzmann_generator.png", dpi=130)

    print(f"\n{'weight / %':18}" + "".join(f"{name:>22}" for name in rows))
    for k, basin in enumerate(BASINS):
        cells = (f"{100 * rows[n][k]:.3f} ± {100 * errors[n][k]:.3f}" for n in rows)
        print(f"{basin:18}" + "".join(f"{cell:>22}" for cell in cells))
    cells = (f"{rows[n][-1]:.2f} ± {errors[n][-1]:.2f}" for n in rows)
    print(f"{'F(phi > 0), kT':18}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"\nWrote {given.folder / 'boltzmann_generator.png'}.")


if __name__ == "__main__":
    main()
