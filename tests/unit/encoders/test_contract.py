"""What every encoder must do: one battery for all of `ENCODERS`."""

from dataclasses import replace

import numpy as np
import pytest

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import ENCODERS, encode, input_width
from openmm_nemo.encoders.base import Encoder
from openmm_nemo.encoders.embedding import EmbeddingEncoder
from openmm_nemo.encoders.one_hot import OneHotEncoder
from openmm_nemo.encoders.profile import HasProfileEncoder, ProfileEncoder
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS

EACH_ENCODER = pytest.mark.parametrize("name", ENCODERS)
SEQUENCE = "ACDYWAC"


def config_of(*names: str) -> NemoConfig:
    width = 5 if "embedding" in names else 0
    return replace(NemoConfig.preset("tiny"), encoders=names, embedding_width=width)


def data_for(name: str) -> np.ndarray | None:
    """What the encoder takes for `SEQUENCE`; None if it needs no more than that."""
    try:
        encode(config_of(name), SEQUENCE, {})
    except InputError:
        width = input_width(config_of(name))
        return np.random.default_rng(1).random((len(SEQUENCE), width))
    return None


EACH_THAT_TAKES_DATA = pytest.mark.parametrize(
    "name", [name for name in ENCODERS if data_for(name) is not None]
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("one-hot", OneHotEncoder),
        ("profile", ProfileEncoder),
        ("has-profile", HasProfileEncoder),
        ("embedding", EmbeddingEncoder),
    ],
)
def test_names_that_configurations_have(name, kind):
    assert type(ENCODERS[name]) is kind
    assert issubclass(kind, Encoder)


@EACH_ENCODER
def test_columns(name):
    config = config_of(name)
    s = ENCODERS[name].encode(config, SEQUENCE, data_for(name))
    assert s.shape == (len(SEQUENCE), ENCODERS[name].width(config))
    assert s.dtype == np.float64
    assert np.isfinite(s).all()
    assert input_width(config) == s.shape[1] > 0


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "has-profile"])
def test_the_data_of_a_residue_are_in_its_row(name):
    """In that one alone."""
    config = config_of(name)
    data, other = data_for(name), data_for(name)
    changed = SEQUENCE[:2] + "K" + SEQUENCE[3:] if data is None else SEQUENCE
    if other is not None:
        other[2] += 1
    s = ENCODERS[name].encode(config, SEQUENCE, data)
    differ = (ENCODERS[name].encode(config, changed, other) != s).any(1)
    assert differ.tolist() == [k == 2 for k in range(len(SEQUENCE))]


@EACH_THAT_TAKES_DATA
def test_lists_and_numbers_of_32_bits_are_taken(name):
    data = data_for(name).astype(np.float32)
    expected = ENCODERS[name].encode(config_of(name), SEQUENCE, data.astype(np.float64))
    for given in (data, data.tolist()):
        s = ENCODERS[name].encode(config_of(name), SEQUENCE, given)
        assert s.dtype == np.float64
        assert (s == expected).all()


def refusal(name: str, data) -> str:
    with pytest.raises(InputError) as refused:
        encode(config_of(name), SEQUENCE, {name: data})
    return str(refused.value)


@EACH_THAT_TAKES_DATA
def test_data_that_are_missing_are_named(name):
    shape = data_for(name).shape
    message = refusal(name, None)
    assert name in message
    assert str(shape) in message


@EACH_THAT_TAKES_DATA
@pytest.mark.parametrize(
    "change",
    [lambda a: a[:-1], lambda a: a[:, 1:], lambda a: a.T, lambda a: a[None], lambda a: a[0]],
)
def test_data_of_a_wrong_shape_are_named_with_both_shapes(name, change):
    data = data_for(name)
    wrong = change(data)
    message = refusal(name, wrong)
    assert name in message
    assert str(wrong.shape) in message
    assert str(data.shape) in message


@EACH_THAT_TAKES_DATA
@pytest.mark.parametrize("wrong", ["text", [[1.0], [1.0, 2.0]], [["a"]], {}, object()])
def test_data_that_are_no_numbers_are_named(name, wrong):
    assert name in refusal(name, wrong)


@EACH_THAT_TAKES_DATA
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_are_named_with_the_residue(name, value):
    data = data_for(name)
    data[4, 1] = data[6, 0] = value
    message = refusal(name, data)
    assert name in message
    assert "residue 5" in message


@EACH_ENCODER
def test_data_for_an_encoder_that_the_model_lacks_are_refused(name):
    (other,) = [known for known in ("one-hot",) if known != name] or ["profile"]
    taken, given = ENCODERS[other].takes, ENCODERS[name].takes
    data = {taken: data_for(other), given: np.ones((len(SEQUENCE), 5))}
    with pytest.raises(InputError) as refused:
        encode(config_of(other), SEQUENCE, data)
    assert repr(given) in str(refused.value)
    assert taken in str(refused.value)


def test_a_model_with_the_flag_works_without_a_profile():
    config = config_of("one-hot", "profile", "has-profile")
    profile = np.random.default_rng(2).random((len(SEQUENCE), 20))
    known, unknown = (encode(config, SEQUENCE, {"profile": given}) for given in (profile, None))
    assert known.shape == unknown.shape == (len(SEQUENCE), 41)
    assert (known[:, 20:40] == profile).all()
    assert (known[:, 40] == 1).all()
    assert (unknown[:, :20] == known[:, :20]).all()
    assert (unknown[:, 20:] == 0).all()


def test_one_hot_is_not_given():
    message = refusal("one-hot", np.eye(20)[: len(SEQUENCE)])
    assert "one-hot" in message


@pytest.mark.parametrize(
    "names",
    [
        ("one-hot", "profile", "embedding"),
        ("embedding", "one-hot"),
        ("profile", "embedding", "one-hot"),
    ],
)
def test_columns_are_side_by_side_in_the_order_of_the_configuration(names):
    config = config_of(*names)
    data = {name: data_for(name) for name in names}
    s = encode(config, SEQUENCE, data)
    alone = [ENCODERS[name].encode(config, SEQUENCE, data[name]) for name in names]
    assert (s == np.concatenate(alone, axis=1)).all()
    assert input_width(config) == s.shape[1]
    one_hot = s[:, sum(part.shape[1] for part in alone[: names.index("one-hot")]) :][:, :20]
    assert (one_hot == [[letter == other for other in AMINO_ACIDS] for letter in SEQUENCE]).all()


def test_unknown_encoders_are_named():
    config = replace(NemoConfig.preset("tiny"), encoders=("one-hot", "charges"))
    with pytest.raises(InputError, match=r"'charges'.*embedding"):
        encode(config, SEQUENCE, {})
