"""Optional packages: what to install is told."""

import sys

import pytest
import tmtools

from openmm_nemo.errors import InputError
from openmm_nemo.optional import load_pymbar, load_tica, load_tm_align, load_zuko
from tests.helpers import names


def test_tm_align_is_loaded_where_it_is_installed(monkeypatch):
    assert load_tm_align() is tmtools.tm_align
    monkeypatch.setitem(sys.modules, "tmtools", None)
    with pytest.raises(InputError) as refusal:
        load_tm_align()
    names(refusal.value, "licence", "openmm-nemo[evaluate]")


def test_pymbar_is_loaded_where_it_is_installed(monkeypatch):
    assert load_pymbar().timeseries.statistical_inefficiency([1.0, -1.0] * 5) == 1
    monkeypatch.setitem(sys.modules, "pymbar", None)
    with pytest.raises(InputError) as refusal:
        load_pymbar()
    names(refusal.value, "pymbar", "openmm-nemo[analyze]")


def test_tica_is_loaded_where_it_is_installed(monkeypatch):
    assert load_tica().__name__ == "TICA"
    monkeypatch.setitem(sys.modules, "deeptime.decomposition", None)
    with pytest.raises(InputError) as refusal:
        load_tica()
    names(refusal.value, "deeptime", "openmm-nemo[analyze]")


def test_zuko_is_loaded_where_it_is_installed(monkeypatch):
    assert load_zuko().flows.NSF
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(InputError) as refusal:
        load_zuko()
    names(refusal.value, "zuko", "openmm-nemo[flow]")
