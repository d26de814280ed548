"""Contexts on platforms by names like "CPU" and "OpenCL mixed"."""

import os
from typing import Any

import openmm as mm
import pytest

from openmm_nemo.plugin import platform_names
from tests.helpers import need_plugin, platform
from tests.tolerances import PLATFORM_TRAJECTORY

each_platform = pytest.mark.parametrize("name", list(PLATFORM_TRAJECTORY))
one_precision = pytest.mark.parametrize("name", ["Reference", "CPU", "OpenCL mixed"])


def platform_context(
    system: mm.System, integrator: mm.Integrator, positions: Any, name: str
) -> mm.Context:
    """Context of the compiled integrator. Where the platform is not there, the test is skipped.

    With OPENMM_NEMO_REQUIRE_PLUGIN=1 it fails instead.
    """
    need_plugin()
    kind, _, precision = name.partition(" ")
    if kind not in platform_names() and os.environ.get("OPENMM_NEMO_REQUIRE_PLUGIN") != "1":
        pytest.skip(f"OpenMM has no platform {kind}")
    properties = {"Precision": precision} if precision else {}
    context = mm.Context(system, integrator, platform(kind), properties)
    context.setPositions(positions)
    return context
