"""Choice of the OpenMM platform when the user does not choose one."""

import ctypes
import ctypes.util
from functools import cache

import openmm as mm

from openmm_nemo.plugin import platform_names

_CL_SUCCESS = 0
_CL_DEVICE_TYPE_GPU_OR_ACCELERATOR = (1 << 2) | (1 << 3)


def preferred_platforms() -> list[str]:
    """Names of the available platforms, fastest first.

    OpenCL is left out if none of its devices is a GPU or an accelerator. OpenMM ranks it above CPU even then, but on a
    CPU (PoCL, Intel's runtime) it gains nothing, rounds to single precision by default, and OpenMM itself warns
    that results may be incorrect.
    """
    names = [name for name in platform_names() if name != "OpenCL" or opencl_has_gpu()]
    return sorted(names, key=lambda name: -mm.Platform.getPlatformByName(name).getSpeed())


@cache
def opencl_has_gpu() -> bool:
    """Whether OpenCL has a device that is a GPU or an accelerator; asks OpenCL itself, because OpenMM does not say."""
    try:
        opencl = ctypes.CDLL(ctypes.util.find_library("OpenCL") or "libOpenCL.so.1")
    except OSError:
        return False
    count = ctypes.c_uint32()
    if opencl.clGetPlatformIDs(0, None, ctypes.byref(count)) != _CL_SUCCESS:
        return False
    vendors = (ctypes.c_void_p * count.value)()
    if opencl.clGetPlatformIDs(count, vendors, None) != _CL_SUCCESS:
        return False
    kind = ctypes.c_uint64(_CL_DEVICE_TYPE_GPU_OR_ACCELERATOR)
    return any(
        opencl.clGetDeviceIDs(ctypes.c_void_p(vendor), kind, 0, None, ctypes.byref(count))
        == _CL_SUCCESS
        for vendor in vendors
    )
