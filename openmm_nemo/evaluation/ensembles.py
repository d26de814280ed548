"""Ensembles of structures on disk: what ``openmm-nemo sample`` writes and ``openmm-nemo evaluate`` reads."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Independent structures of one protein.

    Attributes
    ----------
    id : str
        Unique within a folder of ensembles.
    sequence : str
        One letter a residue, length L.
    x : ndarray, shape (n, L, 3), float32
        C-alpha positions, Angstrom.
    atoms : ndarray, shape (n, L, 5, 3), float32
        N, CA, C, O and side-chain centre, Angstrom.
    energy : ndarray, shape (n,)
        U at x, kT.
    native : ndarray, shape (L, 3), optional
        C-alpha positions of the experimental structure, Angstrom.
    """

    id: str
    sequence: str
    x: np.ndarray
    atoms: np.ndarray
    energy: np.ndarray
    native: np.ndarray | None = None
