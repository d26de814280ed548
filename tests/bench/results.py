"""Rows of the tables of benchmarks: they are printed, and kept for the documentation."""

import datetime
import json
from pathlib import Path

from openmm_nemo.files import completing
from tests.bench.timing import machine

FILE = Path("build/bench.json")

Value = str | int | float | bool | None

_tables: dict[str, list[dict[str, Value]]] = {}


def row(line: str, table: str, **values: Value) -> None:
    """Print a line, and keep its values, not rounded, as a row of a table."""
    print(line, flush=True)
    _tables.setdefault(table, []).append(values)


def write(benchmark: str, path: Path = FILE) -> None:
    """Write the rows since the last call to a JSON file, in place of what a benchmark had there.

    Each benchmark has its machine, date and tables, because they need not have run together.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    known[benchmark] = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "tables": dict(_tables),
    }
    _tables.clear()
    path.parent.mkdir(exist_ok=True)
    with completing(path) as part:
        part.write_text(json.dumps(known, indent=1) + "\n")
