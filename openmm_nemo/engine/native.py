"""The terms of the energy that are sums of fixed functions, as a force of the compiled plugin, without torch."""

import ctypes
import dataclasses
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import openmm as mm
from torch import Tensor

from openmm_nemo.energies import Energy, ProteinEnergy
from openmm_nemo.plugin import core_functions

NATIVE_TERMS = ("pair-basis", "chain-basis", "backbone")
"""Terms that the plugin computes."""

KERNEL = "CalcNemoBasisForce"
"""Name under which OpenMM's platforms know the kernel."""


def divide(energy: ProteinEnergy) -> tuple[ProteinEnergy | None, ProteinEnergy | None]:
    """The parts of an energy that the plugin computes and does not compute; None where there is none."""
    config = energy.origin.config
    parts: list[ProteinEnergy | None] = []
    for native in (True, False):
        terms = tuple(name for name in config.terms if (name in NATIVE_TERMS) == native)
        if len(terms) == len(config.terms):
            parts.append(energy)
        elif terms:
            parts.append(_with_terms(energy, terms))
        else:
            parts.append(None)
    return parts[0], parts[1]


def _with_terms(energy: ProteinEnergy, terms: tuple[str, ...]) -> ProteinEnergy:
    """The part of an energy with some of its terms."""
    config = dataclasses.replace(energy.origin.config, terms=terms)
    network = Energy(config)
    coefficients = []
    first = 0
    for name, term in energy.network.terms.items():
        end = first + term.n_coefficients
        if name in terms:
            coefficients += [part.value for part in energy.coefficients[first:end]]
            network.terms[name] = term
        first = end
    return type(energy)(
        network, coefficients, energy.sequence, energy.origin._replace(config=config)
    )


def native_force(
    energy: ProteinEnergy, particles: Sequence[int], replica: int | None = None
) -> mm.Force:
    """Force of the plugin for an energy that has only `NATIVE_TERMS`.

    It reads and writes XML of plain numbers, and its coefficients are those of the model in single precision. On the
    Reference platform and with double precision on a GPU it is computed in double precision, elsewhere the sum over
    pairs is in single precision. Pairs of residues more than 35 Angstrom apart, where all functions are below 1e-9,
    are left out.

    Parameters
    ----------
    energy : ProteinEnergy
    particles : sequence of int
        Indices of the particles that are the residues, in order.
    replica : int, optional
        For one of several replicas, each with its own force: its number.
    """
    values = [part.value for part in energy.coefficients]
    return force_of_terms(energy.network, values, particles, replica, energy.chain_lengths)


def force_of_terms(
    network: Energy,
    coefficients: Sequence[Tensor],
    particles: Sequence[int],
    replica: int | None = None,
    chain_lengths: Sequence[int] = (),
) -> mm.Force:
    """As `native_force`, with the coefficients of all terms of a chain without padding: (L, L, C) or (L, C).

    For a complex, ``chain_lengths`` are the numbers of residues of its chains.
    """
    terms = network.terms
    lengths = list(chain_lengths) or [len(particles)]
    # The C++ object holds all data. OpenMM's Python layer has no constructor for it, but can read one from XML.
    attributes = {
        "type": "NemoBasisForce",
        "version": "1" if len(lengths) == 1 else "2",
        "forceGroup": "0",
        "name": "NemoBasisForce",
        "backbone": str(int("backbone" in terms)),
        "pairs": "",
        "chain": "",
    }
    if replica is not None:
        attributes["replica"] = str(replica)
    root = ElementTree.Element("Force", attributes)
    children = ElementTree.SubElement(root, "Particles")
    for particle in particles:
        ElementTree.SubElement(children, "Particle", index=str(particle))
    if len(lengths) > 1:
        children = ElementTree.SubElement(root, "Chains")
        for length in lengths:
            ElementTree.SubElement(children, "Chain", length=str(length))
    force = mm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))
    values = iter(coefficients)
    for name, term in terms.items():
        if name == "pair-basis":
            scale = term.scale_of_chains(lengths).unsqueeze(-1)
            _set_coefficients(force, True, scale * next(values))
        elif name == "chain-basis":
            _set_coefficients(force, False, term.scales()[0] * next(values))
    return force


def _set_coefficients(force: mm.Force, of_pairs: bool, values: Tensor) -> None:
    array = np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)
    pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    core_functions().openmm_nemo_set_coefficients(int(force.this), of_pairs, pointer, array.size)
