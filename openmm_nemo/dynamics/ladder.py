"""Temperatures of replica exchange, spaced for a given acceptance (nemo.md 5.8).

If the energies at two temperatures are normally distributed with nearly the same deviation sigma, a swap is accepted
with probability erfc(d/2), where d = |1/kT - 1/kT'| sigma (Kofke, J. Chem. Phys. 117, 6911, 2002; Predescu et al.,
J. Chem. Phys. 120, 4119, 2004). With d as the integral of sigma over 1/kT, the thermodynamic length, temperatures at
equal distances have equal acceptance (Shenfeld et al., Phys. Rev. E 80, 046705, 2009).
"""

import math
from statistics import NormalDist

import numpy as np


def geometric_ladder(lowest: float, highest: float, n: int) -> np.ndarray:
    """Temperatures with a constant ratio: those of equal acceptance if the heat capacity is constant.

    Parameters
    ----------
    lowest, highest : float
        Kelvin.
    n : int
        Number of temperatures.

    Returns
    -------
    ndarray, shape (n,)
    """
    return np.geomspace(lowest, highest, n)


def distance_of(acceptance: float) -> float:
    """Thermodynamic length between temperatures of a given acceptance between 0 and 1: d of erfc(d/2)."""
    return -math.sqrt(2) * NormalDist().inv_cdf(acceptance / 2)


def spaced_ladder(
    temperatures: np.ndarray, deviations: np.ndarray, acceptance: float
) -> np.ndarray:
    """The fewest temperatures between the first and the last whose neighbours have at least a given acceptance.

    Parameters
    ----------
    temperatures : ndarray, shape (K,)
        Increasing, kelvin.
    deviations : ndarray, shape (K,)
        Standard deviation of the energy at each of them, in units of its kT: the square root of the heat capacity
        in units of k. Between them, it is taken to be linear in log T.
    acceptance : float
        Between 0 and 1.

    Returns
    -------
    ndarray, shape (R,)
        At equal distances; R is at least 2.
    """
    # sigma d(1/kT) = -(sigma/kT) d(log T)
    logs = np.linspace(np.log(temperatures[0]), np.log(temperatures[-1]), 1001)
    density = np.interp(logs, np.log(temperatures), deviations)
    pieces = 0.5 * (density[1:] + density[:-1]) * np.diff(logs)
    length = np.concatenate([[0.0], np.cumsum(pieces)])
    # Rounding must not add one.
    n = max(math.ceil(length[-1] / distance_of(acceptance) - 1e-9), 1) + 1
    ladder = np.exp(np.interp(np.linspace(0, length[-1], n), length, logs))
    ladder[[0, -1]] = temperatures[[0, -1]]
    return ladder
