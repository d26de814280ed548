"""Time to minimise ten chains of 100 residues by 500 steps of Adam: energies of the plugin against those of torch.

Processor time per chain, from a few steps in turns.
"""

import time
from functools import partial
from unittest import mock

import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import batch as engine
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

CHAINS, LENGTH, N_STEPS = 10, 100, 500
REPEATS, STEPS_PER_REPEAT = 5, 20


def main() -> None:
    torch.manual_seed(0)
    batch = NemoModel(NemoConfig.preset("fold")).condition(SEQUENCE[:LENGTH]).copies(CHAINS)
    minimise = partial(batch.minimised, batch.initial_positions(1), [STEPS_PER_REPEAT])

    def in_torch() -> None:
        with mock.patch.object(engine, "can_compute", return_value=False):
            minimise()

    seconds = interleaved({"torch": in_torch, "plugin": minimise}, REPEATS, time.process_time)
    per_chain = {
        name: value * N_STEPS / STEPS_PER_REPEAT / CHAINS for name, value in seconds.items()
    }
    ratio = per_chain["torch"] / per_chain["plugin"]
    print(f"{'torch, s':>10} {'plugin, s':>10} {'ratio':>6}")
    row(
        f"{per_chain['torch']:10.2f} {per_chain['plugin']:10.2f} {ratio:6.1f}",
        "seconds_per_chain",
        **per_chain,
        ratio=ratio,
    )
