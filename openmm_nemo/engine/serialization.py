"""OpenMM's XML of systems with a TorchForce.

OpenMM 8.6 crashes when it reads (or copies) a TorchForce of openmmtorch 1.5, which was built against the memory layout
of OpenMM 8.5. Writing works. Here such a force is read in Python, and OpenMM reads all else.
"""

import io
from xml.etree import ElementTree

import openmm as mm
import torch

from openmm_nemo.engine.forces import torchforce_problem


def deserialize_system(xml: str) -> mm.System:
    """System from the text that `openmm.XmlSerializer.serialize` made of one.

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
        If it is not the XML of a system, or has a TorchForce where TorchForce does not work.
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
    return system


def _torchforce(element: ElementTree.Element) -> mm.Force:
    problem = torchforce_problem()
    if problem is not None:
        raise mm.OpenMMException(
            f"The system has a TorchForce, which cannot be read here: {problem}."
        )
    import openmmtorch

    module = torch.jit.load(io.BytesIO(bytes.fromhex(element.get("encodedFileContents", ""))))
    properties = {p.get("name"): p.get("value") for p in element.iterfind("Properties/Property")}
    force = openmmtorch.TorchForce(module, properties)
    for parameter in element.iterfind("GlobalParameters/Parameter"):
        force.addGlobalParameter(parameter.get("name"), float(parameter.get("default", 0)))
    for derivative in element.iterfind("ParameterDerivatives/Parameter"):
        force.addEnergyParameterDerivative(derivative.get("name"))
    force.setForceGroup(int(element.get("forceGroup", 0)))
    force.setOutputsForces(element.get("outputsForces") == "1")
    force.setUsesPeriodicBoundaryConditions(element.get("usesPeriodic") == "1")
    return force
