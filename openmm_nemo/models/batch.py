"""Conditioned chains, ready to simulate: the one path from network output to a simulation."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from openmm_nemo.conditioning import BaselineOutput, SequenceOutput
from openmm_nemo.dynamics import (
    Schedule,
    Snapshots,
    StepParameters,
    Trajectory,
    rollout,
    snapshots,
)
from openmm_nemo.dynamics.backpropagation import trainable_rollout
from openmm_nemo.dynamics.minimisation import minimise
from openmm_nemo.dynamics.noise import start_numbers
from openmm_nemo.dynamics.rollout import energy_and_gradient
from openmm_nemo.energies import Energy
from openmm_nemo.geometry import cartesian_to_internal, internal_to_cartesian
from openmm_nemo.geometry.padding import centred


@dataclass(frozen=True, eq=False)
class ConditionedBatch:
    """B chains of at most L residues: different proteins, padded, or copies of one.

    The energy is a pure function here: there is no dropout, and normalisations use their running statistics.

    Attributes
    ----------
    mask : Tensor, shape (B, L)
        1 for residues, 0 for padding, which comes last.
    z0 : Tensor, shape (B, L, 3)
        Initial unconstrained internal coordinates.
    secondary_structure : Tensor, shape (B, L, 8)
        Logits.
    parameters : StepParameters or None
        None for a baseline.
    coefficients : sequence of Tensor
        Coefficients of the energy's terms, kT; a batch size of 1 is broadcast.
    energy_network : Energy or None
        None for a baseline.
    annealing : tuple of float
        See `openmm_nemo.config.NemoConfig`.
    """

    mask: Tensor
    z0: Tensor
    secondary_structure: Tensor
    parameters: StepParameters | None
    coefficients: Sequence[Tensor]
    energy_network: Energy | None
    annealing: tuple[float, ...] = (1.0, 1.0)

    @classmethod
    def of_output(
        cls,
        output: SequenceOutput | BaselineOutput,
        mask: Tensor,
        energy_network: Energy | None,
        annealing: tuple[float, ...] = (1.0, 1.0),
    ) -> "ConditionedBatch":
        """Batch of the chains that an output of the networks is for."""
        if isinstance(output, BaselineOutput) or energy_network is None:
            return cls(mask, output.z0, output.secondary_structure, None, (), None)
        parameters = StepParameters(
            output.cartesian_step,
            output.internal_step,
            output.cartesian_preconditioner,
            output.internal_preconditioner,
            mask,
        )
        return cls(
            mask,
            output.z0,
            output.secondary_structure,
            parameters,
            tuple(output.coefficients),
            energy_network,
            annealing,
        )

    def select(self, chains: Tensor) -> "ConditionedBatch":
        """Batch of the chains with these indices, shape (B',), int64, possibly repeated."""
        return ConditionedBatch(
            self.mask[chains],
            self.z0[chains],
            self.secondary_structure[chains],
            None
            if self.parameters is None
            else StepParameters._make(values[chains] for values in self.parameters),
            [values if len(values) == 1 else values[chains] for values in self.coefficients],
            self.energy_network,
            self.annealing,
        )

    def schedule(self, n_steps: int) -> Schedule:
        """The model's schedule for a simulation of ``n_steps`` steps."""
        first, last = self.annealing
        return Schedule(n_steps, first, last)

    def initial_positions(self, seed: int | None = None, number: int = 0) -> Tensor:
        """x(0) = F(z(0)) (B, L, 3), Angstrom, with the centre of every chain at the origin; zero at padding.

        Parameters
        ----------
        seed : int, optional
            Draw the angles and dihedrals of chain b from the density of the term "chain-basis", with the random seed
            ``seed + b``. Without a seed, or for a model without that term, they are those of z(0).
        number : int
            Number of each chain within its system.
        """
        z0 = self.z0
        coefficients = self.coefficients_of("chain-basis")
        if seed is not None and coefficients and self.energy_network is not None:
            seeds = seed + torch.arange(len(z0), device=z0.device)
            numbers = start_numbers(seeds, z0.shape[1], number)
            angle, dihedral = self.energy_network.terms["chain-basis"].draw(
                coefficients[0].expand(len(z0), -1, -1), numbers
            )
            bend = torch.log(angle / (torch.pi - angle))
            drawn = torch.stack([z0[..., 0], bend, dihedral], dim=-1)
            placed = (torch.arange(z0.shape[1], device=z0.device) > 2).unsqueeze(-1)
            z0 = torch.where(placed, drawn, z0) * self.mask.unsqueeze(-1)
        return centred(internal_to_cartesian(z0), self.mask)

    def coefficients_of(self, term: str) -> Sequence[Tensor]:
        """Coefficients of one term of the energy, by its name in `openmm_nemo.energies.TERMS`; none if it has none."""
        first = 0
        terms = {} if self.energy_network is None else self.energy_network.terms
        for name, here in terms.items():
            if name == term:
                return self.coefficients[first : first + here.n_coefficients]
            first += here.n_coefficients
        return ()

    def energy(self, x: Tensor) -> Tensor:
        """U (B,), kT, of ``x (B, L, 3)``, Angstrom; differentiable. Zero for a baseline."""
        return self._energy(x, *self.coefficients)

    def _energy(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        if self.energy_network is None:
            return x.new_zeros(len(x))
        # Also in the backward pass, where steps are recomputed.
        with evaluation_mode(self.energy_network):
            energies: Tensor = self.energy_network(x, list(coefficients), self.mask)
        return energies

    def rollout(self, n_steps: int, x0: Tensor | None = None, **options: Any) -> Trajectory:
        """Simulate; ``options`` are those of `openmm_nemo.dynamics.rollout`.

        Parameters
        ----------
        n_steps : int
        x0 : Tensor, shape (B, L, 3), optional
            Angstrom. Default: `initial_positions`.
        """
        assert self.parameters is not None
        start = self.initial_positions() if x0 is None else x0
        return rollout(self.energy, start, self.parameters, n_steps, **options)

    def snapshots(
        self, x0: Tensor, steps: Sequence[int], seed: int, schedule: Schedule
    ) -> Snapshots:
        """States of a simulation after some numbers of steps, without gradients.

        In OpenMM if the plugin computes all of the energy, which is many times faster; otherwise as `rollout`, which
        gives the same positions, to rounding.

        Parameters
        ----------
        x0 : Tensor, shape (B, L, 3)
            Angstrom.
        steps : sequence of int
            K increasing numbers of steps.
        seed : int
            Chain b uses ``seed + b``.
        schedule : Schedule
        """
        from openmm_nemo.engine import batch as engine

        assert self.parameters is not None
        assert self.energy_network is not None
        if not engine.can_simulate(self.energy_network, x0, seed):
            return snapshots(self.energy, x0, self.parameters, steps, seed=seed, schedule=schedule)
        return engine.snapshots(
            self.energy_network,
            self._coefficients_of_chains(),
            self.parameters,
            x0,
            steps,
            seed=seed,
            schedule=schedule,
        )

    @torch.no_grad()
    def minimised(self, x0: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """States of a minimisation and their energies, without gradients.

        The plugin computes the energy if it has all of its terms, which is many times faster.

        Parameters
        ----------
        x0 : Tensor, shape (B, L, 3)
            Angstrom.
        steps : sequence of int
            K increasing numbers of steps.

        Returns
        -------
        x : Tensor, shape (K, B, L, 3)
            Angstrom, centred; see `openmm_nemo.dynamics.minimisation.minimise`.
        energy : Tensor, shape (K, B)
            U at x, kT.
        """
        from openmm_nemo.engine import batch as engine

        assert self.energy_network is not None
        forces: Callable[[Tensor], tuple[Tensor, Tensor]]
        if engine.can_compute(self.energy_network, x0):
            forces = engine.Energies(self.energy_network, self._coefficients_of_chains(), self.mask)
        else:
            forces = partial(energy_and_gradient, self.energy)
        present = self.mask.unsqueeze(-1) > 0
        z = torch.where(present, cartesian_to_internal(x0), torch.zeros_like(x0))
        return minimise(forces, z, self.mask, steps)

    def _coefficients_of_chains(self) -> list[Tensor]:
        return [values.expand(len(self.mask), *values.shape[1:]) for values in self.coefficients]

    def trainable_rollout(self, x0: Tensor, n_steps: int, **options: Any) -> Tensor:
        """Simulate for training: states (S+1, B, L, 3), Angstrom, with gradients to all network outputs.

        Parameters
        ----------
        x0 : Tensor, shape (B, L, 3)
            Angstrom.
        n_steps : int
        **options
            As for `openmm_nemo.dynamics.backpropagation.trainable_rollout`.
        """
        assert self.parameters is not None
        assert self.energy_network is not None
        return trainable_rollout(
            self._energy,
            self.coefficients,
            self.energy_network.parameters(),
            x0,
            self.parameters,
            n_steps,
            **options,
        )

    def step(self, x: Tensor, seed: int, number: int, schedule: Schedule) -> Tensor:
        """Positions after one differentiable step of a roll-out.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        seed : int
            Chain b uses ``seed + b``.
        number : int
            Number of the step in the roll-out.
        schedule : Schedule
            That of the roll-out.

        Returns
        -------
        Tensor, shape (B, L, 3)
            Angstrom.
        """
        return self.trainable_rollout(x, 1, seed=seed, first_step=number, schedule=schedule)[-1]


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch a module to evaluation mode, and restore the mode of every submodule afterwards."""
    training = [part for part in module.modules() if part.training]
    if training:
        module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
