"""A model conditioned on one protein: everything a simulation of it needs."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from openmm_nemo.conditioning import BaselineOutput, SequenceOutput
from openmm_nemo.dynamics import Schedule, StepParameters, Trajectory, energy_and_gradient
from openmm_nemo.energies import ComplexEnergy, Energy, Origin, ProteinEnergy
from openmm_nemo.errors import InputError
from openmm_nemo.models.batch import ConditionedBatch
from openmm_nemo.models.imputation import Imputation
from openmm_nemo.residues import BREAK, Numbering, chain_name

if TYPE_CHECKING:
    import openmm as mm
    from openmm import unit

    from openmm_nemo.engine import NemoLangevinIntegrator, NemoTopology


class ConditionedModel(nn.Module):
    """Energy, initial state, step sizes and atoms of one protein of L residues.

    Made by `NemoModel.condition`; independent of the model that made it. Lengths in Angstrom, energies in kT.

    A baseline has only s, z0, secondary_structure and the imputation: methods that need an energy or step sizes raise
    InputError.

    Attributes
    ----------
    sequence : str
        One letter per residue.
    chain_lengths : tuple of int
        Number of residues of each chain: (L,), except for a complex, see `openmm_nemo.models.ConditionedComplex`.
    numbering : Numbering
        Names of the chain and its residues in topologies and files; chain A, from 1, unless another is assigned.
    has_energy : bool
        False for a baseline.
    s : Tensor, shape (L, q)
    z0 : Tensor, shape (L, 3)
    cartesian_step, internal_step : Tensor, shape ()
    cartesian_preconditioner, internal_preconditioner : Tensor, shape (L,), (L, 3)
    secondary_structure : Tensor, shape (L, 8)
        See `SequenceOutput`.
    potential : ProteinEnergy or None
        The energy's network with its coefficients.
    imputation : Imputation
    """

    s: Tensor
    z0: Tensor
    cartesian_step: Tensor
    internal_step: Tensor
    cartesian_preconditioner: Tensor
    internal_preconditioner: Tensor
    secondary_structure: Tensor

    def __init__(
        self,
        origin: Origin,
        sequence: str,
        s: Tensor,
        output: SequenceOutput | BaselineOutput,
        energy_network: Energy | None,
        imputation: Imputation,
    ) -> None:
        super().__init__()
        chains = sequence.split(BREAK)
        self.sequence = "".join(chains)
        self.chain_lengths = tuple(map(len, chains))
        self.numbering = Numbering.join(
            [Numbering.consecutive(n, chain_name(k)) for k, n in enumerate(self.chain_lengths)]
        )
        self.annealing = origin.config.annealing
        self.register_buffer("s", s[0].detach())
        for name, value in output._asdict().items():
            if name != "coefficients":
                self.register_buffer(name, value[0].detach())
        self.potential: ProteinEnergy | None = None
        if energy_network is not None and isinstance(output, SequenceOutput):
            coefficients = [values[0] for values in output.coefficients]
            kind = ProteinEnergy if len(chains) == 1 else ComplexEnergy
            self.potential = kind(energy_network, coefficients, sequence, origin)
        self.imputation = imputation
        self.eval()
        self.requires_grad_(False)

    @property
    def chains(self) -> list[list[int]]:
        """Indices of the residues of each chain."""
        residues = iter(range(len(self.sequence)))
        return [list(islice(residues, n)) for n in self.chain_lengths]

    @property
    def has_energy(self) -> bool:
        """Whether it can be simulated."""
        return self.potential is not None

    def require_energy(self) -> ProteinEnergy:
        """The potential.

        Raises
        ------
        InputError
            If the model is a baseline, which has none.
        """
        if self.potential is None:
            raise InputError(
                "The model is a baseline without energy and cannot be simulated: "
                "get the one structure that it predicts with 'openmm-nemo sample -n 1'."
            )
        return self.potential

    def energy(self, x: Tensor) -> Tensor:
        """Energies (...), kT, at ``x (..., L, 3)``, Angstrom; differentiable."""
        energies: Tensor = self.require_energy()(x.reshape(-1, *x.shape[-2:]))
        return energies.reshape(x.shape[:-2])

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Detached energies (...), kT, and gradient (..., L, 3), kT / Angstrom."""
        return energy_and_gradient(self.energy, x.detach())

    def impute(self, x: Tensor) -> Tensor:
        """Atoms (..., L, 5, 3), see `ATOM_NAMES`, of ``x (..., L, 3)``, Angstrom."""
        batch = x.reshape(-1, *x.shape[-2:])
        s = self.s.expand(batch.shape[0], -1, -1)
        atoms: Tensor = self.imputation(batch, s, torch.ones_like(batch[..., 0]))
        return atoms.reshape(x.shape[:-1] + atoms.shape[-2:])

    def copies(self, n_chains: int) -> ConditionedBatch:
        """A batch of ``n_chains`` independent copies of the protein."""

        def repeat(value: Tensor) -> Tensor:
            return value.expand((n_chains, *value.shape))

        mask = repeat(torch.ones_like(self.s[:, 0]))
        if self.potential is None:
            secondary_structure = repeat(self.secondary_structure)
            return ConditionedBatch(mask, repeat(self.z0), secondary_structure, None, (), None)
        return ConditionedBatch(
            mask,
            repeat(self.z0),
            repeat(self.secondary_structure),
            StepParameters(
                repeat(self.cartesian_step),
                repeat(self.internal_step),
                repeat(self.cartesian_preconditioner),
                repeat(self.internal_preconditioner),
                mask,
            ),
            self.potential.coefficient_values(),
            self.potential.network,
            self.annealing,
        )

    def schedule(self, n_steps: int = 250) -> Schedule:
        """The model's schedule of temperature and step sizes for a simulation of ``n_steps`` steps."""
        first, last = self.annealing
        return Schedule(n_steps, first, last)

    def initial_state(self, seed: int | None = None) -> Tensor:
        """x(0) = F(z0), centred at the origin; shape (L, 3), Angstrom; see `ConditionedBatch.initial_positions`."""
        return self.copies(1).initial_positions(seed)[0]

    def step_parameters(self, n_chains: int = 1) -> StepParameters:
        """Step sizes and preconditioners for a batch of ``n_chains`` copies in the simulator."""
        self.require_energy()
        parameters = self.copies(n_chains).parameters
        assert parameters is not None
        return parameters

    @torch.inference_mode(False)  # forces are gradients
    def rollout(
        self,
        n_steps: int = 250,
        n_chains: int = 1,
        x0: ArrayLike | None = None,
        *,
        seed: int = 0,
        first_step: int = 0,
        anneal: bool = True,
        **options: Any,
    ) -> Trajectory:
        """Simulate in PyTorch.

        Parameters
        ----------
        n_steps : int
        n_chains : int
            Independent simulations, run as one batch.
        x0 : array-like, shape (L, 3), optional
            Initial positions, Angstrom. Default: those of `ConditionedBatch.initial_positions` with this seed.
        seed, first_step : int
            See `openmm_nemo.dynamics.rollout`.
        anneal : bool
            Follow the model's `schedule` up to the last step; otherwise the temperature is constant.
        **options
            As for `openmm_nemo.dynamics.rollout`: temperature, integrator, ...

        Returns
        -------
        Trajectory

        Raises
        ------
        ValueError
            If ``x0`` has another shape.
        """
        self.require_energy()
        chains = self.copies(n_chains)
        if x0 is None:
            start = chains.initial_positions(seed)
        else:
            start = torch.as_tensor(x0, dtype=self.z0.dtype, device=self.z0.device)
            if start.shape != self.z0.shape:
                expected = tuple(self.z0.shape)
                raise ValueError(f"x0 has shape {tuple(start.shape)}: it must be {expected}.")
        if anneal:
            options["schedule"] = self.schedule(first_step + n_steps)
        start = start.expand_as(chains.z0)
        return chains.rollout(n_steps, start, seed=seed, first_step=first_step, **options)

    # OpenMM is imported only where it is needed.

    @property
    def topology(self) -> "NemoTopology":
        """OpenMM topology: one C-alpha per residue, with real residue names."""
        return self.create_topology()

    def create_topology(self, replicas: int = 1) -> "NemoTopology":
        """OpenMM topology of this protein or of its replicas, one chain each; see `openmm_nemo.engine.NemoTopology`."""
        from openmm_nemo.engine import NemoTopology

        return NemoTopology(self, replicas)

    def create_force(
        self,
        backend: str = "auto",
        particles: Sequence[int] | None = None,
        force_group: int = 0,
    ) -> "mm.Force":
        """OpenMM force; see `openmm_nemo.engine.create_force`."""
        from openmm_nemo.engine import create_force

        return create_force(self, backend, particles, force_group)

    def create_system(self, backend: str = "auto", replicas: int = 1) -> "mm.System":
        """OpenMM system of this protein, or of independent replicas of it; see `openmm_nemo.engine.create_system`.

        To simulate replicas in one context::

            system = protein.create_system(replicas=8)
            integrator = protein.create_integrator(replicas=8, temperatures=np.geomspace(300, 450, 8))
            simulation = app.Simulation(protein.create_topology(8), system, integrator)
            simulation.context.setPositions(protein.initial_positions(replicas=8))
            for r in range(8):
                simulation.reporters.append(NemoTrajectoryReporter(f"replica{r}.xtc", 10, replica=r))
        """
        from openmm_nemo.engine import create_system

        return create_system(self, backend, replicas)

    def add_to_system(
        self,
        system: "mm.System",
        particles: Sequence[int],
        backend: str = "auto",
        force_group: int = 0,
    ) -> int:
        """Add the force to an existing system; see `openmm_nemo.engine.add_to_system`."""
        from openmm_nemo.engine import add_to_system

        return add_to_system(self, system, particles, backend, force_group)

    def create_integrator(
        self,
        temperature: Any = 300.0,
        seed: int | None = None,
        schedule: Schedule | None = None,
        replicas: int = 1,
        temperatures: Sequence[Any] | None = None,
        **options: Any,
    ) -> "NemoLangevinIntegrator":
        """Integrator with this protein's step sizes; see `openmm_nemo.engine.create_integrator`.

        The temperature is constant by default. To anneal a simulation as the model was trained::

            integrator = protein.create_integrator(300 * unit.kelvin, schedule=protein.schedule(n_steps))
        """
        from openmm_nemo.engine import create_integrator

        replicated: dict[str, Any] = {"replicas": replicas, "temperatures": temperatures}
        return create_integrator(
            self, temperature, seed, schedule=schedule, **replicated, **options
        )

    def initial_positions(self, seed: int | None = None, replicas: int = 1) -> "unit.Quantity":
        """Initial positions, shape (R L, 3), nm, as an OpenMM Quantity; see `openmm_nemo.engine.initial_positions`."""
        from openmm_nemo.engine import initial_positions

        return initial_positions(self, seed, replicas)
