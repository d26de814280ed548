"""NEMO as an OpenMM force: TorchForce where it can be loaded, PythonForce everywhere."""

import ctypes
import functools
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
import torch

from openmm_nemo.engine.export import export_energy
from openmm_nemo.models import ConditionedModel
from openmm_nemo.plugin import platform_names

BACKENDS = ("auto", "torchforce", "python")

_GET_POSITIONS = "_ZN6OpenMM11ContextImpl12getPositionsERSt6vectorINS_4Vec3ESaIS2_EE"

SCALE_PARAMETER = "nemo_scale"
"""Global parameter of the context that multiplies the energy; 1 by default."""


class NemoPythonEnergy:
    """What a PythonForce computes: energy and forces of one protein. It can be pickled, as OpenMM's XML requires.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        From `export_energy`.
    """

    def __init__(self, module: torch.jit.ScriptModule):
        self._module = module

    def __getstate__(self) -> bytes:
        buffer = io.BytesIO()
        torch.jit.save(self._module, buffer)
        return buffer.getvalue()

    def __setstate__(self, state: bytes) -> None:
        self._module = torch.jit.load(io.BytesIO(state))

    def __call__(self, state: mm.State) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces (N, 3) in kJ/mol/nm."""
        # Whatever the caller's grad mode; and OpenMM may call from a thread of its own, which does not inherit it.
        with torch.inference_mode(False), torch.enable_grad():
            device = next(self._module.buffers()).device
            scale = torch.tensor(state.getParameters()[SCALE_PARAMETER], dtype=torch.float64)
            positions = torch.from_numpy(state.getPositions(asNumpy=True)._value).requires_grad_()
            energy = self._module(positions.to(device), scale.to(device))
            (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()


@functools.cache
def torchforce_problem() -> str | None:
    """Why TorchForce does not work here, in one sentence; None if it does.

    TorchForce's kernels need torch to be loaded first. Where OpenMM came first, they are loaded again here. Then a
    small force is evaluated, since a wheel built for another release of torch fails only when it is used.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it imports OpenMM by its old name, which warns
    try:
        import openmmtorch
    except ImportError as error:
        return f"openmmtorch cannot be imported ({error}): pip install 'openmm-nemo[torchforce]'"
    finally:
        logging.disable(disabled)
    try:
        _load_kernels()
        system = mm.System()
        system.addParticle(1.0)
        system.addForce(openmmtorch.TorchForce(torch.jit.script(_Parabola())))
        platform = mm.Platform.getPlatformByName("Reference")
        context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
        context.setPositions([mm.Vec3(1, 0, 0)])
        context.getState(energy=True, forces=True)
    except Exception as error:
        return f"TorchForce does not work with torch {torch.__version__} ({error})"
    return None


def _load_kernels() -> None:
    """Load the plugin libraries of TorchForce that failed to load with OpenMM, for the platforms that are there."""
    known = platform_names()
    for failure in mm.Platform.getPluginLoadFailures():
        for word in failure.replace(":", " ").split():
            name = Path(word).stem
            if name.startswith("libOpenMMTorch") and name.removeprefix("libOpenMMTorch") in known:
                mm.Platform.loadPluginLibrary(word)


@functools.cache
def torchforce_platform_problems() -> dict[str, str]:
    """Platforms on which TorchForce would end the process, and why.

    The GPU libraries of openmmtorch 1.5 call a function that OpenMM 8.6 has with another argument. The linker misses it
    when it is called, and ends the process without an exception.
    """
    folder = Path(mm.version.openmm_library_path)
    if hasattr(ctypes.CDLL(str(folder / "libOpenMM.so")), _GET_POSITIONS):
        return {}
    problems = {}
    for name in platform_names():
        library = folder / "plugins" / f"libOpenMMTorch{name}.so"
        if library.exists() and _GET_POSITIONS.encode() in library.read_bytes():
            problems[name] = (
                f"TorchForce on {name} would end the process, because openmmtorch was built for another OpenMM: "
                "there, use the backend 'python'"
            )
    return problems


class _Parabola(torch.nn.Module):
    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return (positions * positions).sum()


def choose_backend(backend: str = "auto", platform: str | None = None) -> str:
    """Name of the backend to use: "torchforce" or "python".

    Parameters
    ----------
    backend : {"auto", "torchforce", "python"}
        "auto": TorchForce if it works here.
    platform : str, optional
        OpenMM platform that will be used. Default: any that is here, which matters to "auto".

    Raises
    ------
    ValueError
        If the name is unknown, or TorchForce is asked for and does not work here.
    """
    if backend not in BACKENDS:
        raise ValueError(
            f"The backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}."
        )
    if backend == "python":
        return backend
    problem = torchforce_problem()
    somewhere = torchforce_platform_problems()
    if problem is None and platform is not None:
        problem = somewhere.get(platform)
    if backend == "torchforce" and problem is not None:
        raise ValueError(f"The backend 'torchforce' is not available: {problem}.")
    if backend == "torchforce" or (problem is None and (platform is not None or not somewhere)):
        return "torchforce"
    return "python"


def check_particles(protein: ConditionedModel, particles: Sequence[int]) -> list[int]:
    """Particles as a list of int; ValueError unless they are one different index for each residue."""
    indices = [int(particle) for particle in particles]
    n = len(protein.sequence)
    if len(indices) != n or len(set(indices)) != n or min(indices) < 0:
        raise ValueError(
            f"particles has {len(set(indices))} different indices: give one for each of the {n} residues."
        )
    return indices


def create_force(
    protein: ConditionedModel,
    backend: str = "auto",
    particles: Sequence[int] | None = None,
    force_group: int = 0,
) -> mm.Force:
    """NEMO's energy of a protein as an OpenMM force, with the global parameter ``nemo_scale``.

    Parameters
    ----------
    protein : ConditionedModel
    backend : {"auto", "torchforce", "python"}
        "auto": TorchForce if it works on all platforms here, PythonForce otherwise. Energies and forces are the same
        to rounding.
    particles : sequence of int, optional
        Particles of the system that are the residues, in order. Default: all particles of the system.
    force_group : int
        0 to 31.

    Returns
    -------
    openmm.Force
        Not periodic.

    Raises
    ------
    ValueError
        If the backend is unknown or not available, or ``particles`` are not one index per residue.
    """
    if particles is not None:
        particles = check_particles(protein, particles)
    force: Any
    if choose_backend(backend) == "torchforce":
        import openmmtorch

        force = openmmtorch.TorchForce(export_energy(protein, particles))
        force.addGlobalParameter(SCALE_PARAMETER, 1.0)
    else:
        energy = NemoPythonEnergy(export_energy(protein))
        force = mm.PythonForce(energy, {SCALE_PARAMETER: 1.0})
        if particles is not None:
            force.setParticles(particles)
    force.setUsesPeriodicBoundaryConditions(False)
    force.setForceGroup(force_group)
    force.setName("NemoForce")
    return force
