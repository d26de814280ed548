"""Similarity of folds: candidates by Foldseek's structural alphabet, compared by TM-align."""

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.errors import InputError
from openmm_nemo.optional import load_tm_align
from openmm_nemo.processes import run_in_batches

SAME_FOLD = 0.65
"""TM-score, by the length of the query, from which two folds count as the same.

0.5 is the usual limit for whole domains of one length (Xu & Zhang, Bioinformatics 26, 889, 2010), but a fifth of 6,000
chains contained an arrangement of helices and strands that reaches it with one domain of 81 residues; 1% reached 0.65.
"""

PATIENCE = 100
"""The search for a query ends after this many candidates in a row that do not have its fold.

Of those 6,000 chains, it found 59 of the 68 from 0.65 on, 24 of the 26 from 0.67 on, and all 6 from 0.7 on.
"""

_FIRST_GAP, _NEXT_GAP = 10, 1  # as in Foldseek
_QUERIES_A_TASK = 2

# Of an ideal C-beta, in terms of N - CA, C - CA and their cross product.
_TO_CB = np.array([-0.56802827, -0.54067466, -0.58273431])


def structural_letters(domain: Domain) -> str:
    """The fold as a sequence of letters, one per residue, of the alphabet 3Di.

    A letter describes the residue's nearest neighbour in space and how their chains run (van Kempen et al., Nat.
    Biotechnol. 42, 243, 2024); D where it is undefined, as at the ends and near missing atoms. By biotite.
    """
    import biotite.structure as struc
    from biotite.structure.alphabet import to_3di

    n, ca, c = (domain.backbone[:, k].astype(float) for k in range(3))
    first, second = n - ca, c - ca
    # The encoder was trained on ideal C-betas.
    cb = ca + np.stack([first, second, np.cross(-first, second)], -1) @ _TO_CB
    atoms = struc.AtomArray(4 * len(domain))
    atoms.coord = np.stack([n, ca, c, cb], 1).reshape(-1, 3)
    atoms.atom_name[:] = np.tile(["N", "CA", "C", "CB"], len(domain))
    atoms.res_id[:] = np.repeat(np.arange(len(domain)), 4)
    (letters,), _ = to_3di(atoms)
    return str(letters).upper()


def with_fold_of(
    queries: Sequence[Domain],
    references: Sequence[Domain],
    workers: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> list[tuple[int, ...]]:
    """References that contain the fold of each query: TM-score by the query's length of at least `SAME_FOLD`.

    TM-align compares the query with the references in the order of their best local alignment of structural letters,
    the most similar first, until `PATIENCE` in a row do not have its fold. So a few references with a TM-score little
    above the limit may be missed, but hardly any with a high one.

    Parameters
    ----------
    queries, references : sequence of Domain
    workers : int, optional
        Number of processes. Default: one per processor.
    progress : callable
        Called with the number of queries done so far, from time to time.

    Returns
    -------
    list of tuple of int
        Indices of references, by query.

    Raises
    ------
    InputError
        If TM-align is not installed, or a process was killed.
    """
    load_tm_align()  # here, not in a process that would be killed
    letters = [structural_letters(domain) for domain in references]
    traces = [np.ascontiguousarray(domain.ca) for domain in references]
    try:
        return run_in_batches(
            _search_all, queries, _QUERIES_A_TASK, (letters, traces), workers, progress
        )
    except BrokenProcessPool:
        raise InputError(
            "A process that compares folds was killed (perhaps out of memory): use fewer --workers."
        ) from None


def _search_all(
    queries: Sequence[Domain], letters: Sequence[str], traces: Sequence[np.ndarray]
) -> list[tuple[int, ...]]:
    return [_search(query, letters, traces) for query in queries]


def _search(query: Domain, letters: Sequence[str], traces: Sequence[np.ndarray]) -> tuple[int, ...]:
    import parasail

    profile = parasail.profile_create_sat(structural_letters(query), _substitutions())
    gaps = _FIRST_GAP, _NEXT_GAP
    scores = [parasail.sw_striped_profile_sat(profile, text, *gaps).score for text in letters]
    tm_align, x = load_tm_align(), query.ca.astype(float)
    found, misses = [], 0
    for number in np.argsort(-np.array(scores), kind="stable").tolist():
        if misses == PATIENCE:
            break
        y = traces[number].astype(float)
        if len(y) < SAME_FOLD * len(x):  # at most one per residue
            continue
        if tm_align(x, y, "A" * len(x), "A" * len(y)).tm_norm_chain1 >= SAME_FOLD:
            found.append(number)
            misses = 0
        else:
            misses += 1
    return tuple(sorted(found))


def _substitutions() -> Any:
    """Scores of pairs of structural letters, as a matrix of parasail."""
    import parasail
    from biotite.sequence.align import SubstitutionMatrix

    matrix = SubstitutionMatrix.std_3di_matrix()
    symbols = "".join(matrix.get_alphabet1().get_symbols()).upper()
    scores = parasail.matrix_create(symbols, 0, 0)
    for (i, j), score in np.ndenumerate(matrix.score_matrix()):
        scores[i, j] = int(score)
    return scores
