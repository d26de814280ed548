"""The whole model: sequence network, energy and imputation."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from openmm_nemo.conditioning.baseline import BaselineNetwork
from openmm_nemo.conditioning.sequence import SequenceNetwork
from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.energy import Energy
from openmm_nemo.errors import InputError
from openmm_nemo.models.conditioned import ConditionedModel
from openmm_nemo.models.imputation import Imputation
from openmm_nemo.models.pretrained import (
    ModelFiles,
    check_weights,
    find_model,
    read_model,
    write_model,
)
from openmm_nemo.residues import AMINO_ACIDS, check_sequence


class NemoModel(nn.Module):
    """NEMO (Ingraham et al., ICLR 2019) without its simulator, or the paper's baseline (4.2).

    Random weights; `torch.manual_seed` before decides which. `from_pretrained` reads weights.

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
    sequence_network : SequenceNetwork or BaselineNetwork
    energy : Energy or None
        None in a baseline, see `NemoConfig.lstm_units`.
    imputation : Imputation
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        self.config = config
        self.trained = False
        self.description = ""
        baseline = config.lstm_units > 0
        self.sequence_network = BaselineNetwork(config) if baseline else SequenceNetwork(config)
        self.energy = None if baseline else Energy(config)
        self.imputation = Imputation(config)

    def encode(self, sequence: str, profile: ArrayLike | None = None) -> Tensor:
        """Input of the networks.

        Parameters
        ----------
        sequence : str
            One-letter codes of L residues.
        profile : array-like, shape (L, 20), optional
            Profile with columns in the order of `openmm_nemo.residues.AMINO_ACIDS`, for a profile
            model.

        Returns
        -------
        Tensor, shape (1, L, q)

        Raises
        ------
        InputError
            If the sequence is not one of at least four amino acids, or the profile is not what the
            model takes.
        """
        sequence = check_sequence(sequence)
        weight = self.imputation.input.weight
        index = torch.tensor([AMINO_ACIDS.index(letter) for letter in sequence])
        s = F.one_hot(index, len(AMINO_ACIDS)).to(weight)
        if self.config.profile:
            s = torch.cat([s, _check_profile(profile, len(sequence)).to(weight)], dim=-1)
        elif profile is not None:
            raise InputError(
                "This model takes the sequence alone: leave the profile out or use a profile model."
            )
        return s.unsqueeze(0)

    def condition(self, sequence: str, profile: ArrayLike | None = None) -> ConditionedModel:
        """Run the sequence network once and keep what a simulation of this protein needs.

        Parameters
        ----------
        sequence : str
            One-letter codes.
        profile : array-like, shape (L, 20), optional
            For a profile model.

        Returns
        -------
        ConditionedModel
            In evaluation mode, without gradients to the weights, of which it has its own copy.

        Raises
        ------
        InputError
            As `encode`.
        """
        s = self.encode(sequence, profile)
        with evaluation_mode(self.sequence_network), torch.no_grad():
            output = self.sequence_network(s, torch.ones_like(s[..., 0]))
        return ConditionedModel(
            check_sequence(sequence),
            s,
            output,
            copy.deepcopy(self.energy),
            copy.deepcopy(self.imputation),
        )

    def fingerprint(self) -> str:
        """SHA-256 of all weights, as float32, and their names; the same on every device."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> "NemoModel":
        """Read a model, in evaluation mode.

        Parameters
        ----------
        name_or_path : str or Path
            Name of an installed model (see `list_models`) or a folder written by `save_pretrained`.

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
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the weights, `config`, `trained` and `description` to ``folder``."""
        files = ModelFiles(self.config, self.trained, self.description, self.state_dict())
        write_model(folder, files)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode that gives every submodule its own mode back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _check_profile(profile: ArrayLike | None, length: int) -> Tensor:
    if profile is None:
        raise InputError(
            f"This model needs a profile: give an array of shape ({length}, {len(AMINO_ACIDS)})."
        )
    try:
        array = np.asarray(profile, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            "The profile is not an array of numbers: give one row a residue."
        ) from None
    if array.shape != (length, len(AMINO_ACIDS)):
        raise InputError(
            f"The profile has shape {array.shape}: "
            f"give one of ({length}, {len(AMINO_ACIDS)}), a row a residue."
        )
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(1))) + 1
        raise InputError(
            f"The profile has a number that is not finite at residue {row}: correct it."
        )
    return torch.from_numpy(array)
