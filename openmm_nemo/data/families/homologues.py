"""Search for homologues of a protein with HMMER's jackhmmer (the paper's B.5)."""

import gzip
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from openmm_nemo.data.families.alignments import Alignment, align_to_query
from openmm_nemo.errors import InputError
from openmm_nemo.residues import check_sequence

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM, TopHits

ITERATIONS = 5
BITS_PER_RESIDUE = 0.3

BLOCK_SEQUENCES = 5000
"""Number of sequences that a thread takes at a time."""


def search_homologues(
    sequence: str,
    database: str | os.PathLike[str],
    iterations: int = ITERATIONS,
    bits_per_residue: float = BITS_PER_RESIDUE,
    workers: int | None = None,
    name: str = "query",
    progress: Callable[[int], None] = lambda count: None,
) -> Alignment:
    """Find homologues in a database and align them.

    This is jackhmmer: the sequence, and then in each round a hidden Markov model of the alignment so far, is compared
    with the whole database, until a round finds nothing new. The database is read again in each round, block by block,
    so that it need not fit into memory.

    Parameters
    ----------
    sequence : str
        Length L.
    database : path
        FASTA file of proteins, may be gzipped.
    iterations : int
        Maximum number of rounds.
    bits_per_residue : float
        Sequences and their domains are accepted if their bit scores are at least this times L.
    workers : int, optional
        Number of threads. Default: one per processor. The result does not depend on it.
    name : str
        Name of the query in the alignment.
    progress : callable
        Called with the number of bytes of the file read so far, over all rounds, from time to time.

    Returns
    -------
    Alignment
        The sequence, followed by one row per domain found, best score first; only the sequence if there are none.

    Raises
    ------
    InputError
        If the sequence is not made of amino acids, a number is not positive, or the database cannot be read.
    """
    from pyhmmer.easel import Alphabet, KeyHash, TextSequence
    from pyhmmer.plan7 import Background, Builder, Trace

    sequence = check_sequence(sequence)
    if iterations < 1:
        raise InputError(f"The number of iterations is {iterations}: give at least 1.")
    if not bits_per_residue > 0:
        raise InputError(f"The score is {bits_per_residue} bits per residue: give more than 0.")
    alphabet = Alphabet.amino()
    query = TextSequence(name=name, sequence=sequence).digitize(alphabet)
    builder = Builder(alphabet, architecture="hand")  # match states remain the query's residues
    background = Background(alphabet)
    model, _, _ = builder.build(query, background)
    path = Path(database)
    size, threshold = _size(path), bits_per_residue * len(sequence)
    known, n_rows = KeyHash(), 1
    for number in range(iterations):
        report_all = partial(_report_after, number * size, progress)
        hits = _search(model, path, threshold, workers or os.cpu_count() or 1, report_all)
        n_new = hits.compare_ranking(known)
        msa: Any = hits.to_msa(
            alphabet,
            sequences=[query],
            traces=[Trace.from_sequence(query)],
            all_consensus_cols=True,
            digitize=True,
        )
        if not n_new and len(msa.sequences) <= n_rows:
            break
        n_rows = len(msa.sequences)
        msa.name = name
        model, _, _ = builder.build_msa(msa, background)
    return align_to_query(msa.names, list(msa.textize().alignment), f"the hits in {path}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        raise InputError(f"{path} does not exist: check the file name.") from None


def _report_after(before: int, progress: Callable[[int], None], count: int) -> None:
    progress(before + count)


def _search(
    model: "HMM[Any]", path: Path, threshold: float, workers: int, progress: Callable[[int], None]
) -> "TopHits[Any]":
    """Hits of a model in a database, sorted by score."""
    from pyhmmer.easel import SequenceFile
    from pyhmmer.plan7 import Pipeline

    reading, stopped = threading.Lock(), threading.Event()

    def search_blocks() -> list["TopHits[Any]"]:
        pipeline = Pipeline(
            model.alphabet, T=threshold, domT=threshold, incT=threshold, incdomT=threshold
        )
        found = []
        while True:
            with reading:
                if stopped.is_set():
                    break
                try:
                    block: Any = targets.read_block(sequences=BLOCK_SEQUENCES)
                    progress(raw.tell())
                except BaseException:
                    stopped.set()  # after an error the position in the file is unknown
                    raise
            if not block:
                break
            found.append(pipeline.search_hmm(model, block))
            pipeline.clear()
        return found

    try:
        with (
            open(path, "rb") as raw,
            _unzipped(raw) as plain,
            SequenceFile(plain, format="fasta", digital=True, alphabet=model.alphabet) as targets,
            ThreadPoolExecutor(workers) as pool,
        ):
            try:
                futures = [pool.submit(search_blocks) for _ in range(workers)]
                found = [hits for future in futures for hits in future.result()]
            finally:
                stopped.set()  # or the threads would continue after an interrupt
    except (OSError, EOFError, ValueError, zlib.error, SystemError) as error:
        reason: object = error.__cause__ or error  # SystemError: pyhmmer met a damaged gzip file
        if isinstance(reason, ValueError):  # pyhmmer's message may contain arbitrary memory
            reason = "it is not FASTA, or has characters that are not amino acids"
        raise InputError(
            f"{path} cannot be searched ({reason}): give a FASTA file of proteins."
        ) from None
    hits = found[0].merge(*found[1:])
    hits.sort(by="key")
    return hits


def _unzipped(raw: BinaryIO) -> BinaryIO:
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
