"""Embeddings of ESM-2: of a small model with random weights, which these tests make; nothing is downloaded."""

import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from openmm_nemo.encoders import esm
from openmm_nemo.encoders.esm import esm_embedding
from openmm_nemo.errors import InputError

SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"
TOKENS = (
    "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
)
"""Of the alphabet of ESM-2, in its order."""


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    esm._load.cache_clear()
    yield
    esm._load.cache_clear()


@pytest.fixture(scope="module")
def network():
    """With the head for masked residues that the published ones have, too."""
    torch.manual_seed(3)
    config = transformers.EsmConfig(
        vocab_size=33,
        pad_token_id=1,
        mask_token_id=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
    )
    return transformers.EsmForMaskedLM(config).eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("esm")
    network.save_pretrained(folder)
    (folder / "letters.txt").write_text("\n".join(TOKENS.split()))
    transformers.EsmTokenizer(str(folder / "letters.txt")).save_pretrained(folder)
    (folder / "letters.txt").unlink()
    return folder


def test_rows_are_the_hidden_states_of_the_residues(folder, network):
    """Tokens are looked up in the alphabet here, without the tokenizer."""
    alphabet = TOKENS.split()
    tokens = [alphabet.index(token) for token in ("<cls>", *SEQUENCE, "<eos>")]
    with torch.no_grad():
        hidden = network.esm(torch.tensor([tokens])).last_hidden_state[0]
    rows = esm_embedding(SEQUENCE.lower(), folder)
    assert rows.shape == (len(SEQUENCE), 16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, hidden[1:-1].numpy(), atol=1e-6)
    assert np.ptp(rows, axis=0).min() > 0.01


def test_rows_are_repeatable_and_another_model_has_others(folder, network, tmp_path):
    first = esm_embedding(SEQUENCE, folder)
    assert (esm_embedding(SEQUENCE, str(folder)) == first).all()
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(4)
    transformers.EsmForMaskedLM(network.config).save_pretrained(tmp_path)
    assert np.abs(esm_embedding(SEQUENCE, tmp_path) - first).max() > 0.01


def test_sequences_are_checked(folder):
    with pytest.raises(InputError, match="'X' at position 3"):
        esm_embedding("ACXD", folder)


def test_the_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"transformers.*pip install 'openmm-nemo\[esm\]'"):
        esm_embedding(SEQUENCE, folder)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(InputError) as refused:
        esm_embedding(SEQUENCE, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(refused.value)


def test_empty_folders_are_named(tmp_path):
    with pytest.raises(InputError) as refused:
        esm_embedding(SEQUENCE, tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_pickled_weights_are_not_read(folder, network, tmp_path, monkeypatch):
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(InputError) as refused:
        esm_embedding(SEQUENCE, tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_damaged_weights_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        content = file.read_bytes()
        cut = content[: len(content) // 2] if file.suffix == ".safetensors" else content
        (tmp_path / file.name).write_bytes(cut)
    with pytest.raises(InputError) as refused:
        esm_embedding(SEQUENCE, tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_models_of_other_kinds_are_refused(folder, tmp_path):
    """Transformers itself fills in random weights."""
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=33, intermediate_size=24, **sizes)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError) as refused:
        esm_embedding(SEQUENCE, tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "weights of ESM-2" in str(refused.value)


def test_weights_that_are_missing_are_named(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    lacking = "esm.encoder.layer.1.attention.self.query.weight"
    safetensors.torch.save_file(
        {name: value for name, value in weights.items() if name != lacking},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(InputError, match=lacking.removeprefix("esm.")):
        esm_embedding(SEQUENCE, tmp_path)
