"""Contrastive divergence from simulations that begin at the data, on real domains: the stage that is cheap."""

from pathlib import Path

import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.data.batches import DomainDataset, Draw, collate
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.json_lines import read_json_lines
from openmm_nemo.training.losses import EnergySize, Likelihood
from openmm_nemo.training.prediction import RolloutSettings, predict, update_statistics

pytestmark = pytest.mark.boltzmann

UPDATES, CHAINS = 40, 8


def learn(size_weight: float) -> tuple[list[float], list[float]]:
    """U(data) - U(model) and mean square energies a residue, kT and kT^2, of all updates."""
    path = Path("examples/data/small_domains.jsonl.gz")
    domains = [domain for domain in read_json_lines(path) if isinstance(domain, Domain)]
    data = DomainDataset(domains, 24, 1)
    torch.manual_seed(1)
    model = NemoModel(NemoConfig.preset("tiny")).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    differences, sizes = [], []
    for k in range(UPDATES):
        draws = [Draw(k, (CHAINS * k + i) % len(domains)) for i in range(CHAINS)]
        batch = collate([data[draw] for draw in draws])
        everywhere = torch.ones(CHAINS, dtype=torch.bool)
        prediction = predict(model, batch, RolloutSettings(10, 0, 1), k, from_data=everywhere)
        update_statistics(model, batch, prediction)
        likelihood = Likelihood()(prediction, batch).mean()
        size = EnergySize()(prediction, batch).mean()
        optimizer.zero_grad()
        (0.02 * likelihood + size_weight * size).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        differences.append(float(likelihood.detach()))
        sizes.append(float(size.detach()))
    return differences, sizes


def test_data_become_lower_than_samples_and_energies_stay_small():
    """Without the penalty on their size, energies run away: 30 times the mean square in 40 updates."""
    differences, sizes = learn(size_weight=1.0)
    assert min(differences[:5]) > -10
    assert max(differences[-5:]) < -10
    assert max(sizes) < 1
    _, free = learn(size_weight=0.0)
    assert free[-1] > 10
