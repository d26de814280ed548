"""`openmm-nemo exchange`: files, what is in them, runs that stop and go on, ladders, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.special import betainc

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.cli import exchange as cli
from openmm_nemo.dynamics.exchange import count_swaps, round_trips
from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.errors import InputError
from openmm_nemo.runs import exchange as exchange_files
from openmm_nemo.runs import ladder, simulation
from openmm_nemo.runs.exchange import read_walkers
from openmm_nemo.runs.ladder import choose_ladder
from openmm_nemo.runs.settings import ExchangeSettings, SimulationSettings
from tests.helpers import Outcome, command_line, contents, names, need_plugin, raises, refused
from tests.integration.runs import MODEL, SEQUENCE, frames, protein, simulate, table
from tests.unit.models.chains import make_model

pytestmark = pytest.mark.usefixtures("quick_pictures")

TEMPERATURES = [300.0, 330.0, 370.0]
R = len(TEMPERATURES)
OPTIONS = ("--sequence", SEQUENCE, "--model", MODEL, "--platform", "Reference", "--seed", 11)
LISTED = ("--temperatures", "300,330,370", "--interval", 4)
FOLDERS = [f"replica-{r}" for r in range(R)]
OWN = {"exchanges.csv", "summary.json", "exchange.png"}


def exchange(out, *options) -> Outcome:
    return command_line("exchange", "--out", out, *map(str, options))


def complete(out, *options):
    outcome = exchange(out, *options)
    assert outcome.code == 0, outcome
    return out


def refuse(out, *options) -> str:
    message = refused("exchange", "--out", out, *map(str, (*OPTIONS, *options)))
    assert not out.exists()
    return message


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a run of 40 steps, with every step in its files."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return complete(out, *OPTIONS, *LISTED, "--report-interval", 1, "--steps", 40)


def check_same(out, expected):
    assert set(contents(out)) == set(contents(expected))
    for name in ("exchanges.csv", "summary.json"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    for name in FOLDERS:
        folder, other = out / name, expected / name
        assert (folder / "state.csv").read_bytes() == (other / "state.csv").read_bytes()
        assert (folder / "final_coarse.pdb").read_bytes() == (
            other / "final_coarse.pdb"
        ).read_bytes()
        np.testing.assert_array_equal(
            frames(folder, "coarse.dcd").xyz, frames(other, "coarse.dcd").xyz
        )


def test_the_folder_is_that_of_replicas_and_more(whole, tmp_path):
    out = tmp_path / "run"
    assert simulate(out, "--sequence", SEQUENCE, "--replicas", R, "--steps", 1).code == 0
    assert set(contents(whole)) == {*contents(out), *OWN}
    integrator = NemoLangevinIntegrator.from_xml((whole / "integrator.xml").read_text())
    assert integrator.getTemperatures()._value == TEMPERATURES
    settings = json.loads((whole / "run.json").read_text())["settings"]
    assert settings["exchange"] == {
        "temperatures": TEMPERATURES,
        "interval": 4,
        "acceptance": None,
    }


def test_walkers_are_where_their_configurations_are(whole):
    """A step moves a chain less than replicas differ: the frame after an attempt is near that of the walker before."""
    steps, walkers = read_walkers(whole / "exchanges.csv")
    assert steps.tolist() == list(range(0, 41, 4))
    x = np.stack([frames(whole / name, "coarse.dcd").xyz for name in FOLDERS], axis=1)
    moved = 0
    for step, before, after in zip(steps[1:-1], walkers, walkers[1:], strict=False):
        for r in range(R):
            distances = [np.abs(x[step + 1, r] - x[step, other]).max() for other in range(R)]
            nearest = int(np.argmin(distances))
            assert before[nearest] == after[r]
            moved += nearest != r
    assert moved > 5


def test_lines_and_frames_are_of_the_same_state(whole):
    """Also at an attempt, which comes after both."""
    for name in FOLDERS:
        x = torch.tensor(10 * frames(whole / name, "coarse.dcd").xyz)
        energies = protein(double=False).energy(x).numpy()
        np.testing.assert_allclose(table(whole / name)["u_kt"], energies, rtol=1e-4, atol=1e-4)


def test_summary_counts_what_the_table_has(whole):
    summary = json.loads((whole / "summary.json").read_text())
    _, walkers = read_walkers(whole / "exchanges.csv")
    attempted, accepted = count_swaps(walkers)
    assert attempted.tolist() == [5, 5]
    assert summary["temperatures_kelvin"] == TEMPERATURES
    assert (summary["attempts"], summary["metropolis"]) == (10, False)
    for k, pair in enumerate(summary["pairs"]):
        assert pair["temperatures_kelvin"] == TEMPERATURES[k : k + 2]
        assert pair["accepted"] == accepted[k] > 0
        assert pair["acceptance"] == accepted[k] / 5
    assert summary["round_trips_of_walkers"] == round_trips(walkers).tolist()
    assert summary["round_trips"] == round_trips(walkers).sum()


def test_resumed_run_is_the_uninterrupted_one(tmp_path, whole):
    """Also where it stops just after an attempt, and with either command."""
    out = complete(tmp_path / "run", *OPTIONS, *LISTED, "--report-interval", 1, "--steps", 16)
    outcome = exchange(out, "--resume", "--steps", 23)
    assert outcome.code == 0, outcome
    names(outcome.out, "3 replicas", "300 to 370 K", "every 4 steps", "5 attempts", "23")
    assert simulate(out, "--resume", "--steps", 40).code == 0
    check_same(out, whole)


@pytest.mark.parametrize("stop", [12, 14])
def test_killed_run_resumes_from_its_checkpoint(tmp_path, whole, during, checkpoint_at, stop):
    """A copy of the folder is what a kill leaves: here, several attempts after the checkpoint."""
    out, killed = tmp_path / "run", tmp_path / "killed"
    checkpoint_at(stop)
    during[33] = lambda: shutil.copytree(out, killed)
    complete(out, *OPTIONS, *LISTED, "--report-interval", 1, "--steps", 40)
    during.clear()
    assert (killed / "exchanges.partial.csv").exists()
    complete(killed, "--resume")
    check_same(killed, whole)


def test_a_run_that_fails_keeps_its_exchanges(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(simulation.SimulationRun, "_problem_now", lambda run: "It broke.")
    message = refused(
        "exchange", "--out", tmp_path / "run", *map(str, (*OPTIONS, *LISTED)), "--steps", "8"
    )
    names(message, "It broke")
    text = (whole / "exchanges.csv").read_text().splitlines()[:4]
    assert (tmp_path / "run" / "exchanges.csv").read_text().splitlines() == text


def test_metropolis_is_exact(tmp_path):
    need_plugin()
    out = complete(tmp_path / "run", *OPTIONS, *LISTED, "--metropolis", "--steps", 20)
    values = table(out / "replica-0")
    assert 0 < values["accepted_cartesian_fraction"][-1] < 1
    assert json.loads((out / "summary.json").read_text())["metropolis"]


def test_two_temperatures_for_a_native_model(tmp_path):
    need_plugin()
    model = tmp_path / "model"
    make_model("fold").save_pretrained(model)
    options = ("--model", model, "--backend", "native", "--temperatures", "300,400", "--steps", 30)
    out = complete(
        tmp_path / "run", "--sequence", SEQUENCE, "--platform", "CPU", "--seed", 1, *options
    )
    assert json.loads((out / "summary.json").read_text())["pairs"][0]["attempted"] == 3


# Ladders


def test_ladder_is_chosen_by_a_trial_run(tmp_path):
    options = ("--highest", 420, "--acceptance", 0.6, "--trial-steps", 80, "--steps", 20)
    out, again = (
        complete(tmp_path / name, *OPTIONS, *options, "--no-system") for name in ("a", "b")
    )
    chosen = json.loads((out / "run.json").read_text())["settings"]["exchange"]
    assert (out / "summary.json").read_bytes() == (again / "summary.json").read_bytes()
    t = chosen["temperatures"]
    assert (t[0], t[-1], chosen["acceptance"], chosen["interval"]) == (300, 420, 0.6, 10)
    assert t == sorted(t)
    assert len([path for path in out.iterdir() if path.is_dir()]) == len(t)


def test_ladder_is_printed(tmp_path):
    options = ("--lowest", 310, "--highest", 320, "--trial-steps", 40, "--steps", 1)
    outcome = exchange(tmp_path / "run", *OPTIONS, *options)
    names(outcome.out, "2 temperatures", "acceptance", 0.5, "310, 320 K", "0 attempts", "none")


def test_ladder_has_the_acceptance_that_was_asked_for(monkeypatch):
    """Harmonic energies, after a first half that is not in equilibrium, and the incomplete beta law."""
    freedom, n = 120, 4000
    random = np.random.default_rng(4)

    def energies(trial, steps, progress):
        kt = GAS_CONSTANT * np.array(trial.exchange.temperatures)
        drawn = random.gamma(freedom / 2, size=(n, len(kt))) * kt
        return np.concatenate([np.linspace(1e6, 0, n)[:, None] + drawn, drawn])

    monkeypatch.setattr(ladder, "_energies", energies)
    t = np.array(choose_ladder(settings(), 300, 600, 0.4, 100))
    ratio = t[:-1] / t[1:]
    law = 2 * betainc(freedom / 2, freedom / 2, ratio / (1 + ratio))
    np.testing.assert_allclose(law, law.mean(), atol=0.02)
    fewer = 2 ** (-1 / (len(t) - 2))
    assert law.mean() > 0.38
    assert 2 * betainc(freedom / 2, freedom / 2, fewer / (1 + fewer)) < 0.4


@pytest.mark.parametrize(("highest", "acceptance"), [(300.004, 0.5), (600, 0.9999)])
def test_ladder_that_is_too_dense_is_refused(monkeypatch, highest, acceptance):
    energies = np.random.default_rng(4).normal(scale=30, size=(100, 8))
    monkeypatch.setattr(ladder, "_energies", lambda *_: energies)
    with raises(InputError, "--acceptance", acceptance, 300, "0.01 K"):
        choose_ladder(settings(), 300, highest, acceptance, 100)


def settings(**changes) -> SimulationSettings:
    known = {"sequence": SEQUENCE, "model": MODEL, "seed": 3, "anneal": False}
    return SimulationSettings(**known | {"platform": "Reference"} | changes)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ((300, 400, 0.0, 100), ("acceptance", 0)),
        ((300, 400, 1.0, 100), ("acceptance", 1)),
        ((400, 300, 0.5, 100), ("lowest", 400, "highest", 300)),
        ((0, 300, 0.5, 100), ("lowest", 0)),
        ((300, 400, 0.5, 39), ("39", "40")),
    ],
)
def test_ladders_that_cannot_be_are_refused(arguments, facts):
    with raises(ValueError, *facts):
        choose_ladder(settings(), *arguments)


# What is refused


@pytest.mark.parametrize(
    ("temperatures", "facts"),
    [
        ("300", ("1 temperature",)),
        ("300,280", (280, 300, "increasing")),
        ("300,300", (300, "different")),
        ("-3,300", (-3, "positive")),
        ("300,inf", ("inf",)),
        ("300,nan", ("nan",)),
        ("300,warm", ("--temperatures", "300,warm")),
        ("", ("--temperatures",)),
    ],
)
def test_temperatures_are_checked(tmp_path, temperatures, facts):
    names(refuse(tmp_path / "run", "--temperatures", temperatures), *facts)


def test_interval_is_positive(tmp_path, monkeypatch):
    """And a trial run is not made before."""
    monkeypatch.setattr(cli, "choose_ladder", lambda *_: pytest.fail("a trial run"))
    outcome = exchange(tmp_path / "run", *OPTIONS, "--highest", 330, "--interval", 0)
    assert outcome.code == 2
    names(outcome.err, "--interval", 0)
    with raises(InputError, "interval", 0):
        ExchangeSettings([300.0, 330.0], 0)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--acceptance", 0.4),
        ("--temperatures", "300,330", "--highest", 400),
        ("--temperatures", "300,330", "--trial-steps", 400),
    ],
)
def test_temperatures_are_given_in_one_way(tmp_path, options):
    names(refuse(tmp_path / "run", *options), "--temperatures", "--highest")


def test_metropolis_without_the_compiled_integrator_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "plugin_problem", lambda: "nobody built it")
    message = refuse(tmp_path / "run", *LISTED, "--metropolis")
    names(message, "--metropolis", "compiled", "nobody built it")


def test_a_backend_that_does_not_compute_the_model_is_refused(tmp_path):
    names(refuse(tmp_path / "run", *LISTED, "--backend", "native"), "native")


def test_a_folder_with_a_run_is_refused_before_the_trial_run(whole, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(cli, "choose_ladder", lambda *_: pytest.fail("a trial run"))
    message = refused("exchange", "--out", whole, *map(str, OPTIONS), "--highest", "400")
    names(message, whole, "--resume", "--out")
    assert contents(whole) == before


def test_a_run_without_exchange_is_resumed_otherwise(tmp_path):
    out = tmp_path / "run"
    assert simulate(out, "--sequence", SEQUENCE, "--steps", 2).code == 0
    message = refused("exchange", "--out", out, "--resume", "--steps", "4")
    names(message, out, "simulate")
    names(refused("exchange", "--out", tmp_path / "none", "--resume"), "none", "--resume")


def test_options_of_a_run_stay(whole):
    message = refused("exchange", "--out", whole, "--resume", "--interval", "5")
    names(message, "--resume", "--interval")


def test_settings_that_do_not_fit_are_refused():
    two = ExchangeSettings([300.0, 330.0], 10)
    with raises(ValueError, "2 temperatures", "3 replicas"):
        settings(replicas=3, exchange=two)
    with raises(ValueError, "anneal"):
        settings(replicas=2, exchange=two, anneal=True)


def test_a_table_that_was_cut_short_is_named(tmp_path, whole):
    out = shutil.copytree(whole, tmp_path / "run")
    lines = (out / "exchanges.csv").read_text().splitlines(keepends=True)
    (out / "exchanges.csv").write_text("".join(lines[:-3]))
    message = refused("exchange", "--out", out, "--resume", "--steps", "44")
    names(message, "exchanges.csv", "new run")


def test_the_picture_shows_walkers_and_acceptance(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        exchange_files,
        "plot_exchange",
        lambda file, title, *data: (file.write_text("a picture"), drawn.update(title=title)),
    )
    complete(tmp_path / "run", *OPTIONS, *LISTED, "--steps", 4)
    names(drawn["title"], "20 residues", MODEL, "300 to 370 K", "seed 11")
