"""`openmm-nemo analyze` and `check-ensemble`: on chains whose free energy is known, and on real simulations."""

import csv
from pathlib import Path

import matplotlib.image
import mdtraj as md
import numpy as np
import pytest
from matplotlib.figure import Figure
from MDAnalysis.analysis.contacts import soft_cut_q

from openmm_nemo.analysis import figures
from openmm_nemo.analysis.analyze import PICTURES, TABLES
from openmm_nemo.data import read_structure
from openmm_nemo.dynamics import Schedule
from openmm_nemo.engine.trajectory import coarse_topology
from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.geometry.similarity import radius_of_gyration
from openmm_nemo.runs.settings import ExchangeSettings
from tests.helpers import command_line, contents, names, random_chain, refused
from tests.integration.runs import SEQUENCE, TRP_CAGE, complete
from tests.simulated import write_simulation
from tests.tolerances import ANALYSIS

TEMPERATURES = (260.0, 300.0, 340.0)
F = 500
GRID = np.linspace(-2.2, 2.2, 8001)


def energy_of(s: np.ndarray) -> np.ndarray:
    """A double well, with a barrier of 2 kT; kJ/mol."""
    return 5 * (s**2 - 1) ** 2 + s


def swollen(s: np.ndarray) -> np.ndarray:
    """The Trp cage, 4 % larger in all directions per unit of s (F,): its radius of gyration is linear in s."""
    native = read_structure(TRP_CAGE).ca.astype(float)
    return (1 + 0.04 * s)[:, None, None] * native


def weights(temperature: float) -> np.ndarray:
    return np.exp(-energy_of(GRID) / (GAS_CONSTANT * temperature))


def sample(temperature: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Independent frames of the Boltzmann distribution, and their energies."""
    cumulative = np.cumsum(weights(temperature))
    random = np.random.default_rng(seed)
    s = np.interp(random.uniform(0, cumulative[-1], n), cumulative, GRID)
    return swollen(s), energy_of(s)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """One per temperature; the first has two replicas. From the warmest to the coldest."""
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for k, t in enumerate(TEMPERATURES):
        replicas = [sample(t, F, 10 * k + r) for r in range(2 if k == 0 else 1)]
        found.append(write_simulation(folder / f"at {t:g}", replicas, t))
    return found[::-1]


@pytest.fixture(scope="module")
def analysed(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("analysis")
    options = ("--native", TRP_CAGE, "--native-model", 1, "--free-energies")
    outcome = command_line("analyze", *runs, *map(str, options), "--skip", "0", "--out", out)
    assert outcome.code == 0, outcome
    assert out.joinpath("analysis.html").exists()
    return out


def table(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        try:
            found[name] = np.array(cells, dtype=float)
        except ValueError:
            found[name] = np.array(cells)
    return found


def test_all_files_are_written(analysed):
    expected = {f"{name}.csv" for name in TABLES} | {f"{name}.png" for name in PICTURES}
    expected -= {"tica.csv", "tica.png"}
    assert {path.name for path in analysed.iterdir()} == expected | {"analysis.html"}


def test_measures_of_frames_are_those_of_mdtraj(analysed, runs):
    found = table(analysed / "frames.csv")
    native = md.Trajectory(read_structure(TRP_CAGE).ca[None] / 10, coarse_topology(SEQUENCE))
    folder = runs[0]
    mine = found["trajectory"] == str(folder)
    assert mine.sum() == F
    t = md.load(str(folder / "coarse.dcd"), top=coarse_topology(SEQUENCE))
    rg = 10 * md.compute_rg(t, masses=np.ones(20))
    np.testing.assert_allclose(
        found["radius_of_gyration_angstrom"][mine], rg, atol=ANALYSIS["distances"]
    )
    rmsd = 10 * md.rmsd(t, native)
    np.testing.assert_allclose(found["rmsd_angstrom"][mine], rmsd, atol=ANALYSIS["rmsd"])
    r, _ = md.compute_contacts(t, scheme="ca")
    r0, _ = md.compute_contacts(native, scheme="ca")
    close = r0[0] < 0.8
    q = [soft_cut_q(10 * row[close], 10 * r0[0, close], 5.0, 1.5) for row in r]
    np.testing.assert_allclose(found["native_contacts"][mine], q, atol=ANALYSIS["q"])
    contacts = table(analysed / "contacts.csv")
    np.testing.assert_allclose(contacts["frequency at 340 K"], (r < 0.8).mean(0), atol=1e-6)
    np.testing.assert_array_equal(contacts["native"], close)
    atoms = md.load(str(folder / "atoms.dcd"), top=str(written_topology(folder)))
    codes = md.compute_dssp(atoms)
    residues = table(analysed / "residues.csv")
    np.testing.assert_allclose(residues["helix at 340 K"], (codes == "H").mean(0), atol=1e-6)
    np.testing.assert_allclose(found["strand"][mine], (codes == "E").mean(1), atol=1e-6)


def written_topology(folder: Path) -> Path:
    """PDB of the atoms, for MDTraj."""
    from openmm_nemo.engine.pdb import write_pdb
    from openmm_nemo.engine.trajectory import atom_topology

    path = folder.parent / "atoms.pdb"
    write_pdb(path, np.zeros((80, 3)), atom_topology(SEQUENCE, None, False))
    return path


def test_free_energy_is_that_of_the_double_well(analysed):
    """Energies of bins are integrals; deviations are as large as their errors say."""
    found = table(analysed / "profiles.csv")
    chosen = found["measure"] == "radius_of_gyration_angstrom"
    native_rg = float(radius_of_gyration(swollen_tensor()))
    deviations = []
    for t in TEMPERATURES:
        mine = chosen & (found["temperature_k"] == t)
        centre, value, error = (
            found[name][mine] for name in ("value", "free_energy_kt", "free_energy_kt_error")
        )
        width = np.diff(centre).mean()
        rg = native_rg * (1 + 0.04 * GRID)
        w = weights(t)
        inside = [w[np.abs(rg - c) < width / 2].sum() for c in centre]
        expected = -np.log(inside)
        top = np.nanargmin(value)
        known = np.isfinite(value) & (error > 0)
        known[[0, -1]] = False  # they end where the samples do
        difference = value - (expected - expected[top])
        deviations += (difference[known] / error[known]).tolist()
        assert np.abs(difference[known & (error < 0.2)]).max() < 0.7
        barrier = (np.abs(centre - native_rg) < 0.04 * native_rg * 0.3) & known
        assert value[barrier].mean() == pytest.approx(5 / (GAS_CONSTANT * t) * 0.9, abs=0.9)
    assert 0.5 < np.std(deviations) < 1.5


def swollen_tensor():
    import torch

    return torch.from_numpy(swollen(np.zeros(1))[0])


def test_averages_over_temperature_are_integrals(analysed):
    found = table(analysed / "thermodynamics.csv")
    for k in (0, 10, 20, 40):
        t = found["temperature_k"][k]
        w, e = weights(t), energy_of(GRID)
        mean = (w * e).sum() / w.sum()
        capacity = ((w * e**2).sum() / w.sum() - mean**2) / (GAS_CONSTANT * t**2)
        free = -np.log(w.sum() / weights(260).sum())
        for name, exact in (
            ("energy_kj_mol", mean),
            ("heat_capacity_kj_mol_k", capacity),
            ("free_energy_kt", free),
        ):
            error = found[f"{name}_error"][k]
            assert abs(found[name][k] - exact) <= 4 * error + 1e-9
            assert error < 0.2 * max(abs(exact), 0.2)
    assert {260, 300, 340} <= set(found["temperature_k"])


def test_averages_have_the_errors_of_independent_frames(analysed):
    found = table(analysed / "averages.csv")
    assert found["temperature"].tolist() == ["260 K", "300 K", "340 K"]
    assert found["trajectories"].tolist() == [2, 1, 1]
    assert found["frames"].tolist() == [2 * F, F, F]
    for k, t in enumerate(TEMPERATURES):
        w, e = weights(t), energy_of(GRID)
        exact = (w * e).sum() / w.sum()
        error = found["energy_kj_mol_error"][k]
        assert abs(found["energy_kj_mol"][k] - exact) < 4 * error
        spread = ((w * (e - exact) ** 2).sum() / w.sum()) ** 0.5
        assert error == pytest.approx(spread / found["independent_frames"][k] ** 0.5, rel=0.2)


def test_replicas_that_exchange_are_averaged_by_temperature(tmp_path):
    exchange = {"exchange": ExchangeSettings([260.0, 340.0], 10), "anneal": False}
    run = write_simulation(
        tmp_path / "run", [sample(t, 60, int(t)) for t in (260, 340)], **exchange
    )
    outcome = command_line("analyze", run, "--skip", "0", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome
    found = table(tmp_path / "out" / "averages.csv")
    assert found["temperature"].tolist() == ["260 K", "340 K"]
    assert {"helix at 260 K", "helix at 340 K"} < set(table(tmp_path / "out" / "residues.csv"))


def test_without_options_less_is_written_and_leftovers_are_removed(analysed, runs, tmp_path):
    out = tmp_path / "analysis"
    out.mkdir()
    for name in ("tica.csv", "rmsd.png", "mine.txt"):
        (out / name).write_text("from an earlier analysis")
    outcome = command_line("analyze", runs[0], "--out", out)
    assert outcome.code == 0, outcome
    assert {path.name for path in out.iterdir()} == {
        *("mine.txt", "analysis.html", "frames.csv", "averages.csv", "contacts.csv"),
        *("residues.csv", "energy.png", "radius_of_gyration.png", "contacts.png"),
        "secondary_structure.png",
    }


def test_real_replicas_are_analysed(tmp_path):
    options = ("--pdb", TRP_CAGE, "--steps", 60, "--seed", 3, "--replicas", 2, "--no-system")
    run = complete(tmp_path / "run", *options, "--report-interval", 1)
    out = tmp_path / "out"
    outcome = command_line(
        "analyze", run, "--native", TRP_CAGE, "--tica", "2", "--skip", "1", "--out", out
    )
    assert outcome.code == 0, outcome
    assert (out / "tica.png").exists()
    components = table(out / "tica.csv")
    assert components["step"].tolist() == [*range(1, 61)] * 2
    assert abs(components["component_1"].mean()) < 0.2 * components["component_1"].std()
    found = table(tmp_path / "out" / "frames.csv")
    for r in range(2):
        mine = found["trajectory"] == str(run / f"replica-{r}")
        state = table(run / f"replica-{r}" / "state.csv")
        for name in ("step", "energy_kj_mol", "radius_of_gyration_angstrom"):
            np.testing.assert_allclose(found[name][mine], state[name], rtol=1e-5, atol=1e-5)


# What is refused; nothing is written


@pytest.fixture
def refuse(tmp_path):
    def refuse(verb, *arguments):
        before = contents(tmp_path)
        sentence = refused(verb, *map(str, arguments), "--out", tmp_path / "out")
        assert contents(tmp_path) == before
        assert not (tmp_path / "out").exists()
        return sentence

    return refuse


@pytest.mark.parametrize("verb", ["analyze", "check-ensemble"])
def test_runs_that_do_not_belong_together_are_refused(refuse, runs, tmp_path, verb):
    x, energy = random_chain(60, 8, seed=1).numpy(), np.zeros(60)
    other = write_simulation(tmp_path / "other", [(x, energy)], sequence="ACDEFGHI")
    names(refuse(verb, runs[0], other), other, runs[0], "another protein")
    model = write_simulation(tmp_path / "model", [sample(300, 60, 1)], 300, "another model")
    names(refuse(verb, runs[0], model), model, runs[0], "another model")
    names(refuse(verb, runs[0], runs[0]), runs[0], "twice")
    names(refuse(verb, tmp_path / "nothing"), tmp_path / "nothing", "openmm-nemo simulate")
    names(refuse(verb, runs[0], "--skip", F), "--skip", F, runs[0])


def test_native_of_another_sequence_is_refused(refuse, tmp_path):
    x, energy = random_chain(60, 8, seed=1).numpy(), np.zeros(60)
    run = write_simulation(tmp_path / "run", [(x, energy)], sequence="ACDEFGHI")
    sentence = refuse("analyze", run, "--native", TRP_CAGE)
    names(sentence, TRP_CAGE, "20 residues", "8 residues", "--native-chain")
    names(refuse("analyze", run, "--native-chain", "A"), "--native-chain", "--native FILE")
    names(refuse("analyze", run, "--native", tmp_path / "no.pdb"), tmp_path / "no.pdb")


def test_too_few_temperatures_or_frames_are_refused(refuse, runs, tmp_path):
    names(refuse("analyze", runs[-1], "--free-energies"), "--free-energies", "260 K", runs[-1])
    names(refuse("check-ensemble", runs[-1]), "two temperatures", "260 K", runs[-1])
    few = write_simulation(tmp_path / "few", [sample(320, 15, 1)], 320)
    sentence = refuse("analyze", runs[0], few, "--skip", 0, "--free-energies")
    names(sentence, "--free-energies", "20 independent", 15, "320 K")
    sentence = refuse("check-ensemble", runs[0], few, "--skip", 0)
    names(sentence, "50 independent", 15, "320 K")
    names(refuse("analyze", few, "--skip", 0, "--tica", 5), "--tica 5", "10 pairs", 52)
    names(refuse("analyze", runs[0], "--tica", 5), "--tica 5", "constant")


def test_exchanged_replicas_have_no_slow_motions(refuse, tmp_path):
    options = {"exchange": ExchangeSettings([300.0, 330.0], 5), "anneal": False}
    run = write_simulation(tmp_path / "run", [sample(300, 90, 1), sample(330, 90, 2)], **options)
    names(refuse("analyze", run, "--skip", 0, "--tica", 5), "--tica", "exchanged", run)


def test_one_frame_is_drawn_as_a_point(tmp_path):
    run = write_simulation(tmp_path / "run", [sample(300, 1, 1)])
    assert command_line("analyze", run, "--out", tmp_path / "out").code == 0
    image = matplotlib.image.imread(tmp_path / "out" / "energy.png")[..., :3]
    assert (np.ptp(image, axis=-1) > 0.3).any()


def test_many_short_trajectories_have_one_note(tmp_path):
    replicas = [sample(300, n, n) for n in (15, 6, 9)]
    run = write_simulation(tmp_path / "run", replicas)
    outcome = command_line("analyze", run, "--skip", "0", "--out", tmp_path / "out")
    note, _ = outcome.out.splitlines()
    names(note, "3 of 3 trajectories", run / "replica-1", "6 of 6")


def test_legends_remain_short():
    axes = Figure().add_subplot()
    for t in range(300, 331):
        axes.plot([0], [0], label=f"{t} K")
    figures._legend(axes)
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(shown) == 8
    assert (shown[0], shown[-1]) == ("300 K", "330 K")


def test_annealed_runs_have_no_free_energies(refuse, runs, tmp_path):
    annealed = write_simulation(
        tmp_path / "annealed", [sample(300, 60, 1)], 300, anneal=Schedule(100, 2, 0.1)
    )
    for verb, *options in (("analyze", "--free-energies"), ("check-ensemble",)):
        names(refuse(verb, runs[0], annealed, *options), annealed, "annealed", "--no-anneal")


def test_out_that_cannot_be_written_is_refused(runs, tmp_path):
    (tmp_path / "file").write_text("mine")
    for verb in ("analyze", "check-ensemble"):
        sentence = refused(verb, *runs, "--out", tmp_path / "file" / "out")
        names(sentence, tmp_path / "file", "--out")


# Checks of the ensemble


def test_exact_samples_are_consistent(runs, tmp_path):
    outcome = command_line("check-ensemble", *runs, "--out", tmp_path / "check")
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[-1] == "Consistent with the Boltzmann distribution."
    found = table(tmp_path / "check" / "ensemble.csv")
    assert found["low_k"].tolist() == [260, 300]
    assert found["high_k"].tolist() == [300, 340]
    assert (np.abs(found["deviation_in_errors"]) < 3).all()
    assert {path.name for path in (tmp_path / "check").iterdir()} == {
        *("ensemble.csv", "energies.png", "ratios.png"),
    }


def test_samples_of_another_temperature_are_not(runs, tmp_path):
    wrong = write_simulation(tmp_path / "wrong", [sample(330, 4000, 1)], 480)
    outcome = command_line("check-ensemble", runs[-1], wrong, "--out", tmp_path / "check")
    assert outcome.code == 1, outcome
    assert outcome.out.splitlines()[-1].startswith("Not consistent with the Boltzmann")
    (deviation,) = table(tmp_path / "check" / "ensemble.csv")["deviation_in_errors"]
    assert deviation < -3
