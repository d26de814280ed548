"""Files of embeddings, and a model that takes them in all that can be done with it."""

import copy
import io
import pickle

import mdtraj
import numpy as np
import openmm as mm
import pytest
import safetensors.numpy
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.embedding import read_embedding, read_embeddings
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.sampling.ensembles import read_ensemble
from tests.helpers import command_line, need_plugin, platform, refused
from tests.tolerances import assert_close

SEQUENCE = "NLYIQWLKDG"
WIDTH = 6


def numbers(seed: int, length: int = len(SEQUENCE)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(length, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> NemoModel:
    torch.manual_seed(3)
    config = NemoConfig.preset("tiny").to_dict()
    config |= {"encoders": ["one-hot", "embedding"], "embedding_width": WIDTH}
    return NemoModel(NemoConfig.from_dict(config)).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedding") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int8"])
def test_arrays_are_read_as_they_were_saved(tmp_path, dtype):
    array = (10 * numbers(0)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    found = read_embedding(tmp_path / "a.npy")
    assert found.dtype == array.dtype
    assert (found == array).all()
    assert (read_embedding(str(tmp_path / "a.npy")) == array).all()


def bytes_of(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


class Trap:
    """Opens a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1 2 3\n4 5 6\n",
        bytes_of(numbers(0))[:-1],
        bytes_of(numbers(0))[:20],
        bytes_of(numbers(0)).replace(b"'descr'", b"'where'"),
    ],
    ids=["empty", "text", "cut", "cut header", "damaged header"],
)
def test_files_that_are_no_arrays_are_named(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InputError) as wrong:
        read_embedding(path)
    assert str(path) in str(wrong.value)


def test_missing_files_are_named(tmp_path):
    for read in (read_embedding, read_embeddings):
        for path in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(InputError) as wrong:
                read(path)
            assert str(path) in str(wrong.value)


def test_nothing_is_unpickled(tmp_path):
    trap = Trap(str(tmp_path / "sprung"))
    path = tmp_path / "a.npy"
    for content in (
        pickle.dumps(trap),
        bytes_of(np.array([trap], dtype=object), allow_pickle=True),
    ):
        path.write_bytes(content)
        for read in (read_embedding, read_embeddings):
            with pytest.raises(InputError):
                read(path)
    assert not (tmp_path / "sprung").exists()


def test_embeddings_of_many_proteins(tmp_path):
    arrays = {"1abcA00": numbers(1), "2xyzB01": numbers(2, 7).astype(np.float16)}
    safetensors.numpy.save_file(arrays, tmp_path / "many.safetensors")
    found = read_embeddings(tmp_path / "many.safetensors")
    assert found.keys() == arrays.keys()
    assert all((found[name] == array).all() for name, array in arrays.items())
    content = (tmp_path / "many.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-1])
    with pytest.raises(InputError, match="cut"):
        read_embeddings(tmp_path / "cut")


def test_the_embedding_decides(model):
    """It reaches the energy, the initial state and the atoms."""
    first, second = (model.condition(SEQUENCE, embedding=numbers(seed)) for seed in (0, 1))
    x = first.initial_state()
    assert (x - second.initial_state()).abs().max() > 1e-3
    assert (first.energy(x) - second.energy(x)).abs() > 1e-3
    assert (first.impute(x) - second.impute(x)).abs().max() > 1e-3


def test_a_saved_model_takes_the_same_embedding(model, folder):
    again = NemoModel.from_pretrained(folder)
    assert again.config == model.config
    expected = model.condition(SEQUENCE, embedding=numbers(0))
    found = again.condition(SEQUENCE, embedding=numbers(0))
    assert found.energy(found.z0).equal(expected.energy(expected.z0))


def test_a_step_in_openmm_is_one_in_torch(model):
    need_plugin()
    protein = copy.deepcopy(model).double().condition(SEQUENCE, embedding=numbers(0))
    integrator = protein.create_integrator(seed=5)
    context = mm.Context(protein.create_system(), integrator, platform("Reference"))
    context.setPositions(protein.initial_positions())
    integrator.step(5)
    x = 10 * torch.from_numpy(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert_close(x, protein.rollout(5, seed=5).x[-1, 0], "trajectory")


def test_simulate_reads_an_embedding(model, folder, tmp_path):
    np.save(tmp_path / "a.npy", numbers(0))
    outcome = command_line(
        "simulate", "--sequence", SEQUENCE, "--model", folder, "--embedding", tmp_path / "a.npy", "--seed", 5,
        "--steps", 4, "--report-interval", 4, "--platform", "Reference", "--precision", "double",
        "--trajectory", "coarse.h5", "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    protein = NemoModel.from_pretrained(folder).double().condition(SEQUENCE, embedding=numbers(0))
    x = 10 * torch.from_numpy(mdtraj.load(str(tmp_path / "run" / "coarse.h5")).xyz[-1])
    assert (x - protein.rollout(4, seed=5).x[-1, 0]).abs().max() < 1e-4
    (tmp_path / "a.npy").unlink()  # the run has what it needs to go on
    outcome = command_line("simulate", "--resume", "--steps", 8, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome


def test_sample_reads_an_embedding(folder, tmp_path):
    common = ("sample", "--sequence", SEQUENCE, "--model", folder, "-n", 1, "--steps", 3)
    options = (*common, "--workers", 1, "--out", tmp_path / "samples", "--embedding")
    for seed in (0, 1):
        np.save(tmp_path / f"{seed}.npy", numbers(seed))
    outcome = command_line(*options, tmp_path / "0.npy")
    assert outcome.code == 0, outcome
    (sample,) = read_ensemble(tmp_path / "samples", "sequence").x
    seed = int(read_ensemble(tmp_path / "samples", "sequence").seeds[0])
    protein = NemoModel.from_pretrained(folder).condition(SEQUENCE, embedding=numbers(0))
    assert np.abs(sample - protein.rollout(3, seed=seed).x[-1, 0].numpy()).max() < 1e-4
    # Another embedding is another protein.
    assert "another protein named sequence" in refused(*options, tmp_path / "1.npy")


@pytest.mark.parametrize("verb", ["simulate", "sample"])
def test_bad_embeddings_are_refused_at_the_command_line(folder, tmp_path, verb):
    common = (verb, "--sequence", SEQUENCE, "--out", tmp_path / "run")
    path = tmp_path / "a.npy"
    np.save(path, numbers(0, 9))
    takes = (*common, "--model", folder)
    assert "'embedding'" in refused(*takes)
    assert f"({len(SEQUENCE)}, {WIDTH})" in refused(*takes, "--embedding", path)
    assert "'embedding'" in refused(*common, "--model", "nemo-tiny", "--embedding", path)
    path.write_text("1 2 3")
    assert str(path) in refused(*takes, "--embedding", path)
    assert not (tmp_path / "run").exists()
