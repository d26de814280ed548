"""Registry of energy terms."""

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.backbone import Backbone
from openmm_nemo.energies.chain_basis import ChainBasis
from openmm_nemo.energies.learned import LearnedFeatures
from openmm_nemo.energies.pair_basis import PairBasis
from openmm_nemo.energies.term import EnergyTerm
from openmm_nemo.errors import InputError

TERMS: dict[str, type[EnergyTerm]] = {
    "learned": LearnedFeatures,
    "pair-basis": PairBasis,
    "chain-basis": ChainBasis,
    "backbone": Backbone,
}
"""Terms by name, as used in `NemoConfig.terms`."""


def terms_of(config: NemoConfig) -> dict[str, type[EnergyTerm]]:
    """Terms of a configuration, in the order of their coefficients.

    Raises
    ------
    InputError
        If a term is unknown.
    """
    for name in config.terms:
        if name not in TERMS:
            raise InputError(f"There is no energy term {name!r}: use one of {', '.join(TERMS)}.")
    return {name: TERMS[name] for name in config.terms}
