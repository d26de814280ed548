"""NEMO as an OpenMM force: of the compiled plugin, PythonForce, or openmm-torch's TorchForce."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm as mm
import torch

from openmm_nemo.energies import ProteinEnergy
from openmm_nemo.engine.native import KERNEL, NATIVE_TERMS, divide, native_force
from openmm_nemo.engine.potential import Potential, ReplicaPotential
from openmm_nemo.engine.protein import Protein
from openmm_nemo.errors import InputError
from openmm_nemo.plugin import plugin_problem

BACKENDS = ("auto", "native", "torchforce", "python")

_TORCHSCRIPT = b"PK"
"""First bytes of the archives that version 0.1 wrote."""

_COMPRESSED = b"NEMO zlib"
"""First bytes of compressed energies; others are safetensors."""

SCALE_PARAMETER = "nemo_scale"
"""Global parameter of the context that multiplies the energy; 1 by default."""

REPLICA_PARAMETER = "nemo_replica"
"""Global parameter of the context that chooses the replica whose energy and forces are computed; -1, the default: all.

By setting it, one obtains the energies of replicas one by one; `NemoLangevinIntegrator` does so to decide on their
moves.
"""


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


class NemoReplicaEnergy:
    """Energy and forces of independent copies of one protein, as computed by a PythonForce: one batch.

    The results are kept, so that the energies of single copies at the same positions cost no further evaluation.

    Parameters
    ----------
    energy : ProteinEnergy
    replicas : int
        Number of copies R.
    """

    def __init__(self, energy: ProteinEnergy, replicas: int):
        self._module = ReplicaPotential(energy, replicas).eval()
        self._last: tuple[np.ndarray, float, np.ndarray, np.ndarray] | None = None

    def __getstate__(self) -> tuple[bytes, int]:
        return _compressed(self._module.energy.to_bytes()), self._module.replicas

    def __setstate__(self, state: tuple[bytes, int]) -> None:
        content, replicas = state
        energy = ProteinEnergy.from_bytes(_decompressed(content))
        self._module, self._last = ReplicaPotential(energy, replicas).eval(), None

    def __call__(self, state: mm.State) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces (R L, 3) in kJ/mol/nm."""
        parameters = state.getParameters()
        positions = state.getPositions(asNumpy=True)._value
        energies, forces = self._evaluate(positions, parameters[SCALE_PARAMETER])
        chosen = int(parameters[REPLICA_PARAMETER])
        if chosen < 0:
            return float(energies.sum()), forces
        alone = np.zeros_like(forces)
        size = len(forces) // len(energies)
        rows = slice(chosen * size, (chosen + 1) * size)
        alone[rows] = forces[rows]
        return float(energies[chosen]), alone

    def _evaluate(self, positions: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Energies (R,) and forces (R L, 3)."""
        last = self._last
        if last is not None and last[1] == scale and np.array_equal(last[0], positions):
            return last[2], last[3]
        with torch.inference_mode(False), torch.enable_grad():
            device = next(self._module.buffers()).device
            x = torch.from_numpy(positions).requires_grad_()
            factor = torch.tensor(scale, dtype=torch.float64, device=device)
            energies = self._module.energies(x.to(device), factor)
            (gradient,) = torch.autograd.grad(energies.sum(), x)
        found = energies.detach().cpu().numpy(), -gradient.numpy()
        self._last = (positions, scale, *found)
        return found


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


def choose_backend(
    backend: str = "auto", platform: str | None = None, energy: ProteinEnergy | None = None
) -> str:
    """Name of the backend to use: "native", "torchforce" or "python".

    Parameters
    ----------
    backend : {"auto", "native", "torchforce", "python"}
        "auto": native if the plugin computes all terms of the energy, in single precision; otherwise PythonForce, which
        works for every model, on every platform and with every release of torch.
    platform : str, optional
        OpenMM platform that will be used. Default: any available one.
    energy : ProteinEnergy, optional
        The energy. Default: one with terms that the plugin does not compute.

    Raises
    ------
    ValueError
        If the name is unknown, or the backend is requested and does not work here.
    """
    if backend not in BACKENDS:
        raise ValueError(
            f"The backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}."
        )
    if backend == "python":
        return "python"
    if backend == "torchforce":
        from openmm_nemo.engine.torchscript import torchforce_platform_problems, torchforce_problem

        problem = torchforce_problem() or torchforce_platform_problems().get(platform or "")
    else:
        problem = _native_problem(platform, energy, alone=backend == "auto")
        if backend == "auto":
            return "python" if problem else "native"
    if problem is not None:
        raise ValueError(f"The backend {backend!r} is not available: {problem}.")
    return backend


def _native_problem(platform: str | None, energy: ProteinEnergy | None, alone: bool) -> str | None:
    """Why the plugin cannot compute (a part of) an energy, in one sentence; None if it can.

    With ``alone``, nothing may be left for torch: neither other terms nor coefficients in double precision.
    """
    if plugin_problem() is not None:
        return f"the compiled plugin is not in use, because {plugin_problem()}"
    if platform and not mm.Platform.getPlatformByName(platform).supportsKernels([KERNEL]):
        return f"the compiled plugin has no kernels for the platform {platform}"
    native, other = (None, None) if energy is None else divide(energy)
    if native is None or (alone and other is not None):
        return f"the plugin computes only terms of the energy named {', '.join(NATIVE_TERMS)}"
    if alone and any(part.value.dtype != torch.float32 for part in native.coefficients):
        return "the plugin has coefficients in single precision"
    return None


def check_particles(protein: Protein, particles: Sequence[int], replicas: int = 1) -> list[int]:
    """Particles as a list of int; ValueError unless there is one distinct index per residue of each replica."""
    indices = [int(particle) for particle in particles]
    n = len(protein.sequence) * replicas
    if len(indices) != n or len(set(indices)) != n or min(indices) < 0:
        raise ValueError(
            f"particles has {len(set(indices))} different indices: give one for each of the {n} residues."
        )
    return indices


def check_replicas(replicas: int) -> None:
    """ValueError unless it is a number of replicas."""
    if replicas < 1:
        raise ValueError(f"replicas is {replicas}: it must be at least 1.")


def create_force(
    protein: Protein,
    backend: str = "auto",
    particles: Sequence[int] | None = None,
    force_group: int = 0,
    replicas: int = 1,
) -> mm.Force:
    """NEMO's energy of a protein as an OpenMM force, with the global parameter ``nemo_scale``.

    Parameters
    ----------
    protein : ConditionedModel
    backend : {"auto", "native", "torchforce", "python"}
        See `choose_backend`. Energies and forces are the same to rounding.
    particles : sequence of int, optional
        Indices of the particles that are the residues, in order, replica by replica. Default: the first ones of the
        system.
    force_group : int
        0 to 31.
    replicas : int
        Number of copies of the protein, which do not interact: their energies are computed as one batch. The global
        parameter ``nemo_replica`` of this force is the number of the only copy that is computed, or -1, the default.

    Returns
    -------
    openmm.Force
        Not periodic.

    Raises
    ------
    ValueError
        If the backend is unknown or not available, it needs several forces (see `create_forces`), ``particles`` are not
        one index per residue, or ``replicas`` is not positive.
    """
    forces = create_forces(protein, backend, particles, force_group, replicas)
    if len(forces) > 1:
        raise ValueError(
            "The backend 'native' needs several forces, for the terms that it does not compute and for replicas: "
            "use create_forces, create_system or add_to_system."
        )
    return forces[0]


def create_forces(
    protein: Protein,
    backend: str = "auto",
    particles: Sequence[int] | None = None,
    force_group: int = 0,
    replicas: int = 1,
) -> list[mm.Force]:
    """The forces whose sum is NEMO's energy of a protein, or of its replicas.

    If ``backend`` is "native", there is one for every replica, and, if the model has terms that the plugin does not
    compute, a PythonForce for these. Otherwise there is one. For arguments and errors, see `create_force`.
    """
    check_replicas(replicas)
    n = len(protein.sequence)
    everything = range(n * replicas) if particles is None else particles
    particles = check_particles(protein, everything, replicas)
    energy = protein.require_energy()
    chosen = choose_backend(backend, energy=energy)
    if chosen == "torchforce":
        from openmm_nemo.engine.torchscript import torchforce

        force: Any = torchforce(protein, particles, replicas)
        force.addGlobalParameter(SCALE_PARAMETER, 1.0)
        if replicas > 1:
            force.addGlobalParameter(REPLICA_PARAMETER, -1.0)
        force.setUsesPeriodicBoundaryConditions(False)
        forces = [force]
    elif chosen == "python":
        forces = [_python_force(energy, particles, replicas)]
    else:
        native, other = divide(energy)
        assert native is not None
        if replicas == 1:
            forces = [native_force(native, particles)]
        else:
            rows = [particles[first : first + n] for first in range(0, n * replicas, n)]
            forces = [native_force(native, row, replica) for replica, row in enumerate(rows)]
        if other is not None:
            forces.append(_python_force(other, particles, replicas))
    for force in forces:
        force.setForceGroup(force_group)
        force.setName("NemoForce")
    return forces


def _python_force(energy: ProteinEnergy, particles: Sequence[int], replicas: int) -> mm.PythonForce:
    if replicas > 1:
        batch = NemoReplicaEnergy(energy, replicas)
        force = mm.PythonForce(batch, {SCALE_PARAMETER: 1.0, REPLICA_PARAMETER: -1.0})
    else:
        force = mm.PythonForce(NemoPythonEnergy(energy), {SCALE_PARAMETER: 1.0})
    force.setParticles(particles)
    force.setUsesPeriodicBoundaryConditions(False)
    return force


def replica_energy(context: mm.Context, replica: int) -> float:
    """Potential energy of one replica in a context of the system of `create_system` with replicas, kJ/mol.

    Parameters
    ----------
    context : openmm.Context
    replica : int
        Its number, counted from 0. Forces without the parameter ``nemo_replica`` add their whole energy.
    """
    context.setParameter(REPLICA_PARAMETER, replica)
    try:
        return context.getState(energy=True).getPotentialEnergy()._value
    finally:
        context.setParameter(REPLICA_PARAMETER, -1)
