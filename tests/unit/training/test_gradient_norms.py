"""The table of gradients along roll-outs: what is read from it, and what is left of it when a run is resumed."""

import matplotlib.image
import numpy as np

from openmm_nemo.training.curves import plot_curves
from openmm_nemo.training.gradient_norms import begin_table, read_norms

TABLE = """update,skipped,step -1,step -2,step -3
9,0,1.000e+00,1.000e+01,1.000e+02
17,1,1.000e+00,inf,nan
19,0,0.000e+00,1.000e-03
29,1
"""


def test_norms_are_read_with_their_gaps(tmp_path):
    (tmp_path / "norms.csv").write_text(TABLE)
    updates, log_norms = read_norms(tmp_path / "norms.csv")
    assert updates.tolist() == [9, 17, 19, 29]
    nan = np.nan
    expected = [[0, 1, 2], [0, np.inf, np.inf], [-30, -3, nan], [nan, nan, nan]]
    np.testing.assert_allclose(log_norms, expected)


def test_a_table_without_steps_is_nothing_to_see(tmp_path):
    assert read_norms(tmp_path / "norms.csv") is None
    begin_table(tmp_path / "norms.csv", 0, 0)
    assert read_norms(tmp_path / "norms.csv") is None


def test_a_resumed_run_keeps_the_whole_lines_before_its_update(tmp_path):
    path = tmp_path / "norms.csv"
    path.write_text(TABLE + "3")  # of 39: cut short by the end of the process
    begin_table(path, 3, 19)
    assert path.read_text() == "".join(TABLE.splitlines(True)[:3])
    begin_table(path, 3, 0)
    assert path.read_text() == TABLE.splitlines(True)[0]


def test_explosions_are_red_in_the_picture(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss/total\n1,2.0\n9,1.0\n")
    (tmp_path / "norms.csv").write_text(TABLE)

    def red(*norms) -> int:
        plot_curves(tmp_path / "metrics.csv", tmp_path / "c.png", "", (), *norms)
        picture = matplotlib.image.imread(tmp_path / "c.png")[..., :3]
        return int((abs(picture - [1, 0, 0]) < 0.01).all(-1).sum())

    assert red() == 0
    assert red(tmp_path / "norms.csv") > 500
