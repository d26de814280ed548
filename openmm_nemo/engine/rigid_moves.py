"""Monte-Carlo moves of whole chains as rigid bodies."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from openmm_nemo.dynamics.noise import replica_seed, rigid_move_numbers
from openmm_nemo.engine.forces import REPLICA_PARAMETER, replica_energy
from openmm_nemo.engine.integrator import LangevinInterface
from openmm_nemo.engine.reporters import earlier_lines
from openmm_nemo.engine.units import GAS_CONSTANT, value_in
from openmm_nemo.geometry.rigid import rotate

TRANSLATIONS = (0.002, 1.0)
"""Smallest and largest standard deviation of the components of a translation, nm."""

ROTATIONS = (0.005, 2.0)
"""Smallest and largest standard deviation of the components of a rotation vector, radian."""

FREE_WAY = 1.5
"""Between the surfaces of folded chains, nm: they can turn freely there, and still meet often."""

_ROUNDING = 1e-4
"""By how much the energies of replicas may add up to another one in single precision, relative to their sizes."""


def reach_of(chain_lengths: Sequence[int]) -> float:
    """Distance between the centres of the largest folded chains when they are `FREE_WAY` from contact, nm.

    Parameters
    ----------
    chain_lengths : sequence of int
        Number of residues of each chain. The radius of gyration of a folded chain is about 0.22 L^0.38 nm (Skolnick et
        al., J. Mol. Biol. 265, 217, 1997), and the radius of a sphere is sqrt(5/3) times its radius of gyration.
    """
    first, second = sorted(chain_lengths)[-2:]
    return FREE_WAY + sum(0.22 * n**0.38 * (5 / 3) ** 0.5 for n in (first, second))


class RigidBodyMoves:
    """Moves of whole chains of a system, accepted or rejected so that they leave exp(-U/kT) dx invariant.

    A move translates a chain, chosen at random, by a normal vector, rotates it about its centre by a normal rotation
    vector, and is accepted with probability min(1, exp(-dU/kT)), where U is the energy of all forces (Metropolis et
    al., J. Chem. Phys. 21, 1087, 1953; MCDisplacementMove and MCRotationMove of openmmtools). The sizes of both are
    drawn for each move, uniformly in their logarithm: small ones are accepted where chains touch, and large ones where
    they are apart. The reverse of a move has the opposite vectors, which are as likely, and a move keeps volumes, so
    that no correction is needed.

    In infinite space, chains that come apart never meet again. With ``reach``, a move is rejected if it takes the
    centre of a chain farther than that from the centres of all others: the moves then sample chains within reach.

    The numbers depend only on the seed and the number of the move, see `openmm_nemo.dynamics.noise`: a run that is
    continued at the same positions with the next number is the same as an uninterrupted one.

    With replicas, there is one move in each at a time, with numbers of its own, which is decided on the energy of this
    replica. All forces must have the global parameter ``nemo_replica``, see `NemoLangevinIntegrator`.

    Parameters
    ----------
    chains : lists of int
        Particle indices of every chain; divided evenly, in order, among the replicas.
    seed : int
        Random seed, non-negative.
    translations : (Quantity or float, Quantity or float)
        Smallest and largest standard deviation of the components of a translation, nm.
    rotations : (float, float)
        Smallest and largest standard deviation of the components of a rotation vector, radian.
    replicas : int
        Number of independent copies R in the system.
    reach : Quantity or float, optional
        Largest distance from the centre of a moved chain to the nearest one of another chain, nm. Chains that are
        farther apart, as other steps may take them, only come closer. Default: infinite.

    Attributes
    ----------
    seed : int
    translations, rotations : (float, float)
    proposed : int
        Moves so far, of each replica.
    accepted : ndarray, shape (R,), int
        Accepted moves of each replica.

    Raises
    ------
    ValueError
        If a chain is empty, chains cannot be divided evenly among replicas, or a size is not positive and finite.
    """

    def __init__(
        self,
        chains: Sequence[Sequence[int]],
        seed: int,
        translations: tuple[Any, Any] = TRANSLATIONS,
        rotations: tuple[float, float] = ROTATIONS,
        replicas: int = 1,
        reach: Any = math.inf,
    ):
        if not chains or not all(map(len, chains)):
            raise ValueError("chains is empty or has an empty chain: give lists of particles.")
        if len(chains) % replicas:
            raise ValueError(
                f"There are {len(chains)} chains, which cannot be divided evenly among {replicas} replicas."
            )
        of_each = len(chains) // replicas
        self._chains = [
            [np.array(chain, dtype=int) for chain in chains[first : first + of_each]]
            for first in range(0, len(chains), of_each)
        ]
        low, high = (float(value_in(size, unit.nanometer)) for size in translations)
        self.translations, self.rotations = (low, high), rotations
        for name in ("translations", "rotations"):
            smallest, largest = getattr(self, name)
            if not 0 < smallest <= largest < math.inf:
                raise ValueError(
                    f"{name} is {smallest, largest}: give a positive size and a larger, finite one."
                )
        self._reach = float(value_in(reach, unit.nanometer))
        if not self._reach > 0:
            raise ValueError(f"reach is {self._reach}: it must be positive.")
        self.seed = seed
        self.proposed = 0
        self.accepted = np.zeros(replicas, dtype=int)

    def run(
        self, context: mm.Context, temperatures: Sequence[Any], first_move: int, n_moves: int
    ) -> None:
        """Make moves.

        Parameters
        ----------
        context : openmm.Context
            Its positions are changed, and virtual sites follow.
        temperatures : sequence of Quantity or float, length R
            Temperature of each replica, kelvin.
        first_move, n_moves : int
            Moves first_move ... first_move + n_moves - 1, in all replicas.

        Raises
        ------
        openmm.OpenMMException
            If the energy is not finite before the moves, or a force cannot compute the energy of one replica.
        """
        kt = GAS_CONSTANT * np.array([value_in(t, unit.kelvin) for t in temperatures])
        x = context.getState(positions=True).getPositions(asNumpy=True)._value
        energies = self._energies(context)
        if not np.isfinite(energies).all():
            raise mm.OpenMMException("The energy is not finite before the moves of chains.")
        self._check_replicas(context, energies)
        proposals = [
            _Proposals(self, replica_seed(self.seed, replica), first_move, n_moves)
            for replica in range(len(energies))
        ]
        system = context.getSystem()
        follow = any(map(system.isVirtualSite, range(system.getNumParticles())))

        def place(x: np.ndarray) -> None:
            context.setPositions(x)
            if follow:
                context.computeVirtualSites()

        placed = x
        for k in range(n_moves):
            proposal, moved = x.copy(), []
            for chains, of_replica in zip(self._chains, proposals, strict=True):
                chain = chains[int(of_replica.chain[k] * len(chains))]
                proposal[chain] = of_replica.moved(x[chain], k)
                moved.append(chain)
            place(proposal)
            placed = proposal
            found = self._energies(context)
            with np.errstate(over="ignore", invalid="ignore"):
                likely = (energies - found) / kt
            # Never if it is NaN.
            accepted = np.array([p.log_acceptance[k] for p in proposals]) < likely
            accepted &= self._within_reach(x, proposal, moved)
            x = x.copy()
            for chain, taken in zip(moved, accepted, strict=True):
                if taken:
                    x[chain] = proposal[chain]
            energies = np.where(accepted, found, energies)
            self.accepted += accepted
        self.proposed += n_moves
        if not np.array_equal(placed, x):
            place(x)

    def _within_reach(
        self, x: np.ndarray, proposal: np.ndarray, moved: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Whether each replica's moved chain is within reach of another one, or comes closer (R,)."""
        if math.isinf(self._reach):
            return np.ones(len(moved), dtype=bool)

        def nearest(x: np.ndarray, chains: list[np.ndarray], own: np.ndarray) -> float:
            others = [x[chain].mean(0) for chain in chains if chain is not own]
            centre = x[own].mean(0)
            return min([float(np.linalg.norm(other - centre)) for other in others], default=0.0)

        return np.array(
            [
                nearest(proposal, chains, own) <= max(self._reach, nearest(x, chains, own))
                for chains, own in zip(self._chains, moved, strict=True)
            ]
        )

    def _energies(self, context: mm.Context) -> np.ndarray:
        """Energy of each replica, kJ/mol."""
        if len(self.accepted) == 1:
            return np.array([context.getState(energy=True).getPotentialEnergy()._value])
        return np.array([replica_energy(context, r) for r in range(len(self.accepted))])

    def _check_replicas(self, context: mm.Context, energies: np.ndarray) -> None:
        """Raise OpenMMException if the energies are not of one replica each."""
        if len(energies) == 1:
            return
        whole = context.getState(energy=True).getPotentialEnergy()._value
        if abs(energies.sum() - whole) > _ROUNDING * np.abs(energies).sum():
            raise mm.OpenMMException(
                f"A force has no parameter {REPLICA_PARAMETER}, with which it would compute the energy of one replica: "
                "remove it, add the parameter, or move no chains."
            )


class _Proposals:
    """Moves of one replica, drawn at once: chain and log of the acceptance number (M,) and how chains move."""

    def __init__(self, moves: RigidBodyMoves, seed: int, first_move: int, n_moves: int):
        numbers = rigid_move_numbers(seed, first_move, n_moves)
        vectors = numbers.rotation * _sizes(moves.rotations, numbers.rotation_size)
        shift = numbers.translation * _sizes(moves.translations, numbers.translation_size)
        # The rows of each matrix are the rotated axes.
        axes = torch.eye(3, dtype=vectors.dtype).expand(n_moves, 3, 3)
        self._turn = rotate(axes, vectors).numpy()
        self._shift = shift.numpy()
        self.chain = numbers.chain.numpy()
        self.log_acceptance = numbers.acceptance.log().numpy()

    def moved(self, x: np.ndarray, k: int) -> np.ndarray:
        """Positions (n, 3) of a chain after move k."""
        centre = x.mean(0)
        found: np.ndarray = (x - centre) @ self._turn[k] + (centre + self._shift[k])
        return found


def _sizes(limits: tuple[float, float], uniform: torch.Tensor) -> torch.Tensor:
    """Sizes (M, 1) between two limits, uniform in their logarithm, from numbers (M,)."""
    smallest, largest = limits
    return smallest * (largest / smallest) ** uniform.unsqueeze(-1)


class NemoChainMoves:
    """Moves of whole chains as rigid bodies between the steps of a simulation, as its last reporter.

    Chains, replicas, temperatures with their schedule, and the seed are those of the `NemoLangevinIntegrator`. Append
    it after all other reporters: they then report the state before the moves. The moves depend only on the energies,
    the seed and the step, so that a run that is continued from a checkpoint is the same bit by bit as an uninterrupted
    one. They leave the Boltzmann distribution of every replica invariant; the steps between them do so only with
    ``metropolis=True``.

    Parameters
    ----------
    file : path
        CSV with the moves so far, at the start and after every block of moves: columns step, proposed, and accepted, or
        replica-0, replica-1, ... with the accepted ones of each. Every line is on disk as soon as it is written. An
        existing file is replaced.
    interval : int
        Steps between blocks of moves.
    n_moves : int
        Moves in each block.
    **options
        ``translations``, ``rotations`` and ``reach`` of `RigidBodyMoves`.
    """

    def __init__(self, file: str | os.PathLike[str], interval: int, n_moves: int, **options: Any):
        for name, number in (("interval", interval), ("n_moves", n_moves)):
            if number < 1:
                raise ValueError(f"{name} is {number}: it must be 1 or more.")
        self._interval = interval
        self._n_moves = n_moves
        self._options = options
        self._moves: RigidBodyMoves | None = None
        self._out = open(file, "w", newline="")  # noqa: SIM115 (closed by close)
        self._csv = csv.writer(self._out, lineterminator="\n")

    def begin(self, simulation: app.Simulation) -> RigidBodyMoves:
        """Write the first line, unless that has been done; otherwise the first step does it.

        Raises
        ------
        ValueError
            If the simulation has another integrator, or one without chains.
        """
        if self._moves is None:
            self._moves = self._moves_of(simulation)
            self._write(simulation.currentStep, self._moves)
        return self._moves

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """When the next moves are due; they need nothing of a report."""
        self.begin(simulation)
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": False, "include": []}

    def report(self, simulation: app.Simulation, state: mm.State) -> None:
        """Make moves."""
        moves, integrator = self.begin(simulation), simulation.integrator
        moves.seed = integrator.getRandomNumberSeed()
        schedule = integrator.getSchedule()
        step = simulation.currentStep
        factor = 1.0 if schedule is None else schedule.factor(step - 1)  # of the last step
        temperatures = factor * np.array(integrator.getTemperatures().value_in_unit(unit.kelvin))
        # Not the positions of the state: an exchange of replicas may have changed them.
        block = step // self._interval - 1
        moves.run(simulation.context, temperatures.tolist(), block * self._n_moves, self._n_moves)
        self._write(step, moves)

    def take_over(self, simulation: app.Simulation, earlier: Path, n_lines: int) -> None:
        """Continue from the first ``n_lines`` lines of an earlier file.

        Raises
        ------
        InputError
            If the file cannot be read or has fewer lines.
        """
        moves = self._moves = self._moves_of(simulation)
        rows, numbers = earlier_lines(earlier, n_lines, 2 + len(moves.accepted))
        moves.proposed, moves.accepted = int(numbers[-1, 1]), numbers[-1, 2:].astype(int)
        self._csv.writerows(rows)
        self._out.flush()

    def close(self) -> None:
        """Close the file."""
        self._out.close()

    def _moves_of(self, simulation: app.Simulation) -> RigidBodyMoves:
        """Moves of the chains of a simulation; writes the header of their table."""
        integrator = simulation.integrator
        chains = integrator.getChains() if isinstance(integrator, LangevinInterface) else None
        if chains is None:
            raise ValueError(
                "Moves of chains need a NemoLangevinIntegrator with chains: give it lists of their particles."
            )
        seed, replicas = integrator.getRandomNumberSeed(), integrator.getNumReplicas()
        moves = RigidBodyMoves(chains, seed, replicas=replicas, **self._options)
        names = [f"replica-{r}" for r in range(replicas)] if replicas > 1 else ["accepted"]
        self._csv.writerow(["step", "proposed", *names])
        return moves

    def _write(self, step: int, moves: RigidBodyMoves) -> None:
        self._csv.writerow([step, moves.proposed, *moves.accepted.tolist()])
        self._out.flush()
