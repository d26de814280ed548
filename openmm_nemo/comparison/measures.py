"""Figures of a model on windows of domains."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openmm_nemo.comparison.contacts import (
    CONTACT_FIGURES,
    contact_probabilities,
    distances,
    precisions,
    separation_precisions,
    structure_precisions,
)
from openmm_nemo.comparison.energies import (
    ENERGY_FIGURES,
    energy_figures,
    mirror_energies,
    threading_z,
)
from openmm_nemo.comparison.simulations import Simulation, no_energy, simulate
from openmm_nemo.comparison.structures import (
    CHOICE_FIGURES,
    STRUCTURE_FIGURES,
    deviation,
    similarity,
    structure_figures,
)
from openmm_nemo.comparison.windows import MAX_WINDOWS, Window
from openmm_nemo.data.splits import PARTS
from openmm_nemo.encoders import input_width
from openmm_nemo.geometry.padding import centred
from openmm_nemo.models import NemoModel
from openmm_nemo.models.batch import ConditionedBatch, evaluation_mode

CONTROL_FIGURES = (
    "shuffled_gap",
    "swapped_gap",
    "mirror_gap",
    "drift_angstrom",
    "annealed_gap_kt",
)

REACH_FIGURES = (
    "moved_angstrom",
    "clipped",
    "noise_moved_angstrom",
    "noise_tm",
    "adam_tm",
    "adam_rmsd_angstrom",
    "adam_energy_kt",
)

FIGURES = (
    *STRUCTURE_FIGURES,
    *CONTROL_FIGURES,
    *CHOICE_FIGURES,
    *ENERGY_FIGURES,
    *CONTACT_FIGURES,
    *REACH_FIGURES,
)
"""Figures measured on a window, see `measure`."""

MAX_SAMPLES = 2**10

_NEXT_SAMPLE = 1327217885
"""Seeds of successive samples of a window differ by this, about 2^31 over the golden ratio: they are far apart in the
range of seeds that OpenMM takes, for any number of samples."""

_SEEDS = 2**31 - MAX_WINDOWS


def measure(
    model: NemoModel,
    windows: Sequence[Window],
    steps: Sequence[int],
    seed: int,
    controls: bool = True,
    n_samples: int = 1,
) -> dict[str, np.ndarray]:
    """Figures of a model on B consecutive windows of one part, as one batch.

    The first sample of a window starts from z(0), the others from starts that are drawn as by `openmm-nemo sample`, see
    `ConditionedBatch.initial_positions`. At step 0 there is only one sample, z(0).

    Parameters
    ----------
    model : NemoModel
    windows : sequence of Window
    steps : sequence of int
        K increasing numbers; the first is 0.
    seed : int
        Random seed of the noise.
    controls : bool
        See `openmm_nemo.comparison.comparison.compare`.
    n_samples : int
        Samples per window.

    Returns
    -------
    dict of str to ndarray, shape (K, B)
        For a baseline, (1, B). By the names in `FIGURES`:

        - tm, the exact search of `tm_score`; rmsd_angstrom, without reflection; rg_ratio, the radius of gyration over
          that of the native, and rg_error, how far that is from 1; contact_precision; bond_error_angstrom, the mean
          error of the distances between consecutive C-alphas; overlap_share: means over the samples, see
          `openmm_nemo.comparison.structures`.
        - shuffled_gap, swapped_gap: loss of TM-score to the same native if the model is given the shuffled sequence or
          that of another window. Zero: the model does not use the sequence.
        - mirror_gap: loss of TM-score of the structure's mirror image. Zero: the model does not know handedness.
        - drift_angstrom: RMSD to the native after the same number of steps from the native.
        - annealed_gap_kt: U after these steps from the native minus U of the first sample, kT per residue. Negative:
          a start from the native finds lower energies than the sample has.
        - tm_lowest, ...: those of one of the samples, see `openmm_nemo.comparison.structures`.
        - energy_kt, ...: see `openmm_nemo.comparison.energies`.
        - pairs_l5_6, ...: see `openmm_nemo.comparison.contacts`.
        - moved_angstrom: RMSD to the start, mean over the samples; clipped: share of steps at the speed limit.
        - noise_moved_angstrom, noise_tm: after a simulation with the same noise, but without energy.
        - adam_tm, adam_rmsd_angstrom, adam_energy_kt: after as many steps of Adam, see
          `openmm_nemo.dynamics.minimisation.minimise`; the energy is per residue.

        Gaps, drift and the simulations without energy and by Adam start from z(0), as the first sample does.
    """
    found = _simulations(model, windows, steps, seed, controls, n_samples)
    figures = {name: np.full(found.samples[0].x.shape[:2], np.nan) for name in FIGURES}
    for b, window in enumerate(windows):
        for k, values in enumerate(_window_figures(found, b, window)):
            for name, value in values.items():
                figures[name][k, b] = value
        if window.swapped is None:
            figures["swapped_gap"][:, b] = np.nan
    figures["drift_angstrom"][0] = np.nan
    return figures


class _Simulations(NamedTuple):
    """Everything that is simulated of B windows.

    Attributes
    ----------
    samples : list of Simulation
    others : dict of str to Tensor, shape (K, B, L, 3)
        States of the controls.
    adam_energy, drift_energy : Tensor, shape (K, B)
        U of the states by Adam and of those after steps from the native, kT; NaN without controls.
    native_energy : Tensor, shape (B,)
        U of the natives, kT; NaN for a baseline.
    mirror_energy : Tensor, shape (B,)
        See `mirror_energies`; NaN for a baseline.
    threading : ndarray, shape (B,)
        See `threading_z`.
    probabilities : Tensor, shape (B, L, L), optional
        See `contact_probabilities`.
    """

    samples: list[Simulation]
    others: dict[str, Tensor]
    adam_energy: Tensor
    drift_energy: Tensor
    native_energy: Tensor
    mirror_energy: Tensor
    threading: np.ndarray
    probabilities: Tensor | None


def _simulations(
    model: NemoModel,
    windows: Sequence[Window],
    steps: Sequence[int],
    seed: int,
    controls: bool,
    n_samples: int,
) -> _Simulations:
    mask = padded([np.ones(len(window.s)) for window in windows])
    native = padded([window.native for window in windows])
    noise = (seed * len(PARTS) + PARTS.index(windows[0].part)) * MAX_WINDOWS + windows[0].number

    def conditioned(inputs: Sequence[np.ndarray]) -> ConditionedBatch:
        s = padded(inputs)
        width = input_width(model.config)
        s = F.pad(s, (0, max(width - s.shape[-1], 0)))[..., :width]
        return model.condition_batch(s, mask)

    with evaluation_mode(model), torch.no_grad():
        own = conditioned([window.s for window in windows])
        start = own.initial_positions()
        samples, others = [simulate(own, steps, noise, start)], {}
        if controls:
            inputs = {
                "shuffled": [window.shuffled for window in windows],
                "swapped": [w.s if w.swapped is None else w.swapped for w in windows],
            }
            for name, s in inputs.items():
                batch = conditioned(s)
                others[name] = simulate(batch, steps, noise, batch.initial_positions()).x
        unknown = torch.full((len(windows),), torch.nan)
        if model.energy is None:
            energies = unknown, unknown, unknown, unknown
            return _Simulations(samples, others, *energies, unknown.numpy(), None)
        for k in range(1, n_samples):
            drawn = (noise + k * _NEXT_SAMPLE) % _SEEDS
            samples.append(simulate(own, steps, drawn, own.initial_positions(drawn)))
        adam_energy = drift_energy = unknown
        if controls:
            drift = simulate(own, steps, noise, centred(native, mask))
            others["drift"], drift_energy = drift.x, drift.energy
            others["noise"] = simulate(own, steps, noise, start, no_energy).x
            others["adam"], adam_energy = own.minimised(start, steps)
        native_energy = own.energy(native)
        threading = threading_z(own, native_energy, [window.foreign for window in windows])
        return _Simulations(
            samples,
            others,
            adam_energy,
            drift_energy,
            native_energy,
            mirror_energies(own, native),
            threading,
            contact_probabilities(own),
        )


def _window_figures(found: _Simulations, b: int, window: Window) -> Iterator[dict[str, float]]:
    """Figures of window ``b`` of the batch after each number of steps."""
    n = len(window.s)
    native = torch.from_numpy(window.native)
    native_distances = distances(native)
    fixed = {
        "mirror_energy_kt": float(found.mirror_energy[b]),
        "threading_z": float(found.threading[b]),
    }
    fixed |= separation_precisions(native_distances)
    if found.probabilities is not None:
        probability = found.probabilities[b, :n, :n].numpy()
        fixed |= precisions([-probability], native_distances, "pairs")
    for k in range(len(found.samples[0].x)):
        samples = found.samples if k else found.samples[:1]
        x = torch.stack([sample.x[k, b, :n] for sample in samples])
        energy = np.array([float(sample.energy[k, b]) for sample in samples])
        tm = [similarity(y, native) for y in x]
        others = {name: states[k, b, :n] for name, states in found.others.items()}
        figures = fixed | structure_figures(x, energy, native, tm)
        figures |= _control_figures(x[0], tm[0], others, native)
        figures |= energy_figures(energy, float(found.native_energy[b]), n)
        figures |= structure_precisions(x, native_distances)
        if k:  # never for a baseline
            start = torch.stack([sample.x[0, b, :n] for sample in samples])
            figures |= _reach_figures(x, start, others, native)
            figures["clipped"] = float(np.mean([float(s.clipped[k, b]) for s in samples]))
            if "adam" in others:
                figures["adam_energy_kt"] = float(found.adam_energy[k, b]) / n
                figures["annealed_gap_kt"] = (float(found.drift_energy[k, b]) - energy[0]) / n
        yield figures


def padded(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays (L, ...) of different lengths as one float32 tensor (B, L, ...), zero at padding."""
    return pad_sequence([torch.from_numpy(array).float() for array in arrays], batch_first=True)


def _control_figures(
    own: Tensor, tm: float, others: dict[str, Tensor], native: Tensor
) -> dict[str, float]:
    """Figures of one structure (L, 3) of TM-score ``tm``, and of those of the controls."""
    mirrored = own * own.new_tensor([1, 1, -1])
    figures = {"mirror_gap": tm - similarity(mirrored, native)}
    for name in others.keys() & {"shuffled", "swapped"}:
        figures[f"{name}_gap"] = tm - similarity(others[name], native)
    if "drift" in others:
        figures["drift_angstrom"] = deviation(others["drift"], native)
    return figures


def _reach_figures(
    x: Tensor, start: Tensor, others: dict[str, Tensor], native: Tensor
) -> dict[str, float]:
    """How far N samples (N, L, 3) moved, and where noise alone and Adam lead from the start of the first."""
    moved = [deviation(*pair) for pair in zip(x, start, strict=True)]
    figures = {"moved_angstrom": float(np.mean(moved))}
    if "noise" in others:
        figures["noise_moved_angstrom"] = deviation(others["noise"], start[0])
        figures["noise_tm"] = similarity(others["noise"], native)
        figures["adam_tm"] = similarity(others["adam"], native)
        figures["adam_rmsd_angstrom"] = deviation(others["adam"], native)
    return figures
