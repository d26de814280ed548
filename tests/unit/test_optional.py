"""Optional packages: what to install is told."""

import sys

import pytest
import tmtools

from openmm_nemo.errors import InputError
from openmm_nemo.optional import load_tm_align
from tests.helpers import names


def test_tm_align_is_loaded_where_it_is_installed(monkeypatch):
    assert load_tm_align() is tmtools.tm_align
    monkeypatch.setitem(sys.modules, "tmtools", None)
    with pytest.raises(InputError) as refusal:
        load_tm_align()
    names(refusal.value, "licence", "openmm-nemo[evaluate]")
