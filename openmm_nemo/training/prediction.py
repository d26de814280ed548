"""From a batch of domains to what the losses need: networks, roll-out, atoms (paper, Figure 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_nemo.data.batches import Batch
from openmm_nemo.dynamics import Schedule
from openmm_nemo.dynamics.backpropagation import GradientGrowth, perturbation_growth
from openmm_nemo.encoders import input_width
from openmm_nemo.geometry.padding import centred
from openmm_nemo.models import NemoModel
from openmm_nemo.models.batch import ConditionedBatch
from openmm_nemo.models.precision import imputed_atoms
from openmm_nemo.training.losses import Prediction


@dataclass(frozen=True)
class RolloutSettings:
    """How chains are simulated in training.

    Attributes
    ----------
    steps : int
        Steps per roll-out; 0: z(0) is the prediction.
    backpropagated : int
        Number of last steps through which gradients flow; if it is all steps, gradients reach the initial state.
    states : int
        Number of intermediate states that the losses see, spread over the back-propagated steps.
    minimise : int
        Steps of minimisation after the roll-out; no gradients flow through them.
    """

    steps: int = 100
    backpropagated: int = 100
    states: int = 4
    minimise: int = 0


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
    """Simulate the chains of a batch from their sequences, as users do: same starts, annealing and noise.

    The energy is a pure function: no dropout, and normalisation by running statistics, see `update_statistics`.

    Parameters
    ----------
    model : NemoModel
    batch : Batch
    settings : RolloutSettings
    seed : int
        Random seed.
    from_data : Tensor, shape (B,), bool, optional
        Chains whose roll-outs start from the data; all others start where simulations do, see
        `ConditionedBatch.initial_positions`, with the seed.
    damping : float
        See `openmm_nemo.dynamics.backpropagation.trainable_rollout`.
    growth : GradientGrowth, optional
        See `openmm_nemo.dynamics.backpropagation.trainable_rollout`.
    lyapunov : bool
        Measure the growth of a perturbation, with its gradient, in one random step; otherwise it is zero.
    precision : str
        See `TrainingSettings`; a baseline always uses "32".

    Returns
    -------
    Prediction
        For a baseline, x0 and its atoms, with zero energy and growth.
    """
    s = batch.s[..., : input_width(model.config)]
    chains = model.condition_batch(s, batch.mask, precision)
    x0 = chains.initial_positions()
    if model.energy is None:
        return Prediction(
            x0=x0,
            x=x0,
            states=x0.expand(settings.states, *x0.shape),
            atoms=model.imputation(x0, s, batch.mask),
            data_atoms=model.imputation(batch.x, s, batch.mask),
            secondary_structure=chains.secondary_structure,
            energy=chains.energy,
            growth=x0.new_zeros(len(x0)),
            chains=chains,
        )
    free = max(settings.steps - settings.backpropagated, 0)
    schedule = chains.schedule(settings.steps)
    x = chains.initial_positions(seed) if settings.steps or settings.minimise else x0
    if from_data is not None:
        x = torch.where(from_data[:, None, None], centred(batch.x, batch.mask), x)
    if free:
        x = chains.snapshots(x, [free], seed, schedule).x[-1]
    states = chains.trainable_rollout(
        x,
        settings.steps - free,
        seed=seed,
        first_step=free,
        schedule=schedule,
        damping=damping,
        growth=growth,
    )
    if settings.minimise:
        states, _ = chains.minimised(states[-1], [settings.minimise])
    log_growth = x0.new_zeros(len(x0))
    if lyapunov and len(states) > 1:
        log_growth = _growth_of_a_step(chains, states, free, seed, schedule)
    chosen = torch.linspace(0, len(states) - 1, settings.states + 1)[1:].round().long()
    return Prediction(
        x0=x0,
        x=states[-1],
        states=states[chosen],
        atoms=imputed_atoms(model.imputation, states[-1], s, batch.mask, precision),
        data_atoms=imputed_atoms(model.imputation, batch.x, s, batch.mask, precision),
        secondary_structure=chains.secondary_structure,
        energy=chains.energy,
        growth=log_growth,
        chains=chains,
    )


def update_statistics(model: NemoModel, batch: Batch, prediction: Prediction) -> None:
    """Update the energy's normalisation statistics with what a roll-out passes through: data, and states of the model.

    Without dropout, as in roll-outs. Does nothing for a baseline.

    Parameters
    ----------
    model : NemoModel
    batch : Batch
    prediction : Prediction
        Prediction for the batch.
    """
    if model.energy is None:
        return
    for x in (batch.x, prediction.x, prediction.x0):
        model.energy.update_statistics(x, batch.mask)


def _growth_of_a_step(
    chains: ConditionedBatch, states: Tensor, first_step: int, seed: int, schedule: Schedule
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    t = int(torch.randint(len(states) - 1, (), generator=generator))
    return perturbation_growth(
        lambda x: chains.step(x, seed, first_step + t, schedule),
        states[t].detach(),
        chains.mask,
        generator,
    )
