"""What the settings of a stage mean."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from openmm_nemo import NemoModel
from openmm_nemo.errors import InputError
from openmm_nemo.networks.normalization import BatchRenorm
from openmm_nemo.training.module import NemoTraining, first_model
from openmm_nemo.training.settings import (
    ModelSettings,
    StageSettings,
    TrainingSettings,
    read_settings,
)
from tests.helpers import raises

LOSSES = {"distances": 1.0}


def test_roll_outs_have_any_number_of_steps_between_the_bounds():
    stage = StageSettings(updates=1, losses=LOSSES, steps=9, min_steps=4, backpropagated=3)
    lengths = Counter(stage.rollout(seed).steps for seed in range(600))
    assert sorted(lengths) == [4, 5, 6, 7, 8, 9]
    assert set(lengths.values()) == {100}
    assert stage.rollout(7).backpropagated == 3
    plain = StageSettings(updates=1, losses=LOSSES, steps=9)
    assert {plain.rollout(seed).steps for seed in range(20)} == {9}


def test_bounds_in_the_wrong_order_are_refused():
    with raises(ValidationError, "min_steps", 10, "steps", 9):
        StageSettings(updates=1, losses=LOSSES, steps=9, min_steps=10)


def test_the_learning_rate_rises_and_falls_in_every_stage():
    """Warm-up of 4 updates; half a cosine is at 1/2 in the middle, whose warm-up is over, and ends at 0."""
    stages = [
        StageSettings(updates=40, losses=LOSSES, learning_rate=1e-2),
        StageSettings(updates=20, losses=LOSSES, learning_rate=1e-3),
    ]
    data = {"set": "set", "split": "split.json"}
    settings = TrainingSettings(description="A test.", warm_up=4, data=data, stages=stages)
    schedule = NemoTraining(settings).configure_optimizers()["lr_scheduler"]["scheduler"]
    (rate,) = schedule.lr_lambdas
    assert rate(0) == pytest.approx(1e-2 / 4)
    assert rate(20) == pytest.approx(0.5e-2)
    assert 0 < rate(39) < 2e-5
    assert rate(40) == pytest.approx(1e-3 / 4)
    assert rate(50) == pytest.approx(0.5e-3)
    assert rate(60) == 0


@pytest.mark.parametrize("preset", ["tiny", "fold"])
def test_limits_of_renormalisation_follow_the_number_of_the_update(batch, monkeypatch, preset):
    """A resumed run needs only this number; 'fold' renormalises in its imputation alone."""
    settings = TrainingSettings(
        description="A test.",
        data={"set": "set", "split": "split.json"},
        model={"preset": preset},
        renormalisation=(10, 30),
        stages=[{"updates": 40, "losses": LOSSES}],
    )
    module = NemoTraining(settings)
    parts = {n: m for n, m in module.model.named_modules() if isinstance(m, BatchRenorm)}
    rooms = {name.split(".")[0] for name in parts}
    both = {"sequence_network", "energy", "imputation"}
    assert rooms == ({"imputation"} if preset == "fold" else both)
    for update, expected in ((3, (1, 0)), (25, (2.5, 3.75)), (39, (3, 5))):
        monkeypatch.setattr(NemoTraining, "global_step", update)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        module.training_step(batch, 0)
        assert {(part.r_max, part.d_max) for part in parts.values()} == {expected}


def test_limits_of_renormalisation_that_do_not_rise_are_refused():
    with raises(ValidationError, "renormalisation", 30, 10):
        TrainingSettings(
            description="A test.",
            data={"set": "set", "split": "split.json"},
            renormalisation=(30, 10),
            stages=[{"updates": 40, "losses": LOSSES}],
        )


@pytest.mark.parametrize("path", sorted(Path("examples/configs").rglob("*.toml")), ids=str)
def test_the_files_of_the_examples_can_be_read(path):
    settings = read_settings(path)
    assert settings.updates > 0
    assert settings.data.set.parent.resolve() == Path("run").resolve()


@pytest.mark.parametrize("encoders", [["one-hot", "embedding"], ["profile", "one-hot"]])
def test_inputs_that_sets_do_not_have_are_refused(tmp_path, encoders):
    """Or not in this order."""
    path = tmp_path / "run.toml"
    width = 3 if "embedding" in encoders else 0
    path.write_text(
        f"""description = "A test."
data = {{ set = "set", split = "split.json" }}
stages = [{{ updates = 1, losses = {{ distances = 1.0 }} }}]
model = {{ changes = {{ encoders = {encoders}, embedding_width = {width} }} }}
"""
    )
    with pytest.raises(InputError) as refused:
        read_settings(path)
    assert str(path) in str(refused.value)
    assert str(encoders) in str(refused.value)


@pytest.mark.parametrize(
    ("loss", "terms", "lacking"),
    [
        ("pair_likelihood", ["learned"], "pair-basis"),
        ("chain_likelihood", ["pair-basis", "backbone"], "chain-basis"),
    ],
)
def test_losses_of_terms_that_the_model_lacks_are_refused(tmp_path, loss, terms, lacking):
    path = tmp_path / "run.toml"
    text = f"""description = "A test."
data = {{ set = "set", split = "split.json" }}
stages = [{{ updates = 1, losses = {{ distances = 1.0 }} }}, {{ updates = 1, losses = {{ {loss} = 1.0 }} }}]
"""
    path.write_text(f"{text}model = {{ changes = {{ terms = {terms} }} }}\n")
    with raises(InputError, path, "stages.1", loss, lacking):
        read_settings(path)
    path.write_text(f"{text}model = {{ changes = {{ terms = {[*terms, lacking]} }} }}\n")
    read_settings(path)


def test_training_begins_with_the_weights_of_a_model_or_with_cooler_ones():
    """Its steps have been learnt, too: without cooling, they stay as they are."""
    model = NemoModel.from_pretrained("nemo-mini")
    settings = ModelSettings(start="nemo-mini", changes=model.config.to_dict())
    first = first_model(settings)
    assert first.fingerprint() == model.fingerprint()
    assert first.training
    cold = first_model(settings.model_copy(update={"cooling": 5.0}))
    model.sequence_network.cool(5.0)
    assert cold.fingerprint() == model.fingerprint() != first.fingerprint()
