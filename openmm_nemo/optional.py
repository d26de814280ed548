"""Optional packages."""

import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from openmm_nemo.errors import InputError


def load_tm_align() -> Callable[..., Any]:
    """TM-align (Zhang & Skolnick, Nucleic Acids Res. 33, 2302, 2005).

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        from tmtools import tm_align
    except ImportError:
        raise InputError(
            "TM-align is missing, which is optional because its Python package has another licence (GPL-3.0): "
            'install it with pip install "openmm-nemo[evaluate]".'
        ) from None
    return tm_align


def load_pymbar() -> ModuleType:
    """Pymbar: MBAR (Shirts & Chodera, J. Chem. Phys. 129, 124105, 2008) and correlation of time series.

    Raises
    ------
    InputError
        If it is not installed.
    """
    # What it says when it is imported: how it would be faster.
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    try:
        import pymbar
        import pymbar.timeseries
    except ImportError:
        raise InputError(
            "Pymbar is missing, which estimates errors and free energies: install it with "
            'pip install "openmm-nemo[analyze]".'
        ) from None
    module: ModuleType = pymbar
    return module


def load_tica() -> Callable[..., Any]:
    """TICA, as deeptime has it (Hoffmann et al., Mach. Learn.: Sci. Technol. 3, 015009, 2022).

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        from deeptime.decomposition import TICA
    except ImportError:
        raise InputError(
            'Deeptime is missing, which --tica needs: install it with pip install "openmm-nemo[analyze]", or leave '
            "--tica out."
        ) from None
    tica: Callable[..., Any] = TICA
    return tica


def load_zuko() -> ModuleType:
    """Zuko: normalising flows.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import zuko
    except ImportError:
        raise InputError(
            "Zuko is missing, which Boltzmann generators need: install it with "
            'pip install "openmm-nemo[flow]".'
        ) from None
    module: ModuleType = zuko
    return module
