"""A model conditioned on several chains: energies, inputs of each chain, positions and atoms."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openmm_nemo import InputError, NemoConfig, NemoModel
from openmm_nemo.models import ConditionedComplex, ConditionedModel
from openmm_nemo.residues import Numbering
from tests.helpers import normal, raises, random_rotation
from tests.tolerances import assert_close
from tests.unit.models.chains import make_chain, make_model

A, B = "NLYIQWLKDGGPSS", "GSAVLKDEF"


@pytest.fixture(scope="module")
def model() -> NemoModel:
    return make_model("fold")


@pytest.fixture(scope="module")
def hetero(model) -> ConditionedComplex:
    return model.condition(f"{A}:{B}")


def near(*lengths: int) -> list[torch.Tensor]:
    """Chains that interpenetrate."""
    chains = [make_chain(n, k) for k, n in enumerate(lengths)]
    return [chain - chain.mean(0) + 5 * k for k, chain in enumerate(chains)]


def test_it_is_used_as_a_protein(hetero):
    assert isinstance(hetero, ConditionedModel)
    assert hetero.sequence == A + B
    assert hetero.chain_lengths == (14, 9)
    assert hetero.chains == [list(range(14)), list(range(14, 23))]
    assert hetero.has_energy
    first, second = hetero.numbering.chains
    assert first == Numbering("A", tuple(map(str, range(1, 15))))
    assert second == Numbering("B", tuple(map(str, range(1, 10))))
    x = torch.cat(near(14, 9))
    assert hetero.energy(x.expand(2, 3, 23, 3)).shape == (2, 3)
    u, gradient = hetero.energy_and_gradient(x)
    assert u.shape == ()
    assert gradient.shape == (23, 3)


def test_one_chain_is_as_it_was(model):
    protein = model.condition(A)
    assert type(protein) is ConditionedModel
    assert protein.chain_lengths == (14,)
    assert protein.chains == [list(range(14))]
    assert protein.numbering == Numbering.consecutive(14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_identical_chains_can_change_places(dtype):
    dimer = make_model("fold", dtype=dtype).condition(f"{A}:{A}")
    for seed in range(5):
        first, second = (make_chain(14, k, dtype) for k in (seed, 20 + seed))
        second = second - second.mean(0) + first.mean(0) + normal(3, seed=seed).to(dtype)
        u = dimer.energy(torch.cat([first, second]))
        assert dimer.energy(torch.cat([second, first])) == u
        apart = dimer.energy(torch.cat([first, second + 500]))
        assert (u - apart).abs() > 1e-2  # they do interact


def test_the_order_of_chains_does_not_matter(model, hetero):
    first, second = near(14, 9)
    other = model.condition(f"{B}:{A}")
    assert other.energy(torch.cat([second, first])) == hetero.energy(torch.cat([first, second]))


def test_chains_of_a_trimer_can_change_places(model):
    trimer = model.condition(f"{A}:{B}:{A}")
    first, second, third = near(14, 9, 14)
    u = trimer.energy(torch.cat([first, second, third]))
    assert_close(trimer.energy(torch.cat([third, second, first])), u, "rounding")
    other = model.condition(f"{B}:{A}:{A}").energy(torch.cat([second, third, first]))
    assert_close(other, u, "rounding")


def test_far_chains_have_their_own_energies(model, hetero):
    first, second = near(14, 9)
    alone = model.condition(A).energy(first) + model.condition(B).energy(second)
    assert_close(hetero.energy(torch.cat([first, second + 300])), alone, "rounding")


def test_the_energy_between_chains_is_the_sum_over_pairs_of_chains(model):
    chains = near(14, 9, 6)
    names = A, B, "KKLLGW"
    alone = [model.condition(name).energy(chain) for name, chain in zip(names, chains, strict=True)]
    expected = sum(alone)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pair = model.condition(f"{names[a]}:{names[b]}")
        expected = expected + pair.energy(torch.cat([chains[a], chains[b]])) - alone[a] - alone[b]
    assert_close(model.condition(":".join(names)).energy(torch.cat(chains)), expected, "rounding")


def test_chains_have_the_steps_that_they_have_alone(model, hetero):
    for name, rows in ((A, slice(0, 14)), (B, slice(14, 23))):
        alone = model.condition(name)
        for step, factors in (
            ("cartesian_step", "cartesian_preconditioner"),
            ("internal_step", "internal_preconditioner"),
        ):
            found = getattr(hetero, step) * getattr(hetero, factors)[rows]
            assert_close(found, getattr(alone, step) * getattr(alone, factors), "rounding")


def test_atoms_are_those_of_each_chain_alone(model, hetero):
    first, second = near(14, 9)
    atoms = hetero.impute(torch.cat([first, second]).expand(2, 23, 3))
    assert atoms.shape == (2, 23, 5, 3)
    assert_close(atoms[1, :14], model.condition(A).impute(first), "rounding")
    assert_close(atoms[1, 14:], model.condition(B).impute(second), "rounding")


# Inputs of each chain


def profile(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((length, 20))


@pytest.fixture(scope="module")
def with_profiles() -> NemoModel:
    return make_model("fold", profile=True)


def test_profiles_are_given_chain_by_chain(with_profiles):
    first, second = near(14, 9)
    one, other = profile(14, 1), profile(9, 2)
    far = torch.cat([first, second + 300])
    for profiles in ([one, other], [one, None], [None, other], (None, None)):
        complex_ = with_profiles.condition(f"{A}:{B}", profiles)
        alone = with_profiles.condition(A, profiles[0]).energy(first)
        alone = alone + with_profiles.condition(B, profiles[1]).energy(second)
        assert_close(complex_.energy(far), alone, "rounding")
    assert torch.equal(complex_.s, with_profiles.condition(f"{A}:{B}").s)


def test_identical_chains_with_different_profiles_are_not_identical(with_profiles):
    dimer = with_profiles.condition(f"{A}:{A}", [profile(14, 1), None])
    first, second = near(14, 14)
    u = dimer.energy(torch.cat([first, second]))
    assert (dimer.energy(torch.cat([second, first])) - u).abs() > 1e-3


def test_inputs_that_do_not_fit_the_chains_are_refused(with_profiles, model):
    with raises(InputError, "profile", "23 entries", "2 chains"):
        with_profiles.condition(f"{A}:{B}", np.vstack([profile(14, 1), profile(9, 2)]))
    with raises(InputError, "Chain 2 of 2", "profile", "(14, 20)", "(9, 20)"):
        with_profiles.condition(f"{A}:{B}", [profile(14, 1), profile(14, 1)])
    with raises(InputError, "Chain 1 of 2", "profile"):
        model.condition(f"{A}:{B}", [profile(14, 1), None])
    with raises(InputError, "chain B", "'X'"):
        model.condition(f"{A}:GSXV")


# Initial positions


def test_chains_start_side_by_side(model, hetero):
    for seed in (None, 0, 3, 3 + (2 << 32)):
        x = hetero.initial_state(seed)
        assert x.mean(0).abs().max() < 1e-10
        assert_close(torch.cdist(x[:14], x[14:]).min(), torch.tensor(10.0).double(), "rounding")


def test_chains_start_in_the_shape_of_the_chain_alone_and_differ(model):
    """A seed draws the shape of the first chain as it does alone; an identical chain has another one."""
    dimer, alone = model.condition(f"{A}:{A}"), model.condition(A)
    x = dimer.initial_state(7)
    expected = alone.initial_state(7)
    assert_close(torch.cdist(x[:14], x[:14]), torch.cdist(expected, expected), "rounding")
    assert (torch.cdist(x[14:], x[14:]) - torch.cdist(expected, expected)).abs().max() > 1
    z = dimer.initial_state()
    assert_close(torch.cdist(z[14:], z[14:]), torch.cdist(z[:14], z[:14]), "rounding")


def test_a_seed_turns_each_chain(model):
    """The directions of the first bond are spread over the sphere."""
    dimer = model.condition(f"{A}:{A}")
    states = [dimer.initial_state(seed) for seed in range(200)]
    directions = torch.stack([torch.stack([x[1] - x[0], x[15] - x[14]]) for x in states]) / 3.8
    directions = torch.nn.functional.normalize(directions, dim=-1)
    bound = 4 / (3 * 200) ** 0.5
    assert directions.mean(0).abs().max() < bound
    assert (directions[:, 0] * directions[:, 1]).sum(-1).mean().abs() < bound
    assert torch.equal(dimer.initial_state(5), states[5])


# What cannot be done


def test_models_without_an_energy_between_chains_are_refused():
    with raises(InputError, "nemo-mini", "learned", "nemo-fold"):
        NemoModel.from_pretrained("nemo-mini").condition(f"{A}:{B}")
    with raises(InputError, "rnn-mini", "baseline", "nemo-fold"):
        NemoModel.from_pretrained("rnn-mini").condition(f"{A}:{B}")


def test_complexes_are_simulated_in_openmm(hetero):
    for action in (
        lambda: hetero.copies(2),
        lambda: hetero.rollout(5),
        lambda: hetero.step_parameters(),
    ):
        with raises(InputError, "OpenMM", "create_system"):
            action()


def test_it_says_whether_the_model_has_seen_complexes():
    torch.manual_seed(1)
    config = NemoConfig.preset("fold")
    assert config.trained_on_complexes is False
    assert "interface" in NemoModel(config).condition(f"{A}:{B}").caveat
    seen = replace(config, trained_on_complexes=True)
    assert NemoModel(seen).condition(f"{A}:{B}").caveat == ""
    assert NemoConfig.from_dict(seen.to_dict()) == seen


def test_rigid_motions_of_a_complex_change_nothing(hetero):
    x = torch.cat(near(14, 9))
    moved = x @ random_rotation(3).T + 20
    assert_close(hetero.energy(moved), hetero.energy(x), "rigid_motion")
