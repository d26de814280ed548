"""Two proteins in one System, pulled towards each other: detrending decides whether they can meet.

They do not know each other: NEMO acts on each alone. In a complex, model.condition("SEQUENCE:SEQUENCE"), it also acts
between them.

Each chain moves in its own internal coordinates. If its net translation and rotation are removed (detrend=True, as in
the paper), a chain stays where it is; detrend="system" removes only the common motion of both.

python examples/two_chains.py
"""

import itertools

import numpy as np
import openmm as mm
import openmm.unit as unit

from openmm_nemo import NemoLangevinIntegrator, NemoModel

model = NemoModel.from_pretrained("nemo-fold")
proteins = [model.condition("NLYIQWLKDGGPSSGRPPPS"), model.condition("GSAVLKDEFWYPTNQH")]
starts = np.cumsum([0] + [len(protein.sequence) for protein in proteins])
chains = [list(range(start, end)) for start, end in itertools.pairwise(starts)]

system = mm.System()
for _ in range(starts[-1]):
    system.addParticle(110 * unit.dalton)
for protein, chain in zip(proteins, chains, strict=True):
    protein.add_to_system(system, chain)
spring = mm.CustomCentroidBondForce(2, "0.5 * k * distance(g1, g2)^2")
spring.addGlobalParameter("k", 50 * unit.kilojoule_per_mole / unit.nanometer**2)
spring.addBond([spring.addGroup(chain) for chain in chains])
system.addForce(spring)

# Each protein has its own step sizes: pass them as preconditioners, with steps of 1.
cartesian = [float(p.cartesian_step) * p.cartesian_preconditioner.numpy() / 100 for p in proteins]
internal = [float(p.internal_step) * p.internal_preconditioner.numpy() for p in proteins]

for detrend in (True, "system"):
    integrator = NemoLangevinIntegrator(
        300 * unit.kelvin,
        cartesian_step=1 * unit.nanometer**2,
        internal_step=1,
        cartesian_preconditioner=np.concatenate(cartesian),
        internal_preconditioner=np.concatenate(internal),
        chains=chains,
        detrend=detrend,
        seed=1,
    )
    context = mm.Context(system, integrator)
    first, second = (protein.initial_positions()._value for protein in proteins)
    context.setPositions(np.concatenate([first, second + [4.0, 0.0, 0.0]]))
    integrator.step(500)
    x = context.getState(positions=True).getPositions(asNumpy=True)._value
    distance = np.linalg.norm(x[chains[0]].mean(0) - x[chains[1]].mean(0))
    print(f"detrend={detrend!r:9} the centres are {distance:.2f} nm apart, initially 4.00")
