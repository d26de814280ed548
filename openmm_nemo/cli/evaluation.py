"""``openmm-nemo evaluate``: the quality of ensembles."""

from pathlib import Path

import click

from openmm_nemo.evaluation.evaluate import REPORT_FILE
from openmm_nemo.evaluation.evaluate import evaluate as evaluate_ensembles
from openmm_nemo.evaluation.tables import table_lines
from openmm_nemo.progress import progress
from openmm_nemo.sampling.ensembles import ensemble_ids


@click.command()
@click.argument("samples", type=click.Path(path_type=Path), metavar="SAMPLES")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    help="File written by 'openmm-nemo data split', for the level at which each protein is new to the training set.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes.  [default: all processors]"
)
def evaluate(samples: Path, out: Path, split: Path | None, workers: int | None) -> None:
    """Compare sampled ensembles with the native structures.

    SAMPLES is a folder written by 'openmm-nemo sample'. Each ensemble is clustered by TM-score (complete linkage), and
    3D-Jury chooses its representative. Writes to --out: report.html, with figures, tables and structures in 3D, which
    any browser opens offline; proteins.csv and table.csv; and the figures as PNG.
    """
    with progress("Assessing", 0, len(ensemble_ids(samples))) as update:
        evaluation = evaluate_ensembles(samples, out, split, workers, update)
    for line in table_lines(evaluation.rows, "level"):
        click.echo(line)
    for note in evaluation.notes:
        click.echo(note)
    click.echo(f"Wrote {out / REPORT_FILE}.")
