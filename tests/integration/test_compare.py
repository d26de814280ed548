"""``openmm-nemo compare`` on a small set with untrained models."""

import csv
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.data import DomainSet, Split, write_domains
from openmm_nemo.data.families.profiles import ColumnFrequencies
from tests.helpers import command_line, contents, names, refused
from tests.sets import write_set


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with a set, a split and models: two with an energy, a baseline and one that takes profiles."""
    folder = tmp_path_factory.mktemp("inputs")
    write_set(folder)
    tiny = NemoConfig.preset("tiny")
    configs = {
        "one": tiny,
        "two": tiny,
        "rnn": NemoConfig.from_dict(tiny.to_dict() | {"kind": "baseline", "lstm_units": 8}),
        "profile": NemoConfig.preset("tiny", profile=True),
    }
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(10 + seed)
        NemoModel(config).save_pretrained(folder / name)
    return folder


def arguments(inputs: Path, out: Path, *others: str) -> list[str | Path]:
    data = ["--set", inputs / "set", "--split", inputs / "split.json"]
    few = ["--windows", "3", "--max-length", "12", "--steps", "3", "--workers", "1"]
    return ["compare", *data, *few, "--out", out, *others]


def test_groups_are_compared_and_repeat_to_the_byte(inputs, tmp_path):
    models = [f"nemo={inputs / 'one'}", f"nemo={inputs / 'two'}", f"the rnn={inputs / 'rnn'}"]
    given = [word for model in models for word in ("--model", model)]
    for name in ("a", "b"):
        outcome = command_line(
            *arguments(inputs, tmp_path / name, *given, "--untrained", "tiny", "--steps", "5")
        )
        assert outcome.code == 0, outcome.err
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    with open(tmp_path / "a" / "compare.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["level"]]
    of_part = [row for row in rows if row["part"] == "test"]
    expected = [("nemo", s, t) for s in "12" for t in "035"] + [("the rnn", "1", "0")]
    expected += [("untrained tiny", s, t) for s in "123" for t in "035"]
    assert [(row["group"], row["seed"], row["steps"]) for row in of_part] == expected
    assert [row["drift_angstrom"] == "nan" for row in of_part] == [
        steps == "0" for *_, steps in expected
    ]
    assert {row["part"] for row in rows} == {"train", "validation", "test"}
    text = (tmp_path / "a" / "compare.md").read_text()
    assert "| nemo | 5 | the rnn | 0 | 3 |" in text
    assert text.count("\n| untrained tiny | 3 | 3 |") >= 3
    assert "the rnn" in outcome.out
    assert matplotlib.image.imread(tmp_path / "a" / "compare.png")[..., :3].std() > 0.05


def test_installed_models_are_compared_by_their_names(inputs, tmp_path):
    few = ["--model", "mini=nemo-mini", "--part", "test", "--no-controls"]
    outcome = command_line(*arguments(inputs, tmp_path, *few))
    assert outcome.code == 0, outcome.err
    assert "| all | 3 | mini | 3 | 1 |" in (tmp_path / "compare.md").read_text()
    names(command_line("compare", "--help").out, "NAME=MODEL", "installed")


@pytest.fixture(scope="module")
def fold(inputs) -> Path:
    """The inputs, with a set that has profiles of most domains and a model with fixed functions that takes them."""
    generator = np.random.default_rng(1)
    domains = []
    for number, domain in enumerate(DomainSet(inputs / "set" / "domains.safetensors")):
        roots = generator.integers(1, 255, (len(domain), 20), dtype=np.uint8)
        deep = {"deep": ColumnFrequencies(roots)} if number % 5 else {}
        domains.append(replace(domain, profiles=deep))
    (inputs / "profiled").mkdir()
    write_domains(inputs / "profiled" / "domains.safetensors", domains)
    small = {"node_channels": 8, "pair_channels": 4, "sequence_blocks": 1, "pair_blocks": 1}
    config = NemoConfig.preset("fold", profile=True).to_dict() | small | {"imputation_blocks": 1}
    torch.manual_seed(3)
    model = NemoModel(NemoConfig.from_dict(config))
    for name, parameter in model.named_parameters():
        if name.endswith("coefficients.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(inputs / "fold")
    return inputs


def test_whole_domains_are_sampled_with_the_profiles_of_the_set(fold, tmp_path):
    data = ["--set", fold / "profiled", "--split", fold / "split.json", "--part", "train"]
    whole = ["--whole", "--min-length", "12", "--max-length", "15", "--samples", "2"]
    model = ["--model", f"fold={fold / 'fold'}", "--steps", "4", "--workers", "1"]
    rows = {}
    for kind in ("deep", "none"):
        out = tmp_path / kind
        profiles = () if kind == "none" else ("--profile-kind", kind)
        outcome = command_line("compare", *data, *whole, *model, *profiles, "--out", out)
        assert outcome.code == 0, outcome.err
        with open(out / "windows.csv", newline="") as file:
            rows[kind] = {row["id"]: row for row in csv.DictReader(file) if row["steps"] == "4"}
    with_profile = {
        d.id
        for d in DomainSet(fold / "profiled" / "domains.safetensors")
        if d.profiles and 12 <= len(d) <= 15
    }
    train = Split.read(fold / "split.json").ids("train")
    assert rows["deep"].keys() == with_profile & set(train) < rows["none"].keys()
    assert all(
        rows["deep"][name]["energy_kt"] != rows["none"][name]["energy_kt"] for name in rows["deep"]
    )
    assert any(row["tm_best"] != row["tm"] for row in rows["deep"].values())
    assert any(row["threading_z"] != "nan" for row in rows["deep"].values())
    text = (tmp_path / "deep" / "compare.md").read_text(encoding="utf-8")
    n = len(rows["deep"])
    title = f"# Comparison on {n} whole domains of 12 to 15 residues, seed 1, 2 samples, profiles: deep\n"
    assert text.startswith(title)
    for kind in ("structures", "chosen samples", "controls", "energy", "contacts", "reach"):
        assert f"\n## train: {n} windows, {kind}\n" in text
    assert f"\n## train: differences on {n} windows, samples of lowest U\n" in text
    assert "| fold | - | 1 | pair term |" in text


def test_options_that_contradict_each_other_are_refused(fold, tmp_path):
    model = ("--model", f"fold={fold / 'fold'}")

    def refusal(*others: str | Path) -> str:
        return refused(*arguments(fold, tmp_path / "out", *model, *others))

    names(refusal("--min-length", "5"), "--min-length", "--whole")
    names(refusal("--whole", "--min-length", "13"), "--min-length 13", "--max-length 12")
    names(refusal("--profile-kind", "deep"), "domains.safetensors", "deep", "--profile-kind")
    both = ("--profile-kind", "deep", "--profiles", "some.jsonl")
    names(refusal(*both), "--profiles", "--profile-kind deep")


def test_bad_input_is_refused(inputs, tmp_path):
    out = tmp_path / "out"
    model = f"nemo={inputs / 'one'}"

    def refusal(*others: str) -> str:
        return refused(*arguments(inputs, out, *others))

    names(refusal(), "--model", "NAME=MODEL")
    names(refusal("--model", str(inputs / "one")), "NAME=MODEL")
    names(refusal("--model", "nemo="), "NAME=MODEL")
    names(refusal("--model", "nemo=nowhere"), "nowhere")
    names(refusal("--model", model, "--untrained", "huge"), "huge", "tiny")
    names(refusal("--model", model, "--part", "unused"), "unused")
    names(refusal("--model", f"nemo={inputs / 'profile'}"), "--profiles")
    names(refusal("--model", model, "--model", model), "same model")
    names(refusal("--model", model, "--split", "nothing.json"), "nothing.json")
    names(refusal("--model", model, "--profiles", "nothing.jsonl"), "nothing.jsonl")
    outcome = command_line(*arguments(inputs, out, "--model", model, "--part", "nonsense"))
    assert outcome.code == 2
    assert "nonsense" in outcome.err
    (tmp_path / "file").write_text("")
    names(
        refused(*arguments(inputs, tmp_path / "file", "--model", model, "--part", "test")),
        tmp_path / "file",
    )
    assert not list(out.glob("*"))


def test_a_model_that_was_trained_on_the_test_is_refused(inputs, tmp_path):
    model = NemoModel.from_pretrained(inputs / "one")
    model.save_pretrained(tmp_path / "model")
    split = Split.read(inputs / "split.json")
    swapped = {"train": "test", "test": "train"}
    places = {
        name: place._replace(part=swapped.get(place.part, place.part), level="C")
        for name, place in split.places.items()
    }
    other = Split(
        split.seed, split.validation, split.test, split.held_out, split.domains_sha256, places
    )
    other.write(tmp_path / "model" / "split.json")
    sentence = refused(*arguments(inputs, tmp_path / "out", "--model", f"a={tmp_path / 'model'}"))
    names(sentence, "trained", 3, "held-out")
