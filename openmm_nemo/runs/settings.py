"""Settings of a simulation, and their record in its folder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from openmm_nemo.dynamics import Schedule
from openmm_nemo.engine.trajectory import check_format
from openmm_nemo.errors import InputError
from openmm_nemo.models import ConditionedModel
from openmm_nemo.residues import BREAK, Numbering, chain_name
from openmm_nemo.runs.folder import RunKind
from openmm_nemo.runs.source import SourceStructure

SIMULATION = RunKind("run.json", oldest=2)

CHECKPOINT_FILE = "checkpoint.chk"
STATE_FILE = "state.csv"
PLOT_FILE = "state.png"
XML_FILES = ("system.xml", "integrator.xml")
EXCHANGE_FILE = "exchanges.csv"
EXCHANGE_PLOT_FILE = "exchange.png"
SUMMARY_FILE = "summary.json"
CHAIN_MOVES_FILE = "chain_moves.csv"
FINAL_FILES = ("final_coarse.pdb", "final_atoms.pdb")
ALL_ATOM_FILE = "final_all_atom.pdb"


CHAIN_MOVE_INTERVAL = 10
"""Steps between rigid-body moves of the chains of a complex."""


@dataclass(frozen=True)
class ExchangeSettings:
    """Replica exchange in temperature.

    Attributes
    ----------
    temperatures : list of float
        Temperature of each replica, kelvin, increasing.
    interval : int
        Steps between attempts.
    acceptance : float, optional
        For which the temperatures were chosen.
    """

    temperatures: list[float]
    interval: int
    acceptance: float | None = None

    def __post_init__(self) -> None:
        t = self.temperatures
        if len(t) < 2:
            raise InputError(
                f"Replica exchange with {len(t)} temperature has nothing to exchange: give two or more."
            )
        if not all(0 < temperature < math.inf for temperature in t):
            raise InputError(
                f"The temperatures {in_kelvin(t)} are not all positive and finite: give positive numbers of kelvin."
            )
        for before, after in pairwise(t):
            if after <= before:
                raise InputError(
                    f"The temperature {after:g} K follows {before:g} K: give different temperatures in increasing "
                    "order."
                )
        if self.interval < 1:
            raise InputError(
                f"The interval of exchanges is {self.interval} steps: it must be 1 or more."
            )

    @classmethod
    def parse(cls, values: dict[str, Any] | None) -> "ExchangeSettings | None":
        """Settings from their values in a record, if there are any."""
        return None if values is None else cls(**values)


def in_kelvin(temperatures: Sequence[float]) -> str:
    """Temperatures in words."""
    return ", ".join(f"{temperature:g}" for temperature in temperatures) + " K"


@dataclass(frozen=True)
class SimulationSettings:
    """Everything that determines a simulation; kept in its folder as JSON.

    Attributes
    ----------
    sequence : str
        One letter per residue, with a colon between the chains of a complex.
    model : str
        Name or folder of the model.
    seed : int
        Random seed, from 1 to 2147483647.
    steps : int
        Total number of steps.
    temperature : float
        Temperature, kelvin; with exchange, replicas have their own.
    anneal : bool or Schedule
        Schedule of the temperature and the step sizes; False: they are constant. Default, or True: the model's over
        ``steps`` steps, which the record of the run then has, so that later steps of an extended run use the last
        factor.
    report_interval : int
        Steps between frames and lines of the table.
    trajectory, atoms : str
        File names of the coarse and of the atomic trajectory; the extension determines the format.
    backend : str
        See `create_force`.
    platform : str, optional
        OpenMM platform. Default: the first of `preferred_platforms` that works, which the record of the run then names.
    precision : {"single", "mixed", "double"}
        Precision of the network (double: float64) and of GPU platforms.
    profile, embedding : list, shape (L, 20), (L, K), optional
        For a model with these encoders; of a complex, a list with one such list, or None, per chain.
    start : list, shape (L, 3), optional
        Initial C-alpha positions, Angstrom. Default: those of `ConditionedBatch.initial_positions` with the seed.
    reference : list, shape (L, 3), optional
        C-alpha positions to compare with, Angstrom.
    source : SourceStructure, optional
        The structure that the sequence comes from, whose numbering all files keep.
    side_chain_bead : bool
        Whether atomic files have an atom at the centre of mass of each side chain.
    write_system : bool
        Whether to write the system and the integrator as XML.
    all_atom : bool
        Whether to write an all-atom model of the last frame.
    replicas : int
        Number of independent copies of the protein, simulated together, each with files of its own.
    metropolis : bool
        Whether moves are accepted or rejected, so that the sampler is exact, see `NemoLangevinIntegrator`.
    exchange : ExchangeSettings, optional
        Temperatures of the replicas, and how they are exchanged. Default: one temperature, no exchange.
    chain_moves : int
        Rigid-body moves of the chains of a complex after every `CHAIN_MOVE_INTERVAL` steps.
    reach : float, optional
        Farther than this, Angstrom, no move takes the centre of a chain from those of all others. Default: see
        `openmm_nemo.engine.rigid_moves.reach_of`.
    """

    sequence: str
    model: str
    seed: int
    steps: int = 250
    temperature: float = 300.0
    anneal: bool | Schedule = True
    report_interval: int = 10
    trajectory: str = "coarse.dcd"
    atoms: str = "atoms.dcd"
    backend: str = "auto"
    platform: str | None = None
    precision: str = "single"
    profile: list[Any] | None = None
    embedding: list[Any] | None = None
    start: list[list[float]] | None = None
    reference: list[list[float]] | None = None
    source: SourceStructure | None = None
    side_chain_bead: bool = True
    write_system: bool = True
    all_atom: bool = False
    replicas: int = 1
    metropolis: bool = False
    exchange: ExchangeSettings | None = None
    chain_moves: int = 0
    reach: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"The temperature is {self.temperature}: give a positive number of kelvin."
            )
        for name in (self.trajectory, self.atoms):
            check_format(Path(name))
            if Path(name).name != name:
                raise InputError(
                    f"The trajectory {name!r} includes a folder: give only a file name, which is put into --out."
                )
            if name in (*FINAL_FILES, ALL_ATOM_FILE) or Path(Path(name).stem).suffix in (
                ".partial",
                ".new",
            ):
                raise InputError(
                    f"The run uses the name {name!r} for another file: give the trajectory another name."
                )
        if self.all_atom and self.replicas > 1:
            raise InputError(
                "--all-atom writes one model: leave it out of a simulation with --replicas."
            )
        if self.all_atom and len(self.chains) > 1:
            raise InputError(
                "--all-atom rebuilds one chain: leave it out of a simulation of a complex."
            )
        if len(self.chains) == 1 and (self.chain_moves or self.reach is not None):
            option = "--chain-moves" if self.chain_moves else "--reach"
            raise InputError(
                f"{option} is for the chains of a complex: give several chains, or leave it out."
            )
        if self.reach is not None and not self.chain_moves:
            raise InputError(
                "--reach limits the moves of chains, but --chain-moves is 0: leave one out."
            )
        if self.reach is not None and not 0 < self.reach < math.inf:
            raise InputError(f"--reach is {self.reach}: give a positive distance in Angstrom.")
        if self.exchange is not None:
            if len(self.exchange.temperatures) != self.replicas:
                raise InputError(
                    f"There are {len(self.exchange.temperatures)} temperatures to exchange between {self.replicas} "
                    "replicas: give one for each."
                )
            if self.anneal:
                raise InputError("Replica exchange is at constant temperatures: set anneal=False.")
        if self.trajectory == self.atoms:
            raise InputError(
                f"Both trajectories are named {self.atoms!r}: give two different names."
            )

    @property
    def chains(self) -> list[str]:
        """Sequence of each chain."""
        return self.sequence.split(BREAK)

    @property
    def residues_in_words(self) -> str:
        """Number of residues, as in "20 residues" or, of a complex, "20 + 16 residues"."""
        return " + ".join(str(len(chain)) for chain in self.chains) + " residues"

    @property
    def numbering(self) -> Numbering:
        """Names of the chains and their residues."""
        if self.source is not None:
            return self.source.numbering
        return Numbering.join(
            [
                Numbering.consecutive(len(chain), chain_name(k))
                for k, chain in enumerate(self.chains)
            ]
        )

    @property
    def replica_folders(self) -> list[str]:
        """Names of the folders of replicas within that of the run; empty if there is one replica."""
        return [f"replica-{r}" for r in range(self.replicas)] if self.replicas > 1 else []

    @property
    def schedule(self) -> Schedule | None:
        """Schedule of a run that has begun; None: the temperature is constant."""
        return None if isinstance(self.anneal, bool) else self.anneal

    @property
    def replica_temperatures(self) -> list[float]:
        """Temperature of each replica, kelvin, before the schedule."""
        return self.exchange.temperatures if self.exchange else [self.temperature] * self.replicas

    @property
    def temperatures(self) -> str:
        """Temperature of a run that has begun, in words."""
        if self.exchange is not None:
            return f"{self.exchange.temperatures[0]:g} to {self.exchange.temperatures[-1]:g} K"
        if self.schedule is None:
            return f"{self.temperature:g} K"
        first, last = (
            self.temperature * self.schedule.factor(step) for step in (0, self.schedule.steps - 1)
        )
        return f"{first:g} K" if first == last else f"{first:g} to {last:g} K"

    def with_schedule(self, protein: ConditionedModel) -> "SimulationSettings":
        """The settings of a run that begins: True becomes the schedule of the protein's model, if it has one."""
        if self.anneal is not True:
            return self
        schedule = protein.schedule(self.steps)
        return replace(self, anneal=False if schedule.is_constant else schedule)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "SimulationSettings":
        """Settings from their values in a record."""
        anneal = values.get("anneal", False)  # which earlier versions did not
        return cls(
            **values
            | {
                "source": SourceStructure.parse(values.get("source")),
                "anneal": Schedule(*anneal) if isinstance(anneal, list) else anneal,
                "exchange": ExchangeSettings.parse(values.get("exchange")),
            }
        )


class SimulationRecord(NamedTuple):
    """The record of a simulation in a folder.

    Attributes
    ----------
    settings : SimulationSettings
    model_fingerprint : str
        Digest of the weights and the input.
    integrator : str
        Implementation that wrote the checkpoints.
    """

    settings: SimulationSettings
    model_fingerprint: str
    integrator: str

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "SimulationRecord":
        """Record from the values in the file."""
        settings = SimulationSettings.parse(values["settings"])
        return cls(settings, values["model_fingerprint"], values["integrator"])
