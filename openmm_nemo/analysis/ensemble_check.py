"""Is what was sampled at two temperatures the Boltzmann distribution?"""

from typing import NamedTuple

import numpy as np

from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.errors import InputError

MAX_DEVIATION = 3.0
"""Standard errors beyond which samples are said not to be of the Boltzmann distribution; if they are, this happens in
0.27% of all checks."""

MIN_SAMPLES = 50
"""Independent samples per temperature that a check needs: its error bar is that of many samples."""


class EnsembleCheck(NamedTuple):
    """Outcome of `check_ensemble`.

    Attributes
    ----------
    low, high : float
        Temperatures, kelvin.
    n_low, n_high : int
        Independent samples.
    slope, error : float
        Slope of ln(P_high(E) / P_low(E)) and its standard error, mol/kJ.
    offset : float
        Value of the line at E = 0.
    """

    low: float
    high: float
    n_low: int
    n_high: int
    slope: float
    error: float
    offset: float

    @property
    def expected(self) -> float:
        """Slope of the Boltzmann distribution, 1 / R T_low - 1 / R T_high, mol/kJ."""
        return (1 / self.low - 1 / self.high) / GAS_CONSTANT

    @property
    def deviation(self) -> float:
        """Difference to the expected slope, in standard errors."""
        return (self.slope - self.expected) / self.error

    @property
    def consistent(self) -> bool:
        """Whether the deviation is at most `MAX_DEVIATION`."""
        return abs(self.deviation) <= MAX_DEVIATION


def check_ensemble(
    low: np.ndarray, high: np.ndarray, temperatures: tuple[float, float]
) -> EnsembleCheck:
    """Compare energies sampled at two temperatures (Shirts, J. Chem. Theory Comput. 9, 909, 2013).

    Whatever the density of states, ln(P_high(E) / P_low(E)) of Boltzmann distributions is a line with the slope
    1 / R T_low - 1 / R T_high (eq. 5). Its slope is fitted by maximum likelihood, without histograms (eq. 9): given its
    energy, a sample is of the higher temperature with the probability 1 / (1 + exp(-(ln(N_high / N_low) + a + b E))).

    Parameters
    ----------
    low, high : ndarray, shape (N_low,), (N_high,)
        Energies of independent samples, kJ/mol.
    temperatures : tuple of float
        Lower and higher temperature, kelvin.

    Returns
    -------
    EnsembleCheck

    Raises
    ------
    InputError
        If the energies do not overlap.
    """
    slope, error, offset = _fit(low, high)
    return EnsembleCheck(*temperatures, len(low), len(high), slope, error, offset)


def _fit(low: np.ndarray, high: np.ndarray) -> tuple[float, float, float]:
    """Slope, its standard error, and offset of the line of greatest likelihood, by Newton's method."""
    from scipy.special import expit

    energy = np.concatenate([low, high])
    is_high = np.repeat([0.0, 1.0], [len(low), len(high)])
    # In units of its spread about its mean, the problem is well conditioned and starts near its solution.
    mean, spread = energy.mean(), energy.std() or 1.0
    rows = np.stack([np.ones_like(energy), (energy - mean) / spread])
    prior = np.log(len(high) / len(low))

    def loss(line: np.ndarray) -> float:
        logit = prior + line @ rows
        return float((np.logaddexp(0, logit) - is_high * logit).sum())

    line = np.zeros(2)
    for _ in range(50):
        p = expit(prior + line @ rows)
        information = (rows * p * (1 - p)) @ rows.T
        if not np.linalg.cond(information) < 1e12:  # all energies are equal, or p is 0 or 1
            break
        step = np.linalg.solve(information, rows @ (is_high - p))
        # Convex: a step that is short enough improves.
        while loss(line + step) > loss(line) and np.abs(step).max() > 1e-9:
            step /= 2
        line = line + step
        if np.abs(step).max() < 1e-9:
            error = np.linalg.inv(information)[1, 1] ** 0.5 / spread
            return float(line[1] / spread), float(error), float(line[0] - line[1] * mean / spread)
    raise InputError(
        f"The energies at the two temperatures do not overlap ({low.mean():.4g} ± {low.std():.2g} and "
        f"{high.mean():.4g} ± {high.std():.2g} kJ/mol): take temperatures that are closer."
    )
