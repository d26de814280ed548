"""How long a run took and on what, over the sittings of which it is made."""

from types import SimpleNamespace

import pytest
import torch

from openmm_nemo.training import record
from openmm_nemo.training.record import SITTINGS, Record, hardware

MODULE = SimpleNamespace(device=torch.device("cpu"))


def trainer(updates: int) -> SimpleNamespace:
    data = SimpleNamespace(train=["a", "b"], validation=["c"])
    return SimpleNamespace(global_step=updates, world_size=2, datamodule=data)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(record, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_run_that_is_resumed_adds_a_sitting_to_those_of_its_checkpoint(clock):
    first = Record()
    first.on_train_start(trainer(0), MODULE)
    clock[0] += 5
    checkpoint = {}
    first.on_save_checkpoint(trainer(3), MODULE, checkpoint)
    clock[0] += 50  # lost
    second = Record()
    second.on_load_checkpoint(trainer(3), MODULE, checkpoint)
    second.on_train_start(trainer(3), MODULE)
    clock[0] += 7
    assert second.seconds == 12
    later = {}
    second.on_save_checkpoint(trainer(9), MODULE, later)
    sittings = later[SITTINGS]
    assert [(s["updates"], s["seconds"], s["processes"]) for s in sittings] == [
        (3, 5, 2),
        (9, 7, 2),
    ]
    assert (sittings[1]["training_domains"], sittings[1]["validation_domains"]) == (2, 1)
    assert f"torch {torch.__version__.partition('+')[0]}" in sittings[1]["software"]


def test_a_checkpoint_saved_twice_has_one_sitting(clock):
    run = Record()
    run.on_train_start(trainer(0), MODULE)
    checkpoint = {}
    for updates in (3, 6):
        run.on_save_checkpoint(trainer(updates), MODULE, checkpoint)
    assert [sitting["updates"] for sitting in checkpoint[SITTINGS]] == [6]


@pytest.mark.parametrize(("threads", "text"), [(1, "(1 thread)"), (3, "(3 threads)")])
def test_hardware_is_the_processor_and_its_threads(monkeypatch, threads, text):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    name, _, rest = hardware(torch.device("cpu")).rpartition(" (")
    assert f"({rest}" == text
    assert name


def test_a_processor_that_the_system_does_not_describe_has_the_name_of_its_kind(monkeypatch):
    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(record.Path, "read_text", missing)
    monkeypatch.setattr(record.platform, "processor", lambda: "")
    monkeypatch.setattr(record.platform, "machine", lambda: "x86_64")
    assert hardware(torch.device("cpu")).startswith("x86_64 (")
