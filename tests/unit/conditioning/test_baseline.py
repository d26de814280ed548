"""The baseline: an LSTM written out by hand, padding, files, and what it is refused for."""

import json
from dataclasses import replace

import openmm as mm
import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.conditioning import BaselineNetwork
from openmm_nemo.conditioning.baseline import HIDDEN_SECOND_MOMENT
from openmm_nemo.encoders import input_width
from openmm_nemo.engine import (
    add_to_system,
    create_force,
    create_integrator,
    create_system,
    export_energy,
)
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import bond_angles, internal_to_cartesian
from openmm_nemo.sampling.ensembles import read_ensemble
from tests.helpers import command_line, names, raises, refused
from tests.tolerances import assert_close
from tests.unit.models.chains import DTYPES, make_batch, make_model

UNITS = 6
SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"  # of examples/data/1l2y.pdb


def make_baseline(profile=False, dtype=torch.float64):
    return make_model(profile=profile, dtype=dtype, lstm_units=UNITS)


def lstm_by_hand(s, weights, layer, reverse):
    """Hidden states (L, H) of one direction of a layer (Hochreiter & Schmidhuber 1997, with forget gates)."""
    end = f"l{layer}" + ("_reverse" if reverse else "")
    w, u, b, c = (
        weights[f"{name}_{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden, cell = s.new_zeros(UNITS), s.new_zeros(UNITS)
    states = []
    for row in s.flip(0) if reverse else s:
        gates = w @ row + b + u @ hidden + c
        enter, forget, new, leave = (gates[k * UNITS : (k + 1) * UNITS] for k in range(4))
        cell = cell / (1 + (-forget).exp()) + new.tanh() / (1 + (-enter).exp())
        hidden = cell.tanh() / (1 + (-leave).exp())
        states.append(hidden)
    return torch.stack(states[::-1] if reverse else states)


@pytest.mark.parametrize("profile", [False, True])
def test_it_is_an_lstm_of_two_layers_in_both_directions(profile):
    network = make_baseline(profile).sequence_network
    _, s, mask = make_batch([13], network.lstm.input_size)
    out = network(s, mask)
    weights, h = dict(network.lstm.named_parameters()), s[0]
    for layer in range(2):
        h = torch.cat(
            [lstm_by_hand(h, weights, layer, reverse) for reverse in (False, True)], dim=-1
        )
    head = network.initial_state
    stretch, bend, sine, cosine = (h @ head.weight[..., 0].T + head.bias).T
    z0 = torch.stack([stretch, bend, torch.atan2(sine, cosine)], dim=-1)
    z0[0], z0[1, 1:], z0[2, 2] = 0, 0, 0
    assert_close(out.z0[0], z0.detach(), "rounding")
    head = network.secondary_structure
    logits = h @ head.weight[..., 0].T + head.bias
    assert_close(out.secondary_structure[0], logits.detach(), "rounding")


@DTYPES
def test_padded_batches_equal_single_proteins(dtype):
    network = make_baseline(dtype=dtype).sequence_network
    lengths = [4, 23, 11]
    _, s, mask = make_batch(lengths, 20, dtype, padding=float("nan"))
    batch = network(s, mask)
    for k, length in enumerate(lengths):
        single = network(s[k : k + 1, :length], mask[k : k + 1, :length])
        for together, alone in zip(batch, single, strict=True):
            assert_close(together[k : k + 1, :length], alone, "rounding")
            assert together[k, length:].eq(0).all()


def test_every_parameter_matters():
    model = make_baseline(profile=True).train()
    x, s, mask = make_batch([12, 7], 40)
    out = model.sequence_network(s, mask)
    loss = sum((value**2).sum() for value in out) + (model.imputation(x, s, mask) ** 2).sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


@pytest.mark.parametrize("units", [8, 100])
@pytest.mark.parametrize("profile", [False, True])
def test_an_untrained_network_starts_near_real_chains(units, profile):
    torch.manual_seed(0)
    config = replace(NemoConfig.preset("tiny", profile), kind="baseline", lstm_units=units)
    network = BaselineNetwork(config).eval()
    _, s, mask = make_batch([60], input_width(config), torch.float32)
    with torch.no_grad():
        out = network(s, mask)
    b, a, d = bond_angles(internal_to_cartesian(out.z0[0]))
    assert (b - 3.8).abs().max() < 0.1
    assert (a > 1.4).all()
    assert (a < 2.3).all()
    assert d.std() > 0.2
    assert 0.5 < out.secondary_structure.square().mean() < 2


@pytest.mark.parametrize("profile", [False, True])
def test_untrained_gates_and_hidden_states_have_the_scale_of_the_initialisation(profile):
    """Weights of variance 1 make gates of the squared length of an input row: 1 if it is one-hot.

    Which is what keeps the hidden states, and with them all outputs, away from 0 and from saturation.
    """
    torch.manual_seed(0)
    config = replace(NemoConfig.preset("tiny", profile), kind="baseline", lstm_units=256)
    lstm = BaselineNetwork(config).eval().lstm
    _, s, _ = make_batch([300], input_width(config), torch.float32)
    s[..., 20:] /= s[..., 20:].sum(-1, keepdim=True)  # frequencies
    squared_length = s.square().sum(-1).mean().item()
    assert squared_length == pytest.approx(1.07 if profile else 1, abs=0.01)
    for direction in ("", "_reverse"):
        gates = s @ getattr(lstm, f"weight_ih_l0{direction}").T
        assert gates.square().mean().item() == pytest.approx(squared_length, rel=0.05)
    with torch.no_grad():
        h, _ = lstm(s)
    assert h.square().mean().item() == pytest.approx(HIDDEN_SECOND_MOMENT, rel=0.15)


def test_round_trip_is_exact(tmp_path):
    model = make_baseline(dtype=torch.float32)
    model.trained, model.description = True, "A baseline."
    model.save_pretrained(tmp_path)
    again = NemoModel.from_pretrained(tmp_path)
    assert (again.config, again.trained, again.description) == (model.config, True, "A baseline.")
    assert again.config.lstm_units == UNITS
    assert not again.training
    expected = model.state_dict()
    assert list(again.state_dict()) == list(expected)
    assert all(value.equal(expected[name]) for name, value in again.state_dict().items())
    assert not any(name.startswith("energy") for name in expected)


def test_files_of_nemo_do_not_know_of_baselines(tmp_path):
    """So that versions from before there were any read them, and this one theirs."""
    make_model(dtype=torch.float32).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["kind"] == "nemo"
    assert NemoModel.from_pretrained(tmp_path).config.lstm_units == 0


@pytest.mark.parametrize("value", [-1, 3.0, True])
def test_bad_numbers_of_units_are_named(value):
    with raises(InputError, "lstm_units", value):
        NemoConfig.from_dict(NemoConfig().to_dict() | {"lstm_units": value})


def test_a_conditioned_baseline_has_one_structure_and_its_atoms():
    model = make_baseline()
    protein = model.condition(SEQUENCE)
    s, mask = model.encode(SEQUENCE), torch.ones(1, 20, dtype=torch.float64)
    out = model.sequence_network(s, mask)
    assert not protein.has_energy
    assert protein.z0.equal(out.z0[0])
    assert protein.secondary_structure.equal(out.secondary_structure[0])
    x = protein.initial_state()
    assert x.mean(0).abs().max() < 1e-9
    expected = model.imputation(x.unsqueeze(0), s, mask)[0].detach()
    assert_close(protein.impute(x), expected, "rounding")
    assert protein.topology.getNumResidues() == 20
    assert protein.initial_positions()._value.shape == (20, 3)
    assert make_model().condition(SEQUENCE).has_energy


@pytest.mark.parametrize(
    "use",
    [
        lambda protein: protein.energy(protein.initial_state()),
        lambda protein: protein.energy_and_gradient(protein.initial_state()),
        lambda protein: protein.step_parameters(),
        lambda protein: protein.rollout(3),
        lambda protein: protein.create_force("python"),
        lambda protein: protein.create_system(),
        lambda protein: protein.create_integrator(),
        lambda protein: protein.add_to_system(twenty_particles(), range(20)),
        create_force,
        create_system,
        create_integrator,
        lambda protein: add_to_system(protein, twenty_particles(), range(20)),
        export_energy,
    ],
)
def test_what_needs_an_energy_is_refused(use):
    with raises(InputError, "baseline", "openmm-nemo sample -n 1"):
        use(make_baseline().condition(SEQUENCE))


def twenty_particles():
    system = mm.System()
    for _ in range(20):
        system.addParticle(1.0)
    return system


# The command line


@pytest.fixture
def folder(tmp_path):
    model = make_baseline(dtype=torch.float32)
    model.trained = True
    model.save_pretrained(tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_a_baseline_is_sampled_and_evaluated_as_any_model(folder, engine):
    outcome = command_line(
        *("sample", "--pdb", "examples/data/1l2y.pdb", "--model", folder / "model"),
        *("-n", "1", "--engine", engine, "--workers", "1", "--out", folder / "samples"),
    )
    assert outcome.code == 0, outcome.err
    (place,) = (path.parent for path in folder.glob("samples/*/samples.csv"))
    ensemble = read_ensemble(folder / "samples", place.name)
    protein = NemoModel.from_pretrained(folder / "model").condition(SEQUENCE)
    x = protein.initial_state()
    assert ensemble.sequence == SEQUENCE
    assert_close(torch.tensor(ensemble.x[0]), x, "round_trip")
    assert_close(torch.tensor(ensemble.atoms[0]), protein.impute(x), "round_trip")
    assert ensemble.energy == [0]
    outcome = command_line(
        *("evaluate", folder / "samples", "--workers", "1", "--out", folder / "report")
    )
    assert outcome.code == 0, outcome.err
    assert (folder / "report" / "report.html").is_file()


def test_more_than_one_sample_is_refused(folder):
    sentence = refused(
        *("sample", "--sequence", SEQUENCE, "--model", folder / "model"),
        *("-n", "2", "--workers", "1", "--out", folder / "samples"),
    )
    names(sentence, "baseline", "-n 1")
    assert not (folder / "samples").exists()


@pytest.mark.integration
def test_simulations_are_refused(folder):
    sentence = refused(
        *("simulate", "--sequence", SEQUENCE, "--model", folder / "model"),
        *("--steps", "1", "--out", folder / "run"),
    )
    names(sentence, "baseline", "-n 1")
    assert not (folder / "run").exists()
