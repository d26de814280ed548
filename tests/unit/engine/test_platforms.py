"""The platform that is chosen for the user: OpenCL only where it has a GPU."""

import ctypes

import openmm as mm
import pytest

from openmm_nemo.engine import platforms
from openmm_nemo.plugin import platform_names


@pytest.fixture
def opencl(monkeypatch):
    """Replace OpenCL by one with devices of these types (bits as in cl.h), a list per vendor; None: no library."""

    class Functions:
        def __init__(self, vendors):
            self.vendors = vendors

        def clGetPlatformIDs(self, n, ids, count):
            if count is not None:
                count._obj.value = len(self.vendors)
            for k in range(n.value if ids is not None else 0):
                ids[k] = k + 1
            return 0 if self.vendors else -1001

        def clGetDeviceIDs(self, vendor, kind, n, ids, count):
            found = [device for device in self.vendors[vendor.value - 1] if device & kind.value]
            return 0 if found else -1

    def choose(vendors):
        def load(name):
            if vendors is None:
                raise OSError("no such library")
            return Functions(vendors)

        monkeypatch.setattr(ctypes, "CDLL", load)
        platforms.opencl_has_gpu.cache_clear()

    yield choose
    monkeypatch.undo()
    platforms.opencl_has_gpu.cache_clear()


CPU, GPU, ACCELERATOR = 2, 4, 8


@pytest.mark.parametrize(
    ("vendors", "expected"),
    [
        (None, False),
        ([], False),
        ([[]], False),
        ([[CPU]], False),
        ([[GPU]], True),
        ([[CPU], [CPU | 1, GPU]], True),
        ([[ACCELERATOR]], True),
    ],
)
def test_opencl_is_asked_for_its_devices(opencl, vendors, expected):
    opencl(vendors)
    assert platforms.opencl_has_gpu() is expected


@pytest.mark.parametrize("vendors", [[[CPU]], [[GPU]]])
def test_fastest_platforms_come_first(opencl, monkeypatch, vendors):
    speeds = {"Reference": 1, "CPU": 10, "OpenCL": 50, "CUDA": 100}

    class Platform:
        @classmethod
        def getPlatformByName(cls, name):
            platform = cls()
            platform.getSpeed = lambda: speeds[name]
            return platform

    monkeypatch.setattr(platforms.mm, "Platform", Platform)
    monkeypatch.setattr(platforms, "platform_names", lambda: list(speeds))
    opencl(vendors)
    expected = ["CUDA", "OpenCL", "CPU", "Reference"]
    if vendors == [[CPU]]:
        expected.remove("OpenCL")
    assert platforms.preferred_platforms() == expected


def test_pocl_on_the_processor_is_seen_through():
    """Against what OpenMM says of the device that it takes."""
    if "OpenCL" not in platform_names():
        pytest.skip("OpenMM has no platform OpenCL")
    system = mm.System()
    system.addParticle(1.0)
    platform = mm.Platform.getPlatformByName("OpenCL")
    try:
        context = mm.Context(system, mm.VerletIntegrator(1.0), platform)
    except mm.OpenMMException as error:
        pytest.skip(f"OpenCL has no device ({error})")
    device = platform.getPropertyValue(context, "DeviceName")
    if platform.getPropertyValue(context, "OpenCLPlatformName") != "Portable Computing Language":
        pytest.skip(f"OpenCL takes {device}, which is not PoCL's")
    assert device.startswith(("pthread", "cpu"))
    assert not platforms.opencl_has_gpu()
    assert "OpenCL" not in platforms.preferred_platforms()
