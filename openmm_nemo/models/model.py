"""The whole model: sequence network, energy and imputation."""

import copy
import hashlib
from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from openmm_nemo.conditioning import SEQUENCE_NETWORKS, BaselineNetwork
from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import encode
from openmm_nemo.energies import Energy, Origin
from openmm_nemo.models.batch import ConditionedBatch, evaluation_mode
from openmm_nemo.models.complex import condition_complex
from openmm_nemo.models.conditioned import ConditionedModel
from openmm_nemo.models.imputation import Imputation
from openmm_nemo.models.migration import original_name
from openmm_nemo.models.precision import sequence_output
from openmm_nemo.models.pretrained import (
    ModelFiles,
    check_weights,
    find_model,
    read_model,
    write_model,
)
from openmm_nemo.residues import check_chains, check_sequence


class NemoModel(nn.Module):
    """NEMO (Ingraham et al., ICLR 2019) without its simulator, or the paper's baseline (4.2).

    Weights are random, determined by `torch.manual_seed`; `from_pretrained` reads them from files.

    Parameters
    ----------
    config : NemoConfig

    Attributes
    ----------
    config : NemoConfig
    trained : bool
        False for random weights.
    description : str
        One sentence for users.
    name : str
        Name or path that it was read from, see `from_pretrained`.
    sequence_network : SequenceNetwork or BaselineNetwork
    energy : Energy or None
        None for a baseline, see `NemoConfig.kind`.
    imputation : Imputation
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        self.config = config
        self.trained = False
        self.description = ""
        self.name = ""
        baseline = config.kind == "baseline"
        make = BaselineNetwork if baseline else SEQUENCE_NETWORKS[config.trunk]
        self.sequence_network = make(config)
        self.energy = None if baseline else Energy(config)
        self.imputation = Imputation(config)

    def encode(
        self, sequence: str, profile: ArrayLike | None = None, **inputs: ArrayLike | None
    ) -> Tensor:
        """Input of the networks.

        Parameters
        ----------
        sequence : str
            One-letter codes of L residues.
        profile : array-like, shape (L, 20), optional
            Profile with columns in the order of `openmm_nemo.residues.AMINO_ACIDS`, for a profile model.
        **inputs
            Inputs of the model's other encoders, by their names in `openmm_nemo.encoders.ENCODERS`.

        Returns
        -------
        Tensor, shape (1, L, q)

        Raises
        ------
        InputError
            If the sequence does not consist of at least four amino acids, or an input is not what the model takes.
        """
        s = encode(self.config, check_sequence(sequence), {"profile": profile, **inputs})
        return torch.from_numpy(s).to(self.imputation.input.weight).unsqueeze(0)

    def condition(
        self, sequence: str, profile: ArrayLike | None = None, **inputs: ArrayLike | None
    ) -> ConditionedModel:
        """Run the sequence network once and keep what a simulation of this protein, or complex, needs.

        Parameters
        ----------
        sequence : str
            One-letter codes; those of a complex with a colon between chains, as in "NLYIQWLKDGG:GSAVLKDEFW".
        profile : array-like, shape (L, 20), optional
            For a profile model. For a complex, a list with one profile per chain, or None where it is not known.
        **inputs
            As for `encode`; for a complex, as ``profile``.

        Returns
        -------
        ConditionedModel
            In evaluation mode, with its own copy of the weights and no gradients to them. For a complex, a
            `openmm_nemo.models.ConditionedComplex`.

        Raises
        ------
        InputError
            As for `encode`; or if the model cannot compute the energy of a complex.

        Examples
        --------
        >>> protein = NemoModel.from_pretrained("nemo-tiny").condition("NLYIQWLKDGGPSSGRPPPS")
        >>> protein.rollout(5, n_chains=2, seed=1).x.shape  # steps, chains, residues, xyz
        torch.Size([6, 2, 20, 3])
        """
        chains = check_chains(sequence)
        if len(chains) > 1:
            return condition_complex(self, chains, {"profile": profile, **inputs})
        # Tensors that are made in inference mode cannot be used where forces are computed.
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(self.sequence_network):
            s = self.encode(chains[0], profile, **inputs)
            output = self.sequence_network(s, torch.ones_like(s[..., 0]))
            return ConditionedModel(
                Origin(self.name, self.fingerprint(), self.config),
                chains[0],
                s,
                output,
                copy.deepcopy(self.energy),
                copy.deepcopy(self.imputation),
            )

    def condition_batch(self, s: Tensor, mask: Tensor, precision: str = "32") -> ConditionedBatch:
        """Run the sequence network on many proteins; differentiable with respect to all weights.

        Parameters
        ----------
        s : Tensor, shape (B, L, q)
            Rows of `encode`, padded.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last.
        precision : str
            "32" or "bf16", see `openmm_nemo.models.precision`.
        """
        output = sequence_output(self.sequence_network, s, mask, precision)
        return ConditionedBatch.of_output(output, mask, self.energy, self.config.annealing)

    def fingerprint(self) -> str:
        """SHA-256 of all weights, as float32, and their names; the same on every device."""
        digest = hashlib.sha256()
        weights = {original_name(name): value for name, value in self.state_dict().items()}
        for name, tensor in sorted(weights.items()):
            digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    @torch.inference_mode(False)  # as in `condition`
    def from_pretrained(cls, name_or_path: str | Path) -> "NemoModel":
        """Read a model, in evaluation mode.

        Parameters
        ----------
        name_or_path : str or Path
            Name of an installed model (see `list_models`), a folder written by `save_pretrained`, or a URL; or the
            name of a model in the folder or at the URL in the environment variable NEMO_MODEL_PATH. Only models at a
            URL are fetched, and only once; see `openmm_nemo.models.hub`.

        Raises
        ------
        InputError
            If there is no such model or its files are not intact.
        """
        folder = find_model(name_or_path)
        files = read_model(folder)
        model = cls(files.config)
        check_weights(files.weights, model.state_dict(), folder)
        model.load_state_dict(files.weights)
        model.trained = files.trained
        model.description = files.description
        model.name = str(name_or_path)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the weights, `config`, `trained` and `description` to ``folder``."""
        files = ModelFiles(self.config, self.trained, self.description, self.state_dict())
        write_model(folder, files)
