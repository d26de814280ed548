"""What a run learns from: domains by their profiles, crops, and what may be left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmm_nemo.data import DomainSet, Split, write_domains
from openmm_nemo.data.families.alignments import Alignment, write_alignment
from openmm_nemo.data.families.profiles import ColumnFrequencies
from openmm_nemo.errors import InputError
from openmm_nemo.training.settings import TrainingSettings, read_settings
from openmm_nemo.training.stream import DomainData
from tests.sets import write_set

CONFIG = """
description = "A model of a test."
[data]
set = "set"
split = "split.json"
max_length = 12
batch_size = 4
validation_domains = 100
{data}
[model]
profile = {profile}
[[stages]]
updates = 4
losses = {{initial_distances = 1.0}}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A set of which each third domain has no profile, and each second one is near something held out."""
    write_set(tmp_path)
    path = tmp_path / "set" / "domains.safetensors"
    domains = []
    for i, domain in enumerate(DomainSet(path)):
        roots = np.full((len(domain), 20), 1 + i, np.uint8)
        roots[:, 0] = 200
        profiles = {"deep": ColumnFrequencies(roots)} if i % 3 else {}
        profiles["own"] = ColumnFrequencies(roots[:, ::-1].copy())
        domains.append(replace(domain, profiles=profiles, near_held_out=i % 2 == 0))
    write_domains(path, domains)
    return tmp_path


def settings(folder: Path, profile: bool, *data: str) -> TrainingSettings:
    text = CONFIG.format(profile=str(profile).lower(), data="\n".join(data))
    (folder / "config.toml").write_text(text)
    return read_settings(folder / "config.toml")


def number(name: str) -> int:
    return int(name[1:])


def epoch(data: DomainData) -> list:
    loader = data.train_dataloader()
    iterator = iter(loader)
    return [next(iterator) for _ in range(-(-len(data.train) // 4))]


def test_a_profile_model_learns_from_what_has_a_profile_of_its_kind(folder):
    train = Split.read(folder / "split.json").ids("train")
    data = DomainData(settings(folder, True))
    assert [d.id for d in data.train] == [name for name in train if number(name) % 3]
    assert all(number(d.id) % 3 for d in data.validation)
    for batch in epoch(data):
        assert batch.has_profile.tolist() == [1] * 4 or len(batch.ids) < 4
        assert batch.s.shape[-1] == 41
    own = DomainData(settings(folder, True, 'profile_kind = "own"'))
    assert [d.id for d in own.train] == train
    profiles = {name: batch.profile[b] for batch in epoch(own) for b, name in enumerate(batch.ids)}
    for domain in own.train:
        expected = domain.profiles["own"].profile[0]
        np.testing.assert_allclose(profiles[domain.id][0], expected, rtol=1e-6)


def test_with_dropout_domains_without_a_profile_are_learnt_from_too(folder):
    train = Split.read(folder / "split.json").ids("train")
    data = DomainData(settings(folder, True, "profile_dropout = 0.5"))
    assert [d.id for d in data.train] == train
    # Validation is with profiles.
    assert all(number(d.id) % 3 for d in data.validation)
    assert all(batch.has_profile.all() for batch in data.val_dataloader())
    given = {
        name: has
        for batch in epoch(data)
        for name, has in zip(batch.ids, batch.has_profile.tolist(), strict=True)
    }
    assert {given[name] for name in train if number(name) % 3 == 0} == {0}
    assert {given[name] for name in train if number(name) % 3} == {0, 1}


def test_a_sequence_model_gets_no_profiles(folder):
    batch = epoch(DomainData(settings(folder, False)))[0]
    assert batch.s.shape[-1] == 20
    assert batch.has_profile.sum() == 0


def test_what_is_near_held_out_proteins_may_be_left_out_of_training(folder):
    every = DomainData(settings(folder, False))
    far = DomainData(settings(folder, False, "without_near_held_out = true"))
    assert [d.id for d in far.train] == [d.id for d in every.train if number(d.id) % 2]
    assert [d.id for d in far.validation] == [d.id for d in every.validation]


def test_windows_are_of_lengths_in_a_range_and_held_out_ones_always_the_same(folder):
    data = DomainData(settings(folder, False, "min_length = 6"))
    lengths = {int(n) for batch in epoch(data) for n in batch.mask.sum(1)}
    assert min(lengths) < 9
    assert max(lengths) <= 12
    assert len(lengths) > 3
    for batch in data.val_dataloader():
        whole = [min(len(d), 12) for name in batch.ids for d in data.validation if d.id == name]
        assert batch.mask.sum(1).tolist() == whole


def test_relatives_may_come_from_one_file(folder):
    names = [d.id for d in DomainData(settings(folder, False)).train]
    domains = {d.id: d for d in DomainSet(folder / "set" / "domains.safetensors")}
    (folder / "alignments").mkdir()
    rows, columns = [], []
    letters = "ACDEFGHIKLMNPQRSTVWY-"
    for name in names:
        native = [letters.index(a) for a in domains[name].sequence]
        block = np.array([native, [(native[0] + 1) % 20, *native[1:]]], np.uint8)
        rows.append(block)
        columns.append(block.T.ravel())
        write_alignment(folder / "alignments" / f"{name}.a3m", Alignment(("a", "b"), block))
    np.savez(
        folder / "all.npz",
        id=np.array(names),
        length=np.array([block.shape[1] for block in rows]),
        rows=np.full(len(names), 2),
        letters=np.array(letters),
        alignment=np.concatenate(columns),
    )
    many = epoch(DomainData(settings(folder, False, 'alignments = "alignments"')))
    one = epoch(DomainData(settings(folder, False, 'alignments = "all.npz"')))
    native = epoch(DomainData(settings(folder, False)))
    changed = 0
    for first, second, third in zip(many, one, native, strict=True):
        np.testing.assert_array_equal(first.s, second.s)
        np.testing.assert_array_equal(first.x, third.x)
        changed += not np.array_equal(first.s, third.s)
    assert changed


def test_what_cannot_be_learnt_from_is_refused(folder):
    path = folder / "set" / "domains.safetensors"
    write_domains(path, [replace(domain, profiles={}) for domain in DomainSet(path)])
    with pytest.raises(InputError, match=r"has no profiles of the kind 'deep', .*: build it with"):
        DomainData(settings(folder, True))
    with pytest.raises(InputError, match="min_length is 13, use at most max_length"):
        settings(folder, False, "min_length = 13")
    with pytest.raises(InputError, match=r"data\.profile_kind: Input should be 'deep' or 'own'"):
        settings(folder, True, 'profile_kind = "shallow"')
