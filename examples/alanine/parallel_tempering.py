"""Reference for the Boltzmann generator: alanine dipeptide by parallel tempering with plain OpenMM.

Six replicas, from 300 to 1000 K, exchange their temperatures. Every other block starts at phi > 0, the others at
phi < 0, so that their difference shows what the run is too short for. The frames of all temperatures count: WHAM gives
each its weight at 300 K. Finished blocks stay in the folder: the same command continues after an interruption, and a
larger --blocks continues each half from where it ended. Writes reference.npz there, and prints the weights of the
basins.

The distribution is that of the L enantiomer with trans peptide bonds. A replica that is no longer one at the end of an
interval goes back to the beginning of the interval with new velocities, which leaves this distribution as it is.
Hydrogens have 4 amu for a step of 3 fs without constraints: masses do not change the distribution of positions.

examples/data/alanine_dipeptide_reference.npz was made by this command with --blocks 26, and again with --blocks 20
--seed 2 --add. In the first 21 blocks, exchanges were half as frequent, and the first 23 had a dielectric constant of
78.3 instead of 78.5: 0.003 kJ/mol.

python examples/alanine/parallel_tempering.py [FOLDER] [--blocks 16] [--frames 3000] [--fs 3] [--seed 1] [--add FILE]
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import openmm as mm
from basins import BASINS, basin_weights
from openmm import app
from peptide import (
    FORCE_FIELD,
    backbone_dihedrals,
    create_system,
    is_left_handed,
    read,
    with_phi,
)
from scipy.special import logsumexp

GAS_CONSTANT = 8.31446261815324e-3  # kJ/mol/K
TEMPERATURES = 300 * (1000 / 300) ** (np.arange(6) / 5)  # kelvin
BETA = 1 / (GAS_CONSTANT * TEMPERATURES)
INTERVAL = 120  # fs between exchanges
FRAME = 2  # intervals
FRICTION = 2.0  # 1/ps
HYDROGEN_MASS = 4.0  # amu
EQUILIBRATION = 1 / 12  # of the length of a block, at the start of each half
GROUPS = 16
STARTS = (-75.0, 60.0)  # phi of each half, degree
COMMON = {"edges", "temperature", "temperatures", "force_field"}  # what all runs have in common


class Ladder:
    """Replicas that exchange their temperatures.

    Parameters
    ----------
    topology : Topology
    positions : sequence of ndarray, shape (N, 3)
        Of each replica, nm; the first one is at the lowest temperature.
    fs : float
        Step, fs.
    seed : int
    """

    def __init__(
        self, topology: app.Topology, positions: Sequence[np.ndarray], fs: float, seed: int
    ):
        self.topology = topology
        self.positions = np.array(positions)
        self.rungs = np.arange(len(TEMPERATURES))  # of each replica
        self.attempted, self.accepted = np.zeros((2, len(TEMPERATURES) - 1), int)
        self.returned = 0
        self._random = np.random.default_rng(seed)
        self._steps, self._exchanges = round(INTERVAL / fs), 0
        system = create_system(topology)
        for atom in topology.atoms():
            if atom.element is app.element.hydrogen:
                system.setParticleMass(atom.index, HYDROGEN_MASS)
        self._contexts = []
        for x, temperature in zip(positions, TEMPERATURES, strict=True):
            integrator = mm.LangevinMiddleIntegrator(temperature, FRICTION, fs / 1000)
            integrator.setRandomNumberSeed(self._seed())
            platform = mm.Platform.getPlatformByName("Reference")  # the fastest for so few atoms
            context = mm.Context(system, integrator, platform)
            context.setPositions(x)
            context.setVelocitiesToTemperature(temperature, self._seed())
            self._contexts.append(context)

    def move(self) -> np.ndarray:
        """Move all replicas for an interval; their potential energies, kJ/mol."""
        energies = []
        for replica, context in enumerate(self._contexts):
            context.getIntegrator().step(self._steps)
            if not self._keep(replica, context):
                self.returned += 1
                context.setPositions(self.positions[replica])
                temperature = TEMPERATURES[self.rungs[replica]]
                context.setVelocitiesToTemperature(temperature, self._seed())
            energies.append(context.getState(energy=True).getPotentialEnergy()._value)
        return np.array(energies)

    def exchange(self, energies: np.ndarray) -> None:
        """Propose that neighbours exchange their temperatures: even and odd pairs in turn."""
        replicas = np.argsort(self.rungs)
        for k in range(self._exchanges % 2, len(BETA) - 1, 2):
            cold, hot = replicas[k : k + 2]
            gain = (BETA[k] - BETA[k + 1]) * (energies[cold] - energies[hot])
            self.attempted[k] += 1
            if np.log(self._random.random()) < gain:
                self.accepted[k] += 1
                self._heat(cold, k + 1)
                self._heat(hot, k)
        self._exchanges += 1

    def _keep(self, replica: int, context: mm.Context) -> bool:
        """Take over the positions, unless they are of another isomer."""
        x = context.getState(positions=True).getPositions(asNumpy=True)._value
        omega = backbone_dihedrals(self.topology, x)["omega"]
        if not is_left_handed(self.topology, x) or (np.abs(omega) < np.pi / 2).any():
            return False
        self.positions[replica] = x
        return True

    def _heat(self, replica: int, rung: int) -> None:
        """Change the temperature of a replica, and with it its velocities."""
        context = self._contexts[replica]
        scale = np.sqrt(TEMPERATURES[rung] / TEMPERATURES[self.rungs[replica]])
        velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value
        context.setVelocities(scale * velocities)
        context.getIntegrator().setTemperature(TEMPERATURES[rung])
        self.rungs[replica] = rung

    def _seed(self) -> int:
        return int(self._random.integers(1, 2**31))


def run_block(
    path: Path, positions: Sequence[np.ndarray], frames: int, fs: float, seed: int
) -> None:
    """Run a ladder, and write its frames: the state of each temperature, every other interval.

    The file has potential energies (kJ/mol), phi and psi (radian) and the replica of each, (frames, temperatures); the
    last positions, (temperatures, N, 3), nm; how often exchanges were attempted and accepted, and replicas sent back.
    """
    topology, _ = read(1)
    ladder = Ladder(topology, positions, fs, seed)
    rows = []
    for _ in range(frames):
        for _ in range(FRAME - 1):
            ladder.exchange(ladder.move())
        energies = ladder.move()
        turns = backbone_dihedrals(topology, ladder.positions)
        row = np.stack([energies, turns["phi"][:, 0], turns["psi"][:, 0]], axis=-1)
        order = np.argsort(ladder.rungs)
        rows.append(np.column_stack([row[order], order]))
        ladder.exchange(energies)
    energy, phi, psi, replica = np.moveaxis(np.array(rows, dtype=np.float32), -1, 0)
    partial = path.with_name(f".{path.name}")
    np.savez_compressed(
        partial,
        energy=energy,
        phi=phi,
        psi=psi,
        replica=replica.astype(np.int8),
        positions=ladder.positions[np.argsort(ladder.rungs)],
        attempted=ladder.attempted,
        accepted=ladder.accepted,
        returned=ladder.returned,
    )
    partial.rename(path)


def run(folder: Path, blocks: int, frames: int, fs: float, seed: int) -> list[Path]:
    """Run the blocks that are not there yet, of both halves in turn; files of all."""
    folder.mkdir(parents=True, exist_ok=True)
    topology, x = read(1)
    files: list[Path] = []
    for k in range(blocks + len(STARTS)):
        number, half = k - len(STARTS), k % len(STARTS)
        path = folder / (f"start-{half}.npz" if number < 0 else f"block-{number:03d}.npz")
        if not path.exists():
            if number < 0:
                positions = [with_phi(topology, x, STARTS[half])] * len(TEMPERATURES)
            else:
                positions = np.load(files[-len(STARTS)])["positions"]
            length = math.ceil(EQUILIBRATION * frames) if number < 0 else frames
            run_block(path, positions, length, fs, 1000 * seed + k)
            print(f"Wrote {path}.", flush=True)
        files.append(path)
    return files[len(STARTS) :]


def weights_at_300_kelvin(energy: np.ndarray) -> np.ndarray:
    """Weights of frames of all temperatures in the distribution of the lowest one, with sum 1.

    WHAM without bins (Souaille & Roux, Comput. Phys. Commun. 135, 40, 2001), which is MBAR.

    Parameters
    ----------
    energy : ndarray, shape (n, temperatures)
        kJ/mol.

    Returns
    -------
    ndarray, shape (n, temperatures)
    """
    reduced = BETA * energy.reshape(-1, 1).astype(float)  # of each frame at each temperature
    f = np.zeros(len(BETA))
    change = np.inf
    while change > 1e-6:
        mixture = logsumexp(f - reduced, axis=1)
        new = -logsumexp(-reduced - mixture[:, None], axis=0)
        new -= new[0]
        change, f = np.abs(new - f).max(), new
    weights = np.exp(-reduced[:, 0] - mixture)
    return (weights / weights.sum()).reshape(energy.shape)


def maps_of(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """What reference.npz has: maps and numbers of about `GROUPS` groups of successive blocks of one half.

    Returns
    -------
    dict of str to ndarray
        probability : (n, 72, 72), float32
            At 300 K, by phi and psi, in cells between ``edges``; the sum over all groups is 1.
        counts : (n, 72, 72), uint16
            Frames of the replica at 300 K alone, which need no weights.
        energy : (n,)
            Mean potential energy of these, kJ/mol.
        crossings : (n,)
            How often a replica went from phi < 0 to phi > 0 or back, deep into either.
        attempted, accepted : (n, temperatures - 1)
            Exchanges of neighbours.
        returned : (n,)
            How often a replica had become another isomer.
        half : (n,)
            0: started at phi < 0, 1: at phi > 0.
        edges : (73,)
            Degree.
        temperature, temperatures : (), (temperatures,)
            Kelvin.
        force_field, command : (2,), (1,)
            Files of OpenMM, and what was run.
    """
    blocks = [dict(np.load(path)) for path in files]
    sizes = np.cumsum([len(block["energy"]) for block in blocks])[:-1]
    weights = np.split(weights_at_300_kelvin(np.concatenate([b["energy"] for b in blocks])), sizes)
    edges = np.linspace(-180, 180, 73)

    def histogram(block: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
        columns = weights.shape[1]
        angles = [np.degrees(block[name][:, :columns]).ravel() for name in ("phi", "psi")]
        return np.histogram2d(*angles, bins=[edges, edges], weights=weights.ravel())[0]

    cold = [np.ones((len(block["energy"]), 1)) for block in blocks]
    size = math.ceil(len(blocks) / GROUPS)
    halves = [range(half, len(blocks), len(STARTS)) for half in range(len(STARTS))]
    groups = [g for half in halves for g in np.array_split(half, max(1, len(half) // size))]

    def of_groups(values: Iterable[np.ndarray | int]) -> np.ndarray:
        """Sums over the blocks of each group."""
        array = np.array(list(values))
        return np.array([array[list(group)].sum(0) for group in groups])

    frames = of_groups(len(block["energy"]) for block in blocks)
    return {
        "probability": of_groups(map(histogram, blocks, weights)).astype(np.float32),
        "counts": of_groups(map(histogram, blocks, cold)).astype(np.uint16),
        "energy": of_groups(b["energy"][:, 0].sum(dtype=float) for b in blocks) / frames,
        "crossings": of_groups(map(_crossings, blocks)),
        "attempted": of_groups(block["attempted"] for block in blocks),
        "accepted": of_groups(block["accepted"] for block in blocks),
        "returned": of_groups(block["returned"] for block in blocks),
        "half": np.array([group[0] % len(STARTS) for group in groups]),
        "edges": edges,
        "temperature": TEMPERATURES[0],
        "temperatures": TEMPERATURES,
        "force_field": np.array(FORCE_FIELD),
        "command": np.array([" ".join(["python", *sys.argv])]),
    }


def joined(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Maps of two independent runs as those of one, in which each counts by its frames."""
    maps = {n: first[n] if n in COMMON else np.concatenate([first[n], second[n]]) for n in first}
    frames = np.array([run["counts"].sum(dtype=float) for run in (first, second)])
    shares = np.repeat(frames / frames.sum(), [len(first["half"]), len(second["half"])])
    maps["probability"] = (maps["probability"] * shares[:, None, None]).astype(np.float32)
    return maps


def _crossings(block: dict[str, np.ndarray]) -> int:
    """How often replicas went between -150 < phi < -40 and 20 < phi < 100 degree."""
    phi = np.degrees(np.take_along_axis(block["phi"], np.argsort(block["replica"], axis=1), axis=1))
    side = np.where((phi > 20) & (phi < 100), 1, np.where((phi > -150) & (phi < -40), -1, 0))
    return sum(int((np.diff(column[column != 0]) != 0).sum()) for column in side.T)


def basins_of(maps: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Weight of each basin at 300 K and its standard error, from how groups of blocks differ.

    "phi > 0" is what the free energy of phi > 0 exceeds that of phi < 0 by, kT.
    """
    centres = np.radians((maps["edges"][1:] + maps["edges"][:-1]) / 2)
    phi, psi = (grid.ravel() for grid in np.meshgrid(centres, centres, indexing="ij"))

    def shares(probability: np.ndarray) -> np.ndarray:
        weights = basin_weights(phi, psi, probability.ravel())
        right = probability.ravel()[phi > 0].sum() / probability.sum()
        return np.array([*weights.values(), np.log((1 - right) / right)])

    probability = maps["probability"].astype(float)
    n, whole = len(probability), probability.sum(0)
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # a very short run may have one weight alone
        # Jackknife: the whole without each group in turn.
        without = np.array([shares(whole - group) for group in probability])
    errors = np.sqrt((n - 1) * without.var(0))
    names = [*BASINS, "phi > 0"]
    return dict(zip(names, zip(shares(whole), errors, strict=True), strict=True))


def table(maps: Mapping[str, np.ndarray]) -> str:
    """Basins, their free energies, and what each half has."""
    halves = []
    for half in range(len(STARTS)):
        chosen = {"edges": maps["edges"], "probability": maps["probability"][maps["half"] == half]}
        halves.append(basins_of(chosen))
    lines = ["basin     weight / %       F / kT         from phi < 0, from phi > 0"]
    *basins, (_, (difference, error)) = basins_of(maps).items()
    top = max(weight for _, (weight, _) in basins)
    for name, (weight, uncertainty) in basins:
        of_halves = ", ".join(f"{100 * found[name][0]:6.3f}" for found in halves)
        lines.append(
            f"{name:8} {100 * weight:7.3f} ± {100 * uncertainty:.3f}  "
            f"{np.log(top / weight):5.2f} ± {uncertainty / weight:.2f}  {of_halves}"
        )
    of_halves = ", ".join(f"{found['phi > 0'][0]:.2f}" for found in halves)
    lines.append(f"F(phi > 0) - F(phi < 0) = {difference:.2f} ± {error:.2f} kT ({of_halves})")
    lines.append(f"{maps['crossings'].sum()} crossings between phi < 0 and phi > 0")
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="run/parallel_tempering", type=Path)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--frames", type=int, default=3000, help="of each block, every 0.24 ps")
    parser.add_argument("--fs", type=float, default=3.0, help="step of the integrator")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--add", type=Path, help="reference.npz of another run, to be counted, too")
    given = parser.parse_args()
    if given.blocks < len(STARTS):
        parser.error(f"--blocks: at least {len(STARTS)}, one of each half")
    other = None
    if given.add:
        if not given.add.exists():
            parser.error(f"--add: there is no file {given.add}")
        other = dict(np.load(given.add))
        if other["force_field"].tolist() != list(FORCE_FIELD):
            parser.error(f"--add: {given.add} has another force field than {FORCE_FIELD}")
    files = run(given.folder, given.blocks, given.frames, given.fs, given.seed)
    maps = maps_of(files)
    if other is not None:
        maps = joined(other, maps)
    path = given.folder / "reference.npz"
    np.savez_compressed(path, **maps)
    print(table(maps))
    print(f"Wrote {path}.")


if __name__ == "__main__":
    main()
