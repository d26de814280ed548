"""Precision of the contacts that are predicted with most confidence: by pair terms, by samples and by separation."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from openmm_nemo.geometry.similarity import CONTACT_DISTANCE
from openmm_nemo.models.batch import ConditionedBatch

SEPARATIONS = (6, 12, 24)
"""Smallest separations along the sequence: short, medium and long range of CASP."""

SHARES = {"l5": 5, "l": 1}
"""The L/5 and the L pairs with most confidence."""

SOURCES = ("pairs", "structures", "separation")

CONTACT_FIGURES = tuple(
    f"{source}_{share}_{separation}"
    for source in SOURCES
    for share in SHARES
    for separation in SEPARATIONS
)


def distances(x: Tensor) -> np.ndarray:
    """Distances (..., L, L) between positions ``x (..., L, 3)``, in the unit of the input."""
    apart = x[..., :, None, :] - x[..., None, :, :]
    return torch.linalg.vector_norm(apart.double(), dim=-1).numpy()


def precisions(keys: Sequence[np.ndarray], native: np.ndarray, source: str) -> dict[str, float]:
    """Fraction of the first L/5 (rounded down, at least 1) and L pairs that are contacts of the native.

    Parameters
    ----------
    keys : sequence of ndarray, shape (L, L)
        Pairs i < j are sorted by the first, smallest first; equal ones by the next; then from the N terminus.
    native : ndarray, shape (L, L)
        Distances, Angstrom. Pairs closer than 8 Angstrom are contacts.
    source : str
        One of `SOURCES`, for the names.

    Returns
    -------
    dict of str to float
        By the names in `CONTACT_FIGURES`; NaN where the native has no contact at these separations.
    """
    found = {}
    for separation in SEPARATIONS:
        i, j = np.triu_indices(len(native), separation)
        contact = native[i, j] < CONTACT_DISTANCE
        order = np.lexsort([key[i, j] for key in reversed(keys)])
        for share, divisor in SHARES.items():
            first = order[: max(len(native) // divisor, 1)]
            precision = float(contact[first].mean()) if contact.any() else np.nan
            found[f"{source}_{share}_{separation}"] = precision
    return found


def structure_precisions(x: Tensor, native: np.ndarray) -> dict[str, float]:
    """By the frequency of contacts in samples ``x (N, L, 3)``, Angstrom, and their mean distance where it is equal.

    Samples that are not finite are left out; nothing is known if there is no other. See `precisions`.
    """
    finite = x[x.isfinite().all(-1).all(-1)]
    if not len(finite):
        return {}
    distance = distances(finite)
    frequency = (distance < CONTACT_DISTANCE).mean(0)
    return precisions([-frequency, distance.mean(0)], native, "structures")


def separation_precisions(native: np.ndarray) -> dict[str, float]:
    """By the separation along the sequence alone, closest pairs first. See `precisions`."""
    place = np.arange(len(native))
    return precisions([abs(place[:, None] - place)], native, "separation")


def contact_probabilities(batch: ConditionedBatch) -> Tensor | None:
    """Probability (B, L, L) that pairs i < j are closer than 8 Angstrom, by the model's own pair term.

    The mean of what the coefficients of (i, j) and of (j, i) give, see `PairBasis.probability_within`. None for models
    without that term.
    """
    coefficients = batch.coefficients_of("pair-basis")
    if not coefficients or batch.energy_network is None:
        return None
    term = batch.energy_network.terms["pair-basis"]
    n = batch.mask.shape[1]
    i, j = torch.triu_indices(n, n, SEPARATIONS[0])
    found = batch.mask.new_zeros(len(batch.mask), n, n)
    for b, values in enumerate(coefficients[0]):
        pairs = [
            term.probability_within(CONTACT_DISTANCE, values[place], j - i)
            for place in ((i, j), (j, i))
        ]
        found[b, i, j] = (pairs[0] + pairs[1]) / 2
    return found
