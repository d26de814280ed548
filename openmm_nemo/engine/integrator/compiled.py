"""The integrator compiled as an OpenMM plugin (openmm_nemo/plugin)."""

import ctypes
from typing import Any
from xml.etree import ElementTree

import openmm as mm

from openmm_nemo.dynamics import Schedule
from openmm_nemo.engine.integrator.interface import LangevinInterface, Settings, split_chains
from openmm_nemo.plugin import core_functions


class CompiledIntegrator(LangevinInterface, mm.Integrator):  # noqa: D101 (below)
    __doc__ = LangevinInterface.__doc__

    # The C++ object holds all data. OpenMM's Python layer has no constructor for it, but can read one from XML.

    def _create(self, settings: Settings) -> None:
        root = ElementTree.fromstring(core_functions().openmm_nemo_default_xml())
        root.set("detrend", str(settings.detrend))
        root.set("measureCorrection", str(int(settings.measure_correction)))
        root.set("metropolis", str(int(settings.metropolis)))
        chains, cartesian, internal = root
        for chain in settings.chains:
            element = ElementTree.SubElement(chains, "Chain")
            for particle in chain:
                ElementTree.SubElement(element, "Bead", particle=str(particle))
        for value in settings.cartesian_preconditioner.tolist():
            ElementTree.SubElement(cartesian, "Particle", c=repr(value))
        for row in settings.internal_preconditioner.tolist():
            b, a, d = map(repr, row)
            ElementTree.SubElement(internal, "Particle", b=b, a=a, d=d)
        if settings.replicas > 1:
            others = ElementTree.SubElement(root, "OtherReplicas")
            for _ in range(settings.replicas - 1):
                ElementTree.SubElement(others, "Replica", temperature=root.get("temperature", ""))
        self._adopt(mm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode")))

    def _adopt(self, integrator: Any) -> None:
        """Become the Python object of an integrator that OpenMM created."""
        if not (
            isinstance(integrator, mm.Integrator)
            and core_functions().openmm_nemo_owns(int(integrator.this))
        ):
            raise mm.OpenMMException(
                f"A {type(integrator).__name__} is not a NemoLangevinIntegrator."
            )
        self.this = integrator.this

    @classmethod
    def from_xml(cls, xml: str) -> "CompiledIntegrator":
        """Integrator from the XML that `openmm.XmlSerializer.serialize` made."""
        integrator = cls.__new__(cls)
        integrator._adopt(mm.XmlSerializer.deserialize(xml))
        return integrator

    def getChains(self) -> list[list[int]] | None:
        """Particle indices of every chain; None: all particles are one chain."""
        address = int(self.this)
        flat = (ctypes.c_int * core_functions().openmm_nemo_chains(address, None))()
        core_functions().openmm_nemo_chains(address, flat)
        return split_chains(flat)

    def _get(self, name: str) -> float:
        value = ctypes.c_double()
        _check(core_functions().openmm_nemo_get(int(self.this), name.encode(), value))
        return value.value

    def _set(self, name: str, value: float) -> None:
        _check(core_functions().openmm_nemo_set(int(self.this), name.encode(), value))

    def _get_temperatures(self) -> list[float]:
        address = int(self.this)
        values = (ctypes.c_double * core_functions().openmm_nemo_temperatures(address, None))()
        core_functions().openmm_nemo_temperatures(address, values)
        return list(values)

    def _set_temperatures(self, temperatures: list[float]) -> None:
        values = (ctypes.c_double * len(temperatures))(*temperatures)
        core_functions().openmm_nemo_set_temperatures(int(self.this), values)

    def _get_schedule(self) -> Schedule:
        steps, hottest, coldest, block = (self._get(f"schedule_{n}") for n in Schedule._fields)
        return Schedule(int(steps), hottest, coldest, int(block))

    def _set_schedule(self, schedule: Schedule) -> None:
        for name, value in schedule._asdict().items():
            self._set(f"schedule_{name}", value)


def _check(problem: bytes | None) -> None:
    """Raise the error that a function of the library returned."""
    if problem is not None:
        raise mm.OpenMMException(problem.decode())
