"""Parameters of the presets, beside what the paper reports (its Table 1)."""

from openmm_nemo import NemoConfig, NemoModel
from tests.bench.results import row

PAPER_MILLIONS = {("paper", False): 19.1, ("paper", True): 21.3}


def main() -> None:
    print(f"{'preset':6} {'input':8} {'millions':>9} {'paper':>6}")
    for preset in ("tiny", "small", "paper"):
        for profile in (False, True):
            model = NemoModel(NemoConfig.preset(preset, profile=profile))
            millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            kind = "profile" if profile else "1-seq"
            paper = PAPER_MILLIONS.get((preset, profile))
            row(
                f"{preset:6} {kind:8} {millions:9.3f} {paper or '-':>6}",
                "parameters",
                preset=preset,
                input=kind,
                millions=millions,
                paper=paper,
            )
