"""Simulations of complexes: what is read and written of each chain, and runs that stop and go on."""

import gemmi
import mdtraj as md
import numpy as np
import pytest

from openmm_nemo import NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.geometry import rmsd
from openmm_nemo.runs.chain_moves import count_moves
from openmm_nemo.runs.plots import read_table
from openmm_nemo.runs.reading import read_simulation
from tests.helpers import contents, names, refused
from tests.integration.runs import DATA, TRP_CAGE, command_line, complete, process, simulate, table

pytestmark = pytest.mark.usefixtures("quick_pictures")

FIRST, SECOND = "NLYIQWLKDGGPSSG", "GSAVLKDEFWYP"
OPTIONS = ("--model", "nemo-fold", "--sequence", f"{FIRST}:{SECOND}", "--seed", 5)
DIMER = DATA / "20_2hpf.pdb.gz"
DIMER_OPTIONS = (
    "--model",
    "nemo-fold",
    "--pdb",
    DIMER,
    "--chain",
    "B:A",
    "--residues",
    "2-20:5-30",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a run of 40 steps."""
    return complete(tmp_path_factory.mktemp("whole") / "run", *OPTIONS, "--steps", 40)


def check_same(out, expected):
    """Tables and final structures bit by bit, and trajectories to what DCD rounds."""
    assert set(contents(out)) == set(contents(expected))
    one, other = read_simulation(out), read_simulation(expected)
    for run, whole in zip(one, other, strict=True):
        np.testing.assert_allclose(run.coarse(), whole.coarse(), rtol=2e-7, atol=2e-6)
        np.testing.assert_allclose(run.atoms().xyz, whole.atoms().xyz, rtol=2e-7, atol=2e-7)
        for name in ("state.csv", "final_coarse.pdb", "final_atoms.pdb"):
            assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    for name in ("chain_moves.csv", "exchanges.csv"):
        if (expected / name).exists():
            assert (out / name).read_bytes() == (expected / name).read_bytes(), name


def test_files_have_the_names_of_the_chains(whole):
    for name, atoms in (("final_coarse.pdb", 1), ("final_atoms.pdb", 5)):
        final = md.load(str(whole / name))
        chains = [(c.chain_id, c.n_residues) for c in final.topology.chains]
        assert chains == [("A", 15), ("B", 12)]
        assert final.n_atoms == 27 * atoms
        sequences = ["".join(r.code for r in c.residues) for c in final.topology.chains]
        assert sequences == [FIRST, SECOND]
        assert [r.resSeq for r in final.topology.residues] == [*range(1, 16), *range(1, 13)]
        # No bond joins them.
        assert all(a.residue.chain is b.residue.chain for a, b in final.topology.bonds)
    (run,) = read_simulation(whole)
    assert run.coarse().shape == (5, 27, 3)
    assert run.atoms().topology.n_chains == 2


def test_contacts_and_moves_are_in_tables(whole):
    (run,) = read_simulation(whole)
    x = run.coarse()
    apart = np.linalg.norm(x[:, :15, None] - x[:, None, 15:], axis=-1)
    assert table(whole)["contacts_between_chains"].tolist() == (apart < 8).sum((1, 2)).tolist()
    moves = read_table(whole / "chain_moves.csv")
    assert moves["step"].tolist() == [0, 10, 20, 30, 40]
    assert moves["proposed"].tolist() == [0, 10, 20, 30, 40]
    assert 0 < moves["accepted"][-1] < 40
    assert count_moves(whole) == (40, moves["accepted"][-1])


def test_files_of_chains_whose_names_have_the_same_first_letter(tmp_path):
    """As in the files of assemblies, which call a copy of chain A A-2."""
    document = gemmi.read_structure(str(DIMER))
    document.remove_empty_chains()
    for chain, name in zip(list(document[0]), ("A-2", "A"), strict=False):
        chain.name = name
    document.setup_entities()
    document.make_mmcif_document().write_file(str(tmp_path / "assembly.cif"))
    options = ("--model", "nemo-fold", "--pdb", tmp_path / "assembly.cif", "--steps", 10)
    outcome = simulate(tmp_path / "run", *options, "--chain", "A:A-2", "--residues", "2-9:5-12")
    names(outcome.out, "A-2 is B")
    for name in ("final_coarse.pdb", "final_atoms.pdb"):
        chains = gemmi.read_structure(str(tmp_path / "run" / name))[0]
        assert [(chain.name, len(chain)) for chain in chains] == [("A", 8), ("B", 8)], name


def test_what_is_printed(tmp_path):
    outcome = simulate(tmp_path / "run", *OPTIONS, "--steps", 10, "--chain-moves", 3)
    lines = outcome.out.splitlines()
    assert sum("trained on single chains" in line for line in lines) == 1
    plan = next(line for line in lines if line.startswith("Simulating"))
    names(plan, "15 + 12 residues", "3 moves", "10 steps")
    names(lines[-2], "3 moves of chains", "accepted")
    none = simulate(tmp_path / "none", *OPTIONS, "--steps", 10, "--chain-moves", 0)
    assert "moves" not in none.out
    assert not (tmp_path / "none" / "chain_moves.csv").exists()


@pytest.mark.parametrize("steps", [23, 30])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, steps):
    expected = complete(tmp_path / "run", *OPTIONS, "--steps", 40, "--no-anneal")
    out = complete(tmp_path / "stopped", *OPTIONS, "--steps", steps, "--no-anneal")
    complete(out, "--resume", "--steps", 40)
    check_same(out, expected)


@pytest.mark.parametrize("more", [(), ("--replicas", 2)], ids=["one", "replicas"])
def test_a_killed_run_continues_as_the_uninterrupted_one(tmp_path, more):
    """kill -9 of a process that has written a checkpoint in the middle of a run, and steps after it."""
    options = (*OPTIONS, *more, "--steps", 60, "--platform", "Reference")
    expected = complete(tmp_path / "whole", *options)
    setup = (
        "s.CHECKPOINT_SECONDS = s.BLOCK_SECONDS = 0\n"
        "import os, signal\n"
        "from contextlib import contextmanager\n"
        "import openmm_nemo.cli.series as series\n"
        "def late(step):\n"
        "    if step == 37:\n"
        "        s.CHECKPOINT_SECONDS = 1000\n"
        "    if step == 46:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "@contextmanager\n"
        "def progress(*_):\n"
        "    yield late\n"
        "series.progress = progress"
    )
    out = tmp_path / "killed"
    killed = process(*options, "--out", out, setup=setup)
    _, err = killed.communicate(timeout=300)
    assert killed.returncode == -9, err
    assert list(out.rglob("*.partial*"))
    complete(out, "--resume")
    check_same(out, expected)


def test_replicas_move_their_chains_one_by_one(tmp_path):
    out = complete(tmp_path / "run", *OPTIONS, "--replicas", 2, "--steps", 20)
    moves = read_table(out / "chain_moves.csv")
    assert list(moves) == ["step", "proposed", "replica-0", "replica-1"]
    assert moves["proposed"][-1] == 20
    for name in ("replica-0", "replica-1"):
        final = md.load(str(out / name / "final_coarse.pdb"))
        assert [c.chain_id for c in final.topology.chains] == ["A", "B"]


def test_complexes_exchange_replicas(tmp_path):
    options = (*OPTIONS[:4], "--seed", 3, "--temperatures", "300,320", "--steps", 40)
    places = ("--platform", "Reference", "--interval", 5)
    for name, steps in (("whole", 40), ("stopped", 25)):
        outcome = command_line(
            "exchange", "--out", tmp_path / name, *options, "--steps", steps, *places
        )
        assert outcome.code == 0, outcome
    outcome = command_line("exchange", "--out", tmp_path / "stopped", "--resume", "--steps", 40)
    assert outcome.code == 0, outcome
    check_same(tmp_path / "stopped", tmp_path / "whole")


# From structures


def native():
    return np.concatenate(
        [
            read_structure(DIMER, "B", residues="2-20").ca,
            read_structure(DIMER, "A", residues="5-30").ca,
        ]
    )


def test_chains_of_a_structure_keep_names_and_numbers(tmp_path):
    out = complete(
        tmp_path / "run",
        *DIMER_OPTIONS,
        "--reference",
        "--start",
        "native",
        "--steps",
        10,
        "--seed",
        2,
    )
    final = md.load(str(out / "final_coarse.pdb"))
    assert [c.chain_id for c in final.topology.chains] == ["B", "A"]
    assert [r.resSeq for r in final.topology.residues] == [*range(2, 21), *range(5, 31)]
    values = table(out)
    assert values["rmsd_angstrom"][0] == pytest.approx(0, abs=1e-4)
    (run,) = read_simulation(out)
    np.testing.assert_allclose(run.coarse()[0], native(), atol=1e-3)
    import torch

    last = rmsd(torch.tensor(run.coarse()[-1]).double(), torch.tensor(native()))
    assert values["rmsd_angstrom"][-1] == pytest.approx(float(last), abs=1e-3)


def test_a_reference_is_given_by_its_chains(tmp_path):
    sequences = [read_structure(DIMER, name).sequence[4:20] for name in "AB"]
    options = ("--model", "nemo-fold", "--sequence", ":".join(sequences), "--reference", DIMER)
    out = complete(tmp_path / "run", *options, "--reference-chain", "B:A", "--steps", 10)
    assert (table(out)["rmsd_angstrom"] > 1).all()
    sentence = refused("simulate", "--out", tmp_path / "none", *options)
    names(sentence, "2 chains", "--reference-chain", "A:B")
    sentence = refused("simulate", "--out", tmp_path / "none", *options, "--reference-chain", "A:A")
    names(sentence, "--reference-chain", "chain A", "twice")


# Profiles and FASTA


def write_profile(path, length, seed):
    rows = np.random.default_rng(seed).uniform(0.2, 0.8, size=(length, 20))
    np.savetxt(path, rows)
    return rows


def test_every_chain_has_a_profile_of_its_own(tmp_path):
    rows = write_profile(tmp_path / "b.txt", 12, 1)
    out = complete(
        tmp_path / "run",
        *OPTIONS,
        "--profile",
        "none",
        "--profile",
        tmp_path / "b.txt",
        "--steps",
        10,
    )
    model = NemoModel.from_pretrained("nemo-fold")
    expected = model.condition(f"{FIRST}:{SECOND}", [None, rows])
    (run,) = read_simulation(out)
    energy = float(expected.energy(expected.z0.new_tensor(run.coarse()[-1])))
    assert table(out)["u_kt"][-1] == pytest.approx(energy, rel=1e-4)
    sentence = refused(
        "simulate", "--out", tmp_path / "a", *OPTIONS, "--profile", tmp_path / "b.txt"
    )
    names(sentence, "--profile", "1 time", "2 chains", "'none'")


def test_records_with_colons_are_complexes_among_proteins(tmp_path):
    fasta = tmp_path / "x.fasta"
    fasta.write_text(f">pair\n{FIRST}:{SECOND}\n>single\n{FIRST}\n")
    out = tmp_path / "out"
    outcome = simulate(
        out, "--model", "nemo-fold", "--fasta", fasta, "--steps", 10, "--chain-moves", 4
    )
    assert outcome.code == 0, outcome
    assert outcome.out.count("trained on single chains") == 1
    assert md.load(str(out / "pair" / "final_coarse.pdb")).topology.n_chains == 2
    assert md.load(str(out / "single" / "final_coarse.pdb")).topology.n_chains == 1
    assert count_moves(out / "pair")[0] == 4
    assert not (out / "single" / "chain_moves.csv").exists()


# What is refused


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--sequence", "GAVL::ACDE"), ("Chain B", "empty", "colon")),
        (("--sequence", ":GAVL"), ("Chain A", "empty")),
        (("--sequence", "GAVL:GAXL"), ("Chain B", "'X'", "position 3")),
        (
            ("--sequence", "GAVL:GAVL", "--model", "nemo-mini"),
            ("nemo-mini", "learned", "nemo-fold"),
        ),
        (("--sequence", "GAVL:GAVL", "--model", "rnn-mini"), ("rnn-mini", "baseline")),
        (("--sequence", "GAVLGAVL", "--chain-moves", 3), ("--chain-moves", "complex")),
        (("--sequence", "GAVLGAVL", "--reach", 30), ("--reach", "complex")),
        (("--sequence", "GAVL:GAVL", "--reach", 0), ("--reach", "positive")),
        (
            ("--sequence", "GAVL:GAVL", "--reach", 30, "--chain-moves", 0),
            ("--reach", "--chain-moves"),
        ),
        (("--sequence", "GAVL:GAVL", "--all-atom"), ("--all-atom", "complex")),
        (("--pdb", DIMER, "--chain", "A:A"), ("--chain", "chain A", "twice")),
        (("--pdb", DIMER, "--chain", "A:Q"), ("Chain Q", "does not exist", "--chain")),
        (
            ("--pdb", DIMER, "--chain", "A:B", "--residues", "2-20"),
            ("--residues", "1 chain", "2", "colons"),
        ),
        (
            ("--topology", TRP_CAGE, "--trajectory", TRP_CAGE, "--chain", "A:B"),
            ("periodic box", "--pdb"),
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tmp_path, options, facts):
    options = options if "--model" in options else (*options, "--model", "nemo-fold")
    names(refused("simulate", "--out", tmp_path / "run", *options), *facts)
    assert not (tmp_path / "run").exists()


def test_verbs_for_single_chains_refuse_complexes(tmp_path, whole):
    for options in (
        ("--sequence", "GAVL:GAVL"),
        ("--pdb", DIMER, "--chain", "A:B"),
    ):
        sentence = refused("sample", *options, "--engine", "openmm", "--out", tmp_path / "s")
        names(sentence, "complex", "simulate", "--replicas")
    names(refused("analyze", whole, "--out", tmp_path / "a"), whole, "complex", "check-ensemble")
