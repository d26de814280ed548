"""Assessment of the ensemble of a protein (nemo.md section 9; paper, 4.1 and appendix C)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from openmm_nemo.errors import InputError
from openmm_nemo.evaluation.tm_align import pairwise_tm, tm_to_native
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.similarity import contact_precision, gdt_ts, lddt_ca, radius_of_gyration

if TYPE_CHECKING:  # loads OpenMM, which is not needed here
    from openmm_nemo.sampling.ensembles import Ensemble

CLUSTER_TM = 0.5


@dataclass(frozen=True, eq=False)
class Assessment:
    """An ensemble of n structures of a protein of L residues: its consensus, and how close both are to the native.

    Without a native, the fields that need one are NaN or None.

    Attributes
    ----------
    id, sequence : str
    level : str
        Highest level of CATH at which the protein is new to the training set: "C", "A", "T" or "H"; "train" if it is
        in the training set, empty if not known.
    identity : float
        Sequence identity to the nearest protein of the training set, from 0 to 1; NaN if not known.
    clusters : ndarray, shape (n,), int
        Cluster of every structure; 0 is the largest.
    representative : int
        Index of the structure that 3D-Jury chooses.
    lowest : int
        Index of the structure of lowest energy.
    x : ndarray, shape (L, 3)
        C-alpha positions of the representative, Angstrom.
    native : ndarray, shape (L, 3), optional
    tm : ndarray, shape (n,)
        TM-score of every structure to the native.
    rmsd, gdt_ts, lddt, contact_precision : float
        Measures of the representative; RMSD in Angstrom.
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
    lowest: int
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

    @property
    def representative_tm(self) -> float:
        """TM-score of the representative to the native."""
        return float(self.tm[self.representative])

    @property
    def lowest_tm(self) -> float:
        """TM-score of the structure of lowest energy to the native."""
        return float(self.tm[self.lowest])


def assess(ensemble: "Ensemble", level: str = "", identity: float = np.nan) -> Assessment:
    """Cluster an ensemble, choose its representative and compare it with the native.

    Takes about n^2 / 2 times as long as TM-align takes for a pair, in one process. Can be called in worker processes.

    Parameters
    ----------
    ensemble : Ensemble
        At least one structure; without a native, measures that need one are NaN.
    level : str
    identity : float
        See `Assessment`.

    Returns
    -------
    Assessment

    Raises
    ------
    InputError
        If there is no structure, positions are not finite, the native has another length, or TM-align is missing.
    """
    x, native = np.asarray(ensemble.x, dtype=float), ensemble.native
    _check(ensemble.id, x, native)
    tm = pairwise_tm(x)
    chosen = three_d_jury(tm)
    assessment = Assessment(
        id=ensemble.id,
        sequence=ensemble.sequence,
        level=level,
        identity=identity,
        clusters=complete_linkage(tm),
        representative=chosen,
        lowest=int(np.argmin(ensemble.energy)),
        x=x[chosen],
        native=None,
        tm=np.full(len(x), np.nan),
        rmsd=np.nan,
        gdt_ts=np.nan,
        lddt=np.nan,
        contact_precision=np.nan,
        rg=radius_of_gyration(torch.from_numpy(x)).numpy(),
        native_rg=np.nan,
    )
    if native is None:
        return assessment
    native = np.asarray(native, dtype=float)
    pair = torch.from_numpy(x[chosen]), torch.from_numpy(native)
    return replace(
        assessment,
        native=native,
        tm=tm_to_native(x, native),
        rmsd=float(rmsd(*pair)),
        gdt_ts=gdt_ts(*pair),
        lddt=lddt_ca(*pair).score,
        contact_precision=contact_precision(*pair),
        native_rg=float(radius_of_gyration(pair[1])),
    )


def complete_linkage(tm: np.ndarray, threshold: float = CLUSTER_TM) -> np.ndarray:
    """Clusters by agglomerative clustering with complete linkage on 1 - TM.

    Parameters
    ----------
    tm : ndarray, shape (n, n)
        Symmetric TM-scores.
    threshold : float
        Any two structures of a cluster have at least this TM-score.

    Returns
    -------
    ndarray, shape (n,), int
        Cluster of every structure, numbered from the largest, 0, to the smallest; clusters of equal size are ordered by
        their first structure.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(tm) == 1:
        return np.zeros(1, dtype=int)
    distance = squareform((1 - tm).clip(0), checks=False)
    labels = fcluster(linkage(distance, "complete"), 1 - threshold, "distance")
    _, first, inverse, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))
    return np.argsort(order)[inverse]


def three_d_jury(tm: np.ndarray) -> int:
    """Structure with the largest sum of similarity to all others (3D-Jury; Ginalski et al. 2003).

    The similarity is the TM-score, as in the paper. The original sums MaxSub scores, of pairs above a threshold only;
    the paper names none.

    Parameters
    ----------
    tm : ndarray, shape (n, n)
        Symmetric TM-scores.

    Returns
    -------
    int
        Index of the structure; the first of equal ones.
    """
    return int((tm.sum(1) - tm.diagonal()).argmax())


def _check(name: str, x: np.ndarray, native: np.ndarray | None) -> None:
    if not len(x):
        raise InputError(f"The ensemble {name} has no structures: sample it again.")
    finite = np.isfinite(x).all((1, 2))
    if not finite.all():
        raise InputError(
            f"Structure {finite.argmin()} of the ensemble {name} has positions that are not finite: "
            "sample it again."
        )
    if native is None:
        return
    if native.shape != x.shape[1:]:
        raise InputError(
            f"The native of {name} has {len(native)} residues and its ensemble {x.shape[1]}: "
            "give the native of the same chain."
        )
    if not np.isfinite(native).all():
        raise InputError(
            f"The native of {name} has positions that are not finite: give a complete structure."
        )
