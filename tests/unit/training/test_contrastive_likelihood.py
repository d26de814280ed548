"""Likelihood with simulated negatives, for energies with fixed functions: whole domains and crops, with profiles."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.data.batches import Batch, Example, collate
from openmm_nemo.data.sets.domains import domain_of
from openmm_nemo.geometry.padding import centred
from openmm_nemo.training.losses import ContrastiveLikelihood, Prediction
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.prediction import RolloutSettings, predict
from openmm_nemo.training.settings import StageSettings, TrainingSettings
from tests.helpers import generator, normal, raises, uniform
from tests.tolerances import assert_close

SMALL = {
    "node_channels": 8,
    "pair_channels": 4,
    "sequence_blocks": 1,
    "pair_blocks": 1,
    "imputation_blocks": 1,
}
SETTINGS = RolloutSettings(steps=12, backpropagated=0, states=1)


@pytest.fixture(scope="module")
def profiles() -> Batch:
    """The Trp-cage with a profile, and a crop of it with its part of the profile."""
    cage = domain_of(read_structure("examples/data/1l2y.pdb"))
    profile = uniform(0.1, 0.9, 20, 20, seed=1).numpy()
    crop = cage.window(4, 13)
    return collate(
        [
            Example(cage, cage.sequence, profile, cage.contacts),
            Example(crop, crop.sequence, profile[4:17], crop.contacts),
        ]
    )


@pytest.fixture
def model() -> NemoModel:
    """A small 'fold' whose heads give energies of about 1 kT."""
    torch.manual_seed(1)
    model = NemoModel(replace(NemoConfig.preset("fold", profile=True), **SMALL))
    for name in ("pair-basis", "chain-basis"):
        torch.nn.init.normal_(model.sequence_network.term_heads[name].coefficients.weight, std=0.2)
    return model


def test_negatives_are_what_users_simulate(profiles, model):
    """Annealed, from angles and dihedrals drawn with the seed of each chain; or from the data."""
    model.eval()
    with torch.no_grad():
        prediction = predict(
            model, profiles, SETTINGS, seed=5, from_data=torch.tensor([False, False])
        )
        near = predict(model, profiles, SETTINGS, seed=5, from_data=torch.tensor([True, False]))
    for b, n in enumerate((20, 13)):
        sequence = "NLYIQWLKDGGPSSGRPPPS" if b == 0 else "QWLKDGGPSSGRP"
        protein = model.condition(sequence, profile=profiles.profile[b, :n])
        expected = protein.rollout(12, seed=5 + b).x[:, 0]
        torch.testing.assert_close(prediction.x[b, :n], expected[-1], atol=1e-2, rtol=0)
        # z(0) remains what losses on it are for.
        torch.testing.assert_close(prediction.x0[b, :n], protein.initial_state(), atol=1e-3, rtol=0)
        assert (expected[0] - protein.initial_state()).abs().max() > 1
    native = profiles.x[0] - profiles.x[0].mean(0)
    protein = model.condition("NLYIQWLKDGGPSSGRPPPS", profile=profiles.profile[0])
    torch.testing.assert_close(
        near.x[0], protein.rollout(12, x0=native, seed=5).x[-1, 0], atol=1e-2, rtol=0
    )
    torch.testing.assert_close(near.x[1], prediction.x[1], atol=1e-4, rtol=0)


def test_negatives_are_minimised_where_the_stage_says_so(profiles, model):
    """From where the simulation ends, or where it would begin; native and relaxed native from the data."""
    model.eval()
    from_data = torch.tensor([True, False])
    found = {}
    with torch.no_grad():
        for steps, minimise in ((12, 0), (12, 30), (0, 30)):
            settings = replace(SETTINGS, steps=steps, minimise=minimise)
            found[steps, minimise] = predict(model, profiles, settings, seed=5, from_data=from_data)
        chains = found[12, 0].chains
        (after,), (energy,) = chains.minimised(found[12, 0].x, [30])
        assert_close(found[12, 30].x, after, "trajectory")
        assert (energy < chains.energy(found[12, 0].x)).all()
        drawn = chains.initial_positions(5)
        native = centred(profiles.x, profiles.mask)
        start = torch.where(from_data[:, None, None], native, drawn)
        assert_close(found[0, 30].x, chains.minimised(start, [30])[0][0], "trajectory")


def test_gradient_is_the_difference_of_the_terms(profiles, model):
    """U = sum c U_c: by the logarithm of a scale c, c times the difference of U_c per residue; nothing by steps."""
    prediction = predict(model, profiles, SETTINGS, seed=5)
    loss = ContrastiveLikelihood()(prediction, profiles)
    loss.mean().backward()
    chains = prediction.chains
    n = profiles.mask.sum(1)
    for name in ("pair-basis", "chain-basis"):
        term = model.energy.terms[name]
        scales = term.scales.logarithms
        expected = []
        for k in range(len(scales)):
            with torch.no_grad():
                before = scales.clone()
                scales.copy_(torch.where(torch.arange(len(scales)) == k, before, -80.0))
                native, sample = (
                    term(x, list(chains.coefficients_of(name)), profiles.mask)
                    for x in (profiles.x, prediction.x)
                )
                scales.copy_(before)
            expected.append(((native - sample) / n).mean())
        torch.testing.assert_close(scales.grad, torch.stack(expected), rtol=1e-3, atol=1e-4)
        assert scales.grad.abs().max() > 1e-3
    network = model.sequence_network
    assert network.term_heads["pair-basis"].coefficients.weight.grad.abs().max() > 0
    assert network.steps.weight.grad is network.initial_state.weight.grad is None


@pytest.mark.boltzmann
def test_gradient_is_that_of_the_likelihood_where_negatives_are_samples():
    """U = k |x|^2 / 2 with exact samples: d/dk of -log p = k |x|^2 / 2 - (3 L / 2) log(k / 2 pi), per residue."""
    k = torch.tensor(1.7, requires_grad=True)
    n_chains, n = 20000, 4
    x = torch.randn(n_chains, n, 3, generator=generator(1)) / k.detach().sqrt()
    data = 0.8 * torch.ones(n_chains, n, 5, 3)
    rows = torch.zeros(n_chains, n)
    batch = Batch(("a",), rows, rows + 1, data, rows, rows, rows, rows)
    prediction = Prediction(
        x, x, x[None], data, data, rows, lambda x: 0.5 * k * (x**2).sum((-1, -2)), rows
    )
    ContrastiveLikelihood()(prediction, batch).mean().backward()
    closed_form = 0.5 * 3 * 0.8**2 - 1.5 / k.detach()
    # A mean over 20,000 chains of half a chi squared with 12 degrees of freedom: sqrt(6) / (k n) each.
    error = 6**0.5 / (k.item() * n) / n_chains**0.5
    torch.testing.assert_close(k.grad, closed_form, rtol=0, atol=4 * error)


def test_metrics_have_the_gap_and_the_share_of_natives_below(batch):
    """Energies of 3 and of 1 kT at the natives, of 2 kT at the samples, of chains of 20 and 13 residues."""
    training = NemoTraining(
        TrainingSettings(
            description="A test.",
            data={"set": "set", "split": "split.json"},
            stages=[{"updates": 1, "steps": 1, "losses": {"contrastive_likelihood": 1.0}}],
        )
    )
    samples = normal(2, 20, 3).float()

    def energy(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([2.0, 2.0] if x.equal(samples) else [3.0, 1.0])

    prediction = Prediction(*[samples] * 6, energy, samples)
    gap = (1 / 20 - 1 / 13) / 2
    assert training.gap_metrics(prediction, batch) == pytest.approx(
        {"energy/gap": gap, "energy/natives_below": 0.5}
    )


def test_it_needs_a_simulation_or_a_minimisation():
    with raises(ValidationError, "contrastive_likelihood", "steps", "minimise"):
        StageSettings(updates=1, losses={"contrastive_likelihood": 1.0})
    assert StageSettings(updates=1, minimise=5, losses={"contrastive_likelihood": 1.0})


def test_no_gradients_flow_through_a_minimisation():
    with raises(ValidationError, "minimise", "backpropagated"):
        StageSettings(updates=1, steps=5, backpropagated=2, minimise=5, losses={"distances": 1.0})
