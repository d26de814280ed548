"""Springs that keep the chains of a complex within reach of each other."""

from collections.abc import Sequence
from itertools import combinations, islice

import openmm as mm

from openmm_nemo.engine.forces import REPLICA_PARAMETER

TETHER_SPRING = 25.0
"""Spring constant beyond the tether, kJ/mol/nm^2: a kT at 300 K is 0.45 nm beyond."""

TETHER_GAP = 1.5
"""Free way of folded chains beyond contact, nm: farther than two side chains reach."""


def tether_length(first: int, second: int) -> float:
    """Distance between the centres of two folded chains of so many residues, `TETHER_GAP` from contact, nm.

    The radius of gyration of a folded chain is about 0.22 L^0.38 nm (Skolnick et al., J. Mol. Biol. 265, 217, 1997),
    and the radius of a sphere is sqrt(5/3) times its radius of gyration.
    """
    return TETHER_GAP + sum(0.22 * n**0.38 * (5 / 3) ** 0.5 for n in (first, second))


def tether_force(
    chain_lengths: Sequence[int], length: float | None = None, replicas: int = 1
) -> mm.CustomCentroidBondForce:
    """Spring between the centres of any two chains of a complex that is slack up to a distance.

    Without it, free chains drift apart for ever: in infinite space, the associated state has no weight.

    Parameters
    ----------
    chain_lengths : sequence of int
        Number of residues of each chain; their particles are the first ones of the system, chain after chain.
    length : float, optional
        Distance between centres up to which there is no force, nm. Default: `tether_length` of each pair.
    replicas : int
        Number of copies of the complex, one after the other.

    Returns
    -------
    openmm.CustomCentroidBondForce
        Of replicas, with the parameter ``nemo_replica``, see `openmm_nemo.engine.create_force`.
    """
    energy = f"{0.5 * TETHER_SPRING}*max(0, distance(g1,g2)-length)^2"
    if replicas > 1:
        chosen = f"select({REPLICA_PARAMETER}+1, delta({REPLICA_PARAMETER}-replica), 1)"
        energy = f"{chosen}*{energy}"
    force = mm.CustomCentroidBondForce(2, energy)
    force.addPerBondParameter("length")
    if replicas > 1:
        force.addPerBondParameter("replica")
        force.addGlobalParameter(REPLICA_PARAMETER, -1.0)
    particles = iter(range(sum(chain_lengths) * replicas))
    for replica in range(replicas):
        groups = []
        for n in chain_lengths:
            chain = list(islice(particles, n))
            groups.append(force.addGroup(chain, [1.0] * n))
        for (a, m), (b, n) in combinations(zip(groups, chain_lengths, strict=True), 2):
            slack = tether_length(m, n) if length is None else length
            force.addBond([a, b], [slack] + ([replica] if replicas > 1 else []))
    force.setName("NemoTether")
    return force
