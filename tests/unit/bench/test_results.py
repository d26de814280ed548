"""Rows of benchmarks: printed as they are, and kept with machine and date."""

import json

from tests.bench import results


def test_rows_are_printed_and_kept(tmp_path, capsys):
    path = tmp_path / "build" / "bench.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"first": {"tables": {}}, "second": {"tables": {"old": []}}}))
    results.row("L 5  0.12", "steps", residues=5, ms=0.1234)
    results.row("L 9  0.50", "steps", residues=9, ms=0.5)
    results.write("second", path)
    assert capsys.readouterr().out == "L 5  0.12\nL 9  0.50\n"
    written = json.loads(path.read_text())
    assert written["first"] == {"tables": {}}
    rows = [{"residues": 5, "ms": 0.1234}, {"residues": 9, "ms": 0.5}]
    assert written["second"]["tables"] == {"steps": rows}
    assert "cores" in written["second"]["machine"]
    assert len(written["second"]["date"]) == len("2026-01-31")


def test_rows_belong_to_one_benchmark(tmp_path):
    results.row("one", "steps", ms=1.0)
    results.write("first", tmp_path / "bench.json")
    results.write("second", tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text())["second"]["tables"] == {}
