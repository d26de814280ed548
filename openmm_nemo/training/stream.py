"""The endless sequence of training batches: batch k is a function of the settings and k."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as lightning
import numpy as np
from torch.utils.data import DataLoader, Sampler

from openmm_nemo.data.batches import DomainDataset, Draw, LengthBuckets, collate
from openmm_nemo.data.families.alignments import read_alignments
from openmm_nemo.data.families.profiles import read_profiles
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.domains import Domain, profiles_of
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.data.splits import Split
from openmm_nemo.errors import InputError
from openmm_nemo.training.force_matching import FramePool
from openmm_nemo.training.settings import DataSettings, TrainingSettings


class Stream(Sampler[list[Draw]]):
    """Batches of successive epochs, starting from any one.

    Parameters
    ----------
    buckets : LengthBuckets
    start : int
        Number of the first batch.
    rank, world_size : int
        Index of this process, and the number of processes that share the batches: each takes every ``world_size``-th.
    """

    def __init__(
        self, buckets: LengthBuckets, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self._buckets = buckets
        self.start = start
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        first = self.start * self._world_size + self._rank
        epoch, skipped = divmod(first, len(self._buckets))
        return itertools.islice(self._batches(epoch), skipped, None, self._world_size)

    def _batches(self, epoch: int) -> Iterator[list[Draw]]:
        for number in itertools.count(epoch):
            self._buckets.epoch = number
            yield from self._buckets


class DomainData(lightning.LightningDataModule):
    """Endless training batches, and fixed batches of held-out domains.

    For a profile model, held-out domains without a profile are left out, and without profile dropout also such training
    domains.

    Parameters
    ----------
    settings : TrainingSettings

    Raises
    ------
    InputError
        If a file cannot be read, the split belongs to another set, or nothing is left to learn from.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        self._settings = settings
        data = settings.data
        domains = {domain.id: domain for domain in DomainSet(data.set / SET_FILE)}
        self.split = Split.read(data.split)
        self.split.check(domains.values())
        self.train = [domains[name] for name in self.split.ids("train")]
        names = self.split.ids("validation") or self.split.ids("test")
        held_out = [domains[name] for name in names]
        if data.without_near_held_out:
            self.train = [domain for domain in self.train if not domain.near_held_out]
        self._profiles = None
        if settings.model.profile:
            self._profiles = _profiles(data, [*self.train, *held_out])
            held_out = [domain for domain in held_out if domain.id in self._profiles]
            if not data.profile_dropout:
                self.train = [domain for domain in self.train if domain.id in self._profiles]
        if not (self.train and held_out):
            raise InputError(
                f"{data.split} leaves no domains for training or none for validation: make another split."
            )
        step = max(len(held_out) // data.validation_domains, 1)
        self.validation = held_out[::step][: data.validation_domains]
        self._alignments = read_alignments(data.alignments) if data.alignments else None
        self.force_frames = FramePool(data.force_frames) if data.force_frames else None
        self.start = 0
        """Number of batches already seen."""

    def train_dataloader(self) -> "DataLoader[Any]":
        """Batches from ``start`` on."""
        data = self._settings.data
        dataset = DomainDataset(
            self.train,
            data.max_length,
            self._settings.seed,
            self._profiles,
            self._alignments,
            data.min_length,
            data.profile_dropout,
        )
        clusters = [
            (domain.cluster if data.one_of_each_cluster else "") or domain.id
            for domain in self.train
        ]
        buckets = LengthBuckets(dataset.length_of, data.batch_size, self._settings.seed, clusters)
        return DataLoader(
            dataset,
            batch_sampler=Stream(buckets, self.start, *self._process),
            collate_fn=collate,
        )

    def val_dataloader(self) -> "DataLoader[Any]":
        """The same windows of the held-out domains every time, with native sequences; each process takes its share."""
        data = self._settings.data
        dataset = DomainDataset(
            self.validation, data.max_length, self._settings.seed, self._profiles
        )
        size = data.batch_size
        order = sorted(range(len(dataset)), key=lambda i: len(self.validation[i]))
        rank, world_size = self._process
        if len(order) >= world_size:  # otherwise each takes all, because none may be without
            order = order[rank::world_size]
        batches = [[Draw(0, i) for i in order[k : k + size]] for k in range(0, len(order), size)]
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate)

    @property
    def _process(self) -> tuple[int, int]:
        """Index of this process, and the number of processes."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def _profiles(data: DataSettings, domains: list[Domain]) -> dict[str, np.ndarray]:
    if data.profiles:
        return read_profiles(data.profiles)
    profiles = profiles_of(domains, data.profile_kind)
    if not profiles:
        raise InputError(
            f"{data.set} has no profiles of the kind {data.profile_kind!r}, from which a profile model learns: "
            "build it with files of profiles, or give data.profiles."
        )
    return profiles
