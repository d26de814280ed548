"""What other programs read of the outputs, without a warning; and the numbering, which stays."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import gemmi
import mdtraj as md
import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_nemo import NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.runs import simulation
from tests.helpers import command_line
from tests.integration.runs import DATA, TRP_CAGE, complete, frames, simulate

NUMBERED = DATA / "cases" / "insertion_codes_and_gaps_in_numbers.pdb"
IDS = read_structure(NUMBERED).residue_ids
QUICK = pytest.mark.usefixtures("quick_pictures")
BONDS = {"final_coarse.pdb": 19, "final_atoms.pdb": 99, "atoms.pdb": 99}
"""19 between residues; 4 in each residue of 20."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """As 'make demo', with fewer steps."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    options = ("--pdb", TRP_CAGE, "--reference", "--start", "native", "--model", "nemo-mini")
    return complete(out, *options, "--steps", 20, "--seed", 1, "--atoms", "atoms.pdb")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # About their own code, not about a file.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield


def mdtraj(path):
    topology = md.load(str(path)).topology
    return [(a.name, a.element.symbol) for a in topology.atoms], topology.n_bonds


def mdanalysis(path):
    import MDAnalysis

    universe = MDAnalysis.Universe(str(path))
    assert universe.trajectory.n_frames == (3 if path.name == "atoms.pdb" else 1)
    return [(a.name, a.element) for a in universe.atoms], len(universe.bonds)


def parmed(path):
    import parmed

    structure = parmed.load_file(str(path))
    joined = {frozenset((b.atom1.idx, b.atom2.idx)) for b in structure.bonds}
    found = md.load(str(path)).topology
    # ParmEd also joins atoms that are close, which imputed ones may be.
    assert joined >= {frozenset((a.index, b.index)) for a, b in found.bonds}
    return [(a.name, a.element_name) for a in structure.atoms], found.n_bonds


def read_by_gemmi(path):
    structure = gemmi.read_structure(str(path))
    n_bonds = sum(len(others) for others in structure.conect_map.values()) // 2
    atoms = [atom for residue in structure[0][0] for atom in residue]
    return [(a.name, a.element.name) for a in atoms], n_bonds


def openmm(path):
    topology = app.PDBFile(str(path)).topology
    return [(a.name, a.element.symbol) for a in topology.atoms()], topology.getNumBonds()


def pdbfixer(path):
    from pdbfixer import PDBFixer

    topology = PDBFixer(filename=str(path)).topology
    return [(a.name, a.element.symbol) for a in topology.atoms()], topology.getNumBonds()


@pytest.mark.parametrize("name", BONDS)
@pytest.mark.parametrize("read", [mdtraj, mdanalysis, parmed, read_by_gemmi, openmm, pdbfixer])
def test_other_programs_read_the_atoms_and_all_bonds(demo, read, name):
    ca = [("CA", "C")]
    residue = [("N", "N"), *ca, ("C", "C"), ("O", "O"), ("CEN", "C")]
    expected = 20 * (ca if name == "final_coarse.pdb" else residue)
    assert read(demo / name) == (expected, BONDS[name])


def test_trajectory_opens_with_the_final_structure_as_its_topology(demo):
    import MDAnalysis

    dcd, pdb = str(demo / "coarse.dcd"), str(demo / "final_coarse.pdb")
    assert md.load(dcd, top=pdb).n_frames == 3
    universe = MDAnalysis.Universe(pdb)
    with warnings.catch_warnings():
        # The format has a place for a time step, which these dynamics do not have.
        warnings.simplefilter("ignore")
        universe.load_new(dcd)
    assert universe.trajectory.n_frames == 3


def ids_in(path: Path) -> tuple[str, ...]:
    (chain,) = gemmi.read_structure(str(path))[0]
    assert chain.name == "B"
    return tuple(str(residue.seqid) for residue in chain)


@QUICK
def test_numbering_is_kept_in_all_files_and_when_resumed(tmp_path):
    source = Path(shutil.copy(NUMBERED, tmp_path / "mine.pdb"))
    out = tmp_path / "run"
    options = ("--coarse", "coarse.pdb", "--atoms", "atoms.h5", "--report-interval", 5)
    complete(out, "--pdb", source, "--steps", 5, *options)
    record = json.loads((out / "run.json").read_text())["settings"]["source"]
    assert record["files"] == [
        {
            "path": str(source),
            "name": "mine.pdb",
            "sha256": hashlib.sha256(NUMBERED.read_bytes()).hexdigest(),
        }
    ]
    assert (record["chain"], record["model"], record["segment"]) == ("B", 1, f"{IDS[0]}-{IDS[-1]}")
    assert record["frame"] is None
    source.write_text("changed")
    outcome = simulate(out, "--resume", "--steps", 10)
    assert outcome.code == 0, outcome
    assert "mine.pdb has changed" in outcome.out
    for name in ("coarse.pdb", "final_coarse.pdb", "final_atoms.pdb"):
        assert ids_in(out / name) == IDS, name
    topology = frames(out, "atoms.h5").topology
    assert topology.chain(0).chain_id == "B"
    assert [r.resSeq for r in topology.residues] == [int(number.rstrip("AB")) for number in IDS]
    with simulation.SimulationRun(out) as run:
        residues = list(run.simulation.topology.residues())
    assert {residue.chain.id for residue in residues} == {"B"}
    assert tuple(r.id + r.insertionCode for r in residues) == IDS


def test_samples_keep_the_numbering_and_refuse_a_changed_file(tmp_path):
    source, out = tmp_path / "mine.pdb", tmp_path / "samples"
    shutil.copy(NUMBERED, source)
    options = ("--model", "nemo-tiny", "-n", "1", "--steps", "2", "--workers", "1", "--out", out)
    assert command_line("sample", "--pdb", source, *options).code == 0
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    for name in ("coarse.h5", "atoms.h5", "native.h5"):
        topology = md.load(str(folder / name)).topology
        assert topology.chain(0).chain_id == "B"
        assert [r.resSeq for r in topology.residues] == [int(number.rstrip("AB")) for number in IDS]
    (record,) = json.loads((out / "sampling.json").read_text())["sources"].values()
    assert tuple(record["residue_ids"]) == IDS
    source.write_text("REMARK changed\n" + NUMBERED.read_text())
    outcome = command_line("sample", "--pdb", source, *options)
    assert outcome.code == 2
    assert str(source) in outcome.err


@QUICK
def test_side_chain_bead_and_system_can_be_left_out(tmp_path):
    out = complete(
        tmp_path / "run", "--pdb", TRP_CAGE, "--steps", 2, "--no-side-chain-bead", "--no-system"
    )
    assert not list(out.glob("*.xml"))
    names = [atom.name for atom in md.load(str(out / "final_atoms.pdb")).topology.atoms]
    assert names == 20 * ["N", "CA", "C", "O"]
    assert simulate(out, "--resume", "--steps", 4).code == 0
    assert md.load(str(out / "atoms.dcd"), top=str(out / "final_atoms.pdb")).n_atoms == 80
    assert not list(out.glob("*.xml"))


@QUICK
def test_all_atom_model_is_of_the_last_frame(tmp_path):
    """And is written later if that was interrupted, and anew if the run continues."""
    options = ("--model", "nemo-mini", "--start", "native", "--seed", 1, "--steps", 2, "--all-atom")
    out = complete(tmp_path / "run", "--pdb", NUMBERED, *options)
    model = out / "final_all_atom.pdb"

    def check() -> np.ndarray:
        assert ids_in(model) == IDS
        every, coarse = (md.load(str(path)) for path in (model, out / "final_coarse.pdb"))
        assert every.n_atoms == 304
        ca = every.xyz[0, every.topology.select("name CA")]
        assert np.linalg.norm(ca - coarse.xyz[0], axis=1).max() < 0.1
        return every.xyz

    first = check()
    model.unlink()
    assert simulate(out, "--resume").code == 0
    np.testing.assert_array_equal(check(), first)
    assert simulate(out, "--resume").code == 2
    assert simulate(out, "--resume", "--steps", 60).code == 0
    assert not np.array_equal(check(), first)


def test_system_is_not_larger_than_its_numbers():
    """Apart from the fact that OpenMM writes each byte as two letters."""
    protein = NemoModel.from_pretrained("nemo-mini").condition("ACDEFGHIKLMNPQRSTVWY" * 10)
    values = protein.require_energy().state_dict().values()
    size = sum(value.numel() * value.element_size() for value in values)
    assert len(mm.XmlSerializer.serialize(protein.create_system("python"))) / 2 < 0.8 * size
