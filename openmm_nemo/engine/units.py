"""Units at OpenMM's border: nm and kJ/mol outside, Angstrom and kT inside."""

from typing import Any

from openmm import unit

from openmm_nemo.dynamics import MODEL_TEMPERATURE

ANGSTROM_PER_NM = 10.0

GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
"""kJ/(mol K)."""

KT_MODEL = GAS_CONSTANT * MODEL_TEMPERATURE
"""Energy of one unit of U, kJ/mol: kT at 300 K."""


def value_in(quantity: Any, target: unit.Unit) -> Any:
    """Number(s) in the unit ``target``; a bare number is taken to be in that unit already."""
    if unit.is_quantity(quantity):
        return quantity.value_in_unit(target)
    return quantity
