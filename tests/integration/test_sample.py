"""`openmm-nemo sample`: from sequences, structures and sets, in processes and on a Dask cluster that fail."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mdtraj as md
import numpy as np
import pytest
import safetensors.numpy
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.cluster import run_on_cluster
from openmm_nemo.data import splits
from openmm_nemo.data.families.profiles import ColumnFrequencies, profile_from_frequencies
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.data.splits import Place, Split
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS
from openmm_nemo.runs.plots import read_table
from openmm_nemo.sampling import sampling
from openmm_nemo.sampling.ensembles import ensemble_ids, read_ensemble, read_ensembles
from openmm_nemo.sampling.sampling import (
    Protein,
    SamplingSettings,
    _tasks,
    run_task,
    sample_ensembles,
    sample_seeds,
)
from tests.helpers import command_line, contents, names, raises, refused
from tests.integration.runs import SEQUENCE, TRP_CAGE, simulate, trp_cage

IDS = ["1aaa_A", "2bbb_B", "3ccc_C"]


def native(k):
    return np.random.default_rng(k).normal(scale=10, size=(18 + k, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def domain_set(tmp_path_factory):
    """Folder of a set of three domains, of 18 to 20 residues."""
    folder = tmp_path_factory.mktemp("set")
    domains = []
    for k, name in enumerate(IDS):
        n = 18 + k
        numbers = tuple(map(str, range(1, n + 1)))
        domains.append(Domain(name, SEQUENCE[:n], native(k), "-" * n, numbers))
    write_domains(folder / "domains.safetensors", domains)
    return folder


@pytest.fixture(scope="module")
def options(domain_set):
    return ("--set", domain_set, "--model", "nemo-tiny", "-n", 12, "--steps", 25)


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """Ensembles to whose sampling nothing happened."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = command_line("sample", *options, "--out", folder, "--workers", 1)
    assert outcome.code == 0, outcome
    return folder


def assert_same_ensembles(*folders):
    assert ensemble_ids(folders[0]) == ensemble_ids(folders[1])
    for one, other in zip(*map(read_ensembles, folders), strict=True):
        for name in ("x", "atoms", "energy", "native", "seeds"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# Input and output


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_a_sample_is_repeated_by_simulate_with_its_seed(tmp_path, engine):
    out = tmp_path / "out"
    options = ("--sequence", SEQUENCE, "--model", "nemo-tiny")
    options += ("--steps", 20, "--temperature", 350)
    outcome = command_line("sample", *options, "-n", 3, "--engine", engine, "--out", out)
    assert outcome.code == 0, outcome
    names(outcome.out.splitlines()[0], "untrained")
    assert outcome.out.splitlines()[1].startswith(f"Wrote 3 samples of 1 protein to {out} in ")
    table = read_table(out / "sequence" / "samples.csv")
    simulate(tmp_path / "run", *options, "--seed", int(table["seed"][2]))
    for name in ("coarse", "atoms"):
        final = md.load(str(tmp_path / "run" / f"final_{name}.pdb"))
        ours = md.load(str(out / "sequence" / f"{name}.h5"))
        np.testing.assert_allclose(ours.xyz[2], final.xyz[0], atol=1.1e-4)  # three decimals
    state = read_table(tmp_path / "run" / "state.csv")
    for name in ("u_kt", "radius_of_gyration_angstrom"):
        assert table[name][2] == pytest.approx(state[name][-1], rel=1e-4)


def test_a_structure_is_the_native(tmp_path):
    outcome = command_line(
        "sample", "--pdb", TRP_CAGE, "-n", 2, "--steps", 2, "--seed", 7, "--out", tmp_path / "out"
    )
    assert outcome.code == 0, outcome
    ensemble = read_ensemble(tmp_path / "out", "1l2y_A")
    assert ensemble.sequence == SEQUENCE
    np.testing.assert_allclose(ensemble.native, trp_cage(), atol=1e-5)
    assert ensemble.seeds.tolist() == list(sample_seeds(7, "1l2y_A", 2))


def test_a_set_or_some_of_its_domains(options, whole, tmp_path):
    for k, ensemble in enumerate(read_ensembles(whole)):
        assert ensemble.id == IDS[k]
        np.testing.assert_allclose(ensemble.native, native(k)[:, 1], rtol=2**-22)
    (tmp_path / "ids.txt").write_text(f"\n{IDS[2]}\n  {IDS[0]} \n")
    out = tmp_path / "out"
    some = ("--ids", tmp_path / "ids.txt", "--out", out)
    assert command_line("sample", *options, *some, "--workers", 1).code == 0
    assert ensemble_ids(out) == [IDS[0], IDS[2]]
    before = contents(out)
    outcome = command_line("sample", *options, "--out", out, "--workers", 1)
    assert outcome.out.splitlines()[1].startswith(f"Wrote 12 samples of 1 protein to {out} in ")
    names(outcome.out.splitlines()[2], "2 proteins", "before")
    assert before.items() - contents(out).items() == {("sampling.json", before["sampling.json"])}
    assert_same_ensembles(out, whole)


def test_a_part_of_a_split(options, domain_set, tmp_path):
    domains = DomainSet(domain_set / "domains.safetensors")
    places = dict(zip(IDS, (Place("test", "T"), Place("train"), Place("test", "H")), strict=True))
    split = Split(1, 0.1, 0.1, {}, splits.digest_of(domains), places)
    split.write(tmp_path / "split.json")
    for part, ids in (((), [IDS[0], IDS[2]]), (("--part", "train"), [IDS[1]])):
        out = tmp_path / f"out{len(part)}"
        of_split = ("--split", tmp_path / "split.json", *part, "--out", out)
        assert command_line("sample", *options, *of_split, "--workers", 1).code == 0
        assert ensemble_ids(out) == ids
    of_split = ("--split", tmp_path / "split.json", "--part", "validation", "--out", tmp_path / "x")
    names(refused("sample", *options, *of_split), tmp_path / "split.json", "validation")


def test_profiles_of_a_set(options, tmp_path):
    torch.manual_seed(20)
    model = NemoModel(NemoConfig.preset("tiny", profile=True)).eval()
    model.save_pretrained(tmp_path / "model")
    frequencies = np.random.default_rng(1).dirichlet(np.ones(20), size=19)
    line = {"id": IDS[1], "columns": AMINO_ACIDS, "frequencies": frequencies.tolist()}
    (tmp_path / "profiles.jsonl").write_text(json.dumps(line))
    common = (*options, "--model", tmp_path / "model", "--profile", tmp_path / "profiles.jsonl")
    sentence = refused("sample", *common, "--out", tmp_path / "out")
    names(sentence, IDS[0], "profile")
    one = ("--ids", _ids(tmp_path, IDS[1]), "--out", tmp_path / "out", "--workers", 1)
    assert command_line("sample", *common, *one).code == 0
    ensemble = read_ensemble(tmp_path / "out", IDS[1])
    protein = model.condition(SEQUENCE[:19], profile_from_frequencies(frequencies))
    alone = protein.rollout(25, seed=int(ensemble.seeds[5])).x[-1, 0]
    np.testing.assert_allclose(ensemble.x[5], alone, atol=1e-3)


def test_profiles_that_a_set_has(options, domain_set, tmp_path):
    """Of the chosen kind; a domain without one has none."""
    torch.manual_seed(20)
    model = NemoModel(NemoConfig.preset("fold", profile=True)).eval()
    model.save_pretrained(tmp_path / "model")
    roots = np.random.default_rng(1).integers(1, 255, (19, 20), dtype=np.uint8)
    domains = list(DomainSet(domain_set / SET_FILE))
    profile = ColumnFrequencies(roots)
    write_domains(
        tmp_path / SET_FILE,
        [replace(d, profiles={"own": profile} if d.id == IDS[1] else {}) for d in domains],
    )
    common = ("sample", "--set", tmp_path, "-n", 2, "--steps", 25, "--workers", 1)
    common += ("--model", tmp_path / "model")
    out = tmp_path / "out"
    outcome = command_line(*common, "--out", out, "--profile-kind", "own")
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[0] == "2 of 3 domains have no profile of the kind 'own'."
    for k, rows in ((0, None), (1, profile.profile)):
        ensemble = read_ensemble(out, IDS[k])
        protein = model.condition(ensemble.sequence, rows)
        alone = protein.rollout(25, seed=int(ensemble.seeds[1])).x[-1, 0]
        np.testing.assert_allclose(ensemble.x[1], alone, atol=1e-3)
    sentence = refused(*common, "--out", tmp_path / "other", "--profile-kind", "deep")
    names(sentence, 3, tmp_path / SET_FILE, "deep", "--profile-kind")
    alone = ("sample", "--sequence", SEQUENCE, "--out", tmp_path / "other")
    names(refused(*alone, "--profile-kind", "own"), "--profile-kind", "--set")


def test_embeddings_of_a_set(options, tmp_path):
    config = NemoConfig.preset("tiny").to_dict()
    config |= {"encoders": ["one-hot", "embedding"], "embedding_width": 3}
    model = NemoModel(NemoConfig.from_dict(config)).eval()
    model.save_pretrained(tmp_path / "model")
    embedding = np.random.default_rng(1).normal(size=(19, 3))
    safetensors.numpy.save_file({IDS[1]: embedding}, tmp_path / "embeddings")
    common = (*options, "--model", tmp_path / "model", "--embedding", tmp_path / "embeddings")
    sentence = refused("sample", *common, "--out", tmp_path / "out")
    names(sentence, IDS[0], "embedding")
    one = ("--ids", _ids(tmp_path, IDS[1]), "--out", tmp_path / "out", "--workers", 1)
    assert command_line("sample", *common, *one).code == 0
    ensemble = read_ensemble(tmp_path / "out", IDS[1])
    protein = model.condition(SEQUENCE[:19], embedding=embedding)
    alone = protein.rollout(25, seed=int(ensemble.seeds[5])).x[-1, 0]
    np.testing.assert_allclose(ensemble.x[5], alone, atol=1e-3)


def test_options_that_do_not_go_together_are_refused(options, tmp_path):
    out = ("--out", tmp_path / "out")
    names(refused("sample", *out), "--sequence", "--pdb", "--set")
    names(refused("sample", *options, "--sequence", SEQUENCE, *out), "--sequence", "--pdb", "--set")
    alone = ("sample", "--sequence", SEQUENCE, *out)
    names(refused(*alone, "--ids", "x"), "--ids", "--split")
    names(refused(*alone, "--split", "x"), "--ids", "--split")
    names(refused(*alone, "--part", "test"), "--part", "--split")
    both = ("--ids", "x", "--split", "y")
    names(refused("sample", *options, *both, *out), "--ids", "--split")
    names(refused("sample", *options, "--chain", "A", *out), "--chain", "--model-index")
    names(refused("sample", *options, "--profile", "none", *out), "none")
    names(refused(*alone, "--profile", "none"), "none")
    with_both = ("--scheduler", "tcp://x:1", "--workers", 2)
    names(refused("sample", *options, *with_both, *out), "--workers")
    names(refused("sample", *options, "--ids", _ids(tmp_path, "1xyz"), *out), "1xyz")
    names(refused("sample", *options, "--ids", _ids(tmp_path, "\n"), *out), "ids")
    names(refused("sample", *options, "--ids", tmp_path / "none", *out), tmp_path / "none")
    names(
        refused("sample", *options, "--ids", _ids(tmp_path, f"{IDS[0]}\n" * 2), *out), "two", IDS[0]
    )
    assert not (tmp_path / "out").exists()


def _ids(folder, text):
    (folder / "ids").write_text(text)
    return folder / "ids"


def test_more_samples_are_added(options, whole, tmp_path):
    out = tmp_path / "out"
    one = ("--ids", _ids(tmp_path, IDS[0]), "--out", out, "--workers", 1)
    assert command_line("sample", *options, "-n", 3, *one).code == 0
    outcome = command_line("sample", *options, *one)
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[1].startswith(f"Wrote 9 samples of 1 protein to {out} in ")
    names(outcome.out.splitlines()[2], "3 samples", "1 protein", "before")
    found, expected = (read_ensemble(place, IDS[0]) for place in (out, whole))
    for name in ("x", "atoms", "energy", "native", "seeds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    before = contents(out)
    names(refused("sample", *options, "-n", 11, *one), out, 12, 11, "-n", "--out")
    assert contents(out) == before


def test_other_settings_are_refused(options, whole):
    sentence = refused("sample", *options, "--seed", 2, "--out", whole)
    names(sentence, "seed", 1, 2, "--out")


# Processes that end


PATCHED = """
import os, signal, sys, time
from openmm_nemo.cli import cli, main
from openmm_nemo.sampling import sampling

def run(weights, task, original=sampling.run_task):
    if task.protein.id == "1aaa_A":
        {what}
    return original(weights, task)

sampling.run_task = run
if __name__ == "__main__":
    main()
"""


def start(tmp_path, what, *arguments):
    """The command in a process group of its own, whose workers do something instead of the last protein's tasks."""
    script = tmp_path / "patched.py"
    script.write_text(PATCHED.format(what=what))
    return subprocess.Popen(
        [sys.executable, script, "sample", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        start_new_session=True,
    )


def members(group):
    """Processes of a group that are not zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def goes_on(options, out, whole):
    complete = ensemble_ids(out)
    before = {name: contents(out / name) for name in complete}
    assert "1aaa_A" not in complete
    assert {path.name for path in out.iterdir() if path.suffix != ".batches"} == {
        *complete,
        "sampling.json",
    }
    outcome = command_line("sample", *options, "--out", out, "--workers", 1)
    assert outcome.code == 0, outcome
    assert {name: contents(out / name) for name in complete} == before
    assert_same_ensembles(out, whole)


def test_a_worker_that_is_killed_loses_and_doubles_nothing(options, whole, tmp_path):
    out = tmp_path / "out"
    running = start(
        tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", *options, "--out", out, "--workers", 2
    )
    _, err = running.communicate(timeout=100)
    assert running.returncode == 2, err
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    names(line, "killed")
    goes_on(options, out, whole)


def two_are_complete(out, pid):
    return len(ensemble_ids(out)) == 2


def workers_import(out, pid):
    if len(members(pid)) < 4:  # the command, two workers, and Python's tracker of resources
        return False
    time.sleep(0.5)
    return True


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are listed in /proc")
@pytest.mark.parametrize(
    "until", [two_are_complete, pytest.param(workers_import, marks=pytest.mark.slow)]
)
def test_ctrl_c_keeps_what_is_complete_and_leaves_no_process(options, whole, tmp_path, until):
    out = tmp_path / "out"
    running = start(tmp_path, "time.sleep(1000)", *options, "--out", out, "--workers", 2)
    wait_until(lambda: until(out, running.pid))
    os.killpg(running.pid, signal.SIGINT)
    output, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert output.splitlines()[-1].startswith("Interrupted: ")
    wait_until(lambda: members(running.pid) == [], 10)
    goes_on(options, out, whole)


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are listed in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_workers_end_with_the_command(options, tmp_path, number):
    running = start(
        tmp_path, "time.sleep(1000)", *options, "--out", tmp_path / "out", "--workers", 2
    )
    wait_until(lambda: len(ensemble_ids(tmp_path / "out")) == 2)
    assert len(members(running.pid)) >= 3
    running.send_signal(number)
    running.communicate(timeout=30)
    wait_until(lambda: members(running.pid) == [], 10)


def test_proteins_that_fail_are_told_at_the_end(options, tmp_path, monkeypatch):
    run = sampling.run_task

    def one_fails(weights, task):
        return "no good" if task.protein.id == IDS[1] else run(weights, task)

    monkeypatch.setattr(sampling, "run_task", one_fails)
    out = tmp_path / "out"
    outcome = command_line("sample", *options, "--out", out, "--workers", 1)
    assert outcome.code == 2
    assert outcome.out.splitlines()[1].startswith(f"Wrote 24 samples of 2 proteins to {out} in ")
    assert outcome.out.splitlines()[2:] == [f"Not sampled: {IDS[1]}: no good"]
    names(
        outcome.err.splitlines()[-1], "1 of 3 proteins", "--seed"
    )  # after progress, where it is slow
    assert ensemble_ids(out) == [IDS[0], IDS[2]]


# Dask


@pytest.fixture(scope="module")
def cluster():
    """Address of a scheduler with two workers in processes of their own."""
    distributed = pytest.importorskip("dask.distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as local:
        yield local.scheduler_address


def test_a_dask_cluster_gives_the_same(cluster, options, whole, tmp_path):
    out = tmp_path / "out"
    outcome = command_line("sample", *options, "--out", out, "--scheduler", cluster)
    assert outcome.code == 0, outcome
    assert_same_ensembles(out, whole)
    assert sorted(contents(out)) == sorted(contents(whole))


@pytest.mark.slow
def test_a_dask_worker_that_is_killed_is_replaced(cluster, domain_set, whole, tmp_path):
    from dask.distributed import Client

    with Client(cluster) as client:
        victim, _ = client.run(os.getpid).values()
    killed = []

    def kill(count):
        if count and not killed:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    domains = DomainSet(domain_set / "domains.safetensors")
    proteins = [Protein(domain.id, domain.sequence, domain.ca) for domain in domains]
    model = NemoModel.from_pretrained("nemo-tiny")
    settings = SamplingSettings("nemo-tiny", n_samples=12, steps=25)
    sample_ensembles(tmp_path / "out", model, proteins, settings, scheduler=cluster, progress=kill)
    assert killed
    assert_same_ensembles(tmp_path / "out", whole)


class Bomb:
    """A model of which every worker dies that reads it."""

    def __reduce__(self):
        return os.abort, ()


def some_tasks():
    model = NemoModel.from_pretrained("nemo-tiny")
    protein = Protein("a", SEQUENCE)
    return _tasks(protein, SamplingSettings("nemo-tiny", n_samples=20), model, None)


def test_dask_workers_that_die_are_told(cluster):
    with raises(InputError, "tcp://", "Dask"):
        list(run_on_cluster(run_task, pickle.dumps(Bomb()), some_tasks(), cluster))


def test_schedulers_that_do_not_answer_are_told(options, tmp_path, monkeypatch):
    pytest.importorskip("dask.distributed")
    monkeypatch.setattr("openmm_nemo.cluster.CONNECT_SECONDS", 1)
    arguments = ("sample", *options, "--out", tmp_path / "out", "--scheduler")
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        names(refused(*arguments, address), address, "dask scheduler")
    monkeypatch.setitem(sys.modules, "dask", None)
    names(refused(*arguments, "tcp://127.0.0.1:1"), "--scheduler", "openmm-nemo[dask]")


def test_a_scheduler_without_workers_is_told(options, tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as local:
        address = local.scheduler_address
        names(
            refused("sample", *options, "--out", tmp_path / "out", "--scheduler", address),
            address,
            "dask worker",
        )
