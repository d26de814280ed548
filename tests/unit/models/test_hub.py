"""Models from a folder with a registry and from a server, which runs on this machine."""

import hashlib
import json
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
import torch

from openmm_nemo import InputError, NemoModel
from openmm_nemo.models import write_registry
from openmm_nemo.models.pretrained import find_model, model_folders
from tests.helpers import command_line, names, raises

NAME = "nemo-shared"
FILES = ("config.json", "model.safetensors")


@pytest.fixture
def place(tmp_path):
    """A folder of models with a registry; a file of TorchScript is in it, too."""
    folder = tmp_path / "models"
    shutil.copytree(find_model("nemo-tiny"), folder / NAME)
    (folder / NAME / "energy.pt").write_bytes(b"code")
    write_registry(folder)
    return folder


class Handler(SimpleHTTPRequestHandler):
    """Serves files and remembers which."""

    def log_message(self, *_):
        self.server.asked.append(self.path.rpartition("/")[2])


@pytest.fixture
def server(place, tmp_path, monkeypatch):
    """A server for that folder, with an empty cache."""
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(place)))
    running.asked = []
    running.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def stop(server):
    server.shutdown()
    server.server_close()


def assert_is_the_model(model: NemoModel) -> None:
    expected = NemoModel.from_pretrained("nemo-tiny").state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.items())


def spoil(path: Path) -> None:
    """Change the last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_registry_has_the_digests_of_all_files_that_are_fetched(place):
    registry = json.loads((place / "registry.json").read_text())
    (files,) = registry["models"].values()
    assert files.keys() == set(FILES)
    for name, digest in files.items():
        assert digest == hashlib.sha256((place / NAME / name).read_bytes()).hexdigest()


def test_the_installed_models_have_a_registry_that_is_up_to_date(tmp_path):
    (folder,) = model_folders()
    shutil.copytree(folder, tmp_path / "models")
    expected = write_registry(tmp_path / "models").read_text()
    assert (folder / "registry.json").read_text() == expected


def test_a_url_is_fetched_once(server):
    assert_is_the_model(NemoModel.from_pretrained(f"{server.url}/{NAME}"))
    assert sorted(server.asked) == [*FILES, "registry.json"]
    server.asked.clear()
    assert_is_the_model(NemoModel.from_pretrained(f"{server.url}/{NAME}/"))
    assert server.asked == ["registry.json"]


def test_a_fetched_model_is_there_without_a_server(server):
    NemoModel.from_pretrained(f"{server.url}/{NAME}")
    stop(server)
    assert_is_the_model(NemoModel.from_pretrained(f"{server.url}/{NAME}"))


def test_a_newer_model_replaces_what_was_fetched(server, place):
    NemoModel.from_pretrained(f"{server.url}/{NAME}")
    shutil.rmtree(place / NAME)
    shutil.copytree(find_model("rnn-mini"), place / NAME)
    write_registry(place)
    assert NemoModel.from_pretrained(f"{server.url}/{NAME}").config.kind == "baseline"


@pytest.mark.parametrize("kind", ["url", "folder"])
def test_names_are_looked_up_in_the_place_of_the_user(server, place, monkeypatch, kind):
    monkeypatch.setenv("NEMO_MODEL_PATH", server.url if kind == "url" else str(place))
    assert_is_the_model(NemoModel.from_pretrained(NAME))
    assert bool(server.asked) == (kind == "url")


def test_nothing_is_fetched_for_installed_models_and_folders(server, place, monkeypatch):
    monkeypatch.setenv("NEMO_MODEL_PATH", server.url)
    NemoModel.from_pretrained("nemo-tiny")
    NemoModel.from_pretrained(place / NAME)
    assert server.asked == []


@pytest.mark.parametrize("kind", ["url", "folder"])
def test_a_file_with_another_digest_is_refused(server, place, monkeypatch, kind):
    monkeypatch.setenv("NEMO_MODEL_PATH", server.url if kind == "url" else str(place))
    spoil(place / NAME / "model.safetensors")
    with raises(InputError, "model.safetensors", "registry.json", "SHA-256"):
        NemoModel.from_pretrained(NAME)


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    spoil(find_model(f"{server.url}/{NAME}") / "model.safetensors")
    assert_is_the_model(NemoModel.from_pretrained(f"{server.url}/{NAME}"))


def test_a_model_that_the_registry_lacks_is_refused(server):
    with raises(InputError, "registry.json", "nemo-lost", NAME):
        NemoModel.from_pretrained(f"{server.url}/nemo-lost")


@pytest.mark.parametrize("name", ["..", ".hidden"])
def test_a_name_that_leaves_the_place_is_refused_though_the_registry_has_it(server, place, name):
    content = json.loads((place / "registry.json").read_text())
    content["models"][name] = content["models"][NAME]
    (place / "registry.json").write_text(json.dumps(content))
    with raises(InputError, "registry.json", repr(name)):
        NemoModel.from_pretrained(f"{server.url}/{name}")
    assert server.asked == ["registry.json"]


def test_without_a_server_there_is_one_sentence(server):
    stop(server)
    with raises(InputError, f"{server.url}/registry.json", "ConnectionError", "network", "folder"):
        NemoModel.from_pretrained(f"{server.url}/{NAME}")


def test_a_file_that_the_server_lacks_is_named_with_its_status(server, place):
    (place / NAME / "model.safetensors").unlink()
    with raises(InputError, f"{server.url}/{NAME}/model.safetensors", "status 404"):
        NemoModel.from_pretrained(f"{server.url}/{NAME}")


def test_a_folder_without_registry_is_refused(place, monkeypatch):
    (place / "registry.json").unlink()
    monkeypatch.setenv("NEMO_MODEL_PATH", str(place))
    with raises(InputError, place / "registry.json", "NEMO_MODEL_PATH", "--write-registry"):
        NemoModel.from_pretrained(NAME)


def test_a_folder_that_lacks_a_listed_file_is_refused(place, monkeypatch):
    (place / NAME / "config.json").unlink()
    monkeypatch.setenv("NEMO_MODEL_PATH", str(place))
    with raises(InputError, place / NAME / "config.json", "registry.json"):
        NemoModel.from_pretrained(NAME)


@pytest.mark.parametrize(
    "content",
    ["<html>", "[]", '{"models": {}}', '{"format_version": 2, "models": {}}'],
)
def test_what_is_no_registry_is_refused(server, place, content):
    (place / "registry.json").write_text(content)
    with raises(InputError, f"{server.url}/registry.json", "registry", "--write-registry"):
        NemoModel.from_pretrained(f"{server.url}/{NAME}")


@pytest.mark.parametrize("digest", ["0" * 63, 5, None])
def test_a_registry_without_digests_is_refused(server, place, digest):
    files = {"config.json": "0" * 64, "model.safetensors": digest}
    content = {"format_version": 1, "models": {NAME: files}}
    (place / "registry.json").write_text(json.dumps(content))
    with raises(InputError, "registry.json", "SHA-256", "model.safetensors", NAME):
        NemoModel.from_pretrained(f"{server.url}/{NAME}")


def test_without_pooch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with raises(InputError, "openmm-nemo[hub]"):
        NemoModel.from_pretrained("https://example.org/models/x")


def test_an_unknown_name_says_where_models_can_be(monkeypatch):
    monkeypatch.delenv("NEMO_MODEL_PATH", raising=False)
    with raises(InputError, "nemo-lost", "nemo-fold", "URL", "NEMO_MODEL_PATH"):
        NemoModel.from_pretrained("nemo-lost")


def test_the_command_line_writes_a_registry_and_takes_a_url(server, place, tmp_path):
    before = (place / "registry.json").read_text()
    (place / "registry.json").unlink()
    outcome = command_line("models", "--write-registry", place)
    assert outcome.out.strip() == str(place / "registry.json")
    assert (place / "registry.json").read_text() == before
    options = ("--sequence", "GSAVLKEF", "--steps", 2, "--platform", "Reference", "--no-system")
    out = tmp_path / "run"
    outcome = command_line("simulate", *options, "--model", f"{server.url}/{NAME}", "--out", out)
    assert outcome.code == 0, outcome.err
    stop(server)
    outcome = command_line("simulate", "--resume", "--steps", 4, "--out", out)
    assert outcome.code == 0, outcome.err


def test_a_folder_without_models_gets_no_registry(tmp_path):
    outcome = command_line("models", "--write-registry", tmp_path)
    assert outcome.code == 2
    names(outcome.err, tmp_path, "save_pretrained")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://", "https://example.org", "https://example.org/"])
def test_a_url_without_the_name_of_a_model_reaches_no_server(url, monkeypatch):
    monkeypatch.setattr(pooch, "HTTPDownloader", None)
    with raises(InputError, url, "PLACE/NAME"):
        find_model(url)
