"""Sample an ensemble of the Trp-cage, compare it with the experimental structure, and write a report for the browser.

python examples/ensemble_report.py [FOLDER]

Needs TM-align: pip install "openmm-nemo[evaluate]".
"""

import sys
from pathlib import Path

from openmm_nemo import NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.evaluation.evaluate import evaluate
from openmm_nemo.sampling.sampling import Protein, SamplingSettings, sample_ensembles


def main() -> None:
    """Sample and evaluate."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "run/ensemble_report")
    cage = read_structure(Path(__file__).with_name("data") / "1l2y.pdb")
    model = NemoModel.from_pretrained("nemo-fold")
    settings = SamplingSettings("nemo-fold", n_samples=20, steps=100, seed=1)
    protein = Protein("1l2y", cage.sequence, native=cage.ca)
    sample_ensembles(out / "samples", model, [protein], settings)
    (result,) = evaluate(out / "samples", out / "report").assessments
    print(
        f"{len(result.tm)} structures, {result.n_clusters} clusters; 3D-Jury chooses structure "
        f"{result.representative}, TM-score {result.representative_tm:.2f}, RMSD {result.rmsd:.1f} Angstrom; "
        f"the best TM-score is {result.tm.max():.2f}."
    )
    print(f"Open {out / 'report' / 'report.html'} in a browser.")


if __name__ == "__main__":  # worker processes import this file again
    main()
