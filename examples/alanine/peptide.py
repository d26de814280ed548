"""Capped alanine peptides: files, the System of the examples in this folder, and backbone dihedrals.

The command builds the files from ideal bonds and angles, without any other structure, and minimises their energy.

python examples/alanine/peptide.py
"""

import math
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import app, unit
from scipy.spatial.transform import Rotation

DATA = Path(__file__).parents[1] / "data"
FILES = {1: DATA / "alanine_dipeptide.pdb", 3: DATA / "alanine_tetrapeptide.pdb"}
"""Files of ACE-ALA-NME and ACE-ALA-ALA-ALA-NME, by the number of alanines."""
FORCE_FIELD = ("amber14/protein.ff14SB.xml", "implicit/obc2.xml")
OFFSET = 0.009
"""By which OBC2 reduces Born radii, nm."""


def create_system(topology: app.Topology) -> mm.System:
    """Make the System: ff14SB with implicit water (OBC2), neither cutoff nor constraints.

    The force field describes OBC2 as a CustomGBForce. OpenMM's own GBSAOBCForce replaces it: the same energy to
    0.0001 kJ/mol, 25 times as fast on the Reference platform.
    """
    system = app.ForceField(*FORCE_FIELD).createSystem(
        topology, constraints=None, rigidWater=False, removeCMMotion=False
    )
    (index,) = (k for k, f in enumerate(system.getForces()) if isinstance(f, mm.CustomGBForce))
    custom, force = system.getForce(index), mm.GBSAOBCForce()
    force.setSolventDielectric(78.5)
    for k in range(custom.getNumParticles()):
        charge, radius, scaled = custom.getParticleParameters(k)
        force.addParticle(charge, radius + OFFSET, scaled / radius)
    system.removeForce(index)
    system.addForce(force)
    return system


def backbone_dihedrals(topology: app.Topology, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Phi, psi and omega of a capped peptide.

    Parameters
    ----------
    topology : Topology
    positions : ndarray, shape (..., N, 3)

    Returns
    -------
    dict of str to ndarray, shape (..., L) or, of omega, (..., L + 1)
        Radian, from -pi to pi: phi and psi of L residues, omega of the bonds before, between and after them.
    """
    named = [{atom.name: atom.index for atom in r.atoms()} for r in topology.residues()]
    first, *residues, last = named
    chain = [first["CH3"], first["C"]]
    for residue in residues:
        chain += [residue["N"], residue["CA"], residue["C"]]
    chain += [last["N"], last["C"]]
    x = positions[..., chain, :]
    turns = _dihedral(x[..., :-3, :], x[..., 1:-2, :], x[..., 2:-1, :], x[..., 3:, :])
    return {name: turns[..., k::3] for k, name in enumerate(("omega", "phi", "psi"))}


def with_phi(topology: app.Topology, positions: np.ndarray, phi: float) -> np.ndarray:
    """Turn what is before the first alanine about its bond from N to CA until phi has this value, degree."""
    cap, alanine, *_ = topology.residues()
    named = {atom.name: atom.index for atom in alanine.atoms()}
    moved = [atom.index for atom in cap.atoms()] + [named["H"]]
    origin, axis = positions[named["CA"]], positions[named["N"]] - positions[named["CA"]]
    angle = math.radians(phi) - backbone_dihedrals(topology, positions)["phi"][0]
    turned = positions.copy()
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
    turned[moved] = origin + rotation.apply(positions[moved] - origin)
    return turned


def is_left_handed(topology: app.Topology, positions: np.ndarray) -> np.ndarray:
    """Whether all alanines of positions (..., N, 3) are L: N, C and CB turn to the left, seen from CA's hydrogen."""
    named = [{atom.name: atom.index for atom in r.atoms()} for r in topology.residues()]
    alanines = [row for row in named if "CB" in row]
    ca, n, c, cb = (
        positions[..., [row[key] for row in alanines], :] for key in ["CA", "N", "C", "CB"]
    )
    return ((np.cross(n - ca, c - ca) * (cb - ca)).sum(-1) > 0).all(-1)


def _dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Dihedral, radian, of points (..., 3)."""
    axis = c - b
    before, after = np.cross(b - a, axis), np.cross(axis, d - c)
    y = np.linalg.norm(axis, axis=-1) * ((b - a) * after).sum(-1)
    return np.arctan2(y, (before * after).sum(-1))


def _placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, *values: float) -> np.ndarray:
    """Point with this bond, nm, angle and dihedral, degree, to c, b and a."""
    bond, angle, turn = values[0], math.radians(180 - values[1]), math.radians(values[2])
    u = (c - b) / np.linalg.norm(c - b)
    n = np.cross(b - a, u)
    n /= np.linalg.norm(n)
    side = math.cos(turn) * np.cross(n, u) + math.sin(turn) * n
    return c + bond * (math.cos(angle) * u + math.sin(angle) * side)


def build(
    n_alanines: int, phi: float = -75.0, psi: float = 145.0
) -> tuple[app.Topology, np.ndarray]:
    """Build ACE, alanines and NME with these dihedrals, degree, and minimise.

    Returns
    -------
    topology : Topology
    positions : ndarray, shape (N, 3)
        nm.
    """
    # The first two of these dihedrals are those of the cap, whose "N" is one of its hydrogens.
    x = {(0, "N"): np.array([-0.05, 0.09, 0.0]), (0, "CA"): np.zeros(3)}
    x[0, "C"] = np.array([0.152, 0.0, 0.0])
    end = n_alanines + 1
    for k in range(1, end + 1):
        ca, c = x[k - 1, "CA"], x[k - 1, "C"]
        n = x[k, "N"] = _placed(x[k - 1, "N"], ca, c, 0.1335, 116.6, psi)
        x[k, "CA"] = _placed(ca, c, n, 0.1449, 121.9, 180.0)
        x[k - 1, "O"] = _placed(x[k, "CA"], n, c, 0.1229, 122.9, 0.0)
        if k < end:
            x[k, "CB"] = _placed(c, n, x[k, "CA"], 0.1526, 109.7, phi - 120)
            x[k, "C"] = _placed(c, n, x[k, "CA"], 0.1522, 110.1, phi)
    del x[0, "N"]
    topology, positions = app.Topology(), []
    chain = topology.addChain()
    for k, name in enumerate(["ACE", *["ALA"] * n_alanines, "NME"]):
        residue = topology.addResidue(name, chain)
        for atom in ("N", "CA", "CB", "C", "O"):
            if (k, atom) in x:
                methyl = {"ACE": "CH3", "NME": "C", "ALA": "CA"}[name]
                name_in_file = methyl if atom == "CA" else atom
                topology.addAtom(name_in_file, app.element.get_by_symbol(atom[0]), residue)
                positions.append(x[k, atom])
    topology.createStandardBonds()
    modeller = app.Modeller(topology, positions * unit.nanometer)
    platform = mm.Platform.getPlatformByName("Reference")
    modeller.addHydrogens(app.ForceField(*FORCE_FIELD), platform=platform)
    context = mm.Context(create_system(modeller.topology), mm.VerletIntegrator(0.001), platform)
    context.setPositions(modeller.positions)
    mm.LocalEnergyMinimizer.minimize(context, 1e-3)
    state = context.getState(positions=True)
    return modeller.topology, state.getPositions(asNumpy=True)._value


def read(n_alanines: int) -> tuple[app.Topology, np.ndarray]:
    """Topology and positions (N, 3), nm, of the file."""
    pdb = app.PDBFile(str(FILES[n_alanines]))
    return pdb.topology, pdb.getPositions(asNumpy=True)._value


if __name__ == "__main__":
    for n_alanines, path in FILES.items():
        topology, positions = build(n_alanines)
        with path.open("w") as out:
            app.PDBFile.writeModel(topology, positions * unit.nanometer, out)
            print("END", file=out)
        print(f"Wrote {path}.")
