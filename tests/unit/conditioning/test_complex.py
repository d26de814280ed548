"""Several chains: what the network sees across a break, and what does not depend on the order of the chains."""

from dataclasses import replace

import pytest
import torch

from openmm_nemo.conditioning import SEQUENCE_NETWORKS, coefficients_between, joined_output
from openmm_nemo.conditioning import complex as several
from openmm_nemo.config import NemoConfig
from tests.tolerances import assert_close
from tests.unit.models.chains import make_sequence_input

TERMS = ("pair-basis", "chain-basis", "backbone")


def make_network(trunk: str):
    """A network with parameters away from their initial values, and its configuration."""
    torch.manual_seed(3)
    config = replace(
        NemoConfig.preset("fold"),
        node_channels=16,
        pair_channels=8,
        attention_heads=4,
        expansion_rank=4,
        sequence_blocks=5,
        pair_blocks=3,
        message_pair_width=3,
        pair_width=3,
        message_iterations=1,
        terms=TERMS,
        trunk=trunk,
    )
    network = SEQUENCE_NETWORKS[trunk](config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.double().eval(), config


def chain(length: int, seed: int) -> torch.Tensor:
    return make_sequence_input(length, 20, seed)[None]


@pytest.fixture(scope="module", params=list(SEQUENCE_NETWORKS))
def made(request):
    return make_network(request.param)


def test_the_order_of_the_chains_does_not_matter(made):
    a, b = chain(11, 1), chain(7, 2)
    (ab,), (ba,) = coefficients_between(*made, a, b)
    (other_ba,), (other_ab,) = coefficients_between(*made, b, a)
    assert ab.shape == (1, 11, 7, 42)
    assert ba.shape == (1, 7, 11, 42)
    assert ab.equal(other_ab)
    assert ba.equal(other_ba)
    assert ab.std() > 1e-3


def test_identical_chains_have_the_same_coefficients_in_both_directions(made):
    a = chain(11, 1)
    (forth,), (back,) = coefficients_between(*made, a, a.clone())
    assert forth.equal(back)


def test_coefficients_depend_on_both_chains(made):
    a, b = chain(11, 1), chain(7, 2)
    (ab,), _ = coefficients_between(*made, a, b)
    (others,), _ = coefficients_between(*made, a, chain(7, 5))
    assert (ab - others).abs().max() > 1e-3


def test_a_wider_break_changes_nothing(made, monkeypatch):
    """All of what the network sees of the break: there is one, and the other side is as far as it knows."""
    network, config = made
    a, b = chain(11, 1), chain(7, 2)
    (expected,), _ = coefficients_between(network, config, a, b)
    width = several.break_width(config)
    monkeypatch.setattr(several, "break_width", lambda config: width + 9)
    (found,), _ = coefficients_between(network, config, a, b)
    assert_close(found, expected, "rounding")
    monkeypatch.setattr(several, "break_width", lambda config: 2)
    (narrow,), _ = coefficients_between(network, config, a, b)
    assert (narrow - expected).abs().max() > 1e-3 * expected.abs().max()


def test_convolutions_do_not_reach_across_the_break():
    """A dilated network knows a chain in a complex as it knows it alone."""
    network, config = make_network("dilated")
    a, b = chain(20, 1), chain(9, 2)
    pairs = several._pairs_with_break(network, config, a, b)[0]
    ones = torch.ones(1, 20, dtype=torch.float64)
    alone = network(a, ones).coefficients[0]
    assert_close(pairs[:, :20, :20], alone, "rounding")


def test_each_chain_is_what_it_is_alone(made):
    network, config = made
    chains = [chain(11, 1), chain(7, 2), chain(11, 1)]
    output = joined_output(network, config, chains)
    rows = [slice(0, 11), slice(11, 18), slice(18, 29)]
    for s, own in zip(chains, rows, strict=True):
        alone = network(s, torch.ones_like(s[..., 0]))
        pairs, residues = output.coefficients
        assert pairs[:, own, own].equal(alone.coefficients[0])
        assert residues[:, own].equal(alone.coefficients[1])
        assert output.z0[:, own].equal(alone.z0)
        assert output.secondary_structure[:, own].equal(alone.secondary_structure)
        for step, factors, own_factors in (
            ("cartesian_step", output.cartesian_preconditioner, alone.cartesian_preconditioner),
            ("internal_step", output.internal_preconditioner, alone.internal_preconditioner),
        ):
            expected = getattr(alone, step) * own_factors
            assert_close(getattr(output, step) * factors[:, own], expected, "rounding")
    (ab,), (ba,) = coefficients_between(network, config, chains[0], chains[1])
    (aa,), _ = coefficients_between(network, config, chains[0], chains[2])
    pairs = output.coefficients[0]
    assert pairs[:, rows[0], rows[1]].equal(ab)
    assert pairs[:, rows[1], rows[0]].equal(ba)
    assert pairs[:, rows[2], rows[1]].equal(ab)
    assert pairs[:, rows[1], rows[2]].equal(ba)
    assert pairs[:, rows[0], rows[2]].equal(aa)
    assert pairs[:, rows[2], rows[0]].equal(aa)


def test_equal_pairs_of_chains_are_computed_once(made, monkeypatch):
    pairs = []

    def count(network, config, first, second):
        pairs.append((first.shape[1], second.shape[1]))
        return coefficients_between(network, config, first, second)

    monkeypatch.setattr(several, "coefficients_between", count)
    joined_output(*made, [chain(5, 1), chain(7, 2), chain(5, 1), chain(7, 2), chain(5, 3)])
    assert sorted(pairs) == [(5, 5), (5, 5), (5, 7), (7, 5), (7, 7)]
