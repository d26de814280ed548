"""Optional packages."""

from collections.abc import Callable
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
