"""Samples: their numbers do not depend on how they were made, and a run that stopped goes on."""

import json
import math
import os
import re
from dataclasses import replace

import mdtraj as md
import numpy as np
import pytest
import torch

import openmm_nemo.engine.system
from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from openmm_nemo.errors import InputError
from openmm_nemo.sampling import sampling
from openmm_nemo.sampling.engines import sample_with_openmm, sample_with_torch
from openmm_nemo.sampling.ensembles import (
    ensemble_ids,
    read_ensemble,
    read_ensembles,
    write_ensemble,
)
from openmm_nemo.sampling.sampling import (
    Protein,
    SamplingSettings,
    count_samples,
    sample_ensembles,
    sample_seeds,
)
from tests.helpers import contents, need_plugin, raises
from tests.tolerances import assert_close
from tests.unit.models.chains import make_model

SEQUENCE = "GSAVLKDEFWYPTNQH"
A, B, C = (Protein(name, SEQUENCE[:n]) for name, n in (("a", 12), ("b", 16), ("c", 9)))
SETTINGS = SamplingSettings("tiny", n_samples=7, steps=12)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(20)
    return NemoModel(NemoConfig.preset("tiny")).eval()


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """Folder of the ensembles of three proteins to whose sampling nothing happened."""
    folder = tmp_path_factory.mktemp("whole")
    sample_ensembles(folder, model, [A, B, C], SETTINGS, 1, batch_size=3)
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Proteins of the tasks that are run, one after another."""
    run, names = sampling.run_task, []

    def counting(weights, task):
        names.append(task.protein.id)
        return run(weights, task)

    monkeypatch.setattr(sampling, "run_task", counting)
    return names


def assert_same_ensembles(*folders, exactly=True):
    first, second = (list(read_ensembles(folder)) for folder in folders)
    assert [ensemble.id for ensemble in first] == [ensemble.id for ensemble in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.seeds, other.seeds)
        for name in ("x", "atoms", "energy"):
            actual, expected = (torch.tensor(getattr(e, name)) for e in (one, other))
            if exactly:
                assert torch.equal(actual, expected)
            else:
                assert_close(actual, expected, "trajectory")


# Seeds


def test_seeds_are_a_hash_of_the_users_seed_and_the_id():
    # The first 16 digits that the command sha256sum prints for "1 1abc_A" and "7 T0953s1".
    hashes = [(1, "1abc_A", "5864cc91ae577a97"), (7, "T0953s1", "a07c1cec9e4f11e6")]
    for seed, name, digits in hashes:
        first = 1 + int(digits, 16) % (2**31 - 1 - 2**20)
        assert list(sample_seeds(seed, name, 3)) == [first, first + 1, first + 2]


def test_seeds_are_those_that_openmm_takes_and_differ():
    ranges = [
        sample_seeds(seed, name, 2**20) for seed in (0, 1, 2**31 - 1, 10**30) for name in "abcdef"
    ]
    assert min(seeds[0] for seeds in ranges) >= 1
    assert max(seeds[-1] for seeds in ranges) <= 2**31 - 1
    assert len({seeds[0] for seeds in ranges}) == 24


# Engines


@pytest.fixture(params=[CompiledIntegrator, PythonIntegrator], ids=["compiled", "python"])
def implementation(request, monkeypatch):
    if request.param is CompiledIntegrator:
        need_plugin()
    monkeypatch.setattr(openmm_nemo.engine.system, "NemoLangevinIntegrator", request.param)


@pytest.mark.integration
@pytest.mark.parametrize(("dtype", "steps"), [(torch.float64, 33), (torch.float32, 12)], ids=str)
@pytest.mark.usefixtures("implementation")
def test_both_engines_give_the_last_states_of_single_simulations(model, dtype, steps):
    protein = model.condition(SEQUENCE).to(dtype)
    seeds, temperature = range(2**31 - 4, 2**31 - 1), 450.0
    single = [protein.rollout(steps, seed=seed, temperature=temperature).x[-1, 0] for seed in seeds]
    expected = torch.stack(single)
    moved = (expected - protein.initial_state()).norm(dim=-1)
    assert moved.max() > 1
    assert (expected[0] - expected[1]).norm(dim=-1).max() > 1
    for sample in (sample_with_torch, sample_with_openmm):
        assert_close(sample(protein, seeds, steps, temperature), expected, "trajectory")


@pytest.mark.integration
@pytest.mark.usefixtures("implementation")
def test_both_engines_follow_the_schedule_of_the_model_unless_told_not_to():
    protein = make_model("fold").condition(SEQUENCE)
    ends = []
    for anneal in (True, False):
        single = [protein.rollout(25, seed=seed, anneal=anneal).x[-1, 0] for seed in (7, 8)]
        ends.append(torch.stack(single))
        for sample in (sample_with_torch, sample_with_openmm):
            assert_close(sample(protein, range(7, 9), 25, anneal=anneal), ends[-1], "trajectory")
    assert (ends[0] - ends[1]).abs().max() > 1
    for sample in (sample_with_torch, sample_with_openmm):
        starts = protein.copies(2).initial_positions(7)
        assert_close(sample(protein, range(7, 9), 0), starts, "trajectory")


@pytest.mark.integration
def test_the_plugin_samples_as_a_simulation_in_double_precision():
    """On the CPU platform: it computes the whole model, in single precision. More steps would amplify the rounding."""
    need_plugin()
    protein = make_model("fold").condition(SEQUENCE)
    single = [protein.rollout(4, seed=seed).x[-1, 0] for seed in (7, 8)]
    found = sample_with_openmm(protein.float(), range(7, 9), 4)
    assert_close(found, torch.stack(single).float(), "trajectory")


def test_batches_of_one_and_of_seven_are_the_same(model):
    protein = model.condition(SEQUENCE).double()
    batch = sample_with_torch(protein, range(5, 12), 25)
    alone = torch.cat([sample_with_torch(protein, range(k, k + 1), 25) for k in range(5, 12)])
    assert_close(batch, alone, "trajectory")


# Ensembles


@pytest.mark.integration
def test_ensembles_are_what_single_simulations_give(whole, model):
    for ensemble in read_ensembles(whole):
        protein = model.condition(ensemble.sequence)
        assert len(ensemble.seeds) == 7
        for k, seed in enumerate(ensemble.seeds.tolist()):
            x = protein.rollout(12, seed=seed).x[-1, 0]
            for name, expected in (
                ("x", x),
                ("atoms", protein.impute(x)),
                ("energy", protein.energy(x)),
            ):
                assert_close(torch.tensor(getattr(ensemble, name)[k]), expected, "trajectory")


@pytest.mark.integration
def test_samples_do_not_depend_on_the_run_that_they_are_in(whole, model, tmp_path):
    sample_ensembles(tmp_path / "order", model, [C, B, A], SETTINGS, 1, batch_size=3)
    assert_same_ensembles(tmp_path / "order", whole)
    sample_ensembles(tmp_path / "batch", model, [A, B, C], SETTINGS, 1, batch_size=1)
    assert_same_ensembles(tmp_path / "batch", whole, exactly=False)
    openmm = replace(SETTINGS, engine="openmm")
    sample_ensembles(tmp_path / "openmm", model, [A, B, C], openmm, 1)
    assert_same_ensembles(tmp_path / "openmm", whole, exactly=False)
    fewer = replace(SETTINGS, n_samples=4)
    sample_ensembles(tmp_path / "fewer", model, [B], fewer, 1, batch_size=3)
    few, many = read_ensemble(tmp_path / "fewer", "b"), read_ensemble(whole, "b")
    np.testing.assert_array_equal(few.x, many.x[:4])
    other = replace(SETTINGS, seed=2)
    sample_ensembles(tmp_path / "other", model, [B], other, 1)
    assert not np.isin(read_ensemble(tmp_path / "other", "b").seeds, many.seeds).any()


@pytest.mark.integration
def test_processes_give_the_same_as_one(whole, model, tmp_path):
    told = []
    sampled = sample_ensembles(
        tmp_path, model, [A, B, C], SETTINGS, 2, batch_size=3, progress=told.append
    )
    assert_same_ensembles(tmp_path, whole)
    assert sorted(sampled.ids) == ["a", "b", "c"]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 21)


def test_batches_may_come_in_any_order(whole, model, tmp_path, monkeypatch):
    run = sampling._on_this_machine
    monkeypatch.setattr(sampling, "_on_this_machine", lambda tasks, *how: run(tasks[::-1], *how))
    sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    assert_same_ensembles(tmp_path, whole)


def test_natives_are_kept(model, tmp_path):
    native = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    sample_ensembles(tmp_path, model, [B._replace(native=native)], SETTINGS, 1)
    np.testing.assert_allclose(read_ensemble(tmp_path, "b").native, native, rtol=2**-22)


def test_long_proteins_come_first_in_batches_that_fit_into_memory(model, tmp_path, monkeypatch):
    tasks = []

    def only_listed(weights, task):
        tasks.append((task.protein.id, task.wanted.start, task.wanted.stop))
        return "listed"

    monkeypatch.setattr(sampling, "run_task", only_listed)
    settings = replace(SETTINGS, n_samples=25)
    proteins = [Protein("short", "A" * 50), Protein("long", "A" * 1000), Protein("b", "A" * 400)]
    sample_ensembles(tmp_path, model, proteins, settings, 1)
    assert tasks[:25] == [("long", k, k + 1) for k in range(25)]
    assert tasks[25] == ("b", 0, 6)  # 2^23 numbers, 400 x 400 pairs, 8 channels
    assert tasks[-3:] == [("short", 0, 10), ("short", 10, 20), ("short", 20, 25)]


# Runs that go on


def test_what_is_there_is_not_sampled_again(model, whole, tmp_path, counted):
    sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3)
    before = contents(tmp_path / "a")
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "a").iterdir())]
    told = []
    sampled = sample_ensembles(
        tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3, progress=told.append
    )
    assert sampled == (["b", "c"], {})
    assert counted == 3 * ["a"] + 3 * ["b"] + 3 * ["c"]
    assert (told[0], told[-1]) == (7, 21)
    assert contents(tmp_path / "a") == before
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "a").iterdir())] == times
    assert_same_ensembles(tmp_path, whole)
    assert sample_ensembles(tmp_path, model, [B], SETTINGS, 1) == ([], {})
    assert len(counted) == 9
    record = json.loads((tmp_path / "sampling.json").read_text())
    assert set(record["inputs"]) == {"a", "b", "c"}


def test_an_interrupted_run_goes_on(model, whole, tmp_path, counted, monkeypatch):
    def interrupted(folder, ensemble):
        if ensemble.id == "a":
            raise KeyboardInterrupt
        write_ensemble(folder, ensemble)

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "write_ensemble", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    assert ensemble_ids(tmp_path) == ["b"]
    sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    assert counted == 3 * ["b"] + 3 * ["a"] + 3 * ["c"]
    assert_same_ensembles(tmp_path, whole)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "sampling.json"]


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_protein_continues_after_its_finished_batches(
    model, whole, tmp_path, monkeypatch, at
):
    run, begun = sampling.run_task, []

    def interrupted(weights, task):
        begun.append(task.wanted)
        if len(begun) == 1 + at:
            raise KeyboardInterrupt
        return run(weights, task)

    monkeypatch.setattr(sampling, "run_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3)
    assert ensemble_ids(tmp_path) == []
    assert count_samples(tmp_path, "a") == 3 * at
    told = []
    sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3, progress=told.append)
    batches = [range(3), range(3, 6), range(6, 7)]
    assert begun == batches[: 1 + at] + batches[at:]
    assert (told[0], told[-1]) == (3 * at, 7)
    assert_same_samples(tmp_path / "a", whole / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "sampling.json"]


def test_batches_of_another_size_are_used(model, whole, tmp_path, monkeypatch):
    run, tasks = sampling.run_task, []

    def one(weights, task):
        if task.wanted.start:
            raise KeyboardInterrupt
        return run(weights, task)

    def noting(weights, task):
        tasks.append(task.wanted)
        return run(weights, task)

    monkeypatch.setattr(sampling, "run_task", one)
    with pytest.raises(KeyboardInterrupt):
        sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3)
    monkeypatch.setattr(sampling, "run_task", noting)
    sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=2)
    assert tasks == [range(3, 4), range(4, 6), range(6, 7)]
    found, expected = read_ensemble(tmp_path, "a"), read_ensemble(whole, "a")
    np.testing.assert_array_equal(found.x[:3], expected.x[:3])
    assert_close(torch.tensor(found.x), torch.tensor(expected.x), "trajectory")


def test_a_damaged_batch_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "write_ensemble", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample_ensembles(tmp_path, model, [A], SETTINGS, 1)
    (file,) = (tmp_path / ".a.batches").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with raises(InputError, file, "damaged"):
        sample_ensembles(tmp_path, model, [A], SETTINGS, 1)


def test_batches_of_unknown_settings_are_not_used(model, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "write_ensemble", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sample_ensembles(tmp_path, model, [A], replace(SETTINGS, seed=2), 1)
    (tmp_path / "sampling.json").unlink()
    sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3)
    assert_same_samples(tmp_path / "a", whole / "a")


# Ensembles that grow


def assert_same_samples(one, other):
    """The same table, byte by byte, and the same positions in the files, which also have the time."""
    assert (one / "samples.csv").read_bytes() == (other / "samples.csv").read_bytes()
    for name in ("coarse.h5", "atoms.h5"):
        found, expected = (md.load(str(place / name)) for place in (one, other))
        assert found.xyz.tobytes() == expected.xyz.tobytes()
        assert found.topology == expected.topology


@pytest.mark.integration
@pytest.mark.parametrize(
    ("engine", "batch_size", "tasks"),
    [
        ("torch", None, [range(3), range(3, 7)]),
        ("torch", 2, [range(2), range(2, 3), range(3, 4), range(4, 6), range(6, 7)]),
        ("openmm", None, [range(3), range(3, 7)]),
    ],
)
def test_an_ensemble_grows_to_that_of_one_call(
    model, tmp_path, monkeypatch, engine, batch_size, tasks
):
    run, begun = sampling.run_task, []

    def noting(weights, task):
        begun.append(task.wanted)
        return run(weights, task)

    protein = B._replace(native=np.random.default_rng(0).normal(size=(16, 3)))
    settings = replace(SETTINGS, engine=engine)
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "run_task", noting)
        for n in (3, 7):
            some = replace(settings, n_samples=n)
            sample_ensembles(tmp_path / "grown", model, [protein], some, 1, batch_size=batch_size)
    assert begun == tasks
    sample_ensembles(tmp_path / "fresh", model, [protein], settings, 1, batch_size=batch_size)
    assert_same_samples(*(tmp_path / place / "b" for place in ("grown", "fresh")))
    found, expected = (read_ensemble(tmp_path / place, "b") for place in ("grown", "fresh"))
    np.testing.assert_array_equal(found.native, expected.native)
    assert sorted(os.listdir(tmp_path / "grown")) == ["b", "sampling.json"]
    record = json.loads((tmp_path / "grown" / "sampling.json").read_text())
    assert record["settings"]["n_samples"] == 7


@pytest.mark.integration
def test_some_of_the_proteins_grow_and_then_the_others(model, whole, tmp_path):
    two = replace(SETTINGS, n_samples=2)
    sample_ensembles(tmp_path, model, [A, B, C], two, 1, batch_size=3)
    told = []
    sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3, progress=told.append)
    assert (told[0], told[-1]) == (2, 7)
    assert len(read_ensemble(tmp_path, "b").x) == 2
    sampled = sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    assert sampled.ids == ["b", "c"]
    assert_same_ensembles(tmp_path, whole)


def test_an_interrupted_growth_keeps_what_there_was(model, whole, tmp_path, monkeypatch):
    three = replace(SETTINGS, n_samples=3)
    sample_ensembles(tmp_path, model, [A], three, 1, batch_size=3)
    before = contents(tmp_path / "a")
    run = sampling.run_task

    def interrupted(weights, task):
        if task.wanted.start == 6:
            raise KeyboardInterrupt
        return run(weights, task)

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "run_task", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3)
    assert contents(tmp_path / "a") == before
    assert count_samples(tmp_path, "a") == 6
    sample_ensembles(tmp_path, model, [A], SETTINGS, 1, batch_size=3)
    assert_same_samples(tmp_path / "a", whole / "a")


def test_the_record_tells_all(whole, model):
    record = json.loads((whole / "sampling.json").read_text())
    assert record["settings"] == {
        "model": "tiny",
        "n_samples": 7,
        "steps": 12,
        "temperature": 300.0,
        "seed": 1,
        "engine": "torch",
        "anneal": True,
        "minimise": 0,
    }
    assert set(record["inputs"]) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("name", "value", "old"),
    [
        ("n_samples", 6, 7),
        ("steps", 13, 12),
        ("temperature", 310.0, 300.0),
        ("seed", 2, 1),
        ("engine", "openmm", "torch"),
        ("minimise", 5, 0),
    ],
)
def test_other_settings_are_refused(whole, model, name, value, old):
    before = contents(whole)
    with raises(InputError, whole, name, old, value, "--out"):
        sample_ensembles(whole, model, [A], replace(SETTINGS, **{name: value}), 1)
    assert contents(whole) == before


def test_another_model_is_refused(whole, model):
    other = NemoModel(NemoConfig.preset("tiny"))
    with raises(InputError, "tiny"):
        sample_ensembles(whole, other, [A], SETTINGS, 1)


def test_another_protein_of_the_same_id_is_refused(whole, model):
    with raises(InputError, "a", "--out"):
        sample_ensembles(whole, model, [Protein("a", SEQUENCE[::-1])], SETTINGS, 1)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("{", []),
        ("[]", []),
        ('{"format_version": 1}', []),
        ('{"format_version": 0}', ["version"]),
    ],
)
def test_a_record_that_cannot_be_used_is_refused(model, tmp_path, text, facts):
    (tmp_path / "sampling.json").write_text(text)
    with raises(InputError, tmp_path / "sampling.json", *facts):
        sample_ensembles(tmp_path, model, [A], SETTINGS, 1)


def test_ensembles_of_unknown_settings_are_refused(whole, model, tmp_path):
    write_ensemble(tmp_path, read_ensemble(whole, "a"))
    with raises(InputError, tmp_path, "sampling.json"):
        sample_ensembles(tmp_path, model, [A], SETTINGS, 1)


def test_something_else_in_the_way_is_refused_before_work_begins(model, tmp_path, counted):
    (tmp_path / "b").mkdir()
    with raises(InputError, tmp_path / "b", "ensemble"):
        sample_ensembles(tmp_path, model, [A, B], SETTINGS, 1)
    assert counted == []


@pytest.mark.parametrize(
    ("proteins", "facts"),
    [
        ([A, B, A], ["two", "named", "a"]),
        ([Protein("../a", SEQUENCE)], ["'../a'", "folder"]),
        ([A, Protein("odd", "GAXL")], ["odd", "'X'", "position 3"]),
        ([A._replace(profile=np.ones((12, 20)))], ["a", "profile"]),
    ],
)
def test_proteins_that_cannot_be_sampled_are_refused(model, tmp_path, proteins, facts):
    with raises(InputError, *facts):
        sample_ensembles(tmp_path / "out", model, proteins, SETTINGS, 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("temperature", 0.0, ["temperature", 0.0]),
        ("temperature", math.nan, ["temperature", "nan"]),
        ("n_samples", 0, ["samples", 0, 1, 1048576]),
        ("n_samples", 2**20 + 1, ["samples", 1048577]),
        ("engine", "gromacs", ["gromacs", "torch", "openmm"]),
    ],
)
def test_settings_out_of_range_are_refused(name, value, facts):
    with raises(InputError, *facts):
        replace(SETTINGS, **{name: value})


def test_a_folder_that_cannot_be_written_is_named(model, tmp_path):
    (tmp_path / "file").write_text("")
    with raises(InputError, tmp_path / "file" / "out"):
        sample_ensembles(tmp_path / "file" / "out", model, [A], SETTINGS, 1)


def test_a_full_disk_keeps_what_is_complete(model, whole, tmp_path, counted, monkeypatch):
    class Full(md.Trajectory):
        def save_hdf5(self, path, **options):
            if ".a.partial" in path:
                raise RuntimeError
            super().save_hdf5(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr("openmm_nemo.sampling.ensembles.md.Trajectory", Full)
        with raises(InputError, "coarse.h5"):
            sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    assert sorted(os.listdir(tmp_path)) == [".a.batches", "b", "sampling.json"]
    sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    assert_same_ensembles(tmp_path, whole)


# Numbers that are not finite


def test_a_protein_that_is_not_finite_does_not_stop_the_others(model, whole, tmp_path, monkeypatch):
    def one_breaks(protein, seeds, *options):
        x = sample_with_torch(protein, seeds, *options)
        if protein.sequence == B.sequence and seeds[0] == sample_seeds(1, "b", 7)[3]:
            x[1, 4] = math.inf
        return x

    with monkeypatch.context() as patch:
        patch.setitem(sampling.ENGINES, "torch", one_breaks)
        sampled = sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3)
    seed = sample_seeds(1, "b", 7)[4]
    assert sampled == (["a", "c"], {"b": f"sample 4 (seed {seed}) is not finite"})
    assert sorted(os.listdir(tmp_path)) == [".b.batches", "a", "c", "sampling.json"]
    assert sample_ensembles(tmp_path, model, [A, B, C], SETTINGS, 1, batch_size=3).ids == ["b"]
    assert_same_ensembles(tmp_path, whole)


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_an_input_that_breaks_the_network_is_reported(tmp_path, engine):
    torch.manual_seed(20)
    model = NemoModel(NemoConfig.preset("tiny", profile=True)).eval()
    good, bad = (A._replace(profile=np.full((12, 20), value)) for value in (0, 1e35))
    settings = replace(SETTINGS, engine=engine, n_samples=2)
    sampled = sample_ensembles(tmp_path, model, [good._replace(id="good"), bad], settings, 1)
    assert sampled.ids == ["good"]
    assert sampled.failures == {"a": "the network's output for its sequence is not finite"}


@pytest.mark.parametrize(
    ("engine", "words"), [("torch", "sample 0 .seed "), ("openmm", "at step 0")]
)
def test_an_energy_that_overflows_is_reported(model, tmp_path, monkeypatch, engine, words):
    condition = NemoModel.condition

    def strong(self, sequence, profile=None, **inputs):
        protein = condition(self, sequence, profile, **inputs)
        if sequence == A.sequence:
            protein.potential.coefficients[0].value.fill_(3e38)
        return protein

    monkeypatch.setattr(NemoModel, "condition", strong)
    settings = replace(SETTINGS, engine=engine, n_samples=2)
    sampled = sample_ensembles(tmp_path, model, [A, B], settings, 1)
    assert sampled.ids == ["b"]
    assert re.search(f"{words}.*not finite|not finite.*{words}", sampled.failures["a"])


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_minimised_samples_are_lower_and_the_same_in_any_run(model, tmp_path, engine):
    settings = SamplingSettings("tiny", n_samples=3, steps=6, engine=engine)
    found = {}
    for steps in (0, 1, 25):
        sample_ensembles(tmp_path / str(steps), model, [A], replace(settings, minimise=steps), 1)
        found[steps] = read_ensemble(tmp_path / str(steps), "a")
    protein = model.condition(A.sequence)
    energy = {n: protein.energy(torch.from_numpy(e.x)) for n, e in found.items()}
    assert (energy[1] <= energy[0]).all()
    assert (energy[25] < energy[0]).all()
    start = torch.from_numpy(found[0].x)
    (x,), _ = protein.copies(3).minimised(start, [25])
    assert_close(torch.from_numpy(found[25].x), x, "trajectory")
    grown = tmp_path / "grown"
    for n in (2, 3):
        sample_ensembles(grown, model, [A], replace(settings, n_samples=n, minimise=25), 1)
    np.testing.assert_array_equal(read_ensemble(grown, "a").x, found[25].x)


def test_without_simulation_starts_are_minimised(model, tmp_path):
    settings = replace(SETTINGS, n_samples=3, steps=0, minimise=20)
    for engine in ("torch", "openmm"):
        sample_ensembles(tmp_path / engine, model, [A], replace(settings, engine=engine), 1)
        found = torch.from_numpy(read_ensemble(tmp_path / engine, "a").x)
        batch = model.condition(A.sequence).copies(3)
        start = batch.initial_positions(sample_seeds(1, "a", 3)[0])
        (x,), _ = batch.minimised(start, [20])
        assert_close(found, x, "trajectory")
    with raises(InputError, "--steps", "--minimise"):
        SamplingSettings("tiny", steps=0)
