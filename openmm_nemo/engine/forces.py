"""NEMO as an OpenMM force: PythonForce, or openmm-torch's TorchForce."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm as mm
import torch

from openmm_nemo.energies import ProteinEnergy
from openmm_nemo.engine.potential import Potential
from openmm_nemo.engine.protein import Protein
from openmm_nemo.errors import InputError

BACKENDS = ("auto", "torchforce", "python")

_TORCHSCRIPT = b"PK"
"""First bytes of the archives that version 0.1 wrote."""

_COMPRESSED = b"NEMO zlib"
"""First bytes of compressed energies; others are safetensors."""

SCALE_PARAMETER = "nemo_scale"
"""Global parameter of the context that multiplies the energy; 1 by default."""


class NemoPythonEnergy:
    """Energy and forces of one protein, as computed by a PythonForce.

    OpenMM pickles it into XML. The pickle contains only the bytes of `ProteinEnergy.to_bytes`, compressed: numbers and
    names.

    Parameters
    ----------
    energy : ProteinEnergy
    """

    def __init__(self, energy: ProteinEnergy):
        self._module: torch.nn.Module = Potential(energy).eval()

    def __getstate__(self) -> bytes:
        if isinstance(self._module, Potential):
            return _compressed(self._module.energy.to_bytes())
        from openmm_nemo.engine.torchscript import save_archived_energy

        return save_archived_energy(self._module)

    def __setstate__(self, state: bytes) -> None:
        if state.startswith(_TORCHSCRIPT):
            from openmm_nemo.engine.torchscript import load_archived_energy

            self._module = load_archived_energy(state)
        else:
            if state.startswith(_COMPRESSED):
                state = _decompressed(state)
            self._module = Potential(ProteinEnergy.from_bytes(state)).eval()

    def __call__(self, state: mm.State) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces (N, 3) in kJ/mol/nm."""
        # Independent of the caller's grad mode, which the thread that OpenMM calls from may not inherit.
        with torch.inference_mode(False), torch.enable_grad():
            device = next(self._module.buffers()).device
            scale = torch.tensor(state.getParameters()[SCALE_PARAMETER], dtype=torch.float64)
            positions = torch.from_numpy(state.getPositions(asNumpy=True)._value).requires_grad_()
            energy = self._module(positions.to(device), scale.to(device))
            (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()


def _compressed(content: bytes) -> bytes:
    """The content with the first bytes of all float32 before their second bytes, and so on, deflated.

    The digits of numbers cannot be compressed, but their exponents, which this brings together, can: by a third in all.
    """
    whole = len(content) // 4 * 4
    planes = np.frombuffer(content[:whole], np.uint8).reshape(-1, 4).T.tobytes()
    return _COMPRESSED + zlib.compress(planes + content[whole:])


def _decompressed(content: bytes) -> bytes:
    """Inverse of `_compressed`.

    Raises
    ------
    InputError
        If the content is damaged.
    """
    try:
        planes = zlib.decompress(content[len(_COMPRESSED) :])
    except zlib.error as error:
        raise InputError(
            f"The energy of a protein is damaged ({error}): create the system again with create_system."
        ) from None
    whole = len(planes) // 4 * 4
    return np.frombuffer(planes[:whole], np.uint8).reshape(4, -1).T.tobytes() + planes[whole:]


def choose_backend(backend: str = "auto", platform: str | None = None) -> str:
    """Name of the backend to use: "torchforce" or "python".

    Parameters
    ----------
    backend : {"auto", "torchforce", "python"}
        "auto": PythonForce, which works on every platform and with every release of torch.
    platform : str, optional
        OpenMM platform that will be used. Default: any available one.

    Raises
    ------
    ValueError
        If the name is unknown, or TorchForce is requested and does not work here.
    """
    if backend not in BACKENDS:
        raise ValueError(
            f"The backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}."
        )
    if backend != "torchforce":
        return "python"
    from openmm_nemo.engine.torchscript import torchforce_platform_problems, torchforce_problem

    problem = torchforce_problem() or torchforce_platform_problems().get(platform or "")
    if problem is not None:
        raise ValueError(f"The backend 'torchforce' is not available: {problem}.")
    return "torchforce"


def check_particles(protein: Protein, particles: Sequence[int]) -> list[int]:
    """Particles as a list of int; ValueError unless there is one distinct index per residue."""
    indices = [int(particle) for particle in particles]
    n = len(protein.sequence)
    if len(indices) != n or len(set(indices)) != n or min(indices) < 0:
        raise ValueError(
            f"particles has {len(set(indices))} different indices: give one for each of the {n} residues."
        )
    return indices


def create_force(
    protein: Protein,
    backend: str = "auto",
    particles: Sequence[int] | None = None,
    force_group: int = 0,
) -> mm.Force:
    """NEMO's energy of a protein as an OpenMM force, with the global parameter ``nemo_scale``.

    Parameters
    ----------
    protein : ConditionedModel
    backend : {"auto", "torchforce", "python"}
        "auto": PythonForce. Energies and forces are the same to rounding.
    particles : sequence of int, optional
        Indices of the particles that are the residues, in order. Default: the first ones of the system.
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
    n = len(protein.sequence)
    particles = check_particles(protein, range(n) if particles is None else particles)
    force: Any
    if choose_backend(backend) == "torchforce":
        from openmm_nemo.engine.torchscript import torchforce

        force = torchforce(protein, particles)
        force.addGlobalParameter(SCALE_PARAMETER, 1.0)
    else:
        energy = NemoPythonEnergy(protein.require_energy())
        force = mm.PythonForce(energy, {SCALE_PARAMETER: 1.0})
        force.setParticles(particles)
    force.setUsesPeriodicBoundaryConditions(False)
    force.setForceGroup(force_group)
    force.setName("NemoForce")
    return force
