"""Boltzmann generator: independent samples of a molecule, with the weights that make them exact."""

import copy
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm as mm
import safetensors.torch
import torch
from openmm import app, unit
from torch import Tensor

from openmm_nemo.boltzmann.coordinates import Coordinates
from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.boltzmann.fitting import Fit, FitSettings, Stage, effective_fraction
from openmm_nemo.boltzmann.flow import MoleculeFlow
from openmm_nemo.boltzmann.molecule import check_system, choose_coordinates, forces_with_code
from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT, value_in
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing, read_text
from openmm_nemo.geometry.zmatrix import ZMatrix
from openmm_nemo.progress import Progress, silent
from openmm_nemo.version import __version__

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE, SYSTEM_FILE = "generator.json", "flow.safetensors", "system.xml"
BATCH = 1024
"""Structures drawn at once."""


@dataclass(frozen=True, eq=False)
class BoltzmannSamples:
    """Independent samples of the flow, and their weights in the Boltzmann distribution.

    Attributes
    ----------
    positions : ndarray, shape (n, N, 3), float64
        nm. The molecule is at the origin, in a fixed orientation.
    log_weights : ndarray, shape (n,), float64
        -U/kT - ln q, where q is the density of the positions in units of Angstrom, without that of place and
        orientation; -inf for structures without energy.
    """

    positions: np.ndarray
    log_weights: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weights (n,) whose sum is 1."""
        return torch.softmax(torch.from_numpy(self.log_weights), 0).numpy()

    @property
    def effective_sample_size(self) -> float:
        """How many samples without weights these are worth (Kish)."""
        return len(self.log_weights) * effective_fraction(torch.from_numpy(self.log_weights))


class FreeEnergy(NamedTuple):
    """A free energy and its standard error, kJ/mol."""

    value: float
    error: float


class BoltzmannGenerator:
    """Normalising flow trained on an energy alone, for one molecule without rings.

    Its samples are independent, and have weights with which averages converge to those of the Boltzmann distribution,
    whatever the flow has learned; their effective sample size says how well that works. What the flow never draws is
    missing all the same. `fit` makes one, `load` reads one.

    Parameters
    ----------
    system : openmm.System
    topology : openmm.app.Topology
    temperature : float
        Kelvin.
    flow : MoleculeFlow
    stages : list of Stage
        Record of the training.
    pool : EnergyPool
        Of the System.

    References
    ----------
    Noe, Olsson, Koehler & Wu, Boltzmann generators, Science 365, eaaw1147, 2019.
    Schopmans & Friederich, Temperature-annealed Boltzmann generators, ICML 2025: hot first, then annealed by weights.
    """

    def __init__(
        self,
        system: mm.System,
        topology: app.Topology,
        temperature: float,
        flow: MoleculeFlow,
        stages: list[Stage],
        pool: EnergyPool,
    ) -> None:
        self.system, self.topology, self.temperature = system, topology, temperature
        self.flow, self.stages, self.pool = flow, stages, pool

    @classmethod
    def fit(
        cls,
        system: mm.System,
        topology: app.Topology,
        temperature: Any,
        positions: Any,
        settings: FitSettings | None = None,
        *,
        seed: int = 1,
        platform: str = "Reference",
        workers: int | None = None,
        progress: Progress = silent,
    ) -> "BoltzmannGenerator":
        """Train a generator, without data: only with energies, forces and short local moves.

        Parameters
        ----------
        system : openmm.System
            One molecule: not periodic, without constraints and virtual sites.
        topology : openmm.app.Topology
            With all bonds.
        temperature : float or Quantity
            Kelvin.
        positions : array or Quantity, shape (N, 3)
            Any structure without clashes, nm; it fixes the chirality.
        settings : FitSettings, optional
        seed : int
            Random seed: with the same one, the training is the same on the same machine.
        platform : str
            Name of OpenMM's platform.
        workers : int, optional
            Number of Contexts, see `EnergyPool`.
        progress : callable
            Such as `openmm_nemo.progress.progress`.

        Returns
        -------
        BoltzmannGenerator

        Raises
        ------
        InputError
            If the System or the molecule cannot be described by internal coordinates, see
            `openmm_nemo.boltzmann.molecule`.
        """
        kelvin = float(value_in(temperature, unit.kelvin))
        if not (np.isfinite(kelvin) and kelvin > 0):
            raise InputError(f"The temperature is {kelvin:g} K: give one above 0 K.")
        start = np.array(value_in(positions, unit.nanometer), dtype=float)
        check_system(system, topology, start)
        system = copy.deepcopy(system)
        pool = EnergyPool(system, platform, workers)
        lowest, energy = _minimised(system, start, pool.platform)
        coordinates = choose_coordinates(topology, lowest, pool, kelvin)
        torch_state = torch.get_rng_state()
        torch.manual_seed(seed)
        flow = MoleculeFlow(coordinates)
        torch.set_rng_state(torch_state)
        settings = settings or FitSettings()
        stages = Fit(flow, system, pool, kelvin, energy, settings, seed).run(progress)
        return cls(system, topology, kelvin, flow, stages, pool)

    def sample(self, n: int, seed: int = 1) -> BoltzmannSamples:
        """Draw n independent samples."""
        generator = torch.Generator().manual_seed(seed)
        positions, log_weights = [], []
        for start in range(0, n, BATCH):
            with torch.no_grad():
                d, w, log_q = self.flow.sample(min(BATCH, n - start), generator)
                x, log_volume = self.flow.coordinates.cartesian(d, w)
            positions.append(x)
            log_weights.append(self._log_weights(x, log_volume - log_q))
        return BoltzmannSamples(
            torch.cat(positions).numpy() / ANGSTROM_PER_NM, torch.cat(log_weights).numpy()
        )

    def log_weights(self, positions: Any) -> np.ndarray:
        """Log-weights (n,) of any ``positions (n, N, 3)``, nm, as those of samples."""
        x = ANGSTROM_PER_NM * torch.as_tensor(
            np.asarray(value_in(positions, unit.nanometer), dtype=float)
        )
        with torch.no_grad():
            d, w = self.flow.coordinates.internal(x)
            _, log_volume = self.flow.coordinates.cartesian(d, w)
            log_q = self.flow.log_prob(d.float(), w.float())
        return self._log_weights(x, log_volume - log_q).numpy()

    def free_energy(self, n: int = 10_240, seed: int = 1) -> FreeEnergy:
        """-kT ln of the integral of exp(-U/kT) over all structures, in units of Angstrom^(3 N - 6).

        The integral leaves out place and orientation. Only differences mean something: between Systems of the same
        atoms, such as force fields or solvents.

        Parameters
        ----------
        n : int
            Number of samples.
        seed : int
            Random seed.
        """
        samples = self.sample(n, seed)
        log_mean = float(torch.logsumexp(torch.from_numpy(samples.log_weights), 0)) - math.log(n)
        # n / ESS - 1 is the relative variance of a weight.
        error = math.sqrt((n / samples.effective_sample_size - 1) / n)
        kt = GAS_CONSTANT * self.temperature
        return FreeEnergy(-kt * log_mean, kt * error)

    def save(self, folder: str | Path) -> None:
        """Write generator.json, flow.safetensors and system.xml to a folder, which is made if it does not exist."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        coordinates, zmatrix = self.flow.coordinates, self.flow.coordinates.zmatrix
        state = dict(self.flow.state_dict())
        state |= {"coordinates.centre": coordinates.centre, "coordinates.scale": coordinates.scale}
        weights = safetensors.torch.save({name: t.contiguous() for name, t in state.items()})
        system = mm.XmlSerializer.serialize(self.system)
        config = {
            "format_version": FORMAT_VERSION,
            "written_by": f"openmm_nemo {__version__}",
            "temperature": self.temperature,
            "bins": self.flow.bins,
            "hidden": self.flow.hidden,
            "folds": coordinates.folds,
            "atoms": zmatrix.atoms.tolist(),
            "references": zmatrix.references.tolist(),
            "relative_to": zmatrix.relative_to.tolist(),
            "levels": zmatrix.levels,
            "torsions": zmatrix.torsions,
            "topology": _topology_to_json(self.topology),
            "stages": [asdict(stage) for stage in self.stages],
            "sha256": {
                WEIGHTS_FILE: hashlib.sha256(weights).hexdigest(),
                SYSTEM_FILE: hashlib.sha256(system.encode()).hexdigest(),
            },
        }
        with completing(folder / WEIGHTS_FILE) as partial:
            partial.write_bytes(weights)
        with completing(folder / SYSTEM_FILE) as partial:
            partial.write_text(system)
        with completing(folder / CONFIG_FILE) as partial:
            partial.write_text(json.dumps(config) + "\n")

    @classmethod
    def load(
        cls, folder: str | Path, platform: str = "Reference", workers: int | None = None
    ) -> "BoltzmannGenerator":
        """Read a generator from a folder that `save` wrote.

        Parameters
        ----------
        folder : str or Path
        platform, workers
            See `fit`.

        Raises
        ------
        InputError
            If a file is missing, cannot be read, has changed, is of a newer version, or contains code.
        """
        folder = Path(folder)
        config = _read_config(folder)
        contents = {
            name: _read_checked(folder, name, config) for name in (WEIGHTS_FILE, SYSTEM_FILE)
        }
        state = safetensors.torch.load(contents[WEIGHTS_FILE])
        zmatrix = ZMatrix(
            torch.tensor(config["atoms"]),
            torch.tensor(config["references"]),
            torch.tensor(config["relative_to"]),
            tuple((start, end) for start, end in config["levels"]),
            tuple(config["torsions"]),
        )
        centre, scale = state.pop("coordinates.centre"), state.pop("coordinates.scale")
        coordinates = Coordinates(zmatrix, tuple(config["folds"]), centre, scale)
        flow = MoleculeFlow(coordinates, config["bins"], config["hidden"])
        flow.load_state_dict(state)
        xml = contents[SYSTEM_FILE].decode()
        for force in forces_with_code(xml):
            raise InputError(
                f"{folder / SYSTEM_FILE} has a {force}, whose code must not run: fit the generator anew."
            )
        system = mm.XmlSerializer.deserialize(xml)
        return cls(
            system,
            _topology_from_json(config["topology"]),
            config["temperature"],
            flow,
            [Stage(**stage) for stage in config["stages"]],
            EnergyPool(system, platform, workers),
        )

    def _log_weights(self, x: Tensor, volume: Tensor) -> Tensor:
        log_weights = volume - self.pool(x, self.temperature)
        return torch.where(torch.isnan(log_weights), -math.inf, log_weights)


def _minimised(
    system: mm.System, positions: np.ndarray, platform: mm.Platform
) -> tuple[np.ndarray, float]:
    """Positions of the next minimum, nm, and its energy, kJ/mol."""
    context = mm.Context(system, mm.VerletIntegrator(1e-3), platform)
    context.setPositions(positions)
    mm.LocalEnergyMinimizer.minimize(context, 0.01)
    state = context.getState(positions=True, energy=True)
    return state.getPositions(asNumpy=True)._value, state.getPotentialEnergy()._value


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config = json.loads(read_text(path))
        version = config["format_version"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(
            f"{path} does not describe a Boltzmann generator: give a folder that BoltzmannGenerator.save wrote."
        ) from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} was written by {config.get('written_by')}, whose format this version cannot read: "
            "install that version."
        )
    return dict(config)


def _read_checked(folder: Path, name: str, config: dict[str, Any]) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError:
        raise InputError(f"{folder / name} cannot be read: get the whole folder again.") from None
    if hashlib.sha256(content).hexdigest() != config["sha256"][name]:
        raise InputError(
            f"{folder / name} has changed since it was written: get the whole folder again."
        )
    return content


def _topology_to_json(topology: app.Topology) -> dict[str, Any]:
    return {
        "chains": [
            {
                "id": chain.id,
                "residues": [
                    {
                        "name": residue.name,
                        "id": residue.id,
                        "atoms": [
                            [atom.name, atom.element and atom.element.symbol]
                            for atom in residue.atoms()
                        ],
                    }
                    for residue in chain.residues()
                ],
            }
            for chain in topology.chains()
        ],
        "bonds": [[bond[0].index, bond[1].index] for bond in topology.bonds()],
    }


def _topology_from_json(values: dict[str, Any]) -> app.Topology:
    topology = app.Topology()
    for chain in values["chains"]:
        new_chain = topology.addChain(chain["id"])
        for residue in chain["residues"]:
            new_residue = topology.addResidue(residue["name"], new_chain, residue["id"])
            for name, symbol in residue["atoms"]:
                element = symbol and app.Element.getBySymbol(symbol)
                topology.addAtom(name, element, new_residue)
    atoms = list(topology.atoms())
    for i, j in values["bonds"]:
        topology.addBond(atoms[i], atoms[j])
    return topology
