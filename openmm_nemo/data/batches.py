"""Batches of domains for training: random windows, homologous sequences, buckets of equal length, padding.

Every random choice is a function of only the seed, the epoch and the domain, so that a resumed run, or one with another
number of loader processes, sees the same batches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from openmm_nemo.data.families.alignments import AlignmentArrays, AlignmentFolder, augmented
from openmm_nemo.data.sets.domains import DSSP_CLASSES, Domain
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.similarity import contacts
from openmm_nemo.residues import AMINO_ACIDS, MIN_LENGTH

POOL_BATCHES = 50
"""Number of batches that are cut together from domains sorted by length: more waste less padding but mix less."""


class Draw(NamedTuple):
    """A domain of a set, by its index, to be drawn in an epoch."""

    epoch: int
    position: int


class Example(NamedTuple):
    """A window of a domain, as seen by the networks.

    Attributes
    ----------
    domain : Domain
        The window, with its native sequence.
    sequence : str
        Sequence of the protein itself or of a homologue.
    profile : ndarray, shape (L, 20), optional
        Zeros for no profile; None if the networks take none.
    contacts : ndarray, shape (L,)
        Contacts of each residue in the whole domain, see `Domain.contacts`.
    """

    domain: Domain
    sequence: str
    profile: np.ndarray | None
    contacts: np.ndarray


class Batch(NamedTuple):
    """Padded windows of B domains, of at most L residues; everything is zero at padding.

    Attributes
    ----------
    ids : tuple of str
    s : Tensor, shape (B, L, q)
        What is known of each residue: one-hot sequence, and if profiles are given, the profile, and 1 for a domain that
        has one. The input of a model is the first of these columns.
    mask : Tensor, shape (B, L)
        1 for residues.
    backbone : Tensor, shape (B, L, 5, 3)
        N, CA, C, O and side-chain centre, Angstrom; zero where an atom is missing.
    atom_mask : Tensor, shape (B, L, 5)
        1 for atoms that are present.
    dssp : Tensor, shape (B, L), int64
        Index in `DSSP_CLASSES`.
    profile : Tensor, shape (B, L, 20)
        See `openmm_nemo.data.families.profiles.profile`; zero for domains without a profile.
    contacts : Tensor, shape (B, L)
        Contacts of each residue in the whole domain.
    """

    ids: tuple[str, ...]
    s: Tensor
    mask: Tensor
    backbone: Tensor
    atom_mask: Tensor
    dssp: Tensor
    profile: Tensor
    contacts: Tensor

    @property
    def x(self) -> Tensor:
        """C-alpha positions (B, L, 3), Angstrom."""
        return self.backbone[:, :, 1]

    @property
    def has_profile(self) -> Tensor:
        """1 for domains with a profile, shape (B,)."""
        # The numbers in a profile are positive.
        return (self.profile > 0).flatten(1).any(1).to(self.mask)

    @property
    def outside_contacts(self) -> Tensor:
        """Fraction of each window's contacts with residues outside it, shape (B,); 0 where there are no contacts."""
        pairs = self.mask[:, :, None] * self.mask[:, None]
        inside = (contacts(self.x) * pairs).sum((1, 2))
        outside = self.contacts.sum(1) - 2 * inside
        return outside / (inside + outside).clamp(min=1)


class DomainDataset(Dataset[Example]):
    """Windows of the domains of a set.

    Parameters
    ----------
    domains : sequence of Domain
    max_length : int
        Longest window; see `random_window`.
    seed : int
    profiles : mapping of str to ndarray (L, 20), optional
        For a profile model: profiles by the id of the domain; other domains get no profile.
    alignments : AlignmentFolder or AlignmentArrays, optional
        Homologues, filtered, for evolutionary augmentation (paper, B.7); domains without any keep their sequence.
    min_length : int, optional
        The length of each window is drawn uniformly between this and ``max_length``. Default: ``max_length``.
    profile_dropout : float
        Probability that a domain gets no profile in an epoch, so that the networks learn what to do without one.

    Raises
    ------
    InputError
        If a domain has a profile of another length.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        max_length: int,
        seed: int,
        profiles: Mapping[str, np.ndarray] | None = None,
        alignments: AlignmentFolder | AlignmentArrays | None = None,
        min_length: int | None = None,
        profile_dropout: float = 0.0,
    ) -> None:
        _check_profiles(domains, profiles or {})
        self._domains = domains
        self._lengths = max_length if min_length is None else min_length, max_length
        self._seed = seed
        self._profiles = profiles
        self._alignments = alignments
        self._profile_dropout = profile_dropout

    def __len__(self) -> int:
        return len(self._domains)

    def __getitem__(self, draw: Draw) -> Example:
        domain = self._domains[draw.position]
        generator = self._generator(draw)
        start, length = random_window(domain, self._draw_length(generator), generator)
        inside = slice(start, start + length)
        sequence = domain.sequence
        if self._alignments and (alignment := self._alignments.get(domain.id, sequence)):
            sequence = augmented(sequence, alignment, generator)
        profile = None
        if self._profiles is not None:
            drop = generator.random() < self._profile_dropout
            known = None if drop else self._profiles.get(domain.id)
            profile = np.zeros((length, len(AMINO_ACIDS))) if known is None else known[inside]
        return Example(
            domain.window(start, length), sequence[inside], profile, domain.contacts[inside]
        )

    def length_of(self, draw: Draw) -> int:
        """Residues of an example, or more if its domain has breaks."""
        length = self._draw_length(self._generator(draw))
        return min(len(self._domains[draw.position]), length)

    def _generator(self, draw: Draw) -> np.random.Generator:
        # These are the draws of version 0.1, whose runs are resumed with the same batches.
        return np.random.default_rng((self._seed, draw.epoch, draw.position))

    def _draw_length(self, generator: np.random.Generator) -> int:
        """Length of the window, which is the first number drawn where lengths vary."""
        shortest, longest = self._lengths
        return longest if shortest == longest else int(generator.integers(shortest, longest + 1))


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
    segments = [(start, end - start) for start, end in domain.segments.tolist()]
    windows = [max(n - max_length + 1, 1) if n >= MIN_LENGTH else 0 for _, n in segments]
    if not any(windows):
        raise ValueError(f"Domain {domain.id} has no unbroken segment of {MIN_LENGTH} residues.")
    chosen = int(generator.integers(sum(windows)))
    segment = 0
    while chosen >= windows[segment]:
        chosen -= windows[segment]
        segment += 1
    start, n = segments[segment]
    return start + chosen, min(n, max_length)


def crop_contacts(domain: Domain, length: int) -> tuple[int, int]:
    """Contacts of all windows of a domain, breaks or not, and how many of them are with residues outside.

    Parameters
    ----------
    domain : Domain
        With at least ``length`` residues.
    length : int
        Length of the windows, residues.

    Returns
    -------
    outside, all : int
        Sums over the windows.
    """
    last = len(domain) - length
    i, j = contacts(torch.from_numpy(np.ascontiguousarray(domain.ca))).nonzero().numpy().T

    def n_windows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """How many windows have both residues."""
        return np.maximum(np.minimum(first, last) - np.maximum(second - length + 1, 0) + 1, 0)

    one, other, both = (int(n_windows(*pair).sum()) for pair in ((i, i), (j, j), (i, j)))
    return one + other - 2 * both, one + other - both


class LengthBuckets(Sampler[list[Draw]]):
    """Batches of windows of about equal length, in a different order in every epoch.

    Parameters
    ----------
    length_of : callable
        Number of residues in the window of a `Draw`.
    batch_size : int
        Number of windows per batch; the last batch of an epoch may be smaller.
    seed : int
    clusters : sequence of str
        Cluster of each domain: an epoch has one random member of each cluster, so that large families do not dominate.
        If each domain has its own cluster, epochs have all domains.

    Attributes
    ----------
    epoch : int
        Number of the epoch, to be set before each one.
    """

    def __init__(
        self,
        length_of: Callable[[Draw], int],
        batch_size: int,
        seed: int,
        clusters: Sequence[str],
    ) -> None:
        self._length_of = length_of
        self._batch_size = batch_size
        self._seed = seed
        self._cluster = np.unique(np.asarray(clusters), return_inverse=True)[1]
        self.epoch = 0

    def __len__(self) -> int:
        return -(-(int(self._cluster.max()) + 1) // self._batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        generator = np.random.default_rng((self._seed, self.epoch))
        order = generator.permutation(len(self._cluster))
        _, first = np.unique(self._cluster[order], return_index=True)
        draws = [Draw(self.epoch, int(i)) for i in order[np.sort(first)]]
        batches: list[list[Draw]] = []
        pool = POOL_BATCHES * self._batch_size
        for start in range(0, len(draws), pool):
            part = sorted(draws[start : start + pool], key=self._length_of)
            batches += [
                part[i : i + self._batch_size] for i in range(0, len(part), self._batch_size)
            ]
        for number in generator.permutation(len(batches)):
            yield batches[number]


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to the longest of them."""
    shape = len(examples), max(len(example.sequence) for example in examples)
    n_letters = len(AMINO_ACIDS)
    takes_profile = examples[0].profile is not None
    backbone = np.zeros((*shape, 5, 3), dtype=np.float32)
    atom_mask = np.zeros((*shape, 5), dtype=np.float32)
    s = np.zeros((*shape, 2 * n_letters + 1 if takes_profile else n_letters), dtype=np.float32)
    profile = np.zeros((*shape, n_letters), dtype=np.float32)
    mask = np.zeros(shape, dtype=np.float32)
    dssp = np.zeros(shape, dtype=np.int64)
    n_contacts = np.zeros(shape, dtype=np.float32)
    for b, (domain, sequence, rows, numbers) in enumerate(examples):
        n = len(sequence)
        there = np.isfinite(domain.backbone).all(axis=-1)
        backbone[b, :n] = np.where(there[..., None], domain.backbone, 0)
        atom_mask[b, :n] = there
        s[b, np.arange(n), _positions(sequence, AMINO_ACIDS)] = 1
        dssp[b, :n] = _positions(domain.dssp, DSSP_CLASSES)
        mask[b, :n] = 1
        n_contacts[b, :n] = numbers
        if rows is not None:
            profile[b, :n] = rows
    if takes_profile:
        s[..., n_letters:-1] = profile
        s[..., -1] = (profile.max(axis=(1, 2), keepdims=True)[..., 0] > 0) * mask
    ids = tuple(example.domain.id for example in examples)
    arrays = s, mask, backbone, atom_mask, dssp, profile, n_contacts
    return Batch(ids, *map(torch.from_numpy, arrays))


def _positions(text: str, letters: str) -> np.ndarray:
    """Index of each letter of a text in ``letters``."""
    table = _TABLES[letters]
    return table[np.frombuffer(text.encode(), dtype=np.uint8)]


def _table(letters: str) -> np.ndarray:
    table = np.zeros(256, dtype=np.int64)
    table[list(letters.encode())] = np.arange(len(letters))
    return table


_TABLES = {letters: _table(letters) for letters in (AMINO_ACIDS, DSSP_CLASSES)}


def _check_profiles(domains: Sequence[Domain], profiles: Mapping[str, np.ndarray]) -> None:
    for domain in domains:
        if domain.id in profiles and (n := len(profiles[domain.id])) != len(domain):
            raise InputError(
                f"Domain {domain.id} has {len(domain)} residues and a profile of {n}: give the profile of its sequence."
            )
