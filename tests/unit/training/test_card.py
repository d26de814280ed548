"""Parts of the model card that the card of a short run does not show."""

import pytest

from openmm_nemo.training.card import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.4, "7 s"), (99.4, "99 s"), (150, "2 min"), (3570, "1 h 0 min"), (100_000, "27 h 47 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
