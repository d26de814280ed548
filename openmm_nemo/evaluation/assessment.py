"""What an ensemble says about a protein (nemo.md section 9; paper, 4.1 and appendix C)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Assessment:
    """An ensemble of n structures of a protein of L residues, its consensus, and how close both are to the native.

    What needs a native is NaN, or None, where it is not known.

    Attributes
    ----------
    id, sequence : str
    level : str
        Highest level of CATH at which the protein is new to the training set: "C", "A", "T" or "H"; empty if not known.
    identity : float
        Sequence identity to the nearest protein of the training set, from 0 to 1.
    clusters : ndarray, shape (n,), int
        Cluster of every structure; 0 is the largest.
    representative : int
        Structure that 3D-Jury chooses.
    x : ndarray, shape (L, 3)
        C-alpha positions of the representative, Angstrom.
    native : ndarray, shape (L, 3), optional
    tm : ndarray, shape (n,)
        TM-score of every structure to the native.
    rmsd, gdt_ts, lddt, contact_precision : float
        Of the representative.
    rg : ndarray, shape (n,)
        Radii of gyration, Angstrom.
    native_rg : float
    """

    id: str
    sequence: str
    level: str
    identity: float
    clusters: np.ndarray
    representative: int
    x: np.ndarray
    native: np.ndarray | None
    tm: np.ndarray
    rmsd: float
    gdt_ts: float
    lddt: float
    contact_precision: float
    rg: np.ndarray
    native_rg: float

    @property
    def n_clusters(self) -> int:
        """Number of clusters: few where the model is certain."""
        return int(self.clusters.max()) + 1
