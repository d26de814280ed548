"""What a simulation writes, against the network and its differentiable simulator."""

import json

import matplotlib.image
import mdtraj as md
import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit

from openmm_nemo import NemoConfig, NemoLangevinIntegrator, NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.evaluation import tm_score
from openmm_nemo.residues import THREE_LETTER
from tests.helpers import contents, need_torchforce
from tests.integration.runs import (
    COORDINATES,
    DATA,
    FORMATS,
    SEQUENCE,
    TRP_CAGE,
    complete,
    frames,
    protein,
    simulate,
    table,
    trp_cage,
)

STEPS = 23
DOUBLE = ("--precision", "double", "--seed", 7, "--steps", STEPS)
QUICK = pytest.mark.usefixtures("quick_pictures")
KT = 8.31446261815324e-3 * 300


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The Trp cage from its native structure, in float64, every step."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "run"
    options = ("--pdb", TRP_CAGE, "--start", "native", "--reference")
    outcome = simulate(out, *options, "--report-interval", 1, *DOUBLE)
    assert outcome.code == 0, outcome
    return out, outcome


@pytest.fixture(scope="module")
def rollout():
    """The same in PyTorch: positions (S+1, L, 3), nm, and all else."""
    start = torch.from_numpy(trp_cage())
    trajectory = protein().rollout(STEPS, x0=start, seed=7)
    return trajectory.x[:, 0].numpy() / 10, trajectory


def test_folder_holds_these_files_and_no_others(run):
    assert set(contents(run[0])) == {
        "coarse.dcd",
        "atoms.dcd",
        "state.csv",
        "state.png",
        "checkpoint.chk",
        "system.xml",
        "integrator.xml",
        "final_coarse.pdb",
        "final_atoms.pdb",
        "run.json",
    }


def test_output_says_what_is_done(run):
    out, outcome = run
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        "1l2y.pdb: Took model 1 of 5; choose with --model-index.",
        "Model nemo-tiny is untrained (random weights): expect no meaningful structure.",
        "Simulating 20 residues, seed 7, to step 23.",
        f"Wrote 23 steps to {out}.",
    ]


def test_native_start_is_the_structure(run):
    np.testing.assert_allclose(frames(run[0], "coarse.dcd").xyz[0], trp_cage() / 10, atol=2e-7)


def test_double_precision_is_the_rollout(run, rollout):
    coarse = frames(run[0], "coarse.dcd")
    assert coarse.n_frames == STEPS + 1
    assert np.abs(rollout[0][-1] - rollout[0][0]).max() > 0.1
    np.testing.assert_allclose(10 * coarse.xyz, 10 * rollout[0], rtol=0, atol=1e-5)


def test_table_is_that_of_the_rollout(run, rollout):
    values = table(run[0])
    x, trajectory = rollout
    np.testing.assert_array_equal(values["step"], np.arange(STEPS + 1))
    energy = protein().energy(torch.from_numpy(10 * x)).numpy()
    np.testing.assert_allclose(values["u_kt"], energy, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values["energy_kj_mol"], KT * energy, rtol=1e-5, atol=1e-5)
    moved = np.append(0, trajectory.largest_displacement.numpy())
    np.testing.assert_allclose(values["largest_displacement_angstrom"], moved, rtol=1e-4)
    spread = 10 * (x - x.mean(1, keepdims=True))
    gyration = np.sqrt((spread**2).sum(-1).mean(-1))
    np.testing.assert_allclose(values["radius_of_gyration_angstrom"], gyration, rtol=1e-5)
    clipped = np.cumsum(trajectory.clipped.numpy()) / np.arange(1, STEPS + 1)
    np.testing.assert_allclose(values["clipped_fraction"], np.append(0, clipped), rtol=1e-5)


def test_table_compares_with_the_reference(run):
    values = table(run[0])
    coarse = frames(run[0], "coarse.dcd")
    native = md.Trajectory(trp_cage() / 10, coarse.topology)
    assert values["rmsd_angstrom"][0] < 1e-6
    assert values["tm_score"][0] == 1
    rmsd = 10 * md.rmsd(coarse, native)
    assert rmsd[-1] > 1
    np.testing.assert_allclose(values["rmsd_angstrom"][1:], rmsd[1:], rtol=1e-3)
    final = torch.from_numpy(10 * coarse.xyz[-1].astype(float))
    expected = tm_score(final, torch.from_numpy(trp_cage()))
    assert values["tm_score"][-1] == pytest.approx(expected, rel=1e-3)


def test_final_structures_are_the_last_positions(run, rollout):
    x = rollout[0][-1]
    coarse, atoms = (md.load(str(run[0] / f"final_{kind}.pdb")) for kind in ("coarse", "atoms"))
    np.testing.assert_allclose(coarse.xyz[0], x, rtol=0, atol=1.1e-4)
    imputed = protein().impute(torch.from_numpy(10 * x)).flatten(0, 1).numpy() / 10
    np.testing.assert_allclose(atoms.xyz[0], imputed, rtol=0, atol=1.1e-4)
    for structure, names in ((coarse, ["CA"]), (atoms, ["N", "CA", "C", "O", "CEN"])):
        assert [residue.name for residue in structure.topology.residues] == [
            THREE_LETTER[letter] for letter in SEQUENCE
        ]
        assert [atom.name for atom in structure.topology.atoms] == 20 * names
        assert [residue.resSeq for residue in structure.topology.residues] == list(range(1, 21))


def test_xml_gives_the_system_and_the_integrator_back(run, rollout):
    out, _ = run
    system = mm.XmlSerializer.deserialize((out / "system.xml").read_text())
    integrator = NemoLangevinIntegrator.from_xml((out / "integrator.xml").read_text())
    assert integrator.getRandomNumberSeed() == 7
    assert integrator.getTemperature() == 300 * unit.kelvin
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(trp_cage() / 10)
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert energy == pytest.approx(table(out)["energy_kj_mol"][0], rel=1e-5)
    integrator.step(STEPS)
    positions = context.getState(positions=True).getPositions(asNumpy=True)._value
    np.testing.assert_allclose(positions, rollout[0][-1], rtol=0, atol=1e-6)


def test_settings_are_kept(run):
    settings = json.loads((run[0] / "run.json").read_text())["settings"]
    assert (settings["seed"], settings["steps"], settings["sequence"]) == (7, STEPS, SEQUENCE)
    np.testing.assert_array_equal(settings["start"], trp_cage())


def inked(image):
    """Fraction of an image that is not white."""
    return (image[..., :3] < 0.99).any(-1).mean()


def test_picture_shows_table_and_chain(run):
    image = matplotlib.image.imread(run[0] / "state.png")
    assert image.shape == (912, 1560, 4)
    for row in np.array_split(image[:, :1000], 3):
        for panel in np.array_split(row, 2, axis=1):
            assert inked(panel) > 0.03
    chain = image[:, 1020:]
    assert inked(chain) > 0.02
    # The ends of the rainbow, and the grey of the reference.
    red, green, blue = np.moveaxis(chain[..., :3], -1, 0)
    assert (red - blue > 0.3).sum() > 50
    assert (blue - red > 0.3).sum() > 50
    grey = (np.abs(red - green) < 0.01) & (np.abs(green - blue) < 0.01) & (abs(red - 0.7) < 0.12)
    assert grey.sum() > 300


def test_picture_without_a_reference_is_lower(tmp_path):
    out = complete(tmp_path / "run", "--sequence", SEQUENCE, "--steps", 20)
    image = matplotlib.image.imread(out / "state.png")
    assert image.shape == (624, 1560, 4)
    for row in np.array_split(image[:, :1000], 2):
        for panel in np.array_split(row, 2, axis=1):
            assert inked(panel) > 0.03
    assert inked(image[:, 1020:]) > 0.02


# Formats


@QUICK
@pytest.mark.parametrize("extension", FORMATS)
def test_formats_hold_the_same_frames(tmp_path, extension):
    names = (f"c.{extension}", f"a.{extension}")
    out = complete(
        tmp_path / "run", "--sequence", SEQUENCE, "--trajectory", names[0], "--atoms", names[1], *DOUBLE
    )  # fmt: skip
    coarse, atoms = (frames(out, name) for name in names)
    assert coarse.n_frames == atoms.n_frames == 3
    assert [residue.name for residue in coarse.topology.residues] == [
        THREE_LETTER[letter] for letter in SEQUENCE
    ]
    assert [str(residue) for residue in atoms.topology.residues] == [
        str(residue) for residue in coarse.topology.residues
    ]
    assert [atom.name for atom in atoms.topology.atoms] == 20 * ["N", "CA", "C", "O", "CEN"]
    if extension in ("xtc", "h5"):
        assert coarse.time.tolist() == atoms.time.tolist() == [0, 10, 20]
    expected = protein().rollout(STEPS, seed=7).x[[0, 10, 20], 0]
    atol = COORDINATES[extension]
    np.testing.assert_allclose(coarse.xyz, expected / 10, rtol=0, atol=atol)
    imputed = protein().impute(expected).flatten(1, 2) / 10
    np.testing.assert_allclose(atoms.xyz, imputed, rtol=0, atol=atol)
    assert table(out)["step"].tolist() == [0, 10, 20]


@QUICK
def test_formats_can_be_mixed(tmp_path):
    out = complete(
        tmp_path / "run", "--sequence", SEQUENCE, "--trajectory", "x.pdb", "--atoms", "x.h5", *DOUBLE
    )  # fmt: skip
    coarse, atoms = frames(out, "x.pdb"), frames(out, "x.h5")
    imputed = protein().impute(torch.from_numpy(10 * coarse.xyz).double()).flatten(1, 2) / 10
    np.testing.assert_allclose(atoms.xyz, imputed, rtol=0, atol=1e-3)


# Options


@QUICK
def test_sequence_starts_from_the_initial_state(tmp_path):
    out = complete(tmp_path / "run", "--sequence", SEQUENCE.lower(), "--steps", 1)
    start = protein(double=False).initial_state() / 10
    np.testing.assert_allclose(frames(out, "coarse.dcd").xyz[0], start, rtol=0, atol=1e-6)
    assert "rmsd_angstrom" not in table(out)
    assert table(out)["step"].tolist() == [0]


@QUICK
def test_temperature_is_that_of_the_rollout(tmp_path):
    out = complete(
        tmp_path / "run", "--sequence", SEQUENCE, "--temperature", 450, "--report-interval", STEPS, *DOUBLE
    )  # fmt: skip
    expected = protein().rollout(STEPS, seed=7, temperature=450).x[-1, 0] / 10
    np.testing.assert_allclose(frames(out, "coarse.dcd").xyz[1], expected, rtol=0, atol=1e-6)


def test_same_seed_gives_the_same_files(tmp_path):
    first, second = (
        complete(tmp_path / name, "--sequence", SEQUENCE, "--seed", 3, "--steps", 20,
                 "--trajectory", "c.xtc", "--atoms", "a.xtc")
        for name in "ab"
    )  # fmt: skip
    # Not: what TorchScript numbers in a process (system.xml), OpenMM's own random numbers (checkpoint).
    for name in ("c.xtc", "a.xtc", "state.csv", "state.png", "integrator.xml", "run.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for name in (
        "final_coarse.pdb",
        "final_atoms.pdb",
    ):  # MDTraj writes the time into the first line
        lines = [(folder / name).read_text().splitlines() for folder in (first, second)]
        assert lines[0][1:] == lines[1][1:]
        assert len(lines[0]) > 20


@QUICK
def test_without_seed_runs_differ_and_say_theirs(tmp_path):
    seeds = []
    for name in "ab":
        outcome = simulate(tmp_path / name, "--sequence", SEQUENCE, "--steps", 10)
        seed = json.loads((tmp_path / name / "run.json").read_text())["settings"]["seed"]
        assert f"Simulating 20 residues, seed {seed}, to step 10." in outcome.out.splitlines()
        seeds.append(seed)
    assert seeds[0] != seeds[1]
    a, b = (frames(tmp_path / name, "coarse.dcd").xyz[1] for name in "ab")
    assert np.abs(a - b).max() > 0.05
    again = complete(tmp_path / "c", "--sequence", SEQUENCE, "--steps", 10, "--seed", seeds[0])
    assert (again / "state.csv").read_bytes() == (tmp_path / "a" / "state.csv").read_bytes()


@QUICK
@pytest.mark.parametrize("backend", ["python", "torchforce"])
@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_backends_and_platforms_agree(tmp_path, monkeypatch, rollout, backend, platform):
    if backend == "torchforce":
        need_torchforce()
    made = []

    class Recorded(app.Simulation):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            python = isinstance(self.system.getForce(0), mm.PythonForce)
            made.append((python, self.context.getPlatform().getName()))

    monkeypatch.setattr(app, "Simulation", Recorded)
    out = complete(
        tmp_path / "run", "--pdb", TRP_CAGE, "--start", "native", "--backend", backend,
        "--platform", platform, *DOUBLE,
    )  # fmt: skip
    coarse = frames(out, "coarse.dcd").xyz
    np.testing.assert_allclose(coarse, rollout[0][[0, 10, 20]], rtol=0, atol=1e-5)
    assert made == [(backend == "python", platform)]


@QUICK
def test_single_precision_is_near_the_rollout(tmp_path, rollout):
    out = complete(
        tmp_path / "run", "--pdb", TRP_CAGE, "--start", "native", "--seed", 7, "--steps", 10
    )
    difference = np.abs(frames(out, "coarse.dcd").xyz[1] - rollout[0][10]).max()
    assert 0 < difference < 1e-3


@QUICK
def test_precision_is_that_of_the_platforms_that_have_one(tmp_path, monkeypatch):
    told = []
    cpu = mm.Platform.getPlatformByName("CPU")
    monkeypatch.setattr(mm.Platform, "getPropertyNames", lambda self: ("Precision",))
    monkeypatch.setattr(
        mm.Platform, "setPropertyDefaultValue", lambda self, *pair: told.append((self.getName(), *pair))
    )  # fmt: skip
    complete(tmp_path / "run", "--sequence", SEQUENCE, "--steps", 1, "--precision", "mixed")
    assert (cpu.getName(), "Precision", "mixed") in told


@QUICK
def test_profile_decides(tmp_path):
    torch.manual_seed(5)
    model = NemoModel(NemoConfig.preset("tiny", profile=True))
    model.save_pretrained(tmp_path / "model")
    profile = np.random.default_rng(0).dirichlet(np.ones(20), len(SEQUENCE))
    np.savetxt(tmp_path / "profile.txt", profile)
    np.savetxt(tmp_path / "profile.csv", profile, delimiter=",")
    for name in ("txt", "csv"):
        out = complete(
            tmp_path / name, "--sequence", SEQUENCE, "--model", tmp_path / "model", "--steps", 10,
            "--profile", tmp_path / f"profile.{name}", "--precision", "double", "--seed", 2,
        )  # fmt: skip
        expected = model.double().eval().condition(SEQUENCE, profile).rollout(10, seed=2).x[-1, 0]
        coarse = frames(out, "coarse.dcd").xyz
        np.testing.assert_allclose(coarse[1], expected / 10, rtol=0, atol=1e-5)


@QUICK
def test_model_may_be_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = NemoModel(NemoConfig.preset("tiny"))
    model.trained = True
    model.save_pretrained("mine")
    outcome = simulate(tmp_path / "run", "--sequence", SEQUENCE, "--model", "mine", "--steps", 2)
    assert outcome.code == 0
    assert "untrained" not in outcome.out
    monkeypatch.chdir("/")
    assert simulate(tmp_path / "run", "--resume", "--steps", 3).code == 0


@QUICK
def test_reference_may_be_another_file(tmp_path):
    """The third model of 1l2y, as the reference of the first."""
    text = TRP_CAGE.read_text()
    model = "MODEL " + text.split("\nMODEL ")[3].split("ENDMDL")[0] + "ENDMDL\nEND\n"
    (tmp_path / "third.pdb").write_text(model)
    third = read_structure(TRP_CAGE, model_index=3).ca
    spaced = f"{SEQUENCE[:10]} {SEQUENCE[10:]}".lower()
    for protein_options in (("--pdb", TRP_CAGE, "--start", "native"), ("--sequence", spaced)):
        out = complete(
            tmp_path / protein_options[0], *protein_options, "--reference", tmp_path / "third.pdb", "--steps", 1
        )  # fmt: skip
        start = frames(out, "coarse.dcd")
        rmsd = 10 * md.rmsd(start, md.Trajectory(third / 10, start.topology))
        assert rmsd[0] > 0.3
        assert table(out)["rmsd_angstrom"][0] == pytest.approx(rmsd[0], rel=1e-3)


# Files as they are


@QUICK
@pytest.mark.parametrize(
    ("name", "options", "length", "notes"),
    [
        ("02_1a4w.cif.gz", (), 26, ["Took chain L of L, H, I; choose with --chain."]),
        ("08_1EN2.cif.gz", (), 86, ["Took modified residues as their parents: PCA->GLU x1."]),
        ("10_3JQH.cif.gz", (), 23, ["Took the conformer of highest occupancy in 4 residues"]),
        ("20_2hpf.pdb.gz", (), 99, ["Took chain A of A, B, S; choose with --chain."]),
        ("20_2hpf.pdb.gz", ("--chain", "B"), 99, []),
        ("27_3a4rA.pdb.gz", (), 79, ["Took the first of atoms given twice"]),
        ("31_d1asha_", (), 60, ["Used the positions of atoms with occupancy 0 in 8 residues"]),
        (TRP_CAGE, ("--model-index", 2), 20, []),
    ],
    ids=lambda value: str(value).rpartition("/")[2],
)
def test_real_file_is_simulated(tmp_path, name, options, length, notes):
    out = tmp_path / "run"
    path = DATA / name
    outcome = simulate(out, "--pdb", path, "--start", "native", "--steps", 5, *options)
    assert outcome.code == 0, outcome
    for note in notes:
        assert f"{path.name}: {note}" in outcome.out
    assert ("choose with" in outcome.out) == any("choose with" in note for note in notes)
    assert f"Simulating {length} residues" in outcome.out
    coarse = frames(out, "coarse.dcd")
    choice = {
        option.strip("-").replace("-", "_"): value
        for option, value in zip(options[::2], options[1::2], strict=True)
    }
    structure = read_structure(path, **choice)
    np.testing.assert_allclose(coarse.xyz[0], structure.ca / 10, rtol=1e-6, atol=1e-5)
    assert "".join(residue.code for residue in coarse.topology.residues) == structure.sequence
    assert table(out)["step"].tolist() == [0]
    assert np.isfinite(table(out)["u_kt"]).all()


BREAKS = ("06_1wq2.pdb.gz", "15_1xqa.pdb.gz", "16_1naf.pdb.gz", "17_1dul.cif.gz", "25_1lol.pdb.gz")
EVERY_FILE = sorted([*DATA.glob("[0-9]*"), *(DATA / "cases").iterdir(), TRP_CAGE])


@QUICK
@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: path.name)
def test_every_file_ends_in_a_run(tmp_path, path):
    """At once, or, where a loop is missing, as the one line says; each residue keeps its place."""
    options = ("--pdb", path, "--start", "native", "--steps", 1)
    if path.name in BREAKS:
        outcome = simulate(tmp_path / "run", *options)
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert "The chain breaks between residues" in line
        assert "--residues" in line
        segment = line.partition("--longest-segment (")[2].partition(")")[0]
        assert not (tmp_path / "run").exists()
        options = (*options, "--longest-segment")
        named = complete(tmp_path / "named", *options[:-1], "--residues", segment)
    out = complete(tmp_path / "run", *options)
    structure = read_structure(path, longest_segment=True)
    coarse = frames(out, "coarse.dcd")
    np.testing.assert_allclose(coarse.xyz[0], structure.ca / 10, rtol=1e-6, atol=1e-5)
    if path.name in BREAKS:
        assert structure.segment == segment
        np.testing.assert_array_equal(frames(named, "coarse.dcd").xyz[0], coarse.xyz[0])


@QUICK
def test_frame_of_a_trajectory_is_a_start(tmp_path):
    """The models of 1l2y as frames; the coarse trajectory has a name of its own."""
    models = md.load(str(TRP_CAGE))
    models.save_xtc(str(tmp_path / "traj.xtc"))
    models[0].save_gro(str(tmp_path / "top.gro"))
    given = ("--trajectory", tmp_path / "traj.xtc", "--topology", tmp_path / "top.gro")
    for frame, index in ((None, 0), (3, 3), (-1, 4)):
        out = tmp_path / f"run{frame}"
        options = () if frame is None else ("--frame", frame)
        outcome = simulate(
            out, *given, *options, "--coarse", "beads.dcd", "--reference", "--steps", 1
        )
        assert outcome.code == 0, outcome
        assert f"traj.xtc: Took frame {index} of 5, from 0." in outcome.out
        expected = models.xyz[index, models.topology.select("name CA")]
        np.testing.assert_allclose(frames(out, "beads.dcd").xyz[0], expected, atol=1.1e-3)
        assert table(out)["rmsd_angstrom"][0] < 1e-3
        assert not (out / "coarse.dcd").exists()
    out = complete(tmp_path / "z0", *given, "--start", "z0", "--steps", 1)
    start = protein(double=False).initial_positions()
    np.testing.assert_allclose(frames(out, "coarse.dcd").xyz[0], start, atol=1e-4)


@QUICK
def test_gro_file_is_a_start(tmp_path):
    frame = md.load(str(TRP_CAGE))[2]
    frame.save_gro(str(tmp_path / "native.gro"))
    out = complete(
        tmp_path / "run", "--pdb", tmp_path / "native.gro", "--start", "native", "--steps", 1
    )
    expected = frame.xyz[0, frame.topology.select("name CA")]
    np.testing.assert_allclose(frames(out, "coarse.dcd").xyz[0], expected, atol=1.1e-3)


@QUICK
def test_reference_has_a_chain_and_a_model(tmp_path):
    """A file of two molecules without chain names, the second 30 Angstrom away; and a model of 1l2y."""
    start = ("--pdb", TRP_CAGE, "--start", "native", "--steps", 1)
    blank = DATA / "cases" / "blank_chains_ter.pdb"
    outcome = simulate(tmp_path / "b", *start, "--reference", blank, "--reference-chain", "B")
    assert outcome.code == 0, outcome
    assert table(tmp_path / "b")["rmsd_angstrom"][0] < 1e-2
    run = json.loads((tmp_path / "b" / "run.json").read_text())["settings"]
    second = read_structure(blank, chain="B").ca
    np.testing.assert_allclose(run["reference"], second)
    outcome = simulate(tmp_path / "a", *start, "--reference", blank)
    assert f"{blank.name}: Took chain A of A, B; choose with --reference-chain." in outcome.out
    outcome = simulate(tmp_path / "2", *start, "--reference", TRP_CAGE, "--reference-model", 2)
    assert outcome.code == 0, outcome
    assert table(tmp_path / "2")["rmsd_angstrom"][0] > 0.3
    outcome = simulate(tmp_path / "c", *start, "--reference", blank, "--reference-chain", "C")
    assert outcome.code == 2
    assert outcome.err == (
        f"openmm-nemo: Chain C of {blank} does not exist: choose --reference-chain from A, B.\n"
    )
    outcome = simulate(tmp_path / "9", *start, "--reference", TRP_CAGE, "--reference-model", 9)
    assert outcome.err == (
        f"openmm-nemo: {TRP_CAGE} has no model 9: choose --reference-model from 1 to 5.\n"
    )


@QUICK
def test_reference_may_hold_more_than_the_protein(tmp_path):
    """Of the reference, the stretch with the sequence is taken, though its chain breaks elsewhere."""
    path = DATA / "06_1wq2.pdb.gz"
    options = ("--pdb", path, "--residues", "25-60", "--start", "native", "--steps", 1)
    outcome = simulate(tmp_path / "run", *options, "--reference", path)
    assert outcome.code == 0, outcome
    assert (
        f"{path.name}: Took residues 25-60, which have the sequence of the protein." in outcome.out
    )
    assert table(tmp_path / "run")["rmsd_angstrom"][0] < 1e-5


@QUICK
def test_rare_amino_acids_of_a_sequence_are_noted(tmp_path):
    outcome = simulate(tmp_path / "run", "--sequence", "acdUoefgU", "--steps", 1)
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[:2] == [
        "Took U (selenocysteine) at 2 positions, the first 4, as C.",
        "Took O (pyrrolysine) at position 5 as K.",
    ]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["settings"]["sequence"] == "ACDCKEFGC"
