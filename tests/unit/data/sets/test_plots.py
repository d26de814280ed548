"""The picture of a set of domains."""

import matplotlib.figure
import numpy as np

from openmm_nemo.data.sets.plots import plot_domains


def test_every_domain_is_in_a_bar_of_its_class(tmp_path, monkeypatch):
    drawn = []
    save = matplotlib.figure.Figure.savefig

    def keep(self, *arguments, **options):
        drawn.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    lengths = np.array([50, 50, 51, 80, 120])
    alpha = np.array([True, False, True, True, False])
    plot_domains(lengths, {"alpha": alpha, "beta": ~alpha}, tmp_path / "set.png", "5 domains")
    (axes,) = drawn[0].axes
    heights = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    assert heights == [3, 2]
    low, high = axes.containers[0][0].get_x(), axes.containers[0][-1]
    assert low <= 50
    assert high.get_x() + high.get_width() >= 120
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["alpha (3)", "beta (2)"]
    assert axes.get_title() == "5 domains"
    assert (tmp_path / "set.png").read_bytes().startswith(b"\x89PNG")


def test_domains_of_one_length_have_a_picture(tmp_path):
    plot_domains(np.full(3, 60), {"alpha": np.ones(3, bool)}, tmp_path / "set.png", "3 domains")
    assert (tmp_path / "set.png").exists()
