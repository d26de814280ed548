"""Basins of alanine dipeptide in phi and psi, and what share of samples is in each."""

import numpy as np

BASINS = {
    "C5": ((120, -115), (80, -110)),
    "PII": ((-115, 0), (80, -110)),
    "alphaP": ((120, -115), (-110, 80)),
    "alphaR": ((-115, 0), (-110, 80)),
    "alphaL": ((0, 120), (-30, 110)),
    "C7ax": ((0, 120), (110, -30)),
}
"""Phi and psi, each from and to, degree, where 180 continues at -180. Every sample is in one of them.

Six states as of Chodera et al., Multiscale Model. Simul. 5, 1214 (2006), with lines along the ridges of the map of
ff14SB with OBC2. There, PII, C5, alphaR and alphaL are minima, and that of the sixth is at (58, -178). alphaP, C7ax of
the gas phase at (60, -60), and its C7eq at (-80, 70), which is in alphaR, are shoulders.
"""


def basin_weights(
    phi: np.ndarray, psi: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Share of samples in each basin.

    Parameters
    ----------
    phi, psi : ndarray, shape (n,)
        Radian, from -pi to pi.
    weights : ndarray, shape (n,), optional
        Of each sample, with any sum. Default: all the same.

    Returns
    -------
    dict of str to float
        The shares, whose sum is 1.
    """
    weights = np.ones(len(phi)) if weights is None else weights
    total = weights.sum()
    return {
        name: float(weights[_within(phi, *of_phi) & _within(psi, *of_psi)].sum() / total)
        for name, (of_phi, of_psi) in BASINS.items()
    }


def _within(angle: np.ndarray, first: float, last: float) -> np.ndarray:
    """Whether angles are in an interval that may go over 180 degree."""
    return (np.degrees(angle) - first) % 360 < (last - first) % 360
