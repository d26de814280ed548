"""From a batch of domains to what the losses look at: networks, roll-out, atoms (paper, Figure 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_nemo.conditioning.sequence import SequenceOutput
from openmm_nemo.data.batches import Batch
from openmm_nemo.dynamics import (
    StepOptions,
    StepParameters,
    energy_and_gradient,
    langevin_noise,
    mixed_step,
    rollout,
)
from openmm_nemo.dynamics.backpropagation import (
    GradientGrowth,
    perturbation_growth,
    trainable_rollout,
)
from openmm_nemo.dynamics.rollout import Energy
from openmm_nemo.geometry import centre, internal_to_cartesian
from openmm_nemo.models.model import NemoModel, evaluation_mode
from openmm_nemo.networks.normalization import BatchRenorm
from openmm_nemo.training.losses import Prediction
from openmm_nemo.training.precision import imputed_atoms, sequence_output


@dataclass(frozen=True)
class RolloutSettings:
    """How chains are simulated in training.

    Attributes
    ----------
    steps : int
        Of a roll-out; 0: the initial state is the prediction.
    backpropagated : int
        Last steps through which gradients flow; with all of them, they reach the initial state.
    states : int
        States on the way that the losses see, spread over the steps that are back-propagated.
    """

    steps: int = 100
    backpropagated: int = 100
    states: int = 4


def predict(
    model: NemoModel,
    batch: Batch,
    settings: RolloutSettings,
    seed: int,
    *,
    from_data: Tensor | None = None,
    damping: float = 1.0,
    growth: GradientGrowth | None = None,
    lyapunov: bool = False,
    precision: str = "32",
) -> Prediction:
    """Simulate the chains of a batch from their sequences.

    The energy is a function: no dropout, and the running statistics of its normalisations, see `update_statistics`.

    Parameters
    ----------
    model : NemoModel
    batch : Batch
    settings : RolloutSettings
    seed : int
        Of all noise.
    from_data : Tensor, shape (B,), bool, optional
        Chains whose roll-outs begin at the data; all others begin at x0, the initial state of the networks.
    damping : float
        See `trainable_rollout`.
    growth : GradientGrowth, optional
        See `trainable_rollout`.
    lyapunov : bool
        Measure the growth of a perturbation, with its gradient, in one random step; else it is zero.
    precision : str
        See `TrainingSettings`; a baseline has 32.

    Returns
    -------
    Prediction
        Of a baseline, x0 and its atoms; its energy and growth are zero.
    """
    output = sequence_output(model.sequence_network, batch.s, batch.mask, precision)
    x0 = initial_positions(output.z0, batch.mask)
    network = model.energy
    if network is None:
        return Prediction(
            x0=x0,
            x=x0,
            states=x0.expand(settings.states, *x0.shape),
            atoms=model.imputation(x0, batch.s, batch.mask),
            data_atoms=model.imputation(batch.x, batch.s, batch.mask),
            secondary_structure=output.secondary_structure,
            energy=lambda x: x.new_zeros(len(x)),
            growth=x0.new_zeros(len(x0)),
        )
    parameters = step_parameters(output, batch.mask)

    def energy(x: Tensor, l1: Tensor, l2: Tensor) -> Tensor:
        with evaluation_mode(network):  # in the backward pass, too, when a step is done again
            return network(x, l1, l2, batch.mask)

    free = max(settings.steps - settings.backpropagated, 0)
    x = x0
    if from_data is not None:
        x = torch.where(from_data[:, None, None], centred(batch.x, batch.mask), x0)
    if free:
        with torch.no_grad():
            x = rollout(
                lambda x: energy(x, output.l1, output.l2), x, parameters, free, seed=seed
            ).x[-1]
    states = trainable_rollout(
        energy,
        [output.l1, output.l2],
        network.parameters(),
        x,
        parameters,
        settings.steps - free,
        seed=seed,
        first_step=free,
        damping=damping,
        growth=growth,
    )
    log_growth = x0.new_zeros(len(x0))
    if lyapunov and len(states) > 1:
        log_growth = _growth_of_a_step(
            lambda x: energy(x, output.l1, output.l2), parameters, states, free, seed
        )
    chosen = torch.linspace(0, len(states) - 1, settings.states + 1)[1:].round().long()
    return Prediction(
        x0=x0,
        x=states[-1],
        states=states[chosen],
        atoms=imputed_atoms(model.imputation, states[-1], batch.s, batch.mask, precision),
        data_atoms=imputed_atoms(model.imputation, batch.x, batch.s, batch.mask, precision),
        secondary_structure=output.secondary_structure,
        energy=lambda x: energy(x, output.l1, output.l2),
        growth=log_growth,
    )


def initial_positions(z0: Tensor, mask: Tensor) -> Tensor:
    """x(0) = F(z(0)) (B, L, 3), Angstrom, with the centre of every chain at the origin; zero at padding."""
    return centred(internal_to_cartesian(z0), mask)


def centred(x: Tensor, mask: Tensor) -> Tensor:
    """``x (B, L, 3)`` with the centre of every chain at the origin; zero at padding."""
    return (x - centre(x, mask)) * mask.unsqueeze(-1)


def step_parameters(output: SequenceOutput, mask: Tensor) -> StepParameters:
    """Step sizes and preconditioners of the sequence network."""
    return StepParameters(
        output.cartesian_step,
        output.internal_step,
        output.cartesian_preconditioner,
        output.internal_preconditioner,
        mask,
    )


def update_statistics(model: NemoModel, batch: Batch, prediction: Prediction) -> None:
    """Let the energy's normalisations see what a roll-out passes through: data, and states of the model.

    Without dropout, as there is none in roll-outs. A baseline has no energy.

    Parameters
    ----------
    model : NemoModel
    batch : Batch
    prediction : Prediction
        Of the batch.
    """
    if model.energy is None:
        return
    network = model.energy.structure_network
    with torch.no_grad(), evaluation_mode(network):
        for module in network.modules():
            if isinstance(module, BatchRenorm):
                module.train()
        for x in (batch.x, prediction.x, prediction.x0):
            network(x, batch.mask)


def _growth_of_a_step(
    energy: Energy, parameters: StepParameters, states: Tensor, first_step: int, seed: int
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    t = int(torch.randint(len(states) - 1, (), generator=generator))
    seeds = seed + torch.arange(states.shape[1], device=states.device)
    noise = langevin_noise(seeds, torch.zeros_like(seeds), first_step + t, 1, states.shape[2])[0]

    def step(x: Tensor) -> Tensor:
        _, gradient = energy_and_gradient(energy, x, create_graph=True)
        return mixed_step(x, gradient, noise.to(x), parameters, StepOptions()).x

    return perturbation_growth(step, states[t].detach(), parameters.mask, generator)
