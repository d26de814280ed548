"""The endless sequence of batches: where a run that is resumed or shared goes on in it, and what it leaves out."""

import json
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from openmm_nemo.data import DomainSet, Split
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS
from openmm_nemo.training.settings import TrainingSettings
from openmm_nemo.training.stream import DomainData, Stream
from tests.helpers import raises
from tests.sets import write_set


class Epochs:
    """Three batches in each epoch, which say where they come from."""

    epoch = 0

    def __len__(self):
        return 3

    def __iter__(self):
        return iter([(self.epoch, k) for k in range(3)])


ENDLESS = [(epoch, k) for epoch in range(10) for k in range(3)]


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7])
def test_a_stream_goes_on_from_any_batch(start):
    assert list(islice(Stream(Epochs(), start), 10)) == ENDLESS[start : start + 10]


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("start", [0, 2])
def test_processes_take_turns(start, world_size):
    shares = [islice(Stream(Epochs(), start, rank, world_size), 5) for rank in range(world_size)]
    together = [batch for turn in zip(*shares, strict=True) for batch in turn]
    assert together == ENDLESS[start * world_size :][: len(together)]


# Of a set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_set(folder)
    return folder


def settings(folder, model=None, **data):
    return TrainingSettings(
        description="A test.",
        data={"set": folder / "set", "split": folder / "split.json", "batch_size": 4, **data},
        model=model or {},
        stages=[{"updates": 1, "losses": {"initial_distances": 1.0}}],
    )


def same(one, other):
    return one.ids == other.ids and one.x.equal(other.x) and one.s.equal(other.s)


def test_batches_from_the_middle_are_those_of_the_whole_run(folder):
    data = DomainData(settings(folder, max_length=8))
    whole = list(islice(data.train_dataloader(), 12))
    data.start = 7
    later = list(islice(data.train_dataloader(), 5))
    assert all(map(same, whole[7:], later))
    assert not same(whole[0], later[0])
    ids = Split.read(folder / "split.json").ids("train")
    assert {name for batch in whole for name in batch.ids} == set(ids)


def test_held_out_domains_are_always_the_same_and_shared(folder):
    data = DomainData(settings(folder, batch_size=2))
    alone = list(data.val_dataloader())
    assert all(map(same, alone, data.val_dataloader()))
    names = sorted(name for batch in alone for name in batch.ids)
    assert names == sorted(Split.read(folder / "split.json").ids("validation"))
    shares = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        shares.append([name for batch in data.val_dataloader() for name in batch.ids])
    assert sorted(shares[0] + shares[1]) == names
    assert all(shares)


def test_of_more_processes_than_held_out_domains_each_takes_all(folder):
    data = DomainData(settings(folder, validation_domains=1))
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        (batch,) = data.val_dataloader()
        assert len(batch.ids) == 1


def profiles(folder, path, names):
    domains = {domain.id: domain for domain in DomainSet(folder / "set" / "domains.safetensors")}
    line = {"columns": AMINO_ACIDS}
    path.write_text(
        "\n".join(
            json.dumps(
                line | {"id": name, "frequencies": np.full((len(domains[name]), 20), 0.05).tolist()}
            )
            for name in names
        )
    )
    return path


def test_a_profile_model_learns_from_the_domains_that_have_profiles(folder, tmp_path):
    split = Split.read(folder / "split.json")
    names = [*split.ids("train")[:5], *split.ids("validation")[:2]]
    path = profiles(folder, tmp_path / "profiles.jsonl", names)
    data = DomainData(settings(folder, {"profile": True}, profiles=path))
    batches = list(islice(data.train_dataloader(), 6))
    assert {name for batch in batches for name in batch.ids} == set(names[:5])
    assert all(batch.s.shape[-1] == 41 for batch in batches)
    held_out = [name for batch in data.val_dataloader() for name in batch.ids]
    assert sorted(held_out) == sorted(names[5:])


def test_nothing_to_learn_from_is_refused(folder, tmp_path):
    with raises(InputError, "profiles"):
        DomainData(settings(folder, {"profile": True}))
    train = Split.read(folder / "split.json").ids("train")
    path = profiles(folder, tmp_path / "profiles.jsonl", train[:1])
    with raises(InputError, folder / "split.json", "validation"):
        DomainData(settings(folder, {"profile": True}, profiles=path))
