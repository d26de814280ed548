"""Run folders: records that are refused when they are damaged, and locks that keep two runs out of one folder."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from openmm_nemo.errors import InputError
from openmm_nemo.runs import folder as folder_module
from openmm_nemo.runs.folder import LOCK_FILE, RECORDS, RunFolder, RunKind
from openmm_nemo.runs.series import SERIES
from openmm_nemo.runs.settings import SIMULATION
from openmm_nemo.sampling.sampling import SAMPLING
from openmm_nemo.training.train import TRAINING
from tests.helpers import contents, raises

KIND = RunKind("record.json")
VALUES = {"settings": {"seed": 3, "model": "tïny"}, "number": 0.1}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run", KIND)


def same(values):
    return values


# The record


def test_record_is_read_back(run):
    assert not run.holds_run
    run.write_record(VALUES)
    assert run.holds_run
    assert VALUES.items() <= run.read_record(same).items()
    assert os.listdir(run.path) == ["record.json"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "", "cannot be read"),
        (lambda text: text[:-3], "cannot be read"),
        (lambda text: "[1, 2]", "cannot be read"),
        (lambda text: "\udcff", "cannot be read"),
        (lambda text: text.replace('"seed": 3', '"seed": 4'), "has changed since it was written"),
        (lambda text: text.replace('"sha256"', '"sha"'), "cannot be read"),
        (lambda text: text.replace('n": 2', 'n": 3'), "was written by another version of openmm_"),
        (lambda text: text.replace('n": 2', 'n": "2"'), "cannot be read"),
    ],
)
def test_damaged_record_is_refused(run, damage, said):
    run.write_record(VALUES)
    path = run.path / "record.json"
    path.write_bytes(damage(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(InputError) as refusal:
        run.read_record(same)
    sentence = str(refusal.value)
    assert sentence.startswith(f"{path} {said}")
    assert sentence.endswith(": start a new run with another --out.")
    assert "\n" not in sentence


@pytest.mark.parametrize("error", [KeyError("seed"), ValueError("it is\nodd"), TypeError("a list")])
def test_record_that_cannot_be_parsed_is_refused_with_the_reason(run, error):
    run.write_record(VALUES)

    def parse(values):
        raise error

    with pytest.raises(InputError, match=r"record.json cannot be read .*: give another\.$") as said:
        run.read_record(parse, "give another")
    assert "\n" not in str(said.value)
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        RunFolder(run.path / "nothing", KIND).read_record(same)


def test_records_of_version_1_have_no_digest(run):
    path = run.path / "record.json"
    for record in (VALUES, VALUES | {"format_version": 1}):
        path.write_text(json.dumps(record))
        assert run.read_record(same) == record
        with pytest.raises(InputError, match="was written by another version"):
            RunFolder(run.path, RunKind("record.json", oldest=2)).read_record(same)
    path.write_text(json.dumps(VALUES | {"format_version": 2}))
    with pytest.raises(InputError, match="sha256"):
        run.read_record(same)


# What is compared


def test_changed_settings_are_named(run):
    before = {"seed": 1, "data": {"size": [1, 2], "set": "a"}, "same": None}
    run.check_settings(before, {"seed": 1, "data": {"size": (1, 2), "set": "a"}, "same": None})
    now = {"seed": 2, "data": {"size": (1, 3), "set": "a"}, "same": None}
    with pytest.raises(InputError) as refusal:
        run.check_settings(before, now)
    assert str(refusal.value) == (
        f"The run in {run.path} was started with seed 1 instead of 2, data.size.1 2 instead of 3: "
        "keep these, or give another --out."
    )
    with pytest.raises(InputError, match=r"seed 1 instead of None"):
        run.check_settings({"seed": 1}, {})
    many = [[k, k + 1] for k in range(9)]
    with pytest.raises(InputError, match=r"x\.4 4 instead of 5 and 4 more: keep"):
        run.check_settings({"x": [a for a, _ in many]}, {"x": [b for _, b in many]})


def test_changed_model_is_named(run):
    run.check_model("abc", "abc", "mine")
    with pytest.raises(InputError, match=f"The model 'mine' has changed .* in {run.path} began"):
        run.check_model("abc", "abd", "mine")


def test_new_run_replaces_nothing(run):
    run.check_new(["a.csv"])
    (run.path / "a.csv").write_text("mine")
    with pytest.raises(InputError, match=r"a\.csv already exists: give another --out"):
        run.check_new(["b.csv", "a.csv"])
    run.check_new(["b.csv"])
    with pytest.raises(InputError, match="holds no run to resume: leave --resume out"):
        run.check_resumable()
    run.write_record(VALUES)
    run.check_resumable()
    with pytest.raises(InputError, match="already holds a run: give --resume to continue it"):
        run.check_new()
    # What counts may be another file.
    other = RunFolder(run.path, RunKind("record.json", marker="last.ckpt"))
    other.check_new()
    run.write("last.ckpt", b"1")
    with pytest.raises(InputError, match="already holds a run"):
        other.check_new()


def test_errors_of_the_file_system_are_sentences(run):
    kind = RunKind("record.json", resume="the same command")
    for error, name in (
        (OSError(errno.ENOSPC, "No space left on device"), str(run.path)),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y"),
    ):
        with pytest.raises(InputError) as refusal, RunFolder(run.path, kind).writing():
            raise error
        assert str(refusal.value) == (
            f"{name} cannot be written (No space left on device): fix this or give another --out; "
            "the same command continues a run that had begun."
        )


# The lock


def test_second_run_ends_at_once_and_says_who_has_the_folder(run):
    with run.lock():
        before = contents(run.path)
        with pytest.raises(InputError) as refusal, RunFolder(run.path, KIND).lock():
            pass
        assert str(refusal.value) == (
            f"{run.path} is in use by another run (process {os.getpid()}): "
            "wait until it ends, or give another --out."
        )
        assert contents(run.path) == before
    with run.lock():
        pass
    assert os.listdir(run.path) == []


def test_other_machines_are_named(run, monkeypatch):
    with run.lock():
        monkeypatch.setattr(folder_module.platform, "node", lambda: "elsewhere")
        with pytest.raises(InputError, match=rf"\(process {os.getpid()} on .+\)"), run.lock():
            pass
        (run.path / LOCK_FILE).write_text("")
        with pytest.raises(InputError, match="in use by another run: wait"), run.lock():
            pass


HOLD = """
import sys, time
from pathlib import Path
from openmm_nemo.runs.folder import RunFolder, RunKind
with RunFolder(Path(sys.argv[1]), RunKind("record.json")).lock():
    print("locked", flush=True)
    time.sleep(1000)
"""


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_lock_ends_with_its_process(run, number):
    program = f"import signal; signal.signal(2, signal.default_int_handler)\n{HOLD}"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, run.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(InputError, match=rf"in use by another run \(process {holder.pid}\)"):
        run.lock().__enter__()
    holder.send_signal(number)
    holder.communicate(timeout=60)
    with run.lock():
        assert (run.path / LOCK_FILE).read_text().startswith(f"{os.getpid()} ")
    assert os.listdir(run.path) == []


def test_one_of_many_has_the_lock(run):
    """Also while others remove the file of theirs."""
    inside, most, taken = [], [], []

    def work():
        for _ in range(200):
            try:
                with RunFolder(run.path, KIND).lock():
                    inside.append(1)
                    most.append(len(inside))
                    taken.append(1)
                    inside.pop()
            except InputError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) > 20
    assert max(most) == 1
    assert os.listdir(run.path) == []


def test_lock_of_a_file_that_was_removed_is_not_a_lock(run, monkeypatch):
    """Between opening and locking, the run that had the lock ends, and a third one begins."""
    flock = fcntl.flock
    third = RunFolder(run.path, KIND).lock()

    def late(descriptor, how):
        monkeypatch.undo()
        (run.path / LOCK_FILE).unlink()
        third.__enter__()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="in use by another run"), run.lock():
        pass
    third.__exit__(None, None, None)


def test_folder_is_made_and_stays_if_something_is_in_it(tmp_path):
    (tmp_path / "before").mkdir()
    run = RunFolder(tmp_path / "before" / "deep" / "run", KIND)
    with run.lock():
        assert run.path.is_dir()
    assert os.listdir(tmp_path) == ["before"]
    assert os.listdir(tmp_path / "before") == []
    with run.lock():
        run.write("a", b"1")
    assert os.listdir(run.path) == ["a"]


def test_folder_that_cannot_be_written_is_named(run, monkeypatch):
    if os.geteuid() == 0:  # who may write everywhere

        def refuse(path, *_):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(folder_module.os, "open", refuse)
    else:
        run.path.chmod(0o500)
    with pytest.raises(InputError) as refusal, run.lock():
        pass
    assert str(refusal.value).startswith(f"{run.path} cannot be written (Permission denied): fix")


def test_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot be written"), RunFolder(path, KIND).lock():
            pass


def test_runs_proceed_where_the_file_system_has_no_locks(run, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    entered = []
    with run.lock():
        entered.append(1)
    assert entered
    assert os.listdir(run.path) == []


def test_full_disk_does_not_matter_to_the_lock(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_module.os, "pwrite", full)
    with run.lock(), pytest.raises(InputError, match="in use by another run: wait"), run.lock():
        pass


@pytest.mark.integration
def test_lock_is_not_inherited_by_programs_that_the_run_starts(run):
    with run.lock():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        with run.lock():
            pass
    finally:
        child.kill()
        child.wait()


def test_names_need_not_be_ascii(tmp_path):
    run = RunFolder(Path(tmp_path) / "prövâ 試験", KIND)
    with run.lock():
        run.write_record(VALUES)
        assert VALUES.items() <= run.read_record(same).items()


@pytest.mark.parametrize("record", RECORDS)
def test_a_folder_of_another_kind_of_run_is_refused(tmp_path, record):
    (tmp_path / record).write_text("{}")
    for kind in (RunKind(name) for name in RECORDS):
        with raises(InputError, tmp_path, "--out"):
            RunFolder(tmp_path, kind).check_new()


def test_all_kinds_of_runs_are_known():
    kinds = (SIMULATION, SERIES, SAMPLING, TRAINING)
    assert [kind.record for kind in kinds] == list(RECORDS)
