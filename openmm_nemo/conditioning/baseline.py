"""Baseline of the paper: a recurrent network that predicts the initial state, and no energy (4.2)."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from openmm_nemo.conditioning.initial_state import InitialState
from openmm_nemo.conditioning.sequence import SECONDARY_STRUCTURE_CLASSES
from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import input_width
from openmm_nemo.networks.blocks import convolution, initialise

HIDDEN_SECOND_MOMENT = 0.1
"""Approximate mean square of the hidden states of an untrained network."""


class BaselineOutput(NamedTuple):
    """Everything a baseline predicts for a sequence; zero at padding.

    Attributes
    ----------
    z0 : Tensor, shape (B, L, 3)
        Predicted unconstrained internal coordinates, as in `SequenceOutput`.
    secondary_structure : Tensor, shape (B, L, 8)
        Logits.
    """

    z0: Tensor
    secondary_structure: Tensor


class BaselineNetwork(nn.Module):
    """Two-layer bidirectional LSTM that replaces the sequence network, the energy and the simulator.

    It reads the input directly, without preceding convolutions, which gives the parameter counts of Table 1 within 6%.
    Dropout, which the paper does not specify for the baseline, is applied between the layers.
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        channels = 2 * config.lstm_units
        self.lstm = nn.LSTM(
            input_width(config),
            config.lstm_units,
            num_layers=2,
            dropout=config.dropout,
            batch_first=True,
            bidirectional=True,
        )
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.detach().chunk(4):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih_l0"):
                initialise(parameter, second_moment=1 / input_width(config))
            elif name.startswith("weight_ih"):
                initialise(parameter, second_moment=HIDDEN_SECOND_MOMENT)
            else:
                nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):  # start with open forget gates
                nn.init.ones_(parameter.detach().chunk(4)[1])
        self.initial_state = InitialState(channels)
        self.secondary_structure = convolution(1, channels, SECONDARY_STRUCTURE_CLASSES)
        self.initial_state.initialise(HIDDEN_SECOND_MOMENT)
        initialise(self.secondary_structure.weight, second_moment=HIDDEN_SECOND_MOMENT)

    def forward(self, s: Tensor, mask: Tensor) -> BaselineOutput:
        """Process sequences.

        Parameters
        ----------
        s : Tensor, shape (B, L, q)
            One-hot sequence, with a profile appended if the model takes one.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and is not read.

        Returns
        -------
        BaselineOutput
        """
        lengths = mask.sum(-1).long().cpu()
        packed = pack_padded_sequence(s, lengths, batch_first=True, enforce_sorted=False)
        h, _ = self.lstm(packed)
        h, _ = pad_packed_sequence(h, batch_first=True, total_length=s.shape[1])
        h = h.transpose(1, 2)
        row = mask.to(s.dtype).unsqueeze(-1)
        return BaselineOutput(
            z0=self.initial_state(h) * row,
            secondary_structure=self.secondary_structure(h).transpose(1, 2) * row,
        )
