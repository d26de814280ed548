"""Everything that touches OpenMM: forces, systems, the integrator, reporters and trajectories."""

# torch first: TorchForce's kernels can only be loaded into a process that has already loaded torch.
import torch  # noqa: F401

from openmm_nemo.engine.all_atoms import all_atom_model
from openmm_nemo.engine.exchange import NemoReplicaExchange
from openmm_nemo.engine.force_frames import record_forces
from openmm_nemo.engine.forces import (
    choose_backend,
    create_force,
    create_forces,
    replica_energy,
)
from openmm_nemo.engine.integrator import NemoLangevinIntegrator
from openmm_nemo.engine.pdb import write_pdb
from openmm_nemo.engine.reporters import (
    NemoAtomReporter,
    NemoStateReporter,
    NemoTrajectoryReporter,
)
from openmm_nemo.engine.rigid_moves import NemoChainMoves, RigidBodyMoves
from openmm_nemo.engine.system import (
    NemoTopology,
    add_to_system,
    create_integrator,
    create_system,
    initial_positions,
)
from openmm_nemo.engine.torchscript import (
    deserialize_system,
    export_energy,
    export_imputation,
    torchforce_problem,
)
from openmm_nemo.engine.trajectory import TrajectoryWriter, atom_topology, coarse_topology

__all__ = [
    "NemoAtomReporter",
    "NemoChainMoves",
    "NemoLangevinIntegrator",
    "NemoReplicaExchange",
    "NemoStateReporter",
    "NemoTopology",
    "NemoTrajectoryReporter",
    "RigidBodyMoves",
    "TrajectoryWriter",
    "add_to_system",
    "all_atom_model",
    "atom_topology",
    "choose_backend",
    "coarse_topology",
    "create_force",
    "create_forces",
    "create_integrator",
    "create_system",
    "deserialize_system",
    "export_energy",
    "export_imputation",
    "initial_positions",
    "record_forces",
    "replica_energy",
    "torchforce_problem",
    "write_pdb",
]
