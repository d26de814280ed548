"""The table of metrics, and what is drawn of it."""

import matplotlib.figure
import numpy as np
import pytest

from openmm_nemo.training.curves import plot_curves, read_metrics

METRICS = """epoch,step,train/loss,validation/rmsd,validation/rmsd_z0
0,4,2.5,,
0,9,1.5,3.0,4.0
1,14,,2.0,
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(METRICS)
    return path


def test_a_line_of_metrics_may_have_some_of_them(table):
    series = read_metrics(table)
    expected = {
        "train/loss": [[4, 2.5], [9, 1.5]],
        "validation/rmsd": [[9, 3.0], [14, 2.0]],
        "validation/rmsd_z0": [[9, 4.0]],
    }
    assert set(series) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(series[name], values)


@pytest.mark.parametrize("bad", ["step,loss\n1,x\n", "loss\n1.0\n"])
def test_a_table_that_is_none_is_an_error(table, bad):
    """Which the export of a model turns into a sentence about the file."""
    table.write_text(bad)
    with pytest.raises((ValueError, KeyError)):
        read_metrics(table)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def keep(self, *arguments, **options):
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def test_a_metric_has_a_panel_which_it_shares_with_that_of_the_initial_state(
    table, tmp_path, drawn
):
    plot_curves(table, tmp_path / "curves.png", "a title", stage_ends=(7,))
    (figure,) = drawn
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["train: loss", "validation: rmsd"]
    assert figure.get_suptitle() == "a title"
    loss, end = panels[0].lines
    np.testing.assert_array_equal(loss.get_xydata(), [[4, 2.5], [9, 1.5]])
    assert end.get_xdata() == [7, 7]
    assert len(panels[1].lines) == 3
    assert panels[0].get_legend() is None
    labels = [text.get_text() for text in panels[1].get_legend().get_texts()]
    assert labels == ["after the roll-out", "z(0)"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_metrics_yet_is_an_empty_picture(table, tmp_path, drawn):
    table.write_text("epoch,step\n")
    plot_curves(table, tmp_path / "curves.png", "a title")
    assert not [axes for axes in drawn[0].axes if axes.axison]
