"""The endless sequence of training batches: batch k is a function of the settings and of k."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning.pytorch as lightning
import numpy as np
from torch.utils.data import DataLoader, Sampler

from openmm_nemo.data.batches import DomainDataset, Draw, LengthBuckets, collate
from openmm_nemo.data.families.alignments import AlignmentFolder
from openmm_nemo.data.families.profiles import read_profiles
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.data.splits import Split
from openmm_nemo.errors import InputError
from openmm_nemo.training.force_matching import FramePool
from openmm_nemo.training.settings import TrainingSettings


class Stream(Sampler[list[Draw]]):
    """Batches of one epoch after another, from any one on.

    Parameters
    ----------
    buckets : LengthBuckets
    start : int
        First batch.
    rank, world_size : int
        This process, and all that share the batches: each takes every ``world_size``-th.
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
    """Training batches without end, and fixed batches of held-out domains.

    For a profile model, domains without profile are left out.

    Parameters
    ----------
    settings : TrainingSettings

    Raises
    ------
    InputError
        If a file cannot be read, the split is of another set, or nothing is left to learn from.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        self._settings = settings
        data = settings.data
        domains = DomainSet(data.set / SET_FILE)
        self.split = Split.read(data.split)
        self.split.check(domains)
        number = {name: i for i, name in enumerate(domains.ids)}
        self.train = [domains[number[name]] for name in self.split.ids("train")]
        held_out = self.split.ids("validation") or self.split.ids("test")
        self._profiles = None
        if settings.model.profile:
            self._profiles = _profiles(data.profiles)
            self.train = [domain for domain in self.train if domain.id in self._profiles]
            held_out = [name for name in held_out if name in self._profiles]
        if not (self.train and held_out):
            raise InputError(
                f"{data.split} leaves no domains for training or none for validation: make another split."
            )
        step = max(len(held_out) // data.validation_domains, 1)
        chosen = held_out[::step][: data.validation_domains]
        self.validation = [domains[number[name]] for name in chosen]
        self._alignments = AlignmentFolder(data.alignments) if data.alignments else None
        self.force_frames = FramePool(data.force_frames) if data.force_frames else None
        self.start = 0
        """Batches that were seen before."""

    def train_dataloader(self) -> DataLoader:
        """Batches from ``start`` on."""
        data = self._settings.data
        buckets = LengthBuckets(
            [min(len(domain), data.max_length) for domain in self.train],
            data.batch_size,
            self._settings.seed,
            [domain.cluster or domain.id for domain in self.train]
            if data.one_of_each_cluster
            else None,
        )
        return DataLoader(
            self._dataset(self.train, self._alignments),
            batch_sampler=Stream(buckets, self.start, *self._process),
            collate_fn=collate,
        )

    def val_dataloader(self) -> DataLoader:
        """Always the same windows of the held-out domains, the native sequences; each process takes its share."""
        dataset = self._dataset(self.validation, None)
        size = self._settings.data.batch_size
        order = sorted(range(len(dataset)), key=lambda i: len(self.validation[i]))
        rank, world_size = self._process
        if len(order) >= world_size:  # else each takes all: nobody may be without
            order = order[rank::world_size]
        batches = [[Draw(0, i) for i in order[k : k + size]] for k in range(0, len(order), size)]
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate)

    @property
    def _process(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _dataset(
        self, domains: Sequence[Domain], alignments: AlignmentFolder | None
    ) -> DomainDataset:
        settings = self._settings
        return DomainDataset(
            domains, settings.data.max_length, settings.seed, self._profiles, alignments
        )


def _profiles(path: Path | None) -> dict[str, np.ndarray]:
    if path is None:
        raise InputError("A profile model learns from profiles: give data.profiles.")
    return read_profiles(path)
