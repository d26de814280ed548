"""Several chains of a structure as one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from openmm_nemo.data.structures.chains import MIN_CA_DISTANCE, Structure
from openmm_nemo.errors import InputError
from openmm_nemo.residues import BREAK


def join_chains(chains: Sequence[Structure]) -> Structure:
    """The chains of one model of a file as a complex, one after the other.

    Parameters
    ----------
    chains : sequence of Structure
        Two or more.

    Raises
    ------
    InputError
        If residues of two chains overlap.
    """
    first = chains[0]
    for k, chain in enumerate(chains):
        for other in chains[:k]:
            distance = np.linalg.norm(chain.ca[:, None] - other.ca, axis=-1)
            i, j = np.unravel_index(distance.argmin(), distance.shape)
            if distance[i, j] < MIN_CA_DISTANCE:
                raise InputError(
                    f"Residue {chain.residue_ids[i]} of chain {chain.chain} and {other.residue_ids[j]} of chain "
                    f"{other.chain} of {first.sources[0].name} overlap: "
                    f"their CA atoms are {distance[i, j]:.1f} Angstrom apart; choose other chains with --chain."
                )
    starts = np.cumsum([0, *(len(chain.ca) for chain in chains)]).tolist()
    common = set.intersection(*(set(chain.notes) for chain in chains))
    own = [
        f"Chain {chain.chain}: {note}"
        for chain in chains
        for note in chain.notes
        if note not in common
    ]
    return replace(
        first,
        chain=BREAK.join(chain.chain for chain in chains),
        sequence=BREAK.join(chain.sequence for chain in chains),
        ca=np.concatenate([chain.ca for chain in chains]),
        backbone=np.concatenate([chain.backbone for chain in chains]),
        residue_ids=tuple(number for chain in chains for number in chain.residue_ids),
        notes=(*(note for note in first.notes if note in common), *own),
        breaks=tuple(
            start + i for start, chain in zip(starts, chains, strict=False) for i in chain.breaks
        ),
        chain_lengths=tuple(len(chain.ca) for chain in chains),
    )
