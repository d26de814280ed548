"""Inputs that could not be read, reported while the rest continues."""

from typing import NamedTuple


class Failure(NamedTuple):
    """A domain that could not be read, and why.

    Attributes
    ----------
    place, reason : str
    """

    place: str
    reason: str
