"""``openmm-nemo compare``: models against each other and against controls."""

from pathlib import Path

import click
import torch

from openmm_nemo.cli.inputs import profiles_of_set
from openmm_nemo.comparison.comparison import Candidate
from openmm_nemo.comparison.comparison import compare as compare_models
from openmm_nemo.comparison.measures import MAX_SAMPLES
from openmm_nemo.comparison.tables import (
    FIGURE_FILE,
    MARKDOWN_FILE,
    comparison_lines,
    write_comparison,
)
from openmm_nemo.comparison.windows import MAX_WINDOWS, check_splits, draw_windows
from openmm_nemo.config import NemoConfig
from openmm_nemo.data.families.profiles import PROFILE_KINDS, read_profiles
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.data.splits import PARTS, SPLIT_FILE, Split
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.models.pretrained import find_model
from openmm_nemo.progress import progress
from openmm_nemo.residues import MIN_LENGTH

UNTRAINED_SEEDS = (1, 2, 3)


@click.command()
@click.option(
    "--set",
    "domain_set",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder written by 'openmm-nemo data build'.",
)
@click.option(
    "--split",
    "split_file",
    type=click.Path(path_type=Path),
    required=True,
    help="File written by 'openmm-nemo data split'.",
)
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    default=("train", "validation", "test"),
    show_default=True,
    help="Part of the split to use; may be repeated.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=MODEL",
    help="Installed model, model folder or URL of one; may be repeated. Models with the same NAME are seeds of one "
    "group. The first group is tested against all others.",
)
@click.option(
    "--untrained",
    "presets",
    multiple=True,
    metavar="PRESET",
    help="Preset of a group of three models with random weights; may be repeated.",
)
@click.option(
    "--profiles",
    type=click.Path(path_type=Path),
    help="For profile models: JSON lines of frequencies in alignments. Domains without any are left out.",
)
@click.option(
    "--profile-kind",
    type=click.Choice(PROFILE_KINDS),
    help="For profile models: kind of the set's own profiles. Domains without any are left out.",
)
@click.option(
    "--windows",
    type=click.IntRange(1, MAX_WINDOWS),
    default=256,
    show_default=True,
    help="Maximum number of windows per part.",
)
@click.option(
    "--max-length",
    type=click.IntRange(MIN_LENGTH),
    default=64,
    show_default=True,
    help="Longest window, residues.",
)
@click.option(
    "--whole",
    is_flag=True,
    help="Whole domains without chain breaks, up to --max-length, instead of windows.",
)
@click.option(
    "--min-length",
    type=click.IntRange(MIN_LENGTH),
    help="With --whole: shortest domain, residues.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    multiple=True,
    default=(250,),
    show_default=True,
    help="Number of simulation steps; may be repeated. Step 0 is always measured.",
)
@click.option(
    "--samples",
    type=click.IntRange(1, MAX_SAMPLES),
    default=1,
    show_default=True,
    help="Simulations per window: the first from z(0), the others from starts as those of 'openmm-nemo sample'.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Random seed of windows and noise.",
)
@click.option(
    "--controls/--no-controls",
    default=True,
    show_default=True,
    help="Shuffled and swapped sequences, simulations from the native and without energy, and minimisation; "
    "without them it is three to five times as fast.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes.  [default: all processors]"
)
def compare(
    domain_set: Path,
    split_file: Path,
    parts: tuple[str, ...],
    models: tuple[str, ...],
    presets: tuple[str, ...],
    profiles: Path | None,
    profile_kind: str | None,
    windows: int,
    max_length: int,
    whole: bool,
    min_length: int | None,
    steps: tuple[int, ...],
    samples: int,
    seed: int,
    controls: bool,
    out: Path,
    workers: int | None,
) -> None:
    """Compare models with each other and with controls.

    Each model predicts windows of domains from their sequence, from the shuffled sequence and from that of another
    window, and simulates from the native. Its energies are compared with those of the native and its mirror image, its
    contacts with the native's, and its simulation with noise alone and with a minimisation. Writes to --out:
    compare.md, tables with means and spreads over seeds and paired tests, also at each level of CATH; compare.csv and
    windows.csv, the figures of each model and of each window; and compare.png.
    """
    whole_from = _whole_from(whole, min_length, max_length)
    if profiles is not None and profile_kind is not None:
        raise InputError(
            f"--profiles and --profile-kind {profile_kind} are both given: choose one."
        )
    torch.set_num_threads(1)
    candidates = _candidates(models, presets)
    split = Split.read(split_file)
    domains = DomainSet(domain_set / SET_FILE)
    rows = None if profiles is None else read_profiles(profiles)
    if profile_kind is not None:
        names = {name for part in parts for name in split.ids(part)}
        chosen = [domain for domain in domains if domain.id in names]
        rows = profiles_of_set(domains.path, chosen, profile_kind)
    drawn = draw_windows(domains, split, parts, windows, max_length, seed, rows, whole_from)
    check_splits(_splits_of(models), drawn)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with progress("Comparing", 0, len(candidates) * len(drawn)) as update:
            found = compare_models(
                candidates, drawn, steps, seed, workers, None, controls, samples, update
            )
        size = f"windows of at most {max_length}"
        if whole_from is not None:
            size = f"whole domains of {whole_from} to {max_length}"
        what = f"{len(drawn)} {size} residues, seed {seed}"
        what += f", {samples} samples" if samples > 1 else ""
        what += f", profiles: {profile_kind}" if profile_kind is not None else ""
        write_comparison(out, found, f"Comparison on {what}")
    except OSError as error:
        raise InputError(
            f"{error.filename or out} cannot be written ({error.strerror}): choose another --out."
        ) from None
    for line in comparison_lines(found):
        click.echo(line)
    click.echo(f"Wrote {out / MARKDOWN_FILE} and {out / FIGURE_FILE}.")


def _whole_from(whole: bool, min_length: int | None, max_length: int) -> int | None:
    """Shortest whole domain; None for windows."""
    if not whole:
        if min_length is not None:
            raise InputError("--min-length is only for whole domains: give --whole, too.")
        return None
    if min_length is not None and min_length > max_length:
        raise InputError(
            f"--min-length {min_length} is above --max-length {max_length}: give a smaller one."
        )
    return min_length or MIN_LENGTH


def _candidates(models: tuple[str, ...], presets: tuple[str, ...]) -> list[Candidate]:
    if not (models or presets):
        raise InputError("There is nothing to compare: give --model NAME=MODEL.")
    candidates = [
        Candidate(name, source, NemoModel.from_pretrained(source))
        for name, source in map(_named, models)
    ]
    for preset in presets:
        for number in UNTRAINED_SEEDS:
            torch.manual_seed(number)
            model = NemoModel(NemoConfig.preset(preset))
            source = f"{preset}, random seed {number}"
            candidates.append(Candidate(f"untrained {preset}", source, model))
    return candidates


def _named(model: str) -> tuple[str, str]:
    """Name and source: an installed model, a folder or a URL."""
    name, _, source = model.partition("=")
    if not (name.strip() and source):
        raise InputError(f"--model {model!r} is not a name and a model: give NAME=MODEL.")
    return name.strip(), source


def _splits_of(models: tuple[str, ...]) -> dict[str, Split]:
    """Splits that models were trained on, where their folders contain them."""
    sources = [source for _, source in map(_named, models)]
    files = {source: find_model(source) / SPLIT_FILE for source in sources}
    return {source: Split.read(file) for source, file in files.items() if file.is_file()}
