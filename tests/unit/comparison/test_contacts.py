"""Precision of contacts, by hand."""

import numpy as np
import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.comparison.contacts import (
    CONTACT_FIGURES,
    contact_probabilities,
    distances,
    precisions,
    separation_precisions,
    structure_precisions,
)
from openmm_nemo.energies import pair_basis as pair
from tests.helpers import normal, random_chain


def far_except(n: int, contacts: dict[tuple[int, int], float]) -> np.ndarray:
    """Distances of 20 Angstrom, but for some pairs."""
    found = np.full((n, n), 20.0)
    for (i, j), value in contacts.items():
        found[i, j] = found[j, i] = value
    return found


def test_precision_is_the_share_of_contacts_among_the_first_pairs():
    native = far_except(10, {(0, 9): 7.9, (3, 9): 5, (0, 6): 8.0, (2, 5): 4})
    score = np.zeros((10, 10))
    score[3, 9], score[0, 6], score[0, 9] = 3, 2, 1
    found = precisions([-score], native, "pairs")
    # Of the ten pairs at least 6 apart, two are contacts: 8 is not below 8.
    assert found["pairs_l5_6"] == 1 / 2
    assert found["pairs_l_6"] == 2 / 10
    assert np.isnan(found["pairs_l_12"])
    assert np.isnan(found["pairs_l5_24"])
    assert found.keys() == {name for name in CONTACT_FIGURES if name.startswith("pairs_")}


def test_ranges_have_their_own_pairs():
    native = far_except(30, {(0, 6): 5, (0, 12): 5, (5, 29): 5})
    score = far_except(30, {})
    score[5, 29] = score[0, 12] = 0
    found = precisions([score], native, "structures")
    # L/5 is 6. The equal scores that follow are in order, so that (0, 6) is the first of them.
    assert [found[f"structures_l5_{s}"] for s in (6, 12, 24)] == pytest.approx(
        [3 / 6, 2 / 6, 1 / 6]
    )
    assert [found[f"structures_l_{s}"] for s in (6, 12, 24)] == pytest.approx([0.1, 2 / 30, 1 / 21])


def test_separation_takes_the_closest_pairs_first():
    native = far_except(10, {(1, 7): 5, (3, 9): 5})
    found = separation_precisions(native)
    # (0, 6) and (1, 7); then all ten.
    assert found["separation_l5_6"] == 1 / 2
    assert found["separation_l_6"] == 2 / 10


def test_samples_vote_and_distances_break_ties():
    """L = 8, of which only (0, 6), (0, 7) and (1, 7) are far enough apart; L/5 is one pair."""

    def sample(at_0: float, at_1: float, at_7: float) -> torch.Tensor:
        x = torch.zeros(8, 3)
        x[:, 0] = torch.tensor([at_0, at_1, 100, 200, 300, 400, 0, at_7])
        return x

    # (0, 6): 7, 7 and 30; (0, 7): 9, 9 and 1; (1, 7): 20, 20 and 21.
    samples = torch.stack([sample(7, -4, 16), sample(7, -4, 16), sample(30, 10, 31)])
    for contact, expected in (((0, 6), 1), ((0, 7), 0), ((1, 7), 0)):
        native = far_except(8, {contact: 5})
        assert structure_precisions(samples, native)["structures_l5_6"] == expected
    # Two samples that disagree: one contact each, and 18.5 against 5 on average.
    assert structure_precisions(samples[1:], far_except(8, {(0, 7): 5}))["structures_l5_6"] == 1
    broken = torch.full((1, 8, 3), torch.nan)
    with_broken = structure_precisions(torch.cat([samples, broken]), native)
    assert with_broken == structure_precisions(samples, native)
    assert structure_precisions(broken, native) == {}


def test_distances_are_those_of_numpy():
    x = random_chain(2, 40, seed=1).float()
    expected = np.linalg.norm(x.double()[:, :, None] - x.double()[:, None], axis=-1)
    np.testing.assert_allclose(distances(x), expected, atol=1e-5)


def test_probabilities_of_contacts_are_those_of_the_pair_term():
    torch.manual_seed(1)
    fold = NemoConfig.preset("fold")
    small = {"node_channels": 8, "pair_channels": 4, "sequence_blocks": 1, "pair_blocks": 1}
    model = NemoModel(NemoConfig.from_dict(fold.to_dict() | small)).eval()
    s = torch.eye(20)[torch.arange(28).view(2, 14) % 20]
    mask = torch.ones(2, 14)
    mask[1, 10:] = 0
    with torch.no_grad():
        batch = model.condition_batch(s * mask[..., None], mask)
        term = model.energy.terms["pair-basis"]
        term.reference.copy_(normal(*term.reference.shape, seed=3).float().log_softmax(1))
        (values,) = batch.coefficients_of("pair-basis")
        values.copy_(normal(*values.shape, seed=2))
        found = contact_probabilities(batch)
    for b, i, j in ((0, 2, 13), (1, 0, 6)):
        expected = []
        for place in ((b, i, j), (b, j, i)):
            weights = np.exp(
                term.reference[j - i, :, None].numpy() - (term.grid @ values[place]).numpy()
            ).sum(1)
            edges = 3.5 + pair.RADIAL_WIDTH * (np.arange(25) - 0.5)
            share = ((8 - edges) / pair.RADIAL_WIDTH).clip(0, 1)
            expected.append((weights * share).sum() / weights.sum())
        assert found[b, i, j] == pytest.approx(np.mean(expected), rel=1e-5)
    plain = NemoModel(NemoConfig.preset("tiny")).eval()
    with torch.no_grad():
        assert contact_probabilities(plain.condition_batch(s, mask)) is None
