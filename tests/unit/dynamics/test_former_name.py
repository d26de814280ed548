"""`openmm_nemo.simulator` is what `openmm_nemo.dynamics` was called."""

import sys

import pytest

from openmm_nemo import dynamics


def test_the_former_name_warns_and_has_the_same_functions():
    sys.modules.pop("openmm_nemo.simulator", None)
    with pytest.warns(FutureWarning, match=r"openmm_nemo\.dynamics"):
        import openmm_nemo.simulator as simulator
    assert all(getattr(simulator, name) is getattr(dynamics, name) for name in dynamics.__all__)
