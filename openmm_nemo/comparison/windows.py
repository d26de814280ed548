"""Windows of domains on which models are compared, with the sequences of the controls."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from openmm_nemo.data.batches import DomainDataset, Draw, collate
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.splits import HELD_OUT, PARTS, Split
from openmm_nemo.errors import InputError
from openmm_nemo.residues import MIN_LENGTH

MAX_WINDOWS = 2**16
"""Maximum number of windows of a part, each with its own noise."""

MAX_FOREIGN = 50
"""Maximum number of foreign structures per window."""


class Window(NamedTuple):
    """An unbroken stretch of a domain, and the inputs of the networks for it: L residues, q input channels.

    Attributes
    ----------
    id : str
        Id of the domain.
    part, level : str
        Part and level in the split; the level is empty if the part is not held out.
    native : ndarray, shape (L, 3), float32
        C-alpha positions, Angstrom.
    s : ndarray, shape (L, q), float32
        One-hot sequence, followed by the profile if there is one.
    shuffled : ndarray, shape (L, q), float32
        The rows of ``s`` in random order.
    swapped : ndarray, shape (L, q), float32, optional
        Input of another window of the part, from another cluster of sequences, cut to this length; None if there is
        none.
    number : int
        Number of its noise within the part.
    foreign : tuple of ndarray, shape (L, 3)
        C-alpha positions of the first L residues of up to 50 other windows of the part, from other clusters, spread
        evenly over those that are long enough.
    """

    id: str
    part: str
    level: str
    native: np.ndarray
    s: np.ndarray
    shuffled: np.ndarray
    swapped: np.ndarray | None
    number: int
    foreign: tuple[np.ndarray, ...] = ()


def draw_windows(
    domains: Sequence[Domain],
    split: Split,
    parts: Sequence[str],
    n_windows: int,
    max_length: int,
    seed: int,
    profiles: Mapping[str, np.ndarray] | None = None,
    whole_from: int | None = None,
) -> list[Window]:
    """Draw one random window from each of some domains, spread evenly over each part; or take whole domains.

    Parameters
    ----------
    domains : sequence of Domain
        The set that was split.
    split : Split
    parts : sequence of str
        Parts of the split.
    n_windows : int
        Maximum number of windows per part.
    max_length : int
        Longest window, see `openmm_nemo.data.batches.random_window`.
    seed : int
        Random seed of the windows, permutations and swaps.
    profiles : mapping of str to ndarray (L, 20), optional
        By the id of the domain; domains without one are left out.
    whole_from : int, optional
        Take whole domains without chain breaks, from this to ``max_length`` residues.

    Returns
    -------
    list of Window
        Windows part by part, from short to long.

    Raises
    ------
    InputError
        If the split belongs to another set, a part has no domains, or a profile has another length than its domain.
    """
    split.check(domains)
    position = {domain.id: i for i, domain in enumerate(domains)}
    windows: list[Window] = []
    for part in dict.fromkeys(parts):
        names = [name for name in split.ids(part) if profiles is None or name in profiles]
        if whole_from is not None:
            found = (domains[position[name]] for name in names)
            names = [d.id for d in found if not d.breaks and whole_from <= len(d) <= max_length]
        count = min(n_windows, len(names), MAX_WINDOWS)
        chosen = [domains[position[names[k * len(names) // count]]] for k in range(count)]
        chosen = [d for d in chosen if (np.diff(d.segments) >= MIN_LENGTH).any()]
        if not chosen:
            what = "domains" if profiles is None else "domains with profiles"
            if whole_from is not None:
                what += f" of {whole_from} to {max_length} residues without chain breaks"
            raise InputError(f"The part {part} of the split has no {what}: choose another --part.")
        generator = np.random.default_rng((seed, PARTS.index(part)))
        dataset = DomainDataset(chosen, max_length, seed, profiles)
        windows += _windows_of(dataset, split, part, generator)
    return windows


def check_splits(trained_on: Mapping[str, Split], windows: Sequence[Window]) -> None:
    """Refuse models that were trained on domains that are held out here.

    Parameters
    ----------
    trained_on : mapping of str to Split
        Splits that models were trained on, by the source of the model.
    windows : sequence of Window

    Raises
    ------
    InputError
        If a domain of a held-out window is in the training part of a model's split.
    """
    for source, theirs in trained_on.items():
        names = [
            window.id
            for window in windows
            if window.part in HELD_OUT
            and (place := theirs.places.get(window.id))
            and place.part == "train"
        ]
        if names:
            raise InputError(
                f"The model {source} was trained on {len(names)} of the held-out domains, such as {names[0]}: "
                "give the --split that it was trained on."
            )


def _windows_of(
    dataset: DomainDataset, split: Split, part: str, generator: np.random.Generator
) -> Iterator[Window]:
    examples = [dataset[Draw(0, k)] for k in range(len(dataset))]
    examples.sort(key=lambda example: len(example.sequence))  # less padding
    inputs = [collate([example]).s[0].numpy() for example in examples]
    natives = [np.array(example.domain.ca) for example in examples]
    for number, (example, s) in enumerate(zip(examples, inputs, strict=True)):
        domain, n = example.domain, len(example.sequence)
        others = [
            k
            for k, other in enumerate(examples)
            if k != number
            and len(other.sequence) >= n
            and not (domain.cluster and domain.cluster == other.domain.cluster)
        ]
        count = min(len(others), MAX_FOREIGN)
        spread = [others[k * len(others) // count] for k in range(count)]
        yield Window(
            id=domain.id,
            part=part,
            level=split.places[domain.id].level,
            native=natives[number],
            s=s,
            shuffled=s[generator.permutation(n)],
            swapped=inputs[generator.choice(others)][:n] if others else None,
            number=number,
            foreign=tuple(natives[k][:n] for k in spread),
        )
