"""From a sequence to an OpenMM trajectory, entirely in Python.

python examples/simulate_sequence.py [FOLDER]
"""

import sys
from pathlib import Path

import openmm.app as app
import openmm.unit as unit

from openmm_nemo import NemoAtomReporter, NemoModel, NemoStateReporter

out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/simulate_sequence")
out.mkdir(parents=True, exist_ok=True)

model = NemoModel.from_pretrained("nemo-fold")
protein = model.condition("NLYIQWLKDGGPSSGRPPPS")  # runs the sequence network once
system = protein.create_system(backend="auto")
# Annealed, as the model was trained: from 600 to 30 K.
integrator = protein.create_integrator(300 * unit.kelvin, seed=1, schedule=protein.schedule(250))
simulation = app.Simulation(protein.topology, system, integrator)
simulation.context.setPositions(protein.initial_positions(seed=1))  # drawn, as in training
simulation.reporters += [
    app.DCDReporter(str(out / "cg.dcd"), 10),
    NemoAtomReporter(out / "atoms.pdb", 10),
    NemoStateReporter(out / "state.csv", 10),
]
simulation.step(250)
print(f"Wrote 250 steps to {out}.")
