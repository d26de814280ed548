"""Ctrl-C while a run works, and while modules are imported."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from openmm_nemo.__main__ import main
from openmm_nemo.runs.interruption import deferred_interrupts, exit_on_interrupt
from openmm_nemo.version import __version__
from tests.helpers import names

pytestmark = pytest.mark.usefixtures("_ctrl_c")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_waits(number):
    before = signal.getsignal(number)
    with deferred_interrupts() as interrupts:
        assert not interrupts.came
        os.kill(os.getpid(), number)
        assert interrupts.came
        assert not interrupts.again
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_second_ctrl_c_acts_at_once(first):
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts() as interrupts:
        os.kill(os.getpid(), first)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.again
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_do_not_touch_signals():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with deferred_interrupts() as interrupts, exit_on_interrupt():
            seen.append((interrupts.came, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_ctrl_c_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with exit_on_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_ctrl_c_has_its_effect_again_after_an_import():
    with exit_on_interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.integration
def test_the_package_runs_as_a_module(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["openmm-nemo", "--version"])
    main()
    names(capsys.readouterr().out, __version__)


# What compiled modules make of an exception that they do not expect.
FAKE_PACKAGE = """
import time
print("importing", flush=True)
try:
    time.sleep(1000)
except BaseException as error:
    raise ImportError("initialization failed") from error
"""
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from openmm_nemo.__main__ import main
main()
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("click", ["--help"]),
        ("torch", ["simulate"]),
        ("torch", ["sample"]),
        ("torch", ["doctor"]),
        ("lightning", ["train", "config.toml"]),
    ],
)
def test_ctrl_c_during_an_import_ends_quietly(tmp_path, package, arguments):
    (tmp_path / f"{package}.py").write_text(FAKE_PACKAGE)
    running = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])},
    )
    assert running.stdout.readline() == "importing\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "")
