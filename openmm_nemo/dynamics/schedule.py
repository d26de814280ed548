"""Annealing: noise that decreases during a simulation."""

from typing import NamedTuple

from openmm_nemo.dynamics.steps import StepParameters


class Schedule(NamedTuple):
    """Factors of the temperature and the step sizes of a simulation.

    Both decrease together, geometrically and block by block. The drift -(eps / 2) C grad U / T then stays the same
    while the noise decreases.

    Attributes
    ----------
    steps : int
        Number of steps; later ones use the last factor.
    hottest, coldest : float
        First and last factor.
    block : int
        Number of consecutive steps with the same factor.
    """

    steps: int
    hottest: float
    coldest: float
    block: int = 10

    @property
    def is_constant(self) -> bool:
        """Whether all factors are 1."""
        return self.hottest == self.coldest == 1

    def factor(self, step: int) -> float:
        """Factor of a step, counted from 0."""
        last = max(-(-self.steps // self.block) - 1, 1)
        share = min(step // self.block, last) / last
        return self.hottest * (self.coldest / self.hottest) ** share


def scaled(parameters: StepParameters, factor: float) -> StepParameters:
    """Step sizes times a factor."""
    return parameters._replace(
        cartesian_step=parameters.cartesian_step * factor,
        internal_step=parameters.internal_step * factor,
    )
