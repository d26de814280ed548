"""What could not be read, when the rest goes on."""

from typing import NamedTuple


class Failure(NamedTuple):
    """A domain that could not be read, and why.

    Attributes
    ----------
    place, reason : str
    """

    place: str
    reason: str
