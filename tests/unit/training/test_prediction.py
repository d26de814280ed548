"""Predictions of a batch against the conditioned model, and the gradients that reach the networks."""

from dataclasses import replace

import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.dynamics.backpropagation import GradientGrowth, perturbation_growth
from openmm_nemo.training import prediction as prediction_module
from openmm_nemo.training.prediction import RolloutSettings, predict, update_statistics

SETTINGS = RolloutSettings(steps=6, backpropagated=4, states=2)


@pytest.fixture
def model() -> NemoModel:
    torch.manual_seed(0)
    return NemoModel(NemoConfig.preset("tiny"))


def test_states_are_those_of_the_conditioned_model(batch, model):
    """Chain b draws the noise of seed + b."""
    model.eval()
    with torch.no_grad():
        prediction = predict(model, batch, SETTINGS, seed=5)
    for b, sequence in enumerate(("NLYIQWLKDGGPSSGRPPPS", "QWLKDGGPSSGRP")):
        n = len(sequence)
        protein = model.condition(sequence)
        states = protein.rollout(6, seed=5 + b).x[:, 0]
        torch.testing.assert_close(prediction.x0[b, :n], states[0], atol=1e-3, rtol=0)
        torch.testing.assert_close(prediction.states[:, b, :n], states[[4, 6]], atol=1e-3, rtol=0)
        torch.testing.assert_close(prediction.x[b, :n], states[6], atol=1e-3, rtol=0)
        torch.testing.assert_close(
            prediction.atoms[b, :n], protein.impute(states[6]), atol=1e-2, rtol=0
        )
        torch.testing.assert_close(
            prediction.data_atoms[b, :n], protein.impute(batch.x[b, :n]), atol=1e-2, rtol=0
        )
        torch.testing.assert_close(
            prediction.energy(batch.x)[b], protein.energy(batch.x[b, :n]), atol=1e-3, rtol=1e-3
        )
    assert prediction.x0[1, 13:].abs().max() == prediction.x[1, 13:].abs().max() == 0


def test_gradients_reach_what_they_should(batch, model):
    """Truncated: the last steps train energy and step sizes; z(0) is trained by x0 alone."""
    growth = GradientGrowth()
    prediction = predict(model, batch, SETTINGS, seed=5, growth=growth)
    prediction.x.square().sum().backward()
    network = model.sequence_network
    assert model.energy.terms["learned"].structure_network.pair_output.weight.grad.abs().max() > 0
    assert network.term_heads["learned"].pair_coefficients.weight.grad.abs().max() > 0
    assert network.steps.weight.grad.abs().max() > 0
    assert network.initial_state.weight.grad is None
    assert len(growth.log_growth) == 4
    model.zero_grad()
    prediction = predict(model, batch, RolloutSettings(4, 4, 2), seed=5)
    prediction.x.square().sum().backward()
    assert network.initial_state.weight.grad.abs().max() > 0
    model.zero_grad()
    prediction = predict(model, batch, RolloutSettings(0, 0, 1), seed=5)
    torch.testing.assert_close(prediction.x, prediction.x0)


def test_some_roll_outs_begin_at_the_data(batch, model):
    """The first chain at the data, the second at z(0), each as it would go alone."""
    model.eval()
    with torch.no_grad():
        mixed = predict(model, batch, SETTINGS, seed=5, from_data=torch.tensor([True, False]))
        at_z0 = predict(model, batch, SETTINGS, seed=5)
    protein = model.condition("NLYIQWLKDGGPSSGRPPPS")
    native = batch.x[0] - batch.x[0].mean(0)
    expected = protein.rollout(6, x0=native, seed=5).x[-1, 0]
    torch.testing.assert_close(mixed.x[0], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(mixed.x[1], at_z0.x[1], atol=1e-4, rtol=0)
    assert (mixed.x[0] - at_z0.x[0]).abs().max() > 1
    assert torch.equal(mixed.x0, at_z0.x0)


def test_the_energy_stays_a_function_in_training(batch, model):
    """Neither dropout nor batch statistics enter it; its statistics change when they are told to."""
    model.train()
    prediction = predict(model, batch, SETTINGS, seed=5)
    before = {k: v.clone() for k, v in model.energy.state_dict().items()}
    assert torch.equal(prediction.energy(batch.x), prediction.energy(batch.x))
    alone = prediction.energy(torch.cat([batch.x[:1], 2 * batch.x[1:]]))
    assert torch.equal(alone[0], prediction.energy(batch.x)[0])
    assert all(torch.equal(v, before[k]) for k, v in model.energy.state_dict().items())
    assert model.energy.training
    update_statistics(model, batch, prediction)
    changed = [k for k, v in model.energy.state_dict().items() if not torch.equal(v, before[k])]
    assert changed
    assert all("running" in name for name in changed)


def test_gradients_are_those_of_the_function(batch, model):
    """Steps are done again in the backward pass, when the networks are in training mode."""
    model.eval()
    gradients = []
    for training in (False, True):
        model.energy.train(training)
        before = {k: v.clone() for k, v in model.energy.state_dict().items()}
        model.zero_grad()
        predict(model, batch, SETTINGS, seed=5).x.square().mean().backward()
        gradients.append([weight.grad for weight in model.parameters()])
        assert all(torch.equal(v, before[k]) for k, v in model.energy.state_dict().items())
    for one, other in zip(*gradients, strict=True):
        assert one is None if other is None else torch.equal(one, other)


def test_growth_of_a_perturbation_is_measured_with_its_gradient(batch, model):
    """An almost flat energy and no steps: a step is the identity, up to rounding, and nothing grows."""
    torch.nn.init.constant_(model.sequence_network.steps.bias, -20.0)
    prediction = predict(model, batch, SETTINGS, seed=5, lyapunov=True)
    assert prediction.growth.shape == (2,)
    assert prediction.growth.abs().max() < 0.5
    assert predict(model, batch, SETTINGS, seed=5).growth.abs().max() == 0
    prediction.growth.sum().backward()
    assert model.energy.terms["learned"].structure_network.pair_output.weight.grad is not None


def test_growth_is_that_of_an_annealed_step(batch, model, monkeypatch):
    """The step that is measured leads from a state of the roll-out to its next one, also where factors are not 1."""
    annealed = NemoModel(replace(model.config, annealing=(2.0, 0.1)))
    annealed.load_state_dict(model.state_dict())
    starts, moved = [], []

    def growth(step, x, *arguments):
        starts.append(x)
        moved.append(step(x))
        return perturbation_growth(step, x, *arguments)

    monkeypatch.setattr(prediction_module, "perturbation_growth", growth)
    settings = RolloutSettings(steps=25, backpropagated=8, states=8)
    predicted = predict(annealed.eval(), batch, settings, seed=5, lyapunov=True)
    states = predicted.states.detach()
    (k,) = [k for k, x in enumerate(states[:-1]) if torch.equal(x, starts[0])]
    torch.testing.assert_close(moved[0].detach(), states[k + 1], atol=1e-4, rtol=0)
