"""Frames of trajectories and GRO files, against MDTraj."""

import gzip
import re
import warnings

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo.data import Structure, read_frame, read_structure
from openmm_nemo.errors import InputError
from tests.unit.data.structures.files import (
    CASES,
    DATA,
    TRP_CAGE,
    TRP_CAGE_SEQUENCE,
    molecule,
    shifted,
    trp_cage_lines,
)

PRECISION = {"xtc": 5.1e-3, "gro": 5.1e-3, "mdcrd": 5.1e-4, "pdb": 5.1e-4}
"""What a format keeps of a coordinate, Angstrom; others: float32."""


@pytest.fixture(scope="module")
def trajectory() -> md.Trajectory:
    """The five models of 1l2y, 304 atoms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return md.load(str(TRP_CAGE))


@pytest.fixture
def save(tmp_path):
    def save_frames(frames, name):
        path = tmp_path / name
        frames.save(str(path))
        return path

    return save_frames


def ca_of(trajectory: md.Trajectory, frame: int) -> np.ndarray:
    return 10 * trajectory.xyz[frame, trajectory.topology.select("name CA")]


@pytest.mark.parametrize("frame", [0, 3, -1])
@pytest.mark.parametrize(
    "extension", ["xtc", "trr", "dcd", "nc", "h5", "pdb", "gro", "xyz", "mdcrd"]
)
def test_any_frame_of_any_format(trajectory, save, extension, frame):
    path, topology = save(trajectory, f"run.{extension}"), save(trajectory[0], "top.gro")
    structure = read_frame(path, topology, frame)
    assert structure.sequence == TRP_CAGE_SEQUENCE
    assert structure.name == "run"
    assert structure.frame == frame % 5
    assert structure.notes == (f"Took frame {frame % 5} of 5, from 0.",)
    assert [source.name for source in structure.sources] == [path.name, "top.gro"]
    error = np.abs(structure.ca - ca_of(trajectory, frame)).max()
    assert error < PRECISION.get(extension, 1e-5)


@pytest.mark.parametrize("name", ["top.pdb", "top.h5", "top.gro"])
def test_any_topology(trajectory, save, name):
    structure = read_frame(save(trajectory, "run.dcd"), save(trajectory[0], name), 2)
    np.testing.assert_allclose(structure.ca, ca_of(trajectory, 2), atol=1e-5)
    assert structure.residue_ids == tuple(map(str, range(1, 21)))


def test_topology_keeps_its_names(trajectory, save, tmp_path):
    """Insertion codes, chains and names of four letters, which MDTraj's topology has not."""
    lines = [
        line[:22] + "  52" + "ABCDEFGHIJKLMNOPQRST"[int(line[22:26]) - 1] + line[27:]
        for line in trp_cage_lines()
    ]
    lines = [line[:17] + "NASN" + line[21:] if line[26] == "A" else line for line in lines]
    topology = tmp_path / "top.pdb"
    topology.write_text("".join(f"{line}\n" for line in [*lines, "END"]))
    structure = read_frame(save(trajectory, "run.dcd"), topology, 1, residues="52A-52T")
    assert structure.chain == "A"
    assert structure.residue_ids == tuple(f"52{code}" for code in "ABCDEFGHIJKLMNOPQRST")
    assert "Read names of force fields as standard ones: NASN->ASN x1." in structure.notes
    np.testing.assert_allclose(structure.ca, ca_of(trajectory, 1), atol=1e-5)


def test_atoms_stay_in_their_places(trajectory, save, tmp_path):
    """gemmi joins the atoms of a residue: hydrogens at the end of the file keep their positions in the frame."""
    lines = trp_cage_lines()
    order = sorted(range(len(lines)), key=lambda i: lines[i][77] == "H")
    topology = tmp_path / "top.pdb"
    topology.write_text("".join(f"{lines[i]}\n" for i in order) + "END\n")
    path = save(md.Trajectory(trajectory.xyz[:, order], trajectory.topology), "run.dcd")
    expected = read_structure(TRP_CAGE, model_index=4)
    np.testing.assert_allclose(read_frame(path, topology, 3).backbone, expected.backbone, atol=1e-5)


@pytest.mark.parametrize("frame", [5, -6, 1000])
@pytest.mark.parametrize("extension", ["xtc", "dcd", "gro"])
def test_frame_that_is_not_there(trajectory, save, extension, frame):
    path = save(trajectory, f"run.{extension}")
    with pytest.raises(InputError) as error:
        read_frame(path, save(trajectory[0], "top.gro"), frame)
    assert str(error.value) == (
        f"{path} has no frame {frame}: choose --frame from 0 to 4, or -1 for the last."
    )


@pytest.mark.parametrize("extension", ["xtc", "dcd", "h5"])
def test_topology_of_other_atoms(trajectory, save, extension):
    path = save(trajectory, f"run.{extension}")
    with pytest.raises(InputError) as error:
        read_frame(path, CASES / "cap_with_ca.pdb")
    said = str(error.value)
    assert said.startswith(
        f"{path} cannot be read with the 306 atoms of {CASES / 'cap_with_ca.pdb'} ("
    )
    assert "304" in said
    assert said.endswith(
        "give a trajectory in a format of MDTraj, and the topology of the same atoms."
    )
    assert "\n" not in said


def test_topology_without_a_protein(trajectory, save, tmp_path):
    water = molecule(("OW", "HW1", "HW2"), "SOL", 1, 0.0)
    topology = tmp_path / "top.pdb"
    topology.write_text("".join(f"{line}\n" for line in [*water, "END"]))
    path = save(trajectory.atom_slice([0, 1, 2]), "run.xtc")
    with pytest.raises(InputError, match=f"frame 0 of {re.escape(str(path))} has no protein chain"):
        read_frame(path, topology)


@pytest.mark.parametrize(
    ("trajectory_name", "topology_name"),
    [("none.xtc", "top.gro"), ("run.xtc", "none.gro"), ("run.xtc", "none.prmtop"), ("bad.xtc", "top.gro"),
     ("bad.txt", "top.gro"), ("run.xtc", "bad.prmtop"), ("run.xtc", "bad.txt"), ("run.xtc", "run.xtc"),
     (".", "top.gro"), ("run.xtc", "."), ("empty.xtc", "top.gro"), ("empty.dcd", "top.gro")],
)  # fmt: skip
def test_files_that_are_none(trajectory, save, tmp_path, trajectory_name, topology_name):
    save(trajectory, "run.xtc")
    save(trajectory[0], "top.gro")
    for name in ("bad.xtc", "bad.txt", "bad.prmtop"):
        (tmp_path / name).write_text("Dear reader, this is none.\n")
    for name in ("empty.xtc", "empty.dcd"):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as error:
        read_frame(tmp_path / trajectory_name, tmp_path / topology_name)
    wrong = trajectory_name if topology_name == "top.gro" else topology_name
    assert str(error.value).startswith(str(tmp_path / wrong))
    assert "\n" not in str(error.value)


# Periodic boxes


@pytest.mark.parametrize("triclinic", [False, True])
def test_chain_that_the_box_cuts_is_put_together(trajectory, save, triclinic):
    """Each atom is put into the box, as simulation programs do, for ten places of the molecule."""
    vectors = (
        np.array([[3.0, 0, 0], [1.0, 2.8, 0], [-0.7, 0.9, 2.6]]) if triclinic else 2.9 * np.eye(3)
    )
    rng = np.random.default_rng(4)
    cut = 0
    for _ in range(10):
        x = trajectory.xyz[0].astype(float) + rng.uniform(0, 3, 3)
        fractional = x @ np.linalg.inv(vectors)
        wrapped = md.Trajectory((fractional - np.floor(fractional)) @ vectors, trajectory.topology)
        wrapped.unitcell_vectors = vectors[None]
        structure = read_frame(save(wrapped, "run.dcd"), save(trajectory[0], "top.pdb"))
        cut += "Made chain A whole, which the periodic box had cut." in structure.notes
        expected = read_structure(TRP_CAGE, model_index=1).backbone
        distances = [np.linalg.norm(b[:, None] - b, axis=-1) for b in (
            structure.backbone.reshape(-1, 3), expected.reshape(-1, 3)
        )]  # fmt: skip
        np.testing.assert_allclose(distances[0], distances[1], atol=1e-4)
    assert cut >= 5


def test_box_is_not_blamed_for_a_gap(trajectory, save, tmp_path):
    lines = [line for line in trp_cage_lines() if int(line[22:26]) not in (9, 10)]
    topology = tmp_path / "top.pdb"
    topology.write_text("".join(f"{line}\n" for line in [*lines, "END"]))
    left = [a.index for a in trajectory.topology.atoms if a.residue.resSeq not in (9, 10)]
    frames = trajectory.atom_slice(left)
    frames.unitcell_vectors = np.repeat(5 * np.eye(3)[None], 5, axis=0)
    path = save(frames, "run.xtc")
    with pytest.raises(
        InputError, match=r"breaks between residues LYS 8 and GLY 11 of chain A of frame 1 of"
    ):
        read_frame(path, topology, 1)
    assert read_frame(path, topology, 1, longest_segment=True).segment == "11-20"


# GRO files


@pytest.mark.parametrize("decimals", [3, 5])
@pytest.mark.parametrize("zipped", [False, True])
def test_gro_agrees_with_mdtraj(trajectory, tmp_path, decimals, zipped):
    path = tmp_path / "x.gro"
    trajectory.save_gro(str(path), precision=decimals)
    expected = md.load(str(path))
    if zipped:
        path = tmp_path / "x.gro.gz"
        path.write_bytes(gzip.compress((tmp_path / "x.gro").read_bytes()))
    default = read_structure(path)
    assert default.name == "x"
    assert default.chain == ""
    assert default.notes == ("Took model 1 of 5; choose with --model-index.",)
    for index in (1, 5):
        structure = read_structure(path, model_index=index)
        assert structure.sequence == TRP_CAGE_SEQUENCE
        assert structure.residue_ids == tuple(map(str, range(1, 21)))
        np.testing.assert_allclose(structure.ca, ca_of(expected, index - 1), atol=1e-5)


def gro_lines(lines: list[str]) -> list[str]:
    """GRO lines of PDB lines; names of up to five letters."""
    return [
        f"{int(line[22:26]):5d}{line[17:21].strip():<5s}{line[12:16].strip():>5s}{i % 100000:5d}"
        + "".join(f"{float(line[start : start + 8]) / 10:8.3f}" for start in (30, 38, 46))
        for i, line in enumerate(lines, start=1)
    ]


@pytest.fixture
def write_gro(tmp_path):
    def write_lines(lines, name="x.gro", box="   8.00000   8.00000   8.00000"):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in ["A title", str(len(lines)), *lines, box]))
        return path

    return write_lines


def test_gro_of_a_solvated_system(write_gro):
    """Names of GROMACS' AMBER and OPLS force fields, of five letters, too, and numbers that begin again."""
    protein = gro_lines(trp_cage_lines())
    for residue, name in ((1, "NASN"), (5, "HISE"), (8, "LYSH"), (20, "CSER")):
        protein = [
            f"{line[:5]}{name:<5s}{line[10:]}" if int(line[:5]) == residue else line
            for line in protein
        ]
    waters = [
        line
        for i in range(25)
        for line in gro_lines(molecule(("OW", "HW1", "HW2"), "SOL", 21 + i, 60.0))
    ]
    ions = [line for i in range(60) for line in gro_lines(molecule(("NA",), "NA", 46 + i, 70.0))]
    structure = read_structure(write_gro([*protein, *waters, *ions]))
    assert structure.sequence == "NLYIHWLKDGGPSSGRPPPS"
    assert structure.notes[:2] == (
        "Left out 25 solvent molecules (SOL), 60 ions (NA).",
        "Read names of force fields as standard ones: NASN->ASN x1, HISE->HIS x1, LYSH->LYS x1, CSER->SER x1.",
    )
    five = [f"{line[:5]}NHISE{line[10:]}" if int(line[:5]) == 1 else line for line in protein]
    assert read_structure(write_gro(five)).sequence[0] == "H"


def test_gro_of_two_proteins(write_gro):
    lines = trp_cage_lines()
    path = write_gro(gro_lines([*lines, *shifted(lines, 40)]))
    first, second = (read_structure(path, chain=name) for name in "AB")
    np.testing.assert_allclose(second.ca - first.ca, [[40, 0, 0]] * 20, atol=1.1e-2)


@pytest.mark.parametrize(("suffix", "first"), [("gro", 2), ("prmtop", 1)])
def test_molecules_that_a_cap_parts(suffix, first):
    """ACE-AHACAK-NME and GACAA, numbered through: from 1 in GRO, and from 0 by MDTraj in the AMBER files."""
    stem = DATA / "parmed" / "two_chains"

    def read(chain: str) -> Structure:
        if suffix == "gro":
            return read_structure(f"{stem}.gro", chain)
        return read_frame(f"{stem}.inpcrd", f"{stem}.prmtop", chain=chain)

    for chain, sequence, start in (("A", "AHACAK", first), ("B", "GACAA", first + 7)):
        structure = read(chain)
        assert structure.sequence == sequence
        assert structure.residue_numbers == tuple(range(start, start + len(sequence)))
        assert any(note.startswith("Left out 2 caps (ACE, NME)") for note in structure.notes)


@pytest.mark.parametrize("cut", ["box", "atoms", "line"])
def test_cut_gro(write_gro, cut):
    path = write_gro(gro_lines(trp_cage_lines()))
    lines = path.read_text().splitlines()
    left = {
        "box": lines[:-1],
        "atoms": lines[:200],
        "line": [*lines[:-1][:-1], lines[-2][:30], lines[-1]],
    }[cut]
    path.write_text("\n".join(left) + "\n")
    with pytest.raises(InputError, match="is damaged or cut short"):
        read_structure(path)
