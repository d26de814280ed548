"""Sequence network of dilated convolutions: shapes, padding, starting values, and steps that know their levers."""

from dataclasses import replace

import pytest
import torch

from openmm_nemo.conditioning import DilatedSequenceNetwork, SequenceNetwork
from openmm_nemo.config import NemoConfig
from openmm_nemo.energies import terms_of
from tests.tolerances import assert_close
from tests.unit.conditioning.test_sequence import tensors
from tests.unit.models.chains import DTYPES, make_batch


def make_config(**changes) -> NemoConfig:
    """A small network, for all terms."""
    return replace(
        NemoConfig.preset("fold"),
        node_channels=16,
        pair_channels=8,
        attention_heads=4,
        terms=("learned", "pair-basis", "chain-basis", "backbone"),
        **changes,
    )


def make_network(dtype=torch.float64, **changes) -> SequenceNetwork:
    """A network with parameters away from their initial values."""
    torch.manual_seed(3)
    network = DilatedSequenceNetwork(make_config(**changes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.to(dtype)


def test_shapes():
    network = make_network()
    _, s, mask = make_batch([9, 6], 20)
    out = network(s, mask)
    config = make_config()
    declared = [what for term in terms_of(config).values() for what in term.coefficients(config)]
    assert len(out.coefficients) == len(declared) == 4
    for values, what in zip(out.coefficients, declared, strict=True):
        assert values.shape == (2, *(9,) * (1 + what.of_pairs), what.channels)
    assert out.z0.shape == (2, 9, 3)
    assert out.secondary_structure.shape == (2, 9, 8)
    assert out.cartesian_step.shape == out.internal_step.shape == (2,)
    assert out.cartesian_preconditioner.shape == (2, 9)
    assert out.internal_preconditioner.shape == (2, 9, 3)
    for values in tensors(out):
        assert values.dtype == s.dtype
        if values.dim() > 1:
            assert values[1, 6:].eq(0).all()


@DTYPES
@pytest.mark.parametrize("lever_aware", [True, False])
def test_padded_batches_equal_single_proteins(dtype, lever_aware):
    network = make_network(dtype, lever_aware=lever_aware)
    lengths = [4, 23, 11]
    torch.manual_seed(0)
    _, s, mask = make_batch(lengths, 20, dtype, padding=100.0)
    batch = network(s, mask)
    for k, length in enumerate(lengths):
        single = network(s[k : k + 1, :length], mask[k : k + 1, :length])
        for together, alone in zip(tensors(batch), tensors(single), strict=True):
            rows = together[k : k + 1]
            if alone.dim() > 1:
                rows = rows[:, :length]
            if alone.dim() == 4:
                rows = rows[:, :, :length]
            assert_close(rows, alone, "rounding")


def test_every_parameter_matters():
    network = make_network()
    _, s, mask = make_batch([12, 7], 20)
    sum((values**2).sum() for values in tensors(network(s, mask))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_pairs_see_residues_as_far_as_the_dilations_reach():
    """Two 2D blocks with dilations 1 and 3 of width 3 reach 4 residues; 1D blocks, here of 1 and 1, another 2."""
    network = make_network(sequence_blocks=2, dilations=(1,), pair_blocks=2, pair_dilations=(1, 3))
    _, s, mask = make_batch([30], 20)
    s.requires_grad_()
    _, p = network.features(s, mask)
    (slope,) = torch.autograd.grad(p[0, :, 12, 12].sum(), s)
    assert slope[0].ne(0).any(1).nonzero().flatten().tolist() == list(range(6, 19))


def test_an_untrained_network_has_no_energy_of_fixed_functions_and_the_default_steps():
    torch.manual_seed(0)
    network = DilatedSequenceNetwork(NemoConfig.preset("fold"))
    _, s, mask = make_batch([30], 20, torch.float32)
    out = network(s, mask)
    assert len(out.coefficients) == 2
    assert all(values.eq(0).all() for values in out.coefficients)
    assert out.cartesian_step.item() == pytest.approx(0.006)
    assert out.internal_step.item() == pytest.approx(0.01)  # whatever the length
    levers = [min(1, 4 / max(1, min(j, 30 - j))) for j in range(30)]
    expected = torch.tensor([[1.0, lever, lever] for lever in levers])
    assert_close(out.internal_preconditioner[0], expected, "rounding")
    assert out.cartesian_preconditioner.eq(1).all()


def test_levers_are_those_of_each_chain_and_on_top_of_what_is_learned():
    """The dihedral of residue j turns n - j residues, or the j on its other side."""
    network, plain = make_network(lever_aware=True), make_network(lever_aware=False)
    lengths = [20, 11]
    _, s, mask = make_batch(lengths, 20)
    found, without = (net(s, mask).internal_preconditioner for net in (network, plain))
    for k, n in enumerate(lengths):
        for j in range(n):
            lever = min(1, 4 / max(1, min(j, n - j)))
            factors = torch.tensor([1, lever, lever], dtype=torch.float64)
            assert_close(found[k, j], factors * without[k, j], "rounding")
    assert found[0, 10, 2] < 0.5 * without[0, 10, 2]
