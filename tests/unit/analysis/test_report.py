"""The page of an analysis, in a real browser: trajectories play, and its numbers are those of the input."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from openmm_nemo.analysis.report import SHOWN_FRAMES, SHOWN_TRAJECTORIES, write_report
from openmm_nemo.analysis.trajectories import MeasuredTrajectory
from openmm_nemo.pages.pictures import Picture
from openmm_nemo.runs.reading import SimulatedTrajectory
from openmm_nemo.runs.settings import SimulationSettings
from tests.browser import browser, coloured, emulate, grey, need_browser, opened, structure
from tests.helpers import random_chain
from tests.simulated import SEQUENCE

ODD = 'a <b id="x"> & "run"'
N = 10
F = 250
MEAN = ["300 K", 1, F, 40, -12.34, 0.56, 9.87, np.nan]


def trajectory(k: int) -> MeasuredTrajectory:
    settings = SimulationSettings(SEQUENCE, "nemo-tiny", 1, temperature=300 + k)
    folder = Path(f"runs/{ODD if k == 0 else k}")
    step, energy = 10 * np.arange(F), -12 + np.arange(F) / 100
    start, end = (random_chain(20, seed=k + s).numpy() for s in (0, 50))
    x = start + np.linspace(0, 1, F)[:, None, None] * (end - start)
    simulated = SimulatedTrajectory(folder, settings, "", 0, step, energy)
    values = {"energy_kj_mol": energy, "radius_of_gyration_angstrom": np.linspace(7, 9, F)}
    return MeasuredTrajectory(simulated, x, np.full((F, 20), "C"), values, np.arange(0, F, 6))


@pytest.fixture(scope="module")
def measured() -> list[MeasuredTrajectory]:
    return [trajectory(k) for k in range(N)]


@pytest.fixture(scope="module")
def native() -> np.ndarray:
    return random_chain(20, seed=99).numpy()


@pytest.fixture(scope="module")
def pages(measured, native, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    columns = ["temperature", "trajectories", "frames", "independent_frames"]
    for name in measured[0].values:
        columns += [name, f"{name}_error"]
    nothing = Picture("x", "A picture", "There is nothing to draw.")
    for name, of, reference in (("many", measured, native), ("one", measured[:1], None)):
        write_report(
            folder / f"{name}.html", of, (columns, [MEAN]), [nothing], [f"About {ODD}."], reference
        )
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    need_browser()
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(chromium, pages):
    """The page of many trajectories; nothing that a test does is an error in the console or loads anything."""
    emulate(chromium, 1280, "light")
    yield opened(chromium, pages / "many.html")
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in urls if not url.startswith("data:")] == [
        (pages / "many.html").as_uri()
    ] * urls.count((pages / "many.html").as_uri())


def facts(driver) -> dict[str, str]:
    lines = driver.find_element("id", "facts").text.splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def move(driver, frame: int) -> None:
    script = "const s = arguments[0]; s.value = arguments[1]; s.dispatchEvent(new Event('input'));"
    driver.execute_script(script, driver.find_element("id", "frame"), frame)


def wait_until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_last_frame_is_shown_first_and_any_can_be_chosen(page):
    assert facts(page) == {
        "Step": "2,490",
        "Energy": "-9.5 kJ/mol",
        "Radius of gyration": "9.00 Å",
    }
    last = structure(page)
    assert coloured(last) > 1500
    assert grey(last, ground=1) > 500
    move(page, 0)
    assert facts(page)["Step"] == "0"
    assert facts(page)["Energy"] == "-12.0 kJ/mol"
    assert np.abs(structure(page) - last).max() > 0.5


def test_trajectory_plays_to_its_end_and_stops(page):
    move(page, SHOWN_FRAMES - 6)
    play = page.find_element("id", "play")
    play.click()
    assert play.get_attribute("aria-label") == "Pause"
    wait_until(lambda: play.get_attribute("aria-label") == "Play")
    assert facts(page)["Step"] == "2,490"
    play.click()  # from the start
    wait_until(lambda: facts(page)["Step"] not in ("2,490", "0"))
    play.click()
    step = facts(page)["Step"]
    time.sleep(0.3)
    assert facts(page)["Step"] == step


def test_another_trajectory_can_be_chosen(page, measured):
    options = page.find_elements("css selector", "#trajectory option")
    assert len(options) == SHOWN_TRAJECTORIES
    assert options[0].text == f"{ODD}, 300 K"
    assert options[-1].text == f"{N - 1}, {300 + N - 1} K"
    before = structure(page)
    options[-1].click()
    assert np.abs(structure(page) - before).max() > 0.5
    text = page.find_element("tag name", "main").text
    assert f"{SHOWN_TRAJECTORIES} of {N} trajectories" in text
    assert f"{SHOWN_FRAMES} frames" in text


def test_frames_are_those_of_the_input_superposed_on_the_native(page, measured, native):
    data = json.loads(page.find_element("id", "data").get_property("textContent"))
    shown_native = np.array(data["native"])
    frames = np.array(data["trajectories"][0]["frames"])
    assert frames.shape == (SHOWN_FRAMES, 20, 3)
    for frame, x in ((frames[0], measured[0].x[0]), (frames[-1], measured[0].x[-1])):
        # To the thousandth to which they are rounded; never mirrored.
        rotation, error = Rotation.align_vectors(frame - frame.mean(0), x - x.mean(0))
        assert error < 0.01
        # Turned back with the native, it is where the best superposition puts it.
        back, _ = Rotation.align_vectors(native - native.mean(0), shown_native)
        best, _ = Rotation.align_vectors(native - native.mean(0), x - x.mean(0))
        np.testing.assert_allclose((back * rotation).as_matrix(), best.as_matrix(), atol=0.01)


def test_numbers_and_names_are_text(page):
    rows = page.find_elements("css selector", "#means tbody tr")
    (cells,) = [[cell.text for cell in row.find_elements("css selector", "th, td")] for row in rows]
    assert cells == ["300 K", "1", "250", "40", "-12.3 ± 0.6", "9.87"]
    tiles = page.find_element("class name", "tiles").text.splitlines()
    assert dict(zip(tiles[::2], tiles[1::2], strict=True)) == {
        "Residues": "20",
        "Trajectories": "10",
        "Frames": "2500",
        "Independent frames": "420",
    }
    assert page.find_elements("id", "x") == []
    notes = [note.text for note in page.find_elements("class name", "note")]
    assert f"About {ODD}." in notes
    assert "A picture is not drawn. There is nothing to draw." in notes


def test_one_trajectory_without_native_in_a_narrow_dark_window(chromium, pages):
    emulate(chromium, 420, "dark")
    page = opened(chromium, pages / "one.html")
    assert page.title == f"Analysis of {ODD}"
    image = structure(page)
    assert image[0, 0].max() < 0.25
    assert coloured(image) > 1500
    assert "native" not in page.find_element("class name", "legend").text
    assert not page.find_element("id", "trajectory").is_displayed()
    assert page.execute_script("return document.documentElement.scrollWidth") <= 420
    assert page.get_log("browser") == []
