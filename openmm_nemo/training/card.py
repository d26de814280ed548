"""Model cards in Markdown: what a model was made from, and how."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.data.splits import HELD_OUT, LEVELS, Split
from openmm_nemo.models import NemoModel
from openmm_nemo.training.record import Sitting
from openmm_nemo.training.settings import DataSettings, StageSettings, TrainingSettings

FIGURES = {
    "validation/tm": "TM-score",
    "validation/rmsd": "RMSD, Angstrom",
    "validation/tm_z0": "TM-score of z(0)",
    "validation/rmsd_z0": "RMSD of z(0), Angstrom",
}
"""Metrics in the card, and their names there."""

NO_NOTES = "## Limits\n\nThe limits of this model have not been documented yet."

EXPLAINED = {
    "sequence.pt": "`(s, mask) -> coefficients, z0, ...`: coefficients, initial state and step sizes of sequences",
    "energy.pt": "`(x, coefficients, mask) -> U`: energies, kT, of positions `x (B, L, 3)`, Angstrom",
    "imputation.pt": "`(x, s, mask) -> atoms`: N, CA, C, O and side-chain centre, `(B, L, 5, 3)`, Angstrom",
}
EXPLAINED_BASELINE = EXPLAINED | {
    "sequence.pt": "`(s, mask) -> z0, secondary_structure`: internal coordinates of sequences",
}


class Run(NamedTuple):
    """State of a run at a checkpoint.

    Attributes
    ----------
    updates : int
    skipped : int
        How many of these were skipped.
    sittings : list of Sitting
    metrics : dict of str to ndarray, shape (n, 2)
        See `read_metrics`.
    has_config : bool
        Whether its TOML file is next to the card.
    """

    updates: int
    skipped: int
    sittings: list[Sitting]
    metrics: dict[str, np.ndarray]
    has_config: bool


def model_card(
    name: str,
    model: NemoModel,
    settings: TrainingSettings,
    split: Split,
    run: Run,
    scripts: Sequence[str],
    notes: str | None = None,
    comparison: str | None = None,
) -> str:
    """Model card of a trained model.

    Parameters
    ----------
    name : str
    model : NemoModel
    settings : TrainingSettings
    split : Split
        Split that it was trained on.
    run : Run
    scripts : sequence of str
        TorchScript files next to the card, see `scripted_networks`.
    notes : str, optional
        Markdown that is appended unchanged.
    comparison : str, optional
        Markdown of a comparison, see `openmm_nemo.comparison.tables.write_comparison`: it follows the validation, with
        its headings one level deeper.
    """
    parts = [
        f"# {name}\n\n**{settings.description}**",
        _table(("", ""), _summary(model, settings, run)),
        "![Metrics of the run](curves.png)",
        "## Validation\n\n" + _validation(settings, run),
        *([] if comparison is None else [_deeper(comparison.strip())]),
        "## Data\n\n" + _data(settings, split, run),
        "## Stages\n\n" + _stages(settings.stages),
        "## Settings\n\n" + _table(("key", "value"), _settings(settings)),
        "## Reproducing it\n\n" + _command(settings, run),
        "## Files\n\n" + _files(model, scripts),
        NO_NOTES if notes is None else notes.rstrip("\n"),
    ]
    return "\n\n".join(parts) + "\n"


def duration(seconds: float) -> str:
    """Duration in hours and minutes, or in seconds below 100 s."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _summary(
    model: NemoModel, settings: TrainingSettings, run: Run
) -> Iterable[tuple[str, object]]:
    chosen = settings.model
    changes = "".join(f", {key} = {value}" for key, value in chosen.changes.items())
    kind = "sequence and profile" if chosen.profile else "sequence without profile"
    unique = {
        key: "; ".join(dict.fromkeys(str(sitting[key]) for sitting in run.sittings))
        for key in ("hardware", "software", "processes")
    }
    yield "model", f"preset `{chosen.preset}`{changes}; {kind}"
    if chosen.start:
        yield "began with", f"the weights of `{Path(chosen.start).name}`"
    yield "parameters", f"{sum(weight.numel() for weight in model.parameters()):,}"
    yield "weights", f"moving average over the run, decay {settings.ema_decay}"
    if model.energy is not None:
        seen = "in" if model.config.trained_on_complexes else "not in"
        yield "complexes", f"{seen} the training data"
    yield "updates", f"{run.updates:,} of {settings.updates:,}, {run.skipped:,} of them skipped"
    yield "seed", settings.seed
    if run.sittings:
        yield "time", duration(sum(sitting["seconds"] for sitting in run.sittings))
        yield "hardware", f"{unique['hardware']}; processes: {unique['processes']}"
        yield "software", f"{unique['software']}"


def _validation(settings: TrainingSettings, run: Run) -> str:
    rows, last = [], 0
    for metric, what in FIGURES.items():
        values = run.metrics.get(metric, np.empty((0, 2)))
        values = values[values[:, 0] < run.updates]
        if len(values):
            last = int(values[-1, 0]) + 1
            rows.append((what, f"{values[-1, 1]:.3f}"))
    if not rows:
        return "The model was not validated before this checkpoint."
    steps = settings.stage_of(last - 1)[0].steps
    domains = f"{run.sittings[-1]['validation_domains']} " if run.sittings else ""
    return (
        f"After update {last:,}: means over one structure for each of {domains}held-out domains, windows of up to "
        f"{settings.data.max_length} residues, after {steps} steps.\n\n" + _table(("", ""), rows)
    )


def _deeper(text: str) -> str:
    """Markdown with its headings one level deeper."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines())


def _data(settings: TrainingSettings, split: Split, run: Run) -> str:
    rows = [("train", "", len(split.ids("train")))]
    for part in reversed(HELD_OUT):
        rows += [(part, level, len(split.ids(part, level))) for level in LEVELS]
    rows.append(("unused", "", len(split.ids("unused"))))
    folds = (
        " Training chains without codes that contain the fold of a domain held out at C, A or T were left out."
        if split.folds
        else ""
    )
    learnt = f"{run.sittings[-1]['training_domains']:,} domains of " if run.sittings else ""
    return (
        f"Trained on {learnt}the set `{settings.data.set.name}` (sha256 {split.domains_sha256[:16]}...), split by "
        f"CATH with seed {split.seed} ([split.json](split.json)). Held-out domains are new to the training set at "
        f"their level: C class, A architecture, T topology, H homologous superfamily.{folds}\n\n"
        + _table(("part", "level", "domains"), [row for row in rows if row[2]])
    )


def _stages(stages: Sequence[StageSettings]) -> str:
    keys = [key for key in StageSettings.model_fields if key != "losses"]
    rows = [
        (
            number,
            *(_cell(getattr(stage, key)) for key in keys),
            ", ".join(f"{loss} {weight:g}" for loss, weight in stage.losses.items()),
        )
        for number, stage in enumerate(stages, 1)
    ]
    return _table(("", *(key.replace("_", " ") for key in keys), "losses and their weights"), rows)


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else value


def _settings(settings: TrainingSettings) -> Iterable[tuple[str, object]]:
    apart = ("description", "seed", "data", "model", "stages")
    for key in TrainingSettings.model_fields:
        if key not in apart:
            yield key, getattr(settings, key)
    for key in DataSettings.model_fields:
        value: Any = getattr(settings.data, key)
        yield f"data.{key}", getattr(value, "name", value)


def _command(settings: TrainingSettings, run: Run) -> str:
    file = "training.toml" if run.has_config else "CONFIG.toml"
    processes = run.sittings[-1]["processes"] if run.sittings else 1
    options = f" --devices {processes}" if processes > 1 else ""
    where = (
        "With [training.toml](training.toml), after setting its paths to the set and to split.json:"
        if run.has_config
        else "With a TOML file of the settings above:"
    )
    train = f"    openmm-nemo train {file} --seed {settings.seed} --out run{options}"
    return f"{where}\n\n{train}\n    openmm-nemo export run/last.ckpt --out MODEL"


def _files(model: NemoModel, scripts: Sequence[str]) -> str:
    explained = EXPLAINED if model.energy is not None else EXPLAINED_BASELINE
    return (
        "`NemoModel.from_pretrained(FOLDER)` reads config.json and model.safetensors. The TorchScript files are for "
        "programs that only have torch; `s (B, L, q)` is the one-hot sequence, letters in the order "
        "ACDEFGHIKLMNPQRSTVWY, with the profile appended if the model takes one, `mask (B, L)` is 1 for residues and 0 "
        "for padding:\n\n"
        + _table(("file", "what"), [(f"`{name}`", explained[name]) for name in scripts])
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
