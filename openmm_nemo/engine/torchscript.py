"""TorchScript of the networks, for TorchForce and for programs that have torch but not this package.

PyTorch deprecates TorchScript, and openmm-torch's TorchForce with it: nothing else in the package depends on this
module.
"""

import copy
import ctypes
import functools
import io
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import openmm as mm
import torch
from torch import Tensor, nn

from openmm_nemo.engine.potential import Potential, ReplicaPotential
from openmm_nemo.engine.protein import Protein
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing
from openmm_nemo.plugin import platform_names

SEQUENCE_FILE = "sequence.pt"
ENERGY_FILE = "energy.pt"
IMPUTATION_FILE = "imputation.pt"

_GET_POSITIONS = "_ZN6OpenMM11ContextImpl12getPositionsERSt6vectorINS_4Vec3ESaIS2_EE"


# One protein, in OpenMM's units


class _Imputation(nn.Module):
    """Backbone reconstruction of one protein, in nm."""

    s: Tensor
    mask: Tensor

    def __init__(self, network: nn.Module, s: Tensor):
        super().__init__()
        self.network = network
        self.angstrom_per_nm: float = ANGSTROM_PER_NM
        self.register_buffer("s", s.unsqueeze(0))
        self.register_buffer("mask", torch.ones_like(s[:, 0]).unsqueeze(0))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (L, 5, 3) of N, CA, C, O and the side chain's centre, for ``positions (L, 3)``."""
        x = positions.to(self.s.dtype).unsqueeze(0) * self.angstrom_per_nm
        return self.network(x, self.s, self.mask)[0].to(positions.dtype) / self.angstrom_per_nm


def export_energy(
    protein: Protein, particles: Sequence[int] | None = None
) -> torch.jit.ScriptModule:
    """TorchScript energy of a protein: positions in nm and ``nemo_scale`` in, kJ/mol out.

    Parameters
    ----------
    protein : ConditionedModel
    particles : sequence of int, optional
        Indices of the particles that are its residues, in order. Default: all.

    Returns
    -------
    torch.jit.ScriptModule
        ``forward(positions (N, 3), nemo_scale ()) -> ()``. Save it with its method ``save``.
    """
    # Not frozen: constants would stay behind when TorchForce moves the module to the device of its platform.
    return torch.jit.script(Potential(protein.require_energy(), particles).eval())


def export_imputation(protein: Any) -> torch.jit.ScriptModule:
    """TorchScript imputation of a protein: ``forward(positions (L, 3)) -> (L, 5, 3)``, both in nm.

    Parameters
    ----------
    protein : ConditionedModel

    Raises
    ------
    InputError
        If it is a complex.
    """
    if len(protein.chain_lengths) > 1:
        raise InputError(
            f"The model is of a complex of {len(protein.chain_lengths)} chains, whose atoms are imputed chain by "
            "chain: export the imputation of each chain alone."
        )
    return torch.jit.script(_Imputation(protein.imputation, protein.s).eval())


# The networks of a model, in Angstrom and kT


class Networks(Protocol):
    """The parts of a model that are exported; `openmm_nemo.NemoModel` has them."""

    @property
    def sequence_network(self) -> nn.Module:
        """From s to coefficients."""

    @property
    def energy(self) -> nn.Module | None:
        """From positions and coefficients to U; None in a baseline."""

    @property
    def imputation(self) -> nn.Module:
        """From positions and s to atoms."""


def scripted_networks(model: Networks) -> dict[str, torch.jit.ScriptModule]:
    """TorchScript modules of a model by their file names, in evaluation mode.

    In Angstrom and kT; for one protein in OpenMM's units, see `export_energy`.

    Parameters
    ----------
    model : NemoModel

    Returns
    -------
    dict of str to torch.jit.ScriptModule
        ``sequence.pt``: ``(s (B, L, q), mask (B, L)) -> SequenceOutput``, or `BaselineOutput`.
        ``energy.pt``: ``(x (B, L, 3), coefficients, mask (B, L)) -> U (B,)``, with ``coefficients`` the list of tensors
        in the output of ``sequence.pt``; a baseline has no such file. ``imputation.pt``: ``(x (B, L, 3), s (B, L, q),
        mask (B, L)) -> atoms (B, L, 5, 3)``.
    """
    networks = {
        SEQUENCE_FILE: model.sequence_network,
        ENERGY_FILE: model.energy,
        IMPUTATION_FILE: model.imputation,
    }
    return {
        name: torch.jit.script(copy.deepcopy(network).cpu().eval().requires_grad_(False))
        for name, network in networks.items()
        if network is not None
    }


def write_scripted(model: Networks, folder: Path) -> list[str]:
    """Write `scripted_networks` to an existing folder: each file atomically, and with the same bytes every time.

    Files of networks that the model does not have are removed.

    Returns
    -------
    list of str
        Names of the files.
    """
    modules = scripted_networks(model)
    for name in (SEQUENCE_FILE, ENERGY_FILE, IMPUTATION_FILE):
        if name not in modules:
            (folder / name).unlink(missing_ok=True)
            continue
        with completing(folder / name) as partial:
            partial.write_bytes(_archive(modules[name], Path(name).stem))
    return list(modules)


def _archive(module: torch.jit.ScriptModule, name: str) -> bytes:
    """What `torch.jit.save` writes, without the paths of the sources on this machine, a quarter of the size."""
    saved, kept = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, saved)
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(kept, "w") as archive:
        for entry in sorted(whole.namelist()):
            if not entry.endswith(".debug_pkl") and "serialization_id" not in entry:
                # The first folder is the name of the archive, which a buffer does not have.
                _, _, inner = entry.partition("/")
                archive.writestr(zipfile.ZipInfo(f"{name}/{inner}"), whole.read(entry))
    return kept.getvalue()


# Energies of PythonForces written by version 0.1; readable until version 1.0.


def load_archived_energy(content: bytes) -> nn.Module:
    """The energy in an archive of TorchScript: ``forward(positions, nemo_scale)`` as from `export_energy`."""
    return torch.jit.load(io.BytesIO(content))


def save_archived_energy(module: nn.Module) -> bytes:
    """Inverse of `load_archived_energy`."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


# TorchForce


@functools.cache
def torchforce_problem() -> str | None:
    """Why TorchForce does not work here, in one sentence; None if it does.

    TorchForce's kernels need torch to be loaded first. If OpenMM came first, they are loaded again here. Then a small
    force is evaluated, because a wheel built for another release of torch fails only when it is used.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it imports OpenMM by its old name, which causes a warning
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
    """Load the plugin libraries of TorchForce that failed to load with OpenMM, for the available platforms."""
    known = platform_names()
    for failure in mm.Platform.getPluginLoadFailures():
        for word in failure.replace(":", " ").split():
            name = Path(word).stem
            if name.startswith("libOpenMMTorch") and name.removeprefix("libOpenMMTorch") in known:
                mm.Platform.loadPluginLibrary(word)


@functools.cache
def torchforce_platform_problems() -> dict[str, str]:
    """Platforms on which TorchForce would end the process, and why.

    The GPU libraries of openmmtorch 1.5 call a function whose argument changed in OpenMM 8.6. The linker does not find
    it when it is called, and ends the process without an exception.
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
                "use the backend 'python' there"
            )
    return problems


class _Parabola(torch.nn.Module):
    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return (positions * positions).sum()


def torchforce(protein: Protein, particles: Sequence[int], replicas: int = 1) -> Any:
    """TorchForce of the energy of a protein or of its replicas, without parameters."""
    if replicas == 1:
        return _torchforce_class()(export_energy(protein, particles))
    potential = ReplicaPotential(protein.require_energy(), replicas, particles)
    return _torchforce_class()(torch.jit.script(potential.eval()))


# OpenMM 8.6 crashes when it reads (or copies) a TorchForce of openmmtorch 1.5, which was built against the memory
# layout of OpenMM 8.5. Writing works. Here such a force is read in Python, and OpenMM reads everything else.


@functools.cache
def _torchforce_class() -> Any:
    """TorchForce that refuses to be copied or pickled."""
    import openmmtorch

    def refuse(self: Any, *_: Any) -> Any:
        raise mm.OpenMMException(
            "OpenMM cannot copy or pickle a TorchForce: make another one, or use backend='python'."
        )

    names = ("__copy__", "__deepcopy__", "__getstate__")
    return type("TorchForce", (openmmtorch.TorchForce,), dict.fromkeys(names, refuse))


class TorchForceSystem(mm.System):
    """System that is copied and unpickled by `deserialize_system`, because it may contain a TorchForce."""

    def __copy__(self) -> mm.System:
        return deserialize_system(mm.XmlSerializer.serialize(self))

    def __setstate__(self, xml: str) -> None:
        self.this = deserialize_system(xml).this


def make_copyable(system: mm.System) -> None:
    """Let Python copy and pickle a system that contains a TorchForce."""
    if type(system) is mm.System:
        system.__class__ = TorchForceSystem


def deserialize_system(xml: str) -> mm.System:
    """System from the XML that `openmm.XmlSerializer.serialize` made.

    A PythonForce in it is a Python pickle, a TorchForce a TorchScript archive: read only files that you trust.

    Parameters
    ----------
    xml : str

    Returns
    -------
    openmm.System
        TorchForces come after all other forces.

    Raises
    ------
    openmm.OpenMMException
        If it is not the XML of a system, or contains a TorchForce and TorchForce does not work here.
    """
    root = ElementTree.fromstring(xml)
    found = []
    for forces in root.iterfind("Forces"):
        for element in forces.findall("Force[@type='TorchForce']"):
            forces.remove(element)
            found.append(element)
    system = mm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))
    for element in found:
        system.addForce(_torchforce(element))
    if found:
        make_copyable(system)
    return system


def _torchforce(element: ElementTree.Element) -> mm.Force:
    problem = torchforce_problem()
    if problem is not None:
        raise mm.OpenMMException(
            f"The system has a TorchForce, which cannot be read here: {problem}."
        )
    module = torch.jit.load(io.BytesIO(bytes.fromhex(element.get("encodedFileContents", ""))))
    properties = {p.get("name"): p.get("value") for p in element.iterfind("Properties/Property")}
    force = _torchforce_class()(module, properties)
    for parameter in element.iterfind("GlobalParameters/Parameter"):
        force.addGlobalParameter(parameter.get("name"), float(parameter.get("default", 0)))
    for derivative in element.iterfind("ParameterDerivatives/Parameter"):
        force.addEnergyParameterDerivative(derivative.get("name"))
    force.setForceGroup(int(element.get("forceGroup", 0)))
    force.setOutputsForces(element.get("outputsForces") == "1")
    force.setUsesPeriodicBoundaryConditions(element.get("usesPeriodic") == "1")
    return force
