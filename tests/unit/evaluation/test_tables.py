"""Tables of assessments, against means computed by hand."""

import csv
import math

import numpy as np
import pytest

from openmm_nemo.evaluation import (
    Assessment,
    table_by_clusters,
    table_by_level,
    table_lines,
    write_assessments,
)


def assessment(id, level, tm, clusters, native=True, **figures):
    """Assessment of structures with TM-scores ``tm``, of which the second represents them."""
    known = {
        "rmsd": 3.0,
        "gdt_ts": 0.4,
        "lddt": 0.6,
        "contact_precision": 0.5,
        "native_rg": 10.0,
    }
    x = np.zeros((4, 3))
    return Assessment(
        id=id,
        sequence="GAVL",
        level=level,
        identity=0.25,
        clusters=np.array(clusters),
        representative=1,
        lowest=0,
        x=x,
        native=x if native else None,
        tm=np.array(tm) if native else np.full(len(clusters), np.nan),
        rg=np.array([10.0, 11.0, *[15.0] * (len(clusters) - 2)]),
        **(known if native else dict.fromkeys(known, math.nan)) | figures,
    )


def some():
    return [
        assessment("a", "C", [0.3, 0.2, 0.4], [0, 1, 0]),
        assessment("b", "C", [0.9, 0.6, 0.3], [0, 0, 0], rmsd=1.0, contact_precision=math.nan),
        assessment("c", "H", [0.8, 0.7, 0.6], [0, 0, 0], gdt_ts=1.0, lddt=0.9, native_rg=12.0),
        assessment("d", "train", [0.9, 1.0, 0.8], [0, 0, 1]),
        assessment("e", "", [], [0, 1, 2, 3], native=False),
    ]


@pytest.mark.filterwarnings("error")
def test_rows_are_means_over_proteins():
    rows = table_by_level(some())
    assert [(row.group, row.n_proteins) for row in rows] == [
        ("total", 4),
        ("C", 2),
        ("H", 1),
        ("train", 1),
    ]
    total, c, h, train = rows
    assert total.tm == pytest.approx(0.5)  # of 0.2, 0.6 and 0.7
    assert total.tm_error == pytest.approx(math.sqrt((0.09 + 0.01 + 0.04) / 2 / 3))
    assert total.lowest_tm == pytest.approx((0.3 + 0.9 + 0.8) / 3)
    assert total.best_tm == pytest.approx((0.4 + 0.9 + 0.8) / 3)
    assert total.mean_tm == pytest.approx((0.3 + 0.6 + 0.7) / 3)
    assert total.same_fold == pytest.approx(2 / 3)
    assert total.rmsd == pytest.approx((3 + 1 + 3) / 3)
    assert total.gdt_ts == pytest.approx((0.4 + 0.4 + 1) / 3)
    assert total.lddt == pytest.approx((0.6 + 0.6 + 0.9) / 3)
    assert total.contact_precision == pytest.approx(0.5)
    assert total.rg_ratio == pytest.approx((1.2 + 1.2 + 1) / 3)
    assert total.n_clusters == pytest.approx((2 + 1 + 1 + 4) / 4)
    assert (c.tm, c.tm_error) == pytest.approx((0.4, 0.2))
    assert (h.tm, train.tm) == (0.7, 1.0)
    assert math.isnan(h.tm_error)


def test_a_tm_score_of_one_half_is_not_yet_the_same_fold():
    (row, _) = table_by_level([assessment("a", "C", [0.5, 0.5], [0, 0])])
    assert row.same_fold == 0


def test_certain_proteins_come_first():
    proteins = [
        assessment(f"{n}", "T", [0.1] * n, range(n), gdt_ts=n / 100) for n in (2, 3, 4, 10, 31, 50)
    ]
    rows = table_by_clusters([*some(), *proteins])
    assert [(row.group, row.n_proteins) for row in rows] == [
        ("1 to 3", 5),
        ("4 to 10", 3),
        ("31 and more", 2),
    ]
    assert rows[1].gdt_ts == pytest.approx(
        0.07
    )  # of 4 and 10; that without a native does not count


def test_columns_are_aligned():
    header, *lines = table_lines(table_by_level(some()), "level")
    assert header.split()[:4] == ["level", "proteins", "TM", "s.e."]
    assert [line.split()[:4] for line in lines] == [
        ["total", "4", "0.500", "0.153"],
        ["C", "2", "0.400", "0.200"],
        ["H", "1", "0.700", "-"],
        ["train", "1", "1.000", "-"],
    ]
    assert {len(line) for line in lines} == {len(header)}
    ends = {line.index(line.split()[1]) + len(line.split()[1]) for line in (header, *lines)}
    assert ends == {header.index("proteins") + len("proteins")}


def test_no_proteins_are_no_rows():
    assert table_by_level([]) == []
    assert table_by_clusters([]) == []
    assert len(list(table_lines([], "level"))) == 1


def test_every_protein_is_a_line_of_csv(tmp_path):
    path = tmp_path / "proteins.csv"
    write_assessments(path, some())
    with open(path, newline="") as file:
        first, *_, last = csv.DictReader(file)
    assert first == {
        "id": "a",
        "level": "C",
        "identity": "0.25",
        "residues": "4",
        "structures": "3",
        "clusters": "2",
        "largest_cluster": "2",
        "representative": "1",
        "tm": "0.2",
        "lowest_energy_tm": "0.3",
        "best_tm": "0.4",
        "mean_tm": "0.3",
        "rmsd_angstrom": "3",
        "gdt_ts": "0.4",
        "lddt": "0.6",
        "contact_precision": "0.5",
        "rg_angstrom": "11",
        "mean_rg_angstrom": "12",
        "native_rg_angstrom": "10",
    }
    assert (last["id"], last["clusters"], last["tm"], last["rmsd_angstrom"]) == (
        "e",
        "4",
        "nan",
        "nan",
    )


def test_a_file_is_replaced_only_when_all_is_written(tmp_path):
    path = tmp_path / "proteins.csv"
    write_assessments(path, some())
    before = path.read_text()

    def interrupted():
        yield some()[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_assessments(path, interrupted())
    assert path.read_text() == before
