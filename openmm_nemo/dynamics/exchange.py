"""Replica exchange: swaps of neighbouring temperatures, and how configurations travel (nemo.md 5.8).

Replica i always has temperature T_i; accepted swaps move configurations between replicas. A walker is a configuration
on its way through the temperatures, numbered by the replica in which it began.
"""

from itertools import pairwise

import numpy as np


def attempted_pairs(n_replicas: int, attempt: int) -> range:
    """Lower replicas i of the pairs (i, i + 1) of an attempt, counted from 1.

    Even and odd pairs take turns (Okabe et al., Chem. Phys. Lett. 335, 435, 2001), so that a configuration whose swaps
    are accepted keeps its direction: the number of attempts per round trip grows with the number of replicas and not
    with its square (Syed et al., J. R. Stat. Soc. B 84, 321, 2022). Two replicas have only one pair, which is always
    attempted.
    """
    first = 0 if n_replicas == 2 else (attempt + 1) % 2
    return range(first, n_replicas - 1, 2)


def log_acceptance(energies: np.ndarray, kt: np.ndarray) -> np.ndarray:
    """Logarithm of the acceptance ratio of a swap of each pair of neighbours.

    (1/kT_i - 1/kT_{i+1}) (U_i - U_{i+1}): the ratio of the joint Boltzmann weights after and before the swap (Sugita &
    Okamoto, Chem. Phys. Lett. 314, 141, 1999).

    Parameters
    ----------
    energies : ndarray, shape (R,)
        Energy of each replica, in any unit.
    kt : ndarray, shape (R,)
        kT of each replica, in the same unit.

    Returns
    -------
    ndarray, shape (R - 1,)
    """
    return np.diff(1 / kt) * np.diff(energies)


def exchange(energies: np.ndarray, kt: np.ndarray, uniform: np.ndarray, attempt: int) -> np.ndarray:
    """Decide on the swaps of an attempt.

    Each pair is swapped with probability min(1, A), see `log_acceptance`, and never if its A is NaN. The pairs of an
    attempt have no replica in common, and the attempt as a whole satisfies detailed balance.

    Parameters
    ----------
    energies, kt : ndarray, shape (R,)
    uniform : ndarray, shape (R - 1,)
        Numbers in (0, 1), one per pair, see `openmm_nemo.dynamics.noise.exchange_numbers`.
    attempt : int
        Its number, counted from 1.

    Returns
    -------
    ndarray, shape (R,), int
        Replica whose configuration each replica has afterwards.
    """
    accepted = np.log(uniform) < log_acceptance(energies, kt)
    source = np.arange(len(energies))
    for i in attempted_pairs(len(energies), attempt):
        if accepted[i]:
            source[[i, i + 1]] = source[[i + 1, i]]
    return source


def count_swaps(walkers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attempted and accepted swaps of each pair of neighbours.

    Parameters
    ----------
    walkers : ndarray, shape (N + 1, R), int
        Walker at each temperature at the start and after each of N attempts.

    Returns
    -------
    attempted, accepted : ndarray, shape (R - 1,), int
    """
    n_attempts, n_replicas = len(walkers) - 1, walkers.shape[1]
    attempted = np.zeros(n_replicas - 1, dtype=int)
    for attempt in range(1, n_attempts + 1):
        attempted[attempted_pairs(n_replicas, attempt)] += 1
    # A walker moves to the next temperature only by a swap of this pair.
    accepted = (walkers[1:, 1:] == walkers[:-1, :-1]).sum(0)
    return attempted, accepted


def round_trips(walkers: np.ndarray) -> np.ndarray:
    """Completed round trips of each walker: from the lowest temperature to the highest and back.

    Parameters
    ----------
    walkers : ndarray, shape (N + 1, R), int
        As for `count_swaps`.

    Returns
    -------
    ndarray, shape (R,), int
    """
    trips = []
    for walker in range(walkers.shape[1]):
        at_ends = walkers[:, [0, -1]] == walker
        ends = at_ends[at_ends.any(1), 1]  # False: lowest, True: highest
        arrivals = sum(here and not there for here, there in pairwise(ends))
        # Before its first visit to the lowest temperature, it is on no trip.
        trips.append(arrivals - bool(len(ends) and ends[0]))
    return np.maximum(trips, 0)
