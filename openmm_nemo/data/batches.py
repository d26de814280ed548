"""Batches of domains for training: random windows, homologous sequences, buckets of equal length, padding.

Every random choice is a function of the seed, the epoch and the domain alone, so that a resumed run, or one with
another number of loader processes, sees the same batches.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from openmm_nemo.data.families.alignments import AlignmentFolder, augmented
from openmm_nemo.data.sets.domains import DSSP_CLASSES, Domain
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS, MIN_LENGTH

POOL_BATCHES = 50
"""Batches that are cut from domains sorted by length together: more waste less padding and mix less."""


class Draw(NamedTuple):
    """Which domain of a set is asked for, and in which epoch."""

    epoch: int
    position: int


class Example(NamedTuple):
    """A window of a domain, as the networks see it.

    Attributes
    ----------
    domain : Domain
        The window, with its native sequence.
    sequence : str
        Native or of a homologue.
    profile : ndarray, shape (L, 20), optional
    """

    domain: Domain
    sequence: str
    profile: np.ndarray | None


class Batch(NamedTuple):
    """Padded windows of B domains, of at most L residues; all numbers of padding are zero.

    Attributes
    ----------
    ids : tuple of str
    s : Tensor, shape (B, L, q)
        One-hot sequence, and the profile behind it if there is one: input of the networks.
    mask : Tensor, shape (B, L)
        1 for residues.
    backbone : Tensor, shape (B, L, 5, 3)
        N, CA, C, O and side-chain centre, Angstrom; zero where an atom is missing.
    atom_mask : Tensor, shape (B, L, 5)
        1 for atoms that are there.
    dssp : Tensor, shape (B, L), int64
        Position in `DSSP_CLASSES`.
    """

    ids: tuple[str, ...]
    s: Tensor
    mask: Tensor
    backbone: Tensor
    atom_mask: Tensor
    dssp: Tensor

    @property
    def x(self) -> Tensor:
        """C-alpha positions (B, L, 3), Angstrom."""
        return self.backbone[:, :, 1]


class DomainDataset(Dataset[Example]):
    """Windows of the domains of a set.

    Parameters
    ----------
    domains : sequence of Domain
    max_length : int
        Longest window; see `random_window`.
    seed : int
    profiles : mapping of str to ndarray (L, 20), optional
        For a profile model, of every domain by its id.
    alignments : AlignmentFolder, optional
        Homologues, filtered, for evolutionary augmentation (paper, B.7); domains without any keep their sequence.

    Raises
    ------
    InputError
        If a domain has no profile, or one of another length.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        max_length: int,
        seed: int,
        profiles: Mapping[str, np.ndarray] | None = None,
        alignments: AlignmentFolder | None = None,
    ) -> None:
        if profiles is not None:
            _check_profiles(domains, profiles)
        self._domains = domains
        self._max_length = max_length
        self._seed = seed
        self._profiles = profiles
        self._alignments = alignments

    def __len__(self) -> int:
        return len(self._domains)

    def __getitem__(self, draw: Draw) -> Example:
        domain = self._domains[draw.position]
        generator = np.random.default_rng((self._seed, draw.epoch, draw.position))
        start, length = random_window(domain, self._max_length, generator)
        sequence = domain.sequence
        if self._alignments and (alignment := self._alignments.get(domain.id, sequence)):
            sequence = augmented(sequence, alignment, generator)
        inside = slice(start, start + length)
        profile = None if self._profiles is None else self._profiles[domain.id][inside]
        return Example(domain.window(start, length), sequence[inside], profile)


def random_window(
    domain: Domain, max_length: int, generator: np.random.Generator
) -> tuple[int, int]:
    """Start and length of an unbroken part of a domain.

    All windows of ``max_length`` residues are equally likely; so is each whole segment, from break to break, that is
    shorter.

    Parameters
    ----------
    domain : Domain
    max_length : int
        At least 4.
    generator : numpy.random.Generator

    Raises
    ------
    ValueError
        If no segment has 4 residues.
    """
    starts, ends = domain.segments.T
    lengths = ends - starts
    windows = np.where(lengths < MIN_LENGTH, 0, np.maximum(lengths - max_length + 1, 1))
    if not windows.any():
        raise ValueError(f"Domain {domain.id} has no unbroken segment of {MIN_LENGTH} residues.")
    chosen = generator.integers(windows.sum())
    segment = int(np.searchsorted(np.cumsum(windows), chosen, side="right"))
    offset = chosen - windows[:segment].sum()
    return int(starts[segment] + offset), int(min(lengths[segment], max_length))


class LengthBuckets(Sampler[list[Draw]]):
    """Batches of domains of about equal length, in another order in every epoch.

    Parameters
    ----------
    lengths : sequence of int
        Residues of each domain.
    batch_size : int
        Domains in a batch; the last ones of an epoch may make a smaller one.
    seed : int
    clusters : sequence of str, optional
        Cluster of each domain: an epoch then has one random member of each, so that large families do not dominate.

    Attributes
    ----------
    epoch : int
        To be set before each epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        clusters: Sequence[str] | None = None,
    ) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed
        names = np.arange(len(self._lengths)) if clusters is None else np.asarray(clusters)
        self._n_clusters, self._cluster = _numbered(names)
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self._n_clusters // self._batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        generator = np.random.default_rng((self._seed, self.epoch))
        order = generator.permutation(len(self._lengths))
        _, first = np.unique(self._cluster[order], return_index=True)
        order = order[np.sort(first)]
        batches: list[np.ndarray] = []
        pool = POOL_BATCHES * self._batch_size
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [
                part[i : i + self._batch_size] for i in range(0, len(part), self._batch_size)
            ]
        for number in generator.permutation(len(batches)):
            yield [Draw(self.epoch, int(index)) for index in batches[number]]


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to the longest of them."""
    shape = len(examples), max(len(example.sequence) for example in examples)
    backbone = torch.full((*shape, 5, 3), torch.nan)
    letters = torch.zeros(shape, dtype=torch.int64)
    dssp = torch.zeros(shape, dtype=torch.int64)
    mask = torch.zeros(shape)
    profile = torch.zeros(*shape, len(AMINO_ACIDS))
    for b, (domain, sequence, row) in enumerate(examples):
        n = len(sequence)
        backbone[b, :n] = torch.from_numpy(np.array(domain.backbone))
        letters[b, :n] = torch.tensor([AMINO_ACIDS.index(letter) for letter in sequence])
        dssp[b, :n] = torch.tensor([DSSP_CLASSES.index(letter) for letter in domain.dssp])
        mask[b, :n] = 1
        if row is not None:
            profile[b, :n] = torch.from_numpy(np.asarray(row, dtype=np.float32))
    s = F.one_hot(letters, len(AMINO_ACIDS)) * mask[..., None]
    if examples[0].profile is not None:
        s = torch.cat([s, profile], dim=-1)
    there = backbone.isfinite().all(dim=-1)
    return Batch(
        ids=tuple(example.domain.id for example in examples),
        s=s,
        mask=mask,
        backbone=torch.where(there[..., None], backbone, 0.0),
        atom_mask=there.to(mask),
        dssp=dssp,
    )


def _check_profiles(domains: Sequence[Domain], profiles: Mapping[str, np.ndarray]) -> None:
    for domain in domains:
        n = len(profiles.get(domain.id, ()))
        if n != len(domain):
            raise InputError(
                f"Domain {domain.id} has {len(domain)} residues and a profile of {n}: give that of its sequence."
            )


def _numbered(names: np.ndarray) -> tuple[int, np.ndarray]:
    """How many different names there are, and the number of each."""
    different, number = np.unique(names, return_inverse=True)
    return len(different), number
