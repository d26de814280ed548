"""The picture of a simulation, looked at by its pixels."""

import matplotlib.image
import numpy as np
import pytest

from openmm_nemo.runs import plots
from openmm_nemo.runs.plots import plot_exchange, plot_simulation
from tests.helpers import random_chain, random_rotation

COLUMNS = (
    "step",
    "u_kt",
    "energy_kj_mol",
    "radius_of_gyration_angstrom",
    "largest_displacement_angstrom",
    "clipped_fraction",
    "rmsd_angstrom",
    "tm_score",
)


@pytest.fixture
def draw(tmp_path):
    """Picture, (height, width, RGB) from 0 to 1, of random numbers and a chain."""

    def draw_chain(x, reference=None, n_lines=26, seed=0):
        columns = COLUMNS if reference is not None else COLUMNS[:-2]
        values = np.random.default_rng(seed).normal(size=(n_lines, len(columns)))
        values[:, 0] = 10 * np.arange(n_lines)
        path = tmp_path / "state.csv"
        np.savetxt(path, values, header=",".join(columns), delimiter=",", comments="")
        plot_simulation(path, tmp_path / "state.png", "a title", x, reference)
        return matplotlib.image.imread(tmp_path / "state.png")[..., :3]

    return draw_chain


def chain(length, seed=0):
    x = random_chain(length, seed=seed)
    return (x - x.mean(0)).numpy()


def panels(image):
    """Left two thirds in rows of two, and the chain on the right."""
    rows = np.array_split(image[60:, :960], round(image.shape[0] / 290))
    return [half for row in rows for half in np.array_split(row, 2, axis=1)], image[:, 1000:]


def pixels(image, colour, tolerance=0.12):
    """How many pixels have about this colour."""
    return int((np.abs(image - np.array(colour)).max(-1) < tolerance).sum())


BLUE = (0.12, 0.47, 0.71)  # of the curves


@pytest.mark.parametrize("with_reference", [False, True])
def test_every_column_has_its_curve(draw, with_reference):
    x = chain(20)
    image = draw(x, x if with_reference else None)
    plots, _ = panels(image)
    assert len(plots) == (6 if with_reference else 4)
    for plot in plots:
        assert pixels(plot, BLUE) > 500
    moved, _ = panels(draw(x, x if with_reference else None, seed=1))
    for plot, other in zip(plots, moved, strict=True):
        assert np.abs(plot - other).max() > 0.5


def test_chain_is_superposed_on_the_reference(draw):
    y = chain(30)
    x = y + np.random.default_rng(0).normal(size=y.shape)
    moved = x @ random_rotation(3).numpy().T + 50
    here, there = (panels(draw(position, y))[1] for position in (x, moved))
    assert np.abs(here - there).mean() < 1e-3
    assert np.abs(here - panels(draw(y[::-1].copy(), y))[1]).mean() > 0.01


def test_chain_runs_from_blue_to_red(draw):
    x = chain(40)
    _, image = panels(draw(x))
    red, green, blue = np.moveaxis(image, -1, 0)
    for colour in (red - blue > 0.35, blue - red > 0.35, green - np.maximum(red, blue) > 0.2):
        assert colour.sum() > 300


@pytest.mark.parametrize("length", [4, 20, 300])
@pytest.mark.parametrize("with_reference", [False, True])
def test_chain_of_any_length_fills_its_place_and_stays_inside(draw, length, with_reference):
    x = chain(length)
    _, image = panels(draw(x, x[::-1].copy() if with_reference else None))
    ink = (image < 0.97).any(-1)
    ink[: image.shape[0] // 8] = False  # the title
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    height, width = ink.shape
    assert rows[0] > 10
    assert rows[-1] < height - 10
    assert columns[0] > 5
    assert columns[-1] < width - 5
    assert max(np.ptp(rows) / height, np.ptp(columns) / width) > 0.6


def test_lengths_are_the_same_in_both_directions(draw):
    turn = np.linspace(0, 1.9 * np.pi, 30)
    ring = 10 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    _, image = panels(draw(ring, ring))
    ink = np.ptp(image, axis=-1) > 0.2
    height, width = np.ptp(np.flatnonzero(ink.any(1))), np.ptp(np.flatnonzero(ink.any(0)))
    assert height == pytest.approx(width, rel=0.05)


@pytest.fixture
def pieces(monkeypatch):
    """Pieces of the curves, (n, 2, 2), and their colours, (n, 3), in the order in which they are drawn."""

    def draw_pieces(x, reference=None):
        drawn = []

        class Anything:
            def __getattr__(self, name):
                return lambda *args, **kwargs: Anything()

        def lines(segments, colors, **_):  # every other one is white, to cut what it crosses
            drawn.append((np.array(segments)[1::2], np.array(colors)[1::2]))

        monkeypatch.setattr("matplotlib.collections.LineCollection", lines)
        plots._draw_chains(Anything(), x, reference)
        return drawn[0]

    return draw_pieces


def test_reference_is_grey_and_what_is_far_is_pale(pieces):
    x, y = chain(30), chain(30, seed=9)
    segments, colours = pieces(x, y)
    assert len(segments) == 2 * 29 * 8
    grey = colours[np.ptp(colours, axis=1) < 1e-9]
    assert len(grey) == 29 * 8
    assert grey[0, 0] > grey[-1, 0] + 0.1
    assert (np.diff(grey[:, 0]) <= 0).all()


@pytest.mark.parametrize("hand", [1, -1])
def test_chain_is_not_drawn_as_its_mirror_image(pieces, hand):
    """The strands in front of a right-handed helix rise to the right."""
    turn = np.linspace(0, 6 * np.pi, 60)
    helix = np.stack([hand * 5 * np.cos(turn), 5 * np.sin(turn), 2.5 * turn], axis=1)
    segments, _ = pieces(helix)
    front = segments[len(segments) // 2 :]
    step = front[:, 1] - front[:, 0]
    assert np.sign(step[:, 0] * step[:, 1]).mean() == pytest.approx(hand, abs=0.2)


def test_single_line_and_bad_numbers_can_be_drawn(draw, tmp_path):
    x = chain(10)
    assert draw(x, n_lines=1).shape == (624, 1560, 3)
    path = tmp_path / "state.csv"
    path.write_text(path.read_text() + "20,nan,nan,1,2,nan\n")
    plot_simulation(path, tmp_path / "state.png", "a title", x)
    image = matplotlib.image.imread(tmp_path / "state.png")[..., :3]
    assert pixels(panels(image)[0][0], BLUE) > 20


def exchange_picture(path, walkers, rates=(0.9, 0.1), wanted=None):
    summary = {
        "temperatures_kelvin": [300.0, 350.0, 400.0],
        "pairs": [{"acceptance": rate} for rate in rates],
        "round_trips": 1,
        "acceptance_wanted": wanted,
    }
    plot_exchange(path, "a title", 10 * np.arange(len(walkers)), np.array(walkers), summary)
    return matplotlib.image.imread(path)[..., :3]


def test_every_walker_and_every_pair_is_drawn(tmp_path):
    stay = exchange_picture(tmp_path / "x.png", [[0, 1, 2]] * 5)
    width = stay.shape[1]
    walk, bars = stay[:, : int(0.66 * width)], stay[:, int(0.7 * width) :]
    # The lowest temperature and the lowest pair are at the bottom; walkers run from blue to red.
    upper, lower = np.array_split(bars, 2)
    assert pixels(lower, BLUE) > 5 * pixels(upper, BLUE) > 0
    above, below = np.array_split(walk, 2)
    assert pixels(above, (0.65, 0.12, 0.01), 0.2) > 300 > pixels(below, (0.65, 0.12, 0.01), 0.2)
    swapped = exchange_picture(tmp_path / "x.png", [[0, 1, 2], [0, 2, 1], [2, 0, 1]])
    below = np.array_split(swapped[:, : int(0.66 * width)], 2)[1]
    assert pixels(below, (0.65, 0.12, 0.01), 0.2) > 100
    grey = (0.4, 0.4, 0.4)
    wanted = exchange_picture(tmp_path / "x.png", [[0, 1, 2]] * 5, wanted=0.5)
    below_titles = np.s_[80:, int(0.7 * width) :]
    assert pixels(wanted[below_titles], grey) > pixels(stay[below_titles], grey) + 50
    exchange_picture(tmp_path / "x.png", [[0, 1, 2]], (None, None))  # before the first attempt


def test_many_attempts_do_not_fill_the_picture(tmp_path):
    """Walkers that mix are lines between the temperatures; one that stays apart is seen to."""
    random = np.random.default_rng(1)
    mixed = exchange_picture(tmp_path / "x.png", random.permuted([[0, 1, 2]] * 20_000, axis=1))
    walk = mixed[:, : int(0.66 * mixed.shape[1])]
    assert 0.01 < (np.ptp(walk, axis=-1) > 0.3).mean() < 0.2
    two = random.permuted([[0, 1]] * 20_000, axis=1)
    apart = exchange_picture(tmp_path / "x.png", np.column_stack([two, np.full(20_000, 2)]))
    top = np.s_[: len(mixed) // 3, : int(0.66 * mixed.shape[1])]
    red = (0.65, 0.12, 0.01)
    assert pixels(apart[top], red, 0.2) > 300 > pixels(mixed[top], red, 0.2)


def test_many_temperatures_fill_the_picture(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, file: drawn.append(figure))
    n = 40
    summary = {
        "temperatures_kelvin": [300.0 + r for r in range(n)],
        "pairs": [{"acceptance": 0.5}] * (n - 1),
        "round_trips": 0,
        "acceptance_wanted": None,
    }
    plot_exchange(tmp_path / "x.png", "a title", np.arange(2), np.array([range(n)] * 2), summary)
    for axes in drawn[0].axes:
        low, high = axes.get_ylim()
        assert -1 < low < 0
        assert n - 1 < high < n
