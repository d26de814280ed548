"""Conditioned batches: padded ones move as their proteins do alone, and training's roll-out is that of simulations."""

import copy

import pytest
import torch

from openmm_nemo.dynamics import mixed_step, rollout
from openmm_nemo.dynamics.noise import langevin_noise
from openmm_nemo.dynamics.rollout import energy_and_gradient
from openmm_nemo.dynamics.steps import StepOptions
from openmm_nemo.models.batch import evaluation_mode
from tests.helpers import DTYPES, normal
from tests.tolerances import assert_close
from tests.unit.models.chains import make_batch, make_model

SEQUENCES = ["NLYI", "QWLKDGGPSSG", "RPPPSAAKL"]
LENGTHS = [4, 11, 9]


@pytest.fixture
def model():
    return make_model()


def conditioned(model):
    """All of `SEQUENCES` in one batch, with inputs at padding that must not matter."""
    mask = torch.zeros(3, 11, dtype=torch.float64)
    s = normal(3, 11, 20, seed=1)
    for k, sequence in enumerate(SEQUENCES):
        s[k, : len(sequence)] = model.encode(sequence)[0]
        mask[k, : len(sequence)] = 1
    return model.condition_batch(s, mask)


def test_a_batch_is_what_its_proteins_are_alone(model):
    batch = conditioned(model)
    x = batch.initial_positions()
    assert x[batch.mask == 0].eq(0).all()
    energies, gradient = energy_and_gradient(batch.energy, x)
    for k, sequence in enumerate(SEQUENCES):
        protein, n = model.condition(sequence), len(sequence)
        assert_close(batch.z0[k, :n].detach(), protein.z0, "rounding")
        assert_close(x[k, :n].detach(), protein.initial_state(), "rounding")
        assert_close(
            batch.secondary_structure[k, :n].detach(), protein.secondary_structure, "rounding"
        )
        u, g = protein.energy_and_gradient(x[k, :n])
        assert_close(energies[k], u, "rounding")
        assert_close(gradient[k, :n], g, "rounding_gradient")


def test_padded_chains_move_as_single_proteins(model):
    """Chain k with the seed of the batch plus k."""
    batch = conditioned(model)
    states = batch.rollout(8, seed=40)
    assert states.x.shape == (9, 3, 11, 3)
    for k, sequence in enumerate(SEQUENCES):
        alone = model.condition(sequence).rollout(8, seed=40 + k)
        n = len(sequence)
        assert_close(states.x[:, k, :n], alone.x[:, 0], "trajectory")
        assert_close(states.energy[:, k], alone.energy[:, 0], "trajectory")
        assert states.clipped[:, k].equal(alone.clipped[:, 0])


@DTYPES
def test_copies_move_as_the_protein_does(dtype):
    protein = make_model(dtype=dtype).condition(SEQUENCES[1])
    batch = protein.copies(3)
    assert batch.mask.shape == (3, 11)
    x = batch.initial_positions()
    assert all(row.equal(protein.initial_state()) for row in x)
    states = batch.rollout(6, seed=7)
    for k in range(3):
        assert_close(states.x[:, k], protein.rollout(6, seed=7 + k).x[:, 0], "trajectory")
    assert not states.x[-1, 0].equal(states.x[-1, 1])


def test_selected_chains_are_those_of_the_batch(model):
    batch = conditioned(model)
    chains = torch.tensor([2, 0, 2, 1])
    part = batch.select(chains)
    x = batch.initial_positions()
    assert part.initial_positions().equal(x[chains])
    assert part.mask.equal(batch.mask[chains])
    assert part.secondary_structure.equal(batch.secondary_structure[chains])
    assert_close(part.energy(x[chains]), batch.energy(x)[chains], "rounding")
    moved = part.rollout(3, seed=9).x[-1]
    for k, chain in enumerate(chains.tolist()):
        alone = model.condition(SEQUENCES[chain]).rollout(3, seed=9 + k).x[-1, 0]
        assert_close(moved[k, : LENGTHS[chain]], alone, "trajectory")


def test_selected_copies_share_the_coefficients(model):
    """Which have a batch size of 1."""
    batch = model.condition(SEQUENCES[1]).copies(3)
    part = batch.select(torch.tensor([1, 1]))
    assert [len(values) for values in part.coefficients] == [1, 1]
    x = batch.initial_positions()[:2]
    assert_close(part.energy(x), batch.energy(batch.initial_positions())[:2], "rounding")


def test_roll_outs_can_begin_anywhere(model):
    batch = conditioned(model)
    x = batch.initial_positions().detach() + normal(3, 11, 3, seed=3)
    assert batch.rollout(2, x, seed=1).x[0].equal(x)
    expected = rollout(batch.energy, x, batch.parameters, 2, seed=1, temperature=250.0)
    assert batch.rollout(2, x, seed=1, temperature=250.0).x.equal(expected.x)


def test_the_roll_out_of_training_is_that_of_simulations(model):
    batch = conditioned(model.train())
    x = batch.initial_positions()
    states = batch.trainable_rollout(x, 5, seed=3, first_step=2)
    expected = batch.rollout(5, x, seed=3, first_step=2).x
    assert_close(states.detach(), expected, "trajectory")
    gradients = []
    weight = normal(3, 11, 3, seed=8) * batch.mask.unsqueeze(-1)
    model.eval()  # no dropout before the roll-out
    for differentiable in (
        lambda chains, x: chains.trainable_rollout(x, 5, seed=3, first_step=2),
        lambda chains, x: chains.rollout(5, x, seed=3, first_step=2, differentiable=True).x,
    ):
        model.zero_grad()
        chains = conditioned(model)
        (differentiable(chains, chains.initial_positions())[-1] * weight).sum().backward()
        gradients.append(
            {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert_close(gradient, gradients[1][name], "trajectory")
    for name in (
        "sequence_network.term_heads.learned.node_coefficients.weight",
        "sequence_network.term_heads.learned.pair_coefficients.weight",
        "sequence_network.initial_state.weight",
        "sequence_network.steps.weight",
        "energy.terms.learned.structure_network.pair_output.weight",
    ):
        assert gradients[0][name].ne(0).any(), name


def test_a_step_is_a_step_of_the_roll_out(model):
    batch = conditioned(model)
    x = batch.initial_positions().detach().requires_grad_()
    expected = batch.rollout(1, x, seed=5, first_step=70).x[-1]
    constant = batch.schedule(80)
    moved = batch.step(x, 5, 70, constant)
    assert_close(moved.detach(), expected, "trajectory")
    noise = langevin_noise(5 + torch.arange(3), torch.zeros(3, dtype=torch.long), 70, 1, 11)[0]
    _, gradient = energy_and_gradient(batch.energy, x)
    own = mixed_step(x, gradient, noise, batch.parameters, StepOptions()).x
    assert_close(moved.detach(), own.detach(), "trajectory")
    direction = normal(3, 11, 3, seed=6) * batch.mask.unsqueeze(-1)
    weight = normal(3, 11, 3, seed=7) * batch.mask.unsqueeze(-1)
    (slopes,) = torch.autograd.grad((moved * weight).sum(), x)
    ends = [
        (batch.step((x + shift * direction).detach(), 5, 70, constant) * weight).sum()
        for shift in (1e-5, -1e-5)
    ]
    numerical = (ends[0] - ends[1]).detach() / 2e-5
    assert_close((slopes * direction).sum()[None], numerical[None], "finite_difference")


def test_the_energy_of_a_batch_is_a_function(model):
    """Without dropout, whatever the mode of the networks, and without changing it."""
    model.energy.train()
    part = model.energy.terms["learned"].structure_network.pair_network
    part.eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.energy.state_dict())
    x, s, mask = make_batch([9, 6], 20)
    batch = model.condition_batch(s, mask)
    u = batch.energy(x)
    assert batch.energy(x).equal(u)
    assert [module.training for module in model.modules()] == modes
    assert all(value.equal(before[name]) for name, value in model.energy.state_dict().items())
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes


def test_modes_come_back_after_an_error(model):
    model.train()
    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        1 / 0  # noqa: B018
    assert all(module.training for module in model.modules())


def test_a_baseline_has_an_initial_state_alone():
    model = make_model(lstm_units=8)
    batch = conditioned(model)
    for k, sequence in enumerate(SEQUENCES):
        protein = model.condition(sequence)
        alone = protein.initial_state()
        assert_close(batch.initial_positions()[k, : len(sequence)].detach(), alone, "rounding")
        assert protein.copies(2).initial_positions()[1].equal(alone)
    assert batch.energy(batch.initial_positions()).eq(0).all()
    part = batch.select(torch.tensor([1]))
    assert part.initial_positions().equal(batch.initial_positions()[1:2])
