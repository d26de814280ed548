"""Free energies of samples at several temperatures, reweighted to any by MBAR."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.optional import load_pymbar

MIN_OVERLAP = 0.03
"""Overlap of neighbouring temperatures below which free energies are not reliable (Klimovich, Shirts & Mobley, J.
Comput. Aided Mol. Des. 29, 397, 2015)."""

MIN_PROBABILITY = 1e-9
"""Probability of a bin below which its free energy is not estimated: its samples are of other temperatures."""


class Thermodynamics(NamedTuple):
    """Averages at K temperatures, with standard errors.

    Attributes
    ----------
    temperature : ndarray, shape (K,)
        Kelvin.
    free_energy, free_energy_error : ndarray, shape (K,)
        -ln Z, less that of the first temperature.
    energy, energy_error : ndarray, shape (K,)
        Mean potential energy, kJ/mol.
    heat_capacity, heat_capacity_error : ndarray, shape (K,)
        The potential energy's part, kJ/(mol K).
    """

    temperature: np.ndarray
    free_energy: np.ndarray
    free_energy_error: np.ndarray
    energy: np.ndarray
    energy_error: np.ndarray
    heat_capacity: np.ndarray
    heat_capacity_error: np.ndarray


class ReweightedSamples:
    """Independent samples at several temperatures (MBAR; Shirts & Chodera, J. Chem. Phys. 129, 124105, 2008).

    Parameters
    ----------
    energies : sequence of ndarray, shape (N_k,)
        Potential energies of the samples at each temperature, kJ/mol.
    temperatures : sequence of float
        Kelvin.
    """

    def __init__(self, energies: Sequence[np.ndarray], temperatures: Sequence[float]):
        self._energy = np.concatenate(energies)
        u = np.array([self._energy / (GAS_CONSTANT * t) for t in temperatures])
        self._mbar = load_pymbar().MBAR(u, [len(e) for e in energies])

    def overlap(self) -> np.ndarray:
        """Overlap of each temperature with the next one, shape (K-1,): 0.5 if they are equal, 0 if apart."""
        matrix = self._mbar.compute_overlap()["matrix"]
        neighbours: np.ndarray = np.diagonal(matrix, 1)
        return neighbours

    def means(self, values: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Averages at a temperature.

        Parameters
        ----------
        values : ndarray, shape (I, N)
            I observables of all samples, in the order of ``energies``.
        temperature : float
            Kelvin.

        Returns
        -------
        mean : ndarray, shape (I,)
        covariance : ndarray, shape (I, I)
            Of their errors.
        """
        u = self._energy / (GAS_CONSTANT * temperature)
        # Pymbar takes logarithms of values less their smallest one, and only then adds a little of that: none may be 0.
        shift = 1 - values.min(axis=1, keepdims=True)
        found = self._mbar.compute_multiple_expectations(values + shift, u, return_theta=True)
        # Of the logarithms of numerators and denominators, whose ratios are the means, times the means: the
        # "covariances" of pymbar 4.0 are those of the logarithms of numerators only.
        n, theta = len(values), found["Theta"]
        covariance = theta[:n, :n] + theta[n:, n:] - theta[:n, n:] - theta[n:, :n]
        return found["mu"] - shift[:, 0], covariance

    def thermodynamics(self, temperatures: np.ndarray) -> Thermodynamics:
        """Averages at ``temperatures (K,)``, kelvin."""
        u = self._energy / (GAS_CONSTANT * temperatures[:, None])
        relative = self._mbar.compute_perturbed_free_energies(u)
        rows = []
        for t in temperatures:
            ((mean,), ((variance,),)) = self.means(self._energy[None], t)
            # About the mean, so that its error does not contribute to that of the heat capacity.
            ((square,), ((square_variance,),)) = self.means((self._energy[None] - mean) ** 2, t)
            scale = GAS_CONSTANT * t**2
            rows.append(
                (mean, variance**0.5, square / scale, square_variance**0.5 / scale),
            )
        free_energy, error = relative["Delta_f"][0], relative["dDelta_f"][0]
        return Thermodynamics(temperatures, free_energy, error, *np.array(rows).T)

    def profile(
        self, values: np.ndarray, edges: np.ndarray, temperature: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Free energy along a variable: -ln of its density, less that at its highest.

        Parameters
        ----------
        values : ndarray, shape (N,)
            The variable in all samples, in the order of ``energies``.
        edges : ndarray, shape (B + 1,)
            Edges of bins.
        temperature : float
            Kelvin.

        Returns
        -------
        free_energy, error : ndarray, shape (B,)
            kT. The error is that of the difference to the most populated bin; both are NaN in bins that are empty, or
            have less than `MIN_PROBABILITY` at this temperature.
        """
        bins = np.digitize(values, edges[1:-1])
        full = np.unique(bins)
        p, covariance = self.means((bins == full[:, None]).astype(float), temperature)
        likely = p > MIN_PROBABILITY
        full, p, covariance = full[likely], p[likely], covariance[np.ix_(likely, likely)]
        density = p / np.diff(edges)[full]
        top = density.argmax()
        relative = covariance / np.outer(p, p)
        variance = relative.diagonal() + relative[top, top] - 2 * relative[top]
        profile = np.full((2, len(edges) - 1), np.nan)
        profile[:, full] = np.log(density[top] / density), np.sqrt(variance.clip(0))
        return profile[0], profile[1]
