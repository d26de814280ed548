"""The energy as the sum of its terms."""

from dataclasses import replace

import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies import TERMS, Coefficients, Energy, EnergyTerm
from openmm_nemo.errors import InputError
from openmm_nemo.networks import BatchRenorm
from tests.tolerances import assert_close
from tests.unit.models.chains import make_batch, make_model


class Bonds(EnergyTerm):
    """sum k (b - b0), with two coefficients k and k b0, to be told apart from one another and from other terms."""

    handed = False

    @staticmethod
    def coefficients(config):
        return [Coefficients("k", False, 1), Coefficients("kb", False, 1)]

    @staticmethod
    def make_head(config, node_channels, pair_channels):
        raise NotImplementedError

    def forward(self, x, coefficients, mask):
        b = (x[:, 1:] - x[:, :-1]).norm(dim=-1)
        k, kb = coefficients[0][:, 1:, 0], coefficients[1][:, 1:, 0]
        return ((k * b - kb) * mask[:, 1:]).sum(1)


@pytest.mark.parametrize("order", [("learned", "bonds"), ("bonds", "learned")])
def test_energy_is_the_sum_of_its_terms_each_with_its_own_coefficients(monkeypatch, order):
    monkeypatch.setitem(TERMS, "bonds", Bonds)
    model = make_model()
    x, s, mask = make_batch([9, 6], 20)
    learned = model.sequence_network(s, mask).coefficients
    bonds = [torch.rand(2, 9, 1, dtype=torch.float64) for _ in range(2)]
    energy = Energy(replace(model.config, terms=order)).eval().double()
    energy.terms["learned"].load_state_dict(model.energy.terms["learned"].state_dict())
    expected = model.energy(x, learned, mask) + Bonds(model.config)(x, bonds, mask)
    of = {"learned": learned, "bonds": bonds}
    assert_close(energy(x, of[order[0]] + of[order[1]], mask), expected, "rounding")


def test_unknown_terms_are_named():
    config = replace(NemoConfig.preset("tiny"), terms=("learned", "springs"))
    with pytest.raises(InputError, match=r"'springs'.*learned"):
        Energy(config)


def test_initialisation_follows_the_seed():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(Energy(NemoConfig.preset("tiny")).state_dict())
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    assert not states[0]["terms.learned.structure_network.pair_input.weight"].equal(
        states[2]["terms.learned.structure_network.pair_input.weight"]
    )


def statistics_of(energy: Energy) -> dict[str, torch.Tensor]:
    return {
        f"{place}.{name}": value.clone()
        for place, module in energy.named_modules()
        if isinstance(module, BatchRenorm)
        for name, value in module.named_buffers(recurse=False)
    }


def test_statistics_see_positions_without_changing_modes_or_weights():
    x, _, mask = make_batch([9, 6], 20)
    seen = []
    for training in (True, False):
        energy = make_model().energy.train(training)
        energy.terms["learned"].structure_network.pair_network.eval()
        modes = [module.training for module in energy.modules()]
        weights = [parameter.clone() for parameter in energy.parameters()]
        before = statistics_of(energy)
        energy.update_statistics(x, mask)
        assert [module.training for module in energy.modules()] == modes
        assert all(w.equal(p) for w, p in zip(weights, energy.parameters(), strict=True))
        seen.append(statistics_of(energy))
        means = [name for name in before if name.endswith("running_mean")]
        assert means
        assert not any(seen[-1][name].equal(before[name]) for name in means)
    # Without dropout, whatever the mode.
    assert all(seen[0][name].equal(seen[1][name]) for name in seen[0])
