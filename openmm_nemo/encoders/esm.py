"""Embeddings of ESM-2 (Lin et al., Science 379, 1123, 2023) for the encoder "embedding".

They come from the package ``transformers`` (``pip install "openmm-nemo[esm]"``). With a model that takes as many
columns as the language model has hidden units (320 for the smallest one):

    from openmm_nemo.encoders.esm import esm_embedding

    embedding = esm_embedding(sequence, "facebook/esm2_t6_8M_UR50D")
    protein = model.condition(sequence, embedding=embedding)
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from openmm_nemo.errors import InputError
from openmm_nemo.residues import check_sequence


def esm_embedding(sequence: str, model: str | Path) -> np.ndarray:
    """Hidden states of the last layer of an ESM-2 model, one row per residue.

    Parameters
    ----------
    sequence : str
        One-letter codes of L residues.
    model : str or Path
        Folder of a model and its tokenizer, or the name of one, which ``transformers`` downloads once.

    Returns
    -------
    ndarray, shape (L, K), float32
        K is the model's hidden size.

    Raises
    ------
    InputError
        If ``transformers`` is not installed, the model cannot be loaded or the sequence is not made of amino acids.
    """
    sequence = check_sequence(sequence)
    tokenizer, network = _load(str(model))
    tokens = tokenizer(sequence, return_tensors="pt")
    with torch.inference_mode():
        hidden = network(**tokens).last_hidden_state[0]
    # The first and the last token mark the ends of the sequence.
    rows: np.ndarray = hidden[1:-1].numpy()
    if len(rows) != len(sequence):
        raise InputError(
            f"The tokenizer of {model} makes {len(rows)} tokens from {len(sequence)} residues: "
            "give an ESM-2 model, with one token per residue."
        )
    return rows


@lru_cache(maxsize=1)
def _load(model: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoTokenizer, EsmModel
    except ImportError as error:
        raise InputError(
            f"ESM-2 embeddings need the package transformers ({error}): pip install 'openmm-nemo[esm]'."
        ) from None
    try:
        # Only safetensors: other weight files are pickles, which can run code.
        loaded: Any = EsmModel.from_pretrained(
            model, add_pooling_layer=False, use_safetensors=True, output_loading_info=True
        )
        network, loading = loaded
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"The ESM-2 model {model!r} cannot be loaded ({reason}): give the name or folder of an ESM-2 model."
        ) from None
    # Missing weights were replaced by random numbers.
    if missing := sorted(loading["missing_keys"]):
        raise InputError(
            f"The model {model!r} lacks {len(missing)} weights of ESM-2 (first {missing[0]}): "
            "give the name or folder of an ESM-2 model."
        )
    return tokenizer, network.eval()
