"""Figures of an evaluation: the points that are drawn, both grounds, and what cannot be drawn."""

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from openmm_nemo.evaluation.figures import draw_pictures
from tests.unit.evaluation.assessments import assessment, without_native

pytestmark = pytest.mark.integration

NAMES = ["tm_by_level", "tm_by_clusters", "tm_by_identity", "rg"]

# Of every protein: level, identity, TM of three structures (the second is the representative), clusters, Rg, native Rg.
PROTEINS = [
    ("C", 0.10, (0.1, 0.2, 0.3), (0, 1, 2), (12, 14, 16), 11.0),
    ("C", 0.15, (0.3, 0.4, 0.2), (0, 1, 2), (11, 12, 13), 11.5),
    ("H", 0.30, (0.9, 0.8, 0.7), (0, 0, 0), (10, 10, 10), 10.0),
    ("train", 0.90, (0.9, 0.95, 1.0), (0, 0, 0), (13, 13, 13), 12.0),
    ("", 0.20, (0.5, 0.55, 0.6), (0, 0, 1), (15, 15, 15), 15.0),
]


@pytest.fixture
def proteins():
    return [
        assessment(f"p{k}", level, identity, tm, clusters, rg=rg, native_rg=native_rg)
        for k, (level, identity, tm, clusters, rg, native_rg) in enumerate(PROTEINS)
    ]


@pytest.fixture
def drawn(monkeypatch):
    """Draws proteins: axes of the light figures by the name of the picture, and the pictures."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1]
    )

    def draw(proteins):
        pictures = draw_pictures(proteins)
        names = [picture.name for picture in pictures if picture.light]
        return {name: figures[2 * k].axes[0] for k, name in enumerate(names)}, pictures

    return draw


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def test_every_protein_is_a_point(proteins, drawn):
    axes, pictures = drawn(proteins)
    assert [picture.name for picture in pictures] == list(axes) == NAMES
    expected = {
        "tm_by_clusters": [(3, 0.2), (3, 0.3), (1, 0.8), (1, 0.95), (2, 0.55)],
        "tm_by_identity": [(10, 0.2), (15, 0.4), (30, 0.8), (90, 0.95), (20, 0.55)],
        "rg": [(11, 14), (11.5, 12), (10, 10), (12, 13), (15, 15)],
    }
    for name, values in expected.items():
        scatter = [
            c for c in axes[name].collections if c.get_label() in ("C", "H", "train", "not known")
        ]
        found = sorted(tuple(p) for c in scatter for p in c.get_offsets().tolist())
        np.testing.assert_allclose(found, sorted(values))
        labels = [text.get_text() for text in axes[name].get_legend().get_texts()]
        assert labels == ["C", "H", "train", "not known"]


def test_levels_have_their_proteins_and_means(proteins, drawn):
    axes = drawn(proteins)[0]["tm_by_level"]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["C\n2", "H\n1", "train\n1", "not known\n1"]
    means = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(means, [(0, 0.3), (1, 0.8), (2, 0.95), (3, 0.55)])
    for k, scatter in enumerate(axes.collections):
        assert np.abs(scatter.get_offsets()[:, 0] - k).max() <= 0.3
    np.testing.assert_allclose(sorted(axes.collections[0].get_offsets()[:, 1]), [0.2, 0.4])


def test_certainty_grows_to_the_right(proteins, drawn):
    low, high = drawn(proteins)[0]["tm_by_clusters"].get_xlim()
    assert low > 3 > 1 > high


def test_texts_have_the_figures(proteins):
    text = {picture.name: picture.text for picture in draw_pictures(proteins)}
    assert "0.300 (C, n = 2), 0.800 (H, n = 1)" in text["tm_by_level"]
    # Ratios 14/11, 12/11.5, 1, 13/12, 1.
    assert "median ratio is 1.04" in text["rg"]
    # Without ties: ranks of identity 1 2 4 5 3, of TM 1 2 4 5 3.
    assert "rank correlation is 1.00" in text["tm_by_identity"]


def test_both_grounds(proteins):
    for picture in draw_pictures(proteins):
        light, dark = pixels(picture.light), pixels(picture.dark)
        assert light.shape == dark.shape
        np.testing.assert_allclose(light[0, 0], 1)
        assert dark[0, 0].max() < 0.2
        # Text and axes are dark on light and light on dark; points have their colours on both.
        assert (light.max(-1) < 0.3).mean() > 0.002
        assert (dark.min(-1) > 0.7).mean() > 0.002
        for image in (light, dark):
            assert ((np.ptp(image, axis=-1) > 0.3).sum()) > 100


def test_what_is_not_known_is_not_drawn(drawn):
    axes, pictures = drawn([without_native("a", level="C", identity=0.3), without_native("b")])
    assert axes == {}
    assert [picture.name for picture in pictures] == NAMES
    assert all("native structure" in picture.text for picture in pictures)
    axes, pictures = drawn([assessment("a"), without_native("b", level="C")])
    assert list(axes) == ["tm_by_clusters", "rg"]
    assert "level" in pictures[0].text
    assert "identity" in pictures[2].text
    assert all(a.get_legend() is None for a in axes.values())


def test_one_protein_is_enough(drawn):
    axes, pictures = drawn([assessment(level="T", identity=0.25)])
    assert list(axes) == NAMES
    assert "correlation" not in pictures[1].text
