"""Structures as ``viewer.js`` draws them."""

from collections.abc import Sequence

import numpy as np


def facing(chains: Sequence[np.ndarray], like: np.ndarray | None = None) -> list[np.ndarray]:
    """Chains, rotated together so that the viewer looks along their shortest axis, with the longest one across.

    Parameters
    ----------
    chains : sequence of ndarray, shape (..., L, 3)
    like : ndarray, shape (L, 3), optional
        Points whose axes and centre to take. Default: those of the chains.
    """
    x = np.concatenate([chain.reshape(-1, 3) for chain in chains]) if like is None else like
    _, _, (across, up, _) = np.linalg.svd(x - x.mean(0), full_matrices=False)
    # The third axis points to the viewer, so that the view is not a mirror image.
    view = np.stack([across, up, np.cross(across, up)], axis=1)
    return [(chain - x.mean(0)) @ view for chain in chains]


def coordinates(x: np.ndarray) -> list[list[float]]:
    """Positions (L, 3), Angstrom, for the data of a page."""
    rounded: list[list[float]] = np.round(x, 3).tolist()
    return rounded
