"""Tables and plots of the benchmarks, from ``docs/results/bench.json``, which ``make bench`` writes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FILE = Path(__file__).parents[1] / "results" / "bench.json"
Row = dict[str, Any]

THEMES = {
    "light": {"ink": "#222222", "colours": ["#1f5a99", "#c8371b", "#8a8a8a", "#6aa84f"]},
    "dark": {"ink": "#dddddd", "colours": ["#8ab8e6", "#ff8a70", "#a0a0a0", "#9fd18b"]},
}


def number(value: Any, digits: int = 3) -> str:
    """Text of a value, numbers with so many significant digits."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    places = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))) if value else 0)
    return f"{value:,.{places}f}"


def bounded(row: Row, name: str) -> str:
    """Effective samples, with a sign where the runs were too short to say more."""
    return ("< " if row[f"{name}_is_bound"] else "") + number(row[f"{name}_per_1000"], 2)


def gain(row: Row, name: str) -> str:
    """A gain and its range over seeds."""
    sign = "> " if row[f"{name}_is_bound"] else ""
    least, most = (number(row[f"{name}_{end}"]) for end in ("least", "most"))
    return f"{sign}{number(row[f'{name}_gain'])} ({least} to {most})"


Column = str | Callable[[Row], str]

TABLES: dict[tuple[str, str], Mapping[str, Column]] = {
    ("integrator", "bonds"): {
        "platform": "platform",
        "chains x beads": lambda r: f"{r['chains']} x {r['beads']}",
        "Brownian, µs": "brownian_us",
        "compiled, µs": "compiled_us",
        "ratio": "ratio",
        "from Python, µs": lambda r: f"{r['python_us']:,.0f}",
    },
    ("native", "evaluations"): {
        "residues": "residues",
        "native, ms": "native_ms",
        "bare module, ms": "bare_ms",
        "PythonForce, ms": "python_ms",
        "TorchForce, ms": "torchforce_ms",
    },
    ("peers", "peers"): {
        "model": "name",
        "steps per second": "steps_per_second",
        "over cgdms": lambda r: number(r["over_cgdms"]),
    },
    ("minimisation", "seconds_per_chain"): {
        "PyTorch, s": "torch",
        "plugin, s": "plugin",
        "ratio": "ratio",
    },
    ("simulate", "simulations"): {
        "model": "model",
        "residues": "residues",
        "steps per second": "steps_per_second",
        "peak memory, MB": lambda r: f"{r['peak_mb']:.0f}",
        "force, ms": "force_ms",
        "step, ms": "step_ms",
    },
    ("replicas", "samples_per_minute"): {
        "model": "model",
        "backend": "backend",
        "batch in PyTorch": "torch",
        "100 replicas in one Context": "one_context",
        "with `metropolis=True`": "one_context_exact",
        "100 Contexts in turn": "many_contexts",
    },
    ("training", "updates"): {
        "model": "model",
        "chains": "chains",
        "forward, s": "forward_s",
        "backward, s": "backward_s",
        "backward / forward": lambda r: number(r["backward_s"] / r["forward_s"]),
        "updates per second": lambda r: number(1 / (r["forward_s"] + r["backward_s"])),
    },
    ("training", "direct"): {"bits": "bits", "s per update": "s"},
    ("training", "negatives"): {"plugin, s": "plugin_s", "PyTorch, s": "torch_s"},
    ("sampling", "effective_samples"): {
        "chain": lambda r: f"{r['chain']}, {r['beads']} beads",
        "method": "method",
        "Rg": lambda r: bounded(r, "rg"),
        "end to end": lambda r: bounded(r, "ree"),
    },
    ("sampling", "gains"): {
        "chain": lambda r: f"{r['chain']}, {r['beads']} beads",
        "gain": lambda r: f"{r['method']} over {r['over']}",
        "Rg": lambda r: gain(r, "rg"),
        "end to end": lambda r: gain(r, "ree"),
    },
    ("boltzmann", "effective_samples"): {
        "molecule": "molecule",
        "of": "observable",
        "method": "method",
        "per 1,000 energies": lambda r: f"{r['bound']}{number(r['per_1000'])}",
        "pays after": "pays_after",
        "energies of the training": "training",
    },
    ("data", "reading"): {
        "from": "source",
        "domains per second": "domains_per_second",
        "times `mdtraj.load`": "beside_mdtraj",
    },
    ("evaluation", "tm_scores"): {
        "pair": "pair",
        "residues": "residues",
        "TM-align, 1/s": "tm_align_per_second",
        "`tm_score`, 1/s": "tm_score_per_second",
        "ensemble of 100, min": "minutes_per_ensemble",
    },
    ("parameters", "parameters"): {
        "preset": "preset",
        "input": "input",
        "millions": "millions",
        "paper": "paper",
    },
    ("system", "sizes"): {
        "residues": "residues",
        "system.xml, MB": "xml_mb",
        "arrays, MB": "arrays_mb",
    },
}


def table(benchmark: str, name: str) -> str:
    """A table in Markdown, and where its figures come from."""
    results = json.loads(FILE.read_text())[benchmark]
    columns = TABLES[benchmark, name]
    rows = [
        [
            number(r.get(column)) if isinstance(column, str) else column(r)
            for column in columns.values()
        ]
        for r in results["tables"][name]
    ]
    left = [isinstance(results["tables"][name][0].get(c), str) for c in columns.values()]
    lines = [list(columns), [("---" if text else "--:") for text in left], *rows]
    written = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    source = f"`python -m tests.bench {benchmark}`, {results['date']}; {results['machine']}."
    return f"{written}\n\n{{.source}}\n{source}\n"


def draw_integrator(axes: Axes, colours: list[str]) -> None:
    """Times of the compiled step over those of BrownianIntegrator."""
    rows = [r for r in _rows("integrator", "bonds") if r["beads"] == 200]
    names = [r["platform"] for r in rows]
    axes.barh(names, [r["ratio"] for r in rows], color=colours[0], height=0.6)
    axes.axvline(1, color=colours[2], lw=1)
    axes.invert_yaxis()
    axes.set(xlabel="NEMO step / BrownianIntegrator, 200 beads")


def draw_native(axes: Axes, colours: list[str]) -> None:
    """Times of an evaluation against the number of residues."""
    rows = _rows("native", "evaluations")
    n = [r["residues"] for r in rows]
    labels = {"native": "native", "python": "PythonForce", "torchforce": "TorchForce"}
    for (name, label), colour in zip(labels.items(), colours, strict=False):
        axes.loglog(n, [r[f"{name}_ms"] for r in rows], "o-", color=colour, label=label)
    axes.set(xlabel="residues", ylabel="ms per evaluation", xticks=n, xticklabels=n)
    axes.minorticks_off()
    axes.legend(frameon=False)


def draw_replicas(axes: Axes, colours: list[str]) -> None:
    """Samples per minute of each way to make 100 of them."""
    rows = _rows("replicas", "samples_per_minute")
    ways = {"torch": "PyTorch", "one_context": "one Context", "many_contexts": "100 Contexts"}
    for k, ((way, label), colour) in enumerate(zip(ways.items(), colours, strict=False)):
        place = np.arange(len(rows)) + 0.25 * (k - 1)
        axes.bar(place, [r[way] for r in rows], 0.23, color=colour, label=label)
    axes.set(yscale="log", ylabel="samples per minute", xticks=range(len(rows)))
    axes.set_xticklabels([f"{r['model']}, {r['backend']}" for r in rows])
    axes.legend(frameon=False)


def draw_sampling(axes: Axes, colours: list[str]) -> None:
    """Effective samples of Rg per 1000 evaluations, bounds with an arrow."""
    rows = _rows("sampling", "effective_samples")
    chains = list(dict.fromkeys((r["chain"], r["beads"]) for r in rows))
    methods = list(dict.fromkeys(r["method"] for r in rows))
    for (chain, colour), marker in zip(zip(chains, colours, strict=False), "osD", strict=False):
        mine = [r for r in rows if (r["chain"], r["beads"]) == chain]
        x = [methods.index(r["method"]) for r in mine]
        y = [r["rg_per_1000"] for r in mine]
        axes.semilogy(x, y, marker, color=colour, label=f"{chain[0]}, {chain[1]} beads")
        bounds = [r["rg_is_bound"] for r in mine]
        axes.plot(np.array(x)[bounds], 0.6 * np.array(y)[bounds], "v", ms=4, color=colour)
    axes.set(ylabel="effective samples of Rg\nper 1000 evaluations", xticks=range(len(methods)))
    axes.set_xticklabels(methods, rotation=20, ha="right")
    axes.legend(frameon=False)


PLOTS: dict[str, Callable[[Axes, list[str]], None]] = {
    "bench-integrator": draw_integrator,
    "bench-native": draw_native,
    "bench-replicas": draw_replicas,
    "bench-sampling": draw_sampling,
}


def _rows(benchmark: str, name: str) -> list[Row]:
    return json.loads(FILE.read_text())[benchmark]["tables"][name]


def draw_all(folder: Path) -> None:
    """Write each plot for both themes, unless it is newer than the results."""
    for name, draw in PLOTS.items():
        for theme, style in THEMES.items():
            path = folder / f"{name}-{theme}.svg"
            newest = max(FILE.stat().st_mtime, Path(__file__).stat().st_mtime)
            if path.exists() and path.stat().st_mtime > newest:
                continue
            keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
            look = {**dict.fromkeys(keys, style["ink"]), "axes.facecolor": "none"}
            look |= {"axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "nemo"}
            with matplotlib.rc_context(look):
                figure = Figure(figsize=(6.4, 3.2), layout="constrained", facecolor="none")
                draw(figure.subplots(), style["colours"])
                figure.savefig(path, metadata={"Date": None})
