"""Size of system.xml beside that of the arrays in it, MB."""

import random

import openmm as mm

from openmm_nemo import NemoModel
from openmm_nemo.residues import AMINO_ACIDS
from tests.bench.results import row

LENGTHS = (500, 1000, 2000)


def main() -> None:
    model = NemoModel.from_pretrained("nemo-mini")
    generator = random.Random(1)
    print(f"{'L':>5} {'XML':>7} {'arrays':>7} {'ratio':>6}")
    for length in LENGTHS:
        protein = model.condition("".join(generator.choices(AMINO_ACIDS, k=length)))
        written = len(mm.XmlSerializer.serialize(protein.create_system("python"))) / 1e6
        arrays = sum(t.nbytes for t in protein.require_energy().state_dict().values()) / 1e6
        row(
            f"{length:5} {written:7.1f} {arrays:7.1f} {written / arrays:6.2f}",
            "sizes",
            residues=length,
            xml_mb=written,
            arrays_mb=arrays,
        )
