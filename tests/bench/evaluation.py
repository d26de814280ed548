"""TM-scores per second of one process: TM-align with a fixed alignment beside tm_score, interleaved."""

import numpy as np
import torch

from openmm_nemo.evaluation import tm_score, tm_to_native
from tests.bench.results import row
from tests.bench.timing import interleaved
from tests.helpers import random_chain

LENGTHS = (50, 100, 200)
REPEATS = 15
PAIRS = 100 * 99 // 2


def main() -> None:
    print(
        f"{'pair':10} {'L':>4} {'TM-align 1/s':>13} {'tm_score 1/s':>13} {'100 structures, min':>20}"
    )
    for length in LENGTHS:
        x, other = random_chain(length), random_chain(length, seed=500)
        for kind, mobile in {"alike": x + other / 5, "unrelated": other}.items():
            align, score = _rates(mobile, x)
            row(
                f"{kind:10} {length:4} {align:13.1f} {score:13.1f} {PAIRS / align / 60:20.1f}",
                "tm_scores",
                pair=kind,
                residues=length,
                tm_align_per_second=align,
                tm_score_per_second=score,
                minutes_per_ensemble=PAIRS / align / 60,
            )


def _rates(mobile: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    x, native = np.asarray(mobile)[None], np.asarray(target)
    functions = {
        "align": lambda: tm_to_native(x, native),
        "score": lambda: tm_score(mobile, target),
    }
    median = interleaved(functions, REPEATS)
    return 1 / median["align"], 1 / median["score"]
