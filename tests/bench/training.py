"""Peak memory of back-propagation through roll-outs, and updates per second of training, one core."""

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.data.batches import Batch
from openmm_nemo.residues import AMINO_ACIDS
from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.prediction import RolloutSettings, predict
from openmm_nemo.training.settings import read_settings
from tests.bench.results import row
from tests.helpers import generator, random_chain

LENGTH = 64
STEPS = 100
REPEATS = 3

CONFIGS = Path("examples/configs")
PAPER_LENGTH = 48
"""Residues at which the paper's training is measured; its pairs, which cost most, grow with the square."""

# A process of its own for every roll-out. Its peak (VmHWM) is compared with that of one that does all this with chains
# of 8 residues alone: same code loaded, next to no data. A single step would be no base to compare with, because most
# of the peak is that of one step. Coefficients are random numbers: the sequence network would leave less memory than it
# takes, and hide what follows.
_RUN = """
import re, sys, torch
from pathlib import Path
from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.dynamics import StepParameters, rollout
from openmm_nemo.dynamics.backpropagation import trainable_rollout
from openmm_nemo.encoders import node_features
from tests.helpers import random_chain
preset, kind = sys.argv[1:3]
n_chains, n_steps = map(int, sys.argv[3:])
torch.set_num_threads(1)
torch.manual_seed(0)
config = NemoConfig.preset(preset)
energy = NemoModel(config).energy.eval()

def differentiate(length, n_steps):
    x0, mask = random_chain(n_chains, length).float(), torch.ones(n_chains, length)
    l1 = torch.randn(n_chains, length, node_features(config), requires_grad=True)
    l2 = torch.randn(n_chains, length, length, config.pair_features, requires_grad=True)
    size = torch.full((n_chains,), 0.01, requires_grad=True)
    steps = StepParameters(size, size, mask, torch.ones(n_chains, length, 3), mask)
    if kind == "recomputed":
        x = trainable_rollout(
            lambda x, l1, l2: energy(x, [l1, l2], mask), [l1, l2], energy.parameters(), x0, steps, n_steps
        )
    else:
        x = rollout(lambda x: energy(x, [l1, l2], mask), x0, steps, n_steps, differentiable=True).x
    x[-1].square().mean().backward()

differentiate(8, 2)
if n_steps:
    differentiate(64, n_steps)
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print("peak_mb", int(peak) / 1024)
"""

_UPDATES = """
import statistics
from tests.bench.training import direct_updates
print(statistics.median(direct_updates(8)[2:]))
"""

KEPT_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
    "MALLOC_TOP_PAD_": "500000000",
}
"""Settings with which glibc does not return freed memory to the system, which would clear every page of it again."""


def main() -> None:
    torch.set_num_threads(1)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}; chains of {LENGTH} residues")
    _compare_memory()
    _measure_speed()
    _measure_direct()
    _measure_allocator()
    _measure_negatives()
    _measure_paper()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


def _compare_memory() -> None:
    print(f"\n{'model':6} {'batch':>5} {'graph':>10} {'MB, T=25':>9} {'MB, T=250':>9} {'ratio':>6}")
    for preset, n_chains in (("tiny", 8), ("small", 1)):
        for kind in ("recomputed", "stored"):
            base, short = (_peak(preset, kind, n_chains, steps) for steps in (0, 25))
            line = f"{preset:6} {n_chains:5} {kind:>10} {short - base:9.0f}"
            long = None
            if 10 * (short - base) < _available() / 2:
                long = _peak(preset, kind, n_chains, 250) - base
                line += f" {long:9.0f} {long / (short - base):6.2f}"
            else:
                line += f" {'too much':>9}"
            row(
                line,
                "memory",
                model=preset,
                chains=n_chains,
                graph=kind,
                mb_25=short - base,
                mb_250=long,
            )


def _peak(preset: str, kind: str, n_chains: int, n_steps: int) -> float:
    """Peak memory of a process that back-propagates through a roll-out, MB."""
    arguments = [preset, kind, str(n_chains), str(n_steps)]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments], capture_output=True, text=True, check=True
    )
    return float(re.search(r"peak_mb (\S+)", done.stdout)[1])


def _available() -> float:
    """Memory that processes can have, MB."""
    text = Path("/proc/meminfo").read_text()
    return int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) / 1024


def _measure_speed() -> None:
    print(
        f"\n{'model':6} {'batch':>5} {'run T':>5} {'forward s':>10} {'backward s':>11} {'backward/forward':>17} "
        f"{'updates/s':>10} {'chains/s':>9}   at T={STEPS}"
    )
    for preset in ("tiny", "small"):
        torch.manual_seed(0)
        model = NemoModel(NemoConfig.preset(preset)).train()
        for n_chains in (1, 8, 32):
            n_steps = STEPS if n_chains < 32 else STEPS // 5
            forward, backward = _update_time(model, _batch(n_chains), n_steps)
            rate = 1 / (forward + backward)
            row(
                f"{preset:6} {n_chains:5} {n_steps:5} {forward:10.2f} {backward:11.2f} {backward / forward:17.2f} "
                f"{rate:10.3f} {n_chains * rate:9.2f}",
                "updates",
                model=preset,
                chains=n_chains,
                forward_s=forward,
                backward_s=backward,
            )


def _batch(n_chains: int, length: int = LENGTH) -> Batch:
    """Random sequences, profiles and chains."""
    residues = torch.randint(len(AMINO_ACIDS), (n_chains, length), generator=generator(1))
    backbone = random_chain(n_chains, length).float().unsqueeze(2).repeat(1, 1, 5, 1)
    profile = torch.rand(n_chains, length, len(AMINO_ACIDS), generator=generator(2))
    one_hot = F.one_hot(residues, len(AMINO_ACIDS)).float()
    mask = torch.ones(n_chains, length)
    return Batch(
        ids=tuple(map(str, range(n_chains))),
        s=torch.cat([one_hot, profile, mask.unsqueeze(-1)], dim=-1),
        mask=mask,
        backbone=backbone,
        atom_mask=torch.ones(n_chains, length, 5),
        dssp=torch.zeros_like(residues),
        profile=profile,
        contacts=torch.zeros(n_chains, length),
    )


def _update_time(model: NemoModel, batch: Batch, n_steps: int) -> tuple[float, float]:
    """Median seconds of processor time of the forward and of the backward pass with `STEPS` steps.

    That of one thread is the time on an idle core, however busy the machine is. The steps that are not run are taken to
    cost what those that are run cost; all else is measured without steps.
    """
    losses = nn.ModuleList([LOSSES[name]() for name in ("distances", "angles")])
    times: dict[int, list[tuple[float, float]]] = {0: [], n_steps: []}
    _passes(model, batch, losses, 2)
    for _ in range(REPEATS):
        for number in times:
            times[number].append(_passes(model, batch, losses, number))
    none, some = ([statistics.median(t) for t in zip(*times[n], strict=True)] for n in times)
    forward, backward = (a + (b - a) * STEPS / n_steps for a, b in zip(none, some, strict=True))
    return forward, backward


def _passes(
    model: NemoModel, batch: Batch, losses: nn.ModuleList, n_steps: int
) -> tuple[float, float]:
    """Seconds of processor time of a forward and of a backward pass."""
    model.zero_grad()
    start = time.process_time()
    prediction = predict(model, batch, RolloutSettings(n_steps, n_steps), seed=1)
    total = sum(loss(prediction, batch).mean() for loss in losses)
    middle = time.process_time()
    total.backward()
    return middle - start, time.process_time() - middle


def _measure_direct() -> None:
    """Updates of the model and batch of nemo-fold.toml, of windows of the mean length."""
    settings = read_settings(CONFIGS / "nemo-fold.toml")
    batch = _direct_batch()
    n_windows, length = batch.mask.shape
    print(f"\nnemo-fold.toml, {n_windows} windows of {length} residues")
    for precision in ("32", "bf16"):
        training = NemoTraining(settings.model_copy(update={"precision": precision}))
        times = [_seconds_per_update(training, batch) for _ in range(REPEATS + 1)][1:]
        seconds = statistics.median(times)
        row(f"  {precision:>5}: {seconds:.2f} s per update", "direct", bits=precision, s=seconds)


def _measure_allocator() -> None:
    """The same updates in processes of their own, with glibc's defaults and with memory that it keeps for reuse."""
    times: dict[str, list[float]] = {"default": [], "kept": []}
    for _ in range(REPEATS):
        for name, settings in (("default", {}), ("kept", KEPT_MEMORY)):
            done = subprocess.run(
                [sys.executable, "-c", _UPDATES],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | settings,
            )
            times[name].append(float(done.stdout))
    default, kept = (statistics.median(values) for values in times.values())
    variables = " ".join(f"{name}={value}" for name, value in KEPT_MEMORY.items())
    row(
        f"  glibc's defaults: {default:.2f} s per update; with {variables}: {kept:.2f} s, "
        f"{default / kept:.2f} times as fast",
        "allocator",
        default_s=default,
        kept_s=kept,
    )


def direct_updates(number: int) -> list[float]:
    """Seconds of processor time of each update of the model and batch of nemo-fold.toml."""
    torch.set_num_threads(1)
    training = NemoTraining(read_settings(CONFIGS / "nemo-fold.toml"))
    batch = _direct_batch()
    return [_seconds_per_update(training, batch) for _ in range(number)]


def _direct_batch() -> Batch:
    """Windows of the mean length in nemo-fold.toml, as many as in its batches."""
    data = read_settings(CONFIGS / "nemo-fold.toml").data
    return _batch(data.batch_size, (data.min_length + data.max_length) // 2)


def _measure_negatives() -> None:
    """Simulations without gradients, as for the contrastive likelihood: by the plugin and in torch."""
    n_chains, length, n_steps = 4, 80, 250
    model = NemoModel.from_pretrained("nemo-fold").eval()
    batch = _batch(n_chains, length)
    with torch.no_grad():
        chains = model.condition_batch(batch.s, batch.mask)
        x0, schedule = chains.initial_positions(1), chains.schedule(n_steps)

        def natively() -> Tensor:
            return chains.snapshots(x0, [n_steps], 1, schedule).x[-1]

        def in_torch() -> Tensor:
            return chains.rollout(n_steps, x0, seed=1, schedule=schedule).x[-1]

        times = []
        for simulate in (natively, in_torch):
            seconds = []
            for _ in range(REPEATS):
                start = time.process_time()
                simulate()
                seconds.append(time.process_time() - start)
            times.append(statistics.median(seconds))
    row(
        f"nemo-fold, {n_chains} chains of {length} residues, {n_steps} steps without gradients: {times[0]:.2f} s by "
        f"the plugin, {times[1]:.2f} s in torch, {times[1] / times[0]:.0f} times as long",
        "negatives",
        plugin_s=times[0],
        torch_s=times[1],
    )


def _measure_paper() -> None:
    """Updates of paper.toml, extrapolated from one short chain and a few steps."""
    settings = read_settings(CONFIGS / "paper.toml")
    (stage,) = settings.stages
    times = []
    for steps in (1, 3):
        short = stage.model_copy(update={"steps": steps, "backpropagated": steps})
        training = NemoTraining(settings.model_copy(update={"stages": [short]}))
        times.append(_seconds_per_update(training, _batch(1, PAPER_LENGTH)))
    step = (times[1] - times[0]) / 2
    update = times[0] + (stage.steps - 1) * step
    data = settings.data
    whole = update * data.batch_size * (data.max_length / PAPER_LENGTH) ** 2
    row(
        f"paper.toml, 1 chain of {PAPER_LENGTH} residues: {times[0]:.2f} s per update with 1 step, {step:.2f} s for "
        f"each further step\n  extrapolated: {update / 60:.0f} minutes per update with {stage.steps} steps, "
        f"{whole / 3600:.0f} hours with {data.batch_size} chains of {data.max_length} residues",
        "paper",
        update_s=update,
        hours=whole / 3600,
    )


def _seconds_per_update(training: NemoTraining, batch: Batch) -> float:
    """Processor time of an update: losses, gradients and weights."""
    training.log = lambda *_, **__: None  # without a trainer, there is no log
    optimizer = torch.optim.Adam(training.parameters(), lr=1e-4)
    start = time.process_time()
    training.training_step(batch, 0).backward()
    optimizer.step()
    return time.process_time() - start
