"""Paired tests of one group of models against others, on the same windows."""

from typing import NamedTuple

import numpy as np

from openmm_nemo.comparison.comparison import Comparison

TESTED = ("tm", "rmsd_angstrom", "tm_lowest", "rmsd_lowest_angstrom", "drift_angstrom")
"""Figures in which groups are tested against each other."""


class PairedTest(NamedTuple):
    """A figure of one group minus that of another, on the same windows.

    Attributes
    ----------
    mean, error : float
        Mean over windows, and its standard error, after averaging over the seeds of each group.
    p : float
        Two-sided p of a paired t-test. NaN, like the error, if undefined: for one window, or if all differences are
        equal or one is infinite.
    """

    mean: float
    error: float
    p: float


class Difference(NamedTuple):
    """Outcome of `paired_differences`: the first group against another one.

    Attributes
    ----------
    group, other : str
    steps, other_steps : int
    n_windows : int
    tests : dict of str to PairedTest
        By the names in `TESTED`, where both groups have the figure.
    """

    group: str
    steps: int
    other: str
    other_steps: int
    n_windows: int
    tests: dict[str, PairedTest]


def paired_differences(comparison: Comparison, inside: np.ndarray) -> list[Difference]:
    """Compare the first group with all others, window by window.

    After each number of steps, the first group is compared with the others after the same number of steps, where they
    have an energy, and at step 0; and with itself at step 0. A baseline is compared at step 0.

    Parameters
    ----------
    comparison : Comparison
    inside : ndarray, shape (N,), bool
        Windows to compare on.

    Returns
    -------
    list of Difference
    """
    first, *others = comparison.group_names()
    simulated = [n for n in comparison.steps[1:] if comparison.is_known(first, n)]
    differences = []
    for steps in simulated or [0]:
        pairs = [(other, n) for other in others for n in dict.fromkeys((steps, 0))]
        for other, n in ([(first, 0)] if steps else []) + pairs:
            if comparison.is_known(other, n):
                differences.append(_difference(comparison, inside, first, steps, other, n))
    return differences


def _difference(
    comparison: Comparison, inside: np.ndarray, group: str, steps: int, other: str, other_steps: int
) -> Difference:
    tests = {}
    for figure in TESTED:
        one, two = (
            comparison.of_group(figure, name, n)[:, inside].mean(0)
            for name, n in ((group, steps), (other, other_steps))
        )
        if not np.isnan([one, two]).any():
            tests[figure] = _paired_test(one, two)
    return Difference(group, steps, other, other_steps, int(inside.sum()), tests)


def _paired_test(one: np.ndarray, two: np.ndarray) -> PairedTest:
    from scipy.stats import ttest_rel  # imported here, because it takes long

    apart = one - two
    if len(apart) < 2 or not np.isfinite(apart).all():
        return PairedTest(float(apart.mean()), np.nan, np.nan)
    error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
    p = float(ttest_rel(one, two).pvalue) if error > 0 else np.nan
    return PairedTest(float(apart.mean()), error, p)
