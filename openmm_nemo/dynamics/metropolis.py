"""Metropolised Langevin moves: the specification of ``NemoLangevinIntegrator(metropolis=True)``.

A step is a Cartesian sub-step followed by an internal sub-step. In its coordinates w each proposes

    w' = w - (v/2) g(w) + sqrt(v) p,    g = -grad log pi,

and accepts it with probability min(1, A) (Metropolis-adjusted Langevin; Roberts & Tweedie, Bernoulli 2, 341, 1996):

    log A = log pi(w') - log pi(w) + log q(w | w') - log q(w' | w),    q(w' | w) = N(w'; w - (v/2) g(w), v).

Both leave exp(-U) dx invariant, at any step size. Chains of one system are proposed and decided together.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.dynamics.steps import StepParameters
from openmm_nemo.geometry import (
    cartesian_to_internal,
    chain_axes,
    internal_to_cartesian,
    jacobian_transpose_product,
    log_volume,
    log_volume_gradient,
    rigid_frame,
)

SystemEnergy = Callable[[Tensor], Tensor]
"""U (S,) as a function of positions (B, L, 3): S systems of B/S chains each, in order; kT at the sampled
temperature."""


class State(NamedTuple):
    """Positions, and the energy and its gradient there.

    Attributes
    ----------
    x : Tensor, shape (B, L, 3)
        Positions, Angstrom.
    energy : Tensor, shape (S,)
        U, kT.
    gradient : Tensor, shape (B, L, 3)
        grad_x U, kT per Angstrom.
    """

    x: Tensor
    energy: Tensor
    gradient: Tensor


class MetropolisResult(NamedTuple):
    """Outcome of a step.

    Attributes
    ----------
    state : State
    accepted : Tensor, shape (S, 2), bool
        Whether the proposals of the Cartesian and the internal sub-step were accepted.
    log_weight : Tensor, shape (S, 2)
        Their log A.
    """

    state: State
    accepted: Tensor
    log_weight: Tensor


def evaluate(energy: SystemEnergy, x: Tensor) -> State:
    """State at positions ``x (B, L, 3)``, Angstrom."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        u = energy(leaf)
        (gradient,) = torch.autograd.grad(u.sum(), leaf)
    return State(x.detach(), u.detach(), gradient)


class LangevinMove(ABC):
    """A proposal in coordinates w, in arrays of shape (B, L, 3), and its weight."""

    @abstractmethod
    def variance(self, parameters: StepParameters) -> Tensor:
        """v, broadcastable to (B, L, 3); 0 where a coordinate does not move."""

    @abstractmethod
    def slope(self, state: State, mask: Tensor) -> Tensor:
        """g = -grad_w log pi, kT per unit of w."""

    @abstractmethod
    def displaced(self, x: Tensor, dw: Tensor, mask: Tensor) -> Tensor:
        """Positions after a change dw of the coordinates, Angstrom."""

    @abstractmethod
    def log_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """log |det dx/dw| of each chain (B,), so that pi(w) = exp(-U) |det dx/dw|."""

    def propose(
        self, state: State, noise: Tensor, parameters: StepParameters
    ) -> tuple[Tensor, Tensor]:
        """Proposal for every chain.

        Parameters
        ----------
        state : State
        noise : Tensor, shape (B, L, 3)
            Standard normal numbers p.
        parameters : StepParameters

        Returns
        -------
        x : Tensor, shape (B, L, 3)
            Proposed positions, Angstrom.
        dw : Tensor, shape (B, L, 3)
            w' - w.
        """
        variance = self.variance(parameters)
        dw = variance.sqrt() * noise - 0.5 * variance * self.slope(state, parameters.mask)
        return self.displaced(state.x, dw, parameters.mask), dw

    def log_weight(
        self, state: State, proposal: State, dw: Tensor, parameters: StepParameters
    ) -> Tensor:
        """log A of a proposal, shape (S,); -dw leads back from it.

        Parameters
        ----------
        state, proposal : State
        dw : Tensor, shape (B, L, 3)
        parameters : StepParameters
        """
        mask, variance = parameters.mask, self.variance(parameters)
        forth = dw + 0.5 * variance * self.slope(state, mask)
        back = dw - 0.5 * variance * self.slope(proposal, mask)
        moves = variance > 0
        log_q = (forth**2 - back**2) / (2 * torch.where(moves, variance, 1.0))
        chains = torch.where(moves, log_q, 0.0).sum((1, 2))
        chains = chains + self.log_volume(proposal.x, mask) - self.log_volume(state.x, mask)
        systems = chains.view(len(state.energy), -1).sum(1)
        return state.energy - proposal.energy + systems

    def __call__(
        self,
        energy: SystemEnergy,
        state: State,
        noise: Tensor,
        uniform: Tensor,
        parameters: StepParameters,
    ) -> tuple[State, Tensor, Tensor]:
        """Propose and decide.

        Parameters
        ----------
        energy : callable
        state : State
        noise : Tensor, shape (B, L, 3)
        uniform : Tensor, shape (S,)
            A proposal is accepted if log A exceeds the logarithm of this; one whose log A is NaN never is.
        parameters : StepParameters

        Returns
        -------
        state : State
        accepted : Tensor, shape (S,), bool
        log_weight : Tensor, shape (S,)
        """
        x, dw = self.propose(state, noise, parameters)
        proposal = evaluate(energy, x)
        log_weight = self.log_weight(state, proposal, dw, parameters)
        accepted = torch.log(uniform) < log_weight
        of_chain = accepted.repeat_interleave(len(x) // len(accepted)).view(-1, 1, 1)
        chosen = State(
            torch.where(of_chain, proposal.x, state.x),
            torch.where(accepted, proposal.energy, state.energy),
            torch.where(of_chain, proposal.gradient, state.gradient),
        )
        return chosen, accepted, log_weight


class CartesianMove(LangevinMove):
    """w = x, v = eps_x C_x. Beads with mask 0 also move if C_x is not 0: these are particles in no chain."""

    def variance(self, parameters: StepParameters) -> Tensor:
        """eps_x C_x, shape (B, L, 1), Angstrom^2."""
        step = parameters.cartesian_step.view(-1, 1, 1)
        return step * parameters.cartesian_preconditioner.unsqueeze(-1)

    def slope(self, state: State, mask: Tensor) -> Tensor:
        """grad_x U, kT per Angstrom."""
        return state.gradient

    def displaced(self, x: Tensor, dw: Tensor, mask: Tensor) -> Tensor:
        """x + dw."""
        return x + dw

    def log_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(x[:, 0, 0])


class InternalMove(LangevinMove):
    """w = z = (b~, a~, d), v = eps_z C_z, with x' = F(z + dz) built exactly.

    The first bead, the direction of the first bond and the plane of the first three beads stay. Given these, exp(-U) dx
    is exp(-U) |det dx/dz| dz, whether or not U depends on them. Dihedrals are treated as real numbers of which U and F
    are periodic functions.
    """

    def variance(self, parameters: StepParameters) -> Tensor:
        """eps_z C_z, shape (B, L, 3), in the units of z."""
        return parameters.internal_step.view(-1, 1, 1) * parameters.internal_preconditioner

    def slope(self, state: State, mask: Tensor) -> Tensor:
        """J^T grad_x U - grad_z log |det dx/dz|."""
        gradient = state.gradient * mask.unsqueeze(-1)
        pulled_back = jacobian_transpose_product(chain_axes(state.x), gradient)
        return pulled_back - log_volume_gradient(state.x)

    def displaced(self, x: Tensor, dw: Tensor, mask: Tensor) -> Tensor:
        """F(z + dz); where the mask is 0, x."""
        rebuilt = internal_to_cartesian(cartesian_to_internal(x) + dw, *rigid_frame(x))
        return torch.where(mask.unsqueeze(-1) > 0, rebuilt, x)

    def log_volume(self, x: Tensor, mask: Tensor) -> Tensor:
        """log |det dx/dz| modulo rigid motions (nemo.md section 2)."""
        return log_volume(x, mask)


def metropolis_step(
    energy: SystemEnergy, state: State, noise: Tensor, uniform: Tensor, parameters: StepParameters
) -> MetropolisResult:
    """Cartesian sub-step, then an internal sub-step from its result.

    Parameters
    ----------
    energy : callable
        Maps positions (B, L, 3) to energies (S,), kT at the temperature that is sampled. Rows s B/S ... (s+1) B/S - 1
        are the chains of system s; their moves are accepted or rejected together.
    state : State
        See `evaluate`.
    noise : Tensor, shape (B, L, 2, 3)
        Standard normal numbers, see `openmm_nemo.dynamics.noise.langevin_noise`.
    uniform : Tensor, shape (S, 2)
        Numbers in (0, 1), see `openmm_nemo.dynamics.noise.acceptance_numbers`.
    parameters : StepParameters
        A particle in no chain is a bead with mask 0 in any row and a Cartesian preconditioner that is not 0.

    Returns
    -------
    MetropolisResult
    """
    accepted, log_weights = [], []
    for k, move in enumerate((CartesianMove(), InternalMove())):
        state, taken, log_weight = move(energy, state, noise[:, :, k], uniform[:, k], parameters)
        accepted.append(taken)
        log_weights.append(log_weight)
    return MetropolisResult(state, torch.stack(accepted, 1), torch.stack(log_weights, 1))
