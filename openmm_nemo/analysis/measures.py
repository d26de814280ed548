"""Measures of the frames of a chain, besides those of `openmm_nemo.geometry.similarity`."""

import mdtraj as md
import numpy as np

CONTACT_DISTANCE = 8.0
"""C-alpha distance below which residues are in contact, Angstrom."""

CONTACT_SEPARATION = 3
"""Smallest distance along the sequence of residues that can be in contact: a turn of a helix counts."""

Q_STEEPNESS = 5.0
"""Per Angstrom."""

Q_TOLERANCE = 1.5
"""How far the distance of a native contact may grow, as a factor; for coarse-grained chains."""

_BLOCK = 500
"""Frames whose distances are in memory at a time."""


def pairs(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Residues i < j, each of shape (P,), that can be in contact."""
    return np.triu_indices(length, CONTACT_SEPARATION)


def distances(x: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Distances (F, P) of the pairs ``i, j (P,)`` in the frames ``x (F, L, 3)``, in the unit of the input."""
    found: np.ndarray = np.linalg.norm(x[:, i] - x[:, j], axis=-1)
    return found


def contact_frequencies(x: np.ndarray) -> np.ndarray:
    """Fraction of frames in which two residues are in contact.

    Parameters
    ----------
    x : ndarray, shape (F, L, 3)
        C-alpha positions, Angstrom.

    Returns
    -------
    ndarray, shape (P,)
        For the `pairs` of residues.
    """
    i, j = pairs(x.shape[1])
    counts = np.zeros(len(i))
    for start in range(0, len(x), _BLOCK):
        counts += (distances(x[start : start + _BLOCK], i, j) < CONTACT_DISTANCE).sum(0)
    return counts / len(x)


def native_contacts(x: np.ndarray, native: np.ndarray) -> np.ndarray:
    """Fraction of native contacts Q (Best, Hummer & Eaton, PNAS 110, 17874, 2013, eq. 1).

    The mean over native contacts of 1 / (1 + exp(5 (r - 1.5 r0))), with distances r and r0 in Angstrom. The paper's
    contacts are heavy atoms closer than 4.5 Angstrom, with a factor of 1.8; here they are C-alpha atoms closer than 8,
    with the factor of 1.5 for coarse-grained chains.

    Parameters
    ----------
    x : ndarray, shape (F, L, 3)
        C-alpha positions, Angstrom.
    native : ndarray, shape (L, 3)

    Returns
    -------
    ndarray, shape (F,)
        From 0 to 1; NaN if the native has no contact.
    """
    i, j = pairs(len(native))
    (r0,) = distances(native[None], i, j)
    close = r0 < CONTACT_DISTANCE
    i, j, r0 = i[close], j[close], r0[close]
    if not len(r0):
        return np.full(len(x), np.nan)
    stretch = distances(x, i, j) - Q_TOLERANCE * r0
    q: np.ndarray = (0.5 - 0.5 * np.tanh(0.5 * Q_STEEPNESS * stretch)).mean(1)
    return q


def secondary_structure(atoms: md.Trajectory) -> np.ndarray:
    """Secondary structure by DSSP (Kabsch & Sander, Biopolymers 22, 2577, 1983), from backbone atoms.

    Parameters
    ----------
    atoms : mdtraj.Trajectory
        Frames with the atoms N, CA, C and O.

    Returns
    -------
    ndarray, shape (F, L), str
        H (helix), E (strand) or C (coil).
    """
    codes: np.ndarray = md.compute_dssp(atoms, simplified=True)
    return codes
