"""Units at the border to OpenMM."""

import numpy as np
import pytest
from openmm import unit

from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT, KT_MODEL, value_in


def test_constants_are_those_of_the_si():
    """R = k N_A, both exact since 2019; OpenMM's is of CODATA 2018, in kJ/mol."""
    gas_constant = 1.380649e-23 * 6.02214076e23 / 1000
    assert pytest.approx(gas_constant, rel=1e-8) == GAS_CONSTANT
    assert pytest.approx(300 * gas_constant, rel=1e-8) == KT_MODEL
    assert (1 * unit.nanometer).value_in_unit(unit.angstrom) == ANGSTROM_PER_NM


def test_quantities_are_converted_and_bare_numbers_taken_as_they_are():
    assert value_in(25 * unit.angstrom, unit.nanometer) == 2.5
    assert value_in(25, unit.nanometer) == 25
    lengths = value_in(np.array([1.0, 20.0]) * unit.angstrom, unit.nanometer)
    np.testing.assert_allclose(lengths, [0.1, 2.0], rtol=1e-12)


def test_quantities_of_another_kind_are_refused():
    with pytest.raises(TypeError):
        value_in(1 * unit.kelvin, unit.nanometer)
