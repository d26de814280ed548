"""Force matching: the loss by hand, its gradient, the frames that are drawn, what is refused, and that it learns."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm as mm
import pytest
import torch
from torch import Tensor, nn

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.data import ForceFrames
from openmm_nemo.engine import coarse_topology, record_forces
from openmm_nemo.errors import InputError
from openmm_nemo.models.batch import ConditionedBatch
from openmm_nemo.training.force_matching import FrameBatch, FramePool, force_error, model_forces
from openmm_nemo.training.settings import read_settings
from tests.helpers import normal, platform, raises, random_chain
from tests.unit.engine.toys import GAS_CONSTANT, chain_forces

LONG, SHORT = "NLYIQWLKDGGP", "GAVLK"


def written(folder: Path, name: str, sequence: str, n_frames: int, seed: int) -> Path:
    shape = n_frames, len(sequence)
    positions = random_chain(*shape, seed=seed).float().numpy()
    forces = normal(*shape, 3, seed=seed).float().numpy()
    ForceFrames(sequence, positions, forces, 300.0).write(folder / name)
    return folder / name


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    return [
        written(tmp_path, "long.safetensors", LONG, 5, seed=1),
        written(tmp_path, "short.safetensors", SHORT, 20, seed=2),
    ]


@pytest.fixture
def model() -> NemoModel:
    torch.manual_seed(0)
    return NemoModel(NemoConfig.preset("tiny"))


class SpringEnergy(nn.Module):
    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        return 0.5 * coefficients[0] * ((x**2).sum(-1) * mask).sum(-1)


class Spring(nn.Module):
    """U = k / 2 sum m_i |x_i|^2, with a stiffness k from the sequence: w for each A."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))
        self.energy = SpringEnergy()

    def condition_batch(self, s: Tensor, mask: Tensor) -> ConditionedBatch:
        k = self.w * s[:, :, 0].sum(1)
        nothing = torch.zeros(len(s))
        return ConditionedBatch(mask, nothing, nothing, None, [k], self.energy)


def test_the_loss_by_hand():
    """F = -k x; k is 0.5 for one A and 1.5 for three. The second chain has one residue less."""
    s = torch.zeros(2, 2, 20)
    s[0, 0, 0] = 1
    s[1, 0, 0] = 3
    mask = torch.tensor([[1.0, 1], [1, 0]])
    x = torch.tensor([[[1.0, 0, 0], [0, 2, 0]], [[0, 0, 4], [0, 0, 0]]])
    forces = torch.tensor([[[0.0, 0, 1], [0, 1, 0]], [[0, 0, -5], [0, 0, 0]]])
    model = Spring(0.5)
    loss = force_error(model, FrameBatch(s, mask, torch.tensor([0, 1]), x, forces))
    # Predicted (-0.5, 0, 0), (0, -1, 0); and (0, 0, -6).
    assert loss.tolist() == pytest.approx([(0.25 + 1 + 4) / 6, 1 / 3])
    loss.sum().backward()
    # 2 (F' - F) dF'/dw, with dF'/dw = -x and -3 x.
    assert model.w.grad.item() == pytest.approx((2 * 0.5 * 1 + 2 * 2 * 2) / 6 + 2 * 1 * 12 / 3)


def test_forces_are_those_of_the_conditioned_model(paths, model):
    """Finite differences of its energy; in training mode, with dropout, and for padded frames too."""
    model.double().train()
    batch = FramePool(paths).take([0, 7, 3, 24])
    batch = FrameBatch(*(t.double() if t.is_floating_point() else t for t in batch))
    found = model_forces(model, batch).detach()
    assert all(part.training for part in model.modules())
    for b, sequence in enumerate((LONG, SHORT, LONG, SHORT)):
        protein = model.condition(sequence)
        n = len(sequence)
        for i, axis in itertools.product((0, 2, n - 1), range(3)):
            move = torch.zeros(n, 3, dtype=torch.float64)
            move[i, axis] = 1e-5
            ahead, behind = (protein.energy(batch.x[b, :n] + sign * move) for sign in (1, -1))
            assert found[b, i, axis] == pytest.approx(
                float(behind - ahead) / 2e-5, rel=1e-6, abs=1e-6
            )
        assert found[b, n:].abs().sum() == 0


def test_gradients_reach_the_weights_of_both_networks(paths, model):
    """Double back-propagation against finite differences of the loss."""
    model.double()
    batch = FramePool(paths).take([0, 7])
    batch = FrameBatch(*(t.double() if t.is_floating_point() else t for t in batch))
    force_error(model, batch).sum().backward()
    for weight in (
        model.energy.terms["learned"].structure_network.pair_output.weight,
        model.energy.terms["learned"].structure_network.node_input.weight,
        model.sequence_network.term_heads["learned"].pair_coefficients.weight,
        model.sequence_network.embedding.weight,
    ):
        number = int(weight.grad.abs().argmax())
        losses = []
        with torch.no_grad():
            for move in (1e-5, -2e-5):
                weight.view(-1)[number] += move
                losses.append(force_error(model, batch).sum().item())
            weight.view(-1)[number] += 1e-5
        expected = (losses[0] - losses[1]) / 2e-5
        assert abs(expected) > 1e-3
        assert weight.grad.view(-1)[number].item() == pytest.approx(expected, rel=1e-5)
    assert model.sequence_network.initial_state.weight.grad is None


def test_frames_are_taken_from_all_files(paths):
    pool = FramePool(paths)
    assert len(pool) == 25
    batch = pool.take([4, 5, 24])
    files = [ForceFrames.read(path) for path in paths]
    assert batch.protein.tolist() == [0, 1, 1]
    assert batch.s.shape == (2, 12, 20)
    assert batch.mask.sum(1).tolist() == [12, 5]
    for b, (file, frame) in enumerate([(0, 4), (1, 0), (1, 19)]):
        n = len(files[file].sequence)
        letters = batch.s[batch.protein[b], :n].argmax(-1)
        assert "".join("ACDEFGHIKLMNPQRSTVWY"[i] for i in letters) == files[file].sequence
        x = files[file].positions[frame]
        np.testing.assert_allclose(batch.x[b, :n], x - x.mean(0), atol=1e-5)
        np.testing.assert_array_equal(batch.forces[b, :n], files[file].forces[frame])
        assert batch.x[b, n:].abs().sum() == batch.forces[b, n:].abs().sum() == 0
    # No longer than what was drawn.
    assert pool.take([7]).x.shape == (1, 5, 3)


def test_draws_are_a_function_of_the_seed_and_even(paths):
    pool = FramePool(paths)
    one, same, other = (pool.draw(8, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)
    counts = Counter(pool.draw(5000, 1).x[:, 0, 0].tolist())
    assert len(counts) == 25
    assert all(120 < count < 280 for count in counts.values())  # 200, +- 6 sigma


def test_files_of_several_temperatures_are_refused(paths):
    frames = replace(ForceFrames.read(paths[1]), temperature=310.0)
    frames.write(paths[1])
    with raises(InputError, "long.safetensors", "300 K", "310 K"):
        FramePool(paths)


CONFIG = """
description = "Forces."
[data]
set = "set"
split = "split.json"
force_frames = ["a.safetensors", "b/c.safetensors"]
[model]
preset = "tiny"
[[stages]]
updates = 1
losses = {tm = 1.0}
[[stages]]
updates = 1
losses = {forces = 1.0}
"""


def test_settings_with_forces(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    settings = read_settings(path)
    expected = (tmp_path / "a.safetensors", tmp_path / "b" / "c.safetensors")
    assert settings.data.force_frames == expected
    assert settings.stages[1].losses == {"forces": 1.0}


@pytest.mark.parametrize(
    ("line", "changed", "facts"),
    [
        ("force_frames", "#", ["stages.1.losses", "forces", "data.force_frames"]),
        ("preset", "profile = true\npreset", ["stages.1.losses", "forces", "profiles"]),
        ("preset", "changes = {lstm_units = 8}\npreset", ["stages.1.losses", "forces", "baseline"]),
        ("forces = 1.0", "force = 1.0", ["'force'", "forces"]),
    ],
)  # fmt: skip
def test_stages_that_cannot_learn_forces_are_refused(tmp_path, line, changed, facts):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace(line, changed))
    with raises(InputError, path, *facts):
        read_settings(path)


@pytest.mark.integration
def test_forces_of_a_simulation_are_learnt(tmp_path, model):
    """A chain of springs with a contact between its ends, in OpenMM; frames that were not trained on."""
    sequence = "ACDEFGHI"
    n, kt = len(sequence), 300 * GAS_CONSTANT
    system = mm.System()
    for _ in sequence:
        system.addParticle(100.0)
    contact = mm.CustomBondForce("-10 * exp(-(r - 0.6)^2 / 0.02)")
    contact.addBond(0, n - 1)
    chain = chain_forces([range(n)], (0.38, 2000 * kt), (1.9, 8 * kt), 0.0)
    for force in (*chain, contact):
        system.addForce(force)
    integrator = mm.LangevinMiddleIntegrator(300, 5, 0.01)
    integrator.setRandomNumberSeed(1)
    context = mm.Context(system, integrator, platform("Reference"))
    context.setPositions([[0.31 * i, 0.22 * (i % 2), 0.02 * i * i] for i in range(n)])
    integrator.step(500)
    xyz = []
    for _ in range(200):
        integrator.step(20)
        xyz.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    frames = record_forces(
        md.Trajectory(np.array(xyz), coarse_topology(sequence)), system, 300, platform="Reference"
    )
    train, test = (
        replace(frames, positions=frames.positions[part], forces=frames.forces[part])
        for part in (slice(150), slice(150, None))
    )
    train.write(tmp_path / "train.safetensors")
    test.write(tmp_path / "test.safetensors")
    pool = FramePool([tmp_path / "train.safetensors"])
    held_out = FramePool([tmp_path / "test.safetensors"]).take(range(50))

    def error() -> float:
        with torch.no_grad():
            return force_error(model, held_out).mean().item()

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    before = error()
    for update in range(60):
        optimizer.zero_grad()
        force_error(model, pool.draw(16, update)).mean().backward()
        optimizer.step()
    variance = held_out.forces.square().mean().item()
    assert before > 0.1 * variance > 10 * error()
    with torch.no_grad():
        predicted = model_forces(model, held_out)
    assert np.corrcoef(predicted.flatten(), held_out.forces.flatten())[0, 1] > 0.99
