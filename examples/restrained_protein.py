"""NEMO with other OpenMM forces: a restraint pulls the two ends of a chain together.

The forces of the whole system drive both the Cartesian and the internal-coordinate step.

python examples/restrained_protein.py
"""

import numpy as np
import openmm as mm
import openmm.app as app
import openmm.unit as unit

from openmm_nemo import NemoModel

protein = NemoModel.from_pretrained("nemo-fold").condition("NLYIQWLKDGGPSSGRPPPS")
last = len(protein.sequence) - 1

# Any System will do; this one also has a particle that is not part of the protein, and a restraint.
system = mm.System()
for _ in protein.sequence:
    system.addParticle(110 * unit.dalton)
system.addParticle(40 * unit.dalton)
restraint = mm.CustomBondForce("0.5 * k * (r - r0)^2")
restraint.addPerBondParameter("k")
restraint.addPerBondParameter("r0")
restraint.addBond(
    0, last, [200 * unit.kilojoule_per_mole / unit.nanometer**2, 0.6 * unit.nanometer]
)
system.addForce(restraint)

residues = list(range(last + 1))
protein.add_to_system(system, residues, force_group=1)
integrator = protein.create_integrator(300 * unit.kelvin, seed=1, system=system, particles=residues)

topology = protein.topology
topology.addAtom("AR", app.element.argon, topology.addResidue("AR", topology.addChain("B")))
simulation = app.Simulation(topology, system, integrator)
start = protein.initial_positions().value_in_unit(unit.nanometer)
simulation.context.setPositions(np.vstack([start, [[3.0, 0.0, 0.0]]]))


def distance() -> float:
    """Distance of the two ends, nm."""
    state = simulation.context.getState(positions=True)
    x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return float(np.linalg.norm(x[last] - x[0]))


print(f"before: the ends are {distance():.2f} nm apart")
simulation.step(500)
print(f"after:  the ends are {distance():.2f} nm apart")
