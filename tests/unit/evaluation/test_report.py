"""The report, opened in a real browser: it loads nothing, shows structures, and its table is that of the input."""

import io
import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from openmm_nemo.evaluation.assessment import Assessment
from openmm_nemo.evaluation.figures import draw_pictures
from openmm_nemo.evaluation.report import Table, spread, write_report
from openmm_nemo.evaluation.tables import table_by_clusters, table_by_level
from tests.browser import browser, coloured, emulate, grey, need_browser, opened, structure
from tests.helpers import random_chain, random_rotation
from tests.unit.evaluation.assessments import assessment, without_native

N = 59
ODD = """</script><script>document.title = "gone"</script><b id="x">&amp; "'"""
TITLE = 'A <i>title</i> & "more"'


def write(path: Path, assessments: list[Assessment]) -> None:
    tables = (
        Table("By level", "level", table_by_level(assessments)),
        Table("By certainty", "clusters", table_by_clusters(assessments)),
    )
    pictures = draw_pictures(assessments)
    write_report(path, assessments, TITLE, tables, pictures, [f"About {ODD}."], "steps 250")


@pytest.fixture(scope="module")
def proteins() -> list[Assessment]:
    """Of 59 and one without native; protein 7 is predicted but for a rigid motion, another has an odd name."""
    tm = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, N))
    made = [
        assessment(
            ODD if k == 3 else f"p{k}",
            level="CATH"[k % 4],
            identity=k / 100,
            tm=(0.05, tm[k], 0.95),
            clusters=[0, 0, 1] if k % 2 else [0, 0, 0],
            length=30 + k,
            seed=k,
        )
        for k in range(N)
        if k != 7
    ]
    native = random_chain(37, seed=7).numpy()
    x = native @ random_rotation(7).numpy() + 100
    made.insert(7, assessment("p7", "H", 0.07, (0.05, 0.99, 0.95), x=x, native=native))
    return [*made, without_native("alone")]


@pytest.fixture(scope="module")
def pages(proteins, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    write(folder / "many.html", proteins)
    write(folder / "one.html", [without_native("alone")])
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    need_browser()
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def many(chromium, pages):
    """The report of many proteins, opened."""
    emulate(chromium, 1280, "light")
    return opened(chromium, pages / "many.html")


@pytest.fixture
def page(many):
    """It, with all proteins listed and the first one shown; nothing that a test does is an error in the console."""
    many.execute_script("document.getElementById('filter').value = ''; filter(); show(0);")
    yield many
    assert many.get_log("browser") == []


def column(driver, number: int) -> list[str]:
    script = """return [...document.querySelectorAll("#all tbody tr")].filter((row) => row.checkVisibility())
        .map((row) => row.cells[arguments[0]].textContent.trim())"""
    return driver.execute_script(script, number)


def test_nothing_is_loaded(page, pages):
    page.find_element("id", "next").click()
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert (pages / "many.html").as_uri() in urls
    assert all(url.startswith(("data:", "file:")) for url in urls), urls
    assert sum(url.startswith("file:") for url in urls) == 1


def test_names_are_text(page, proteins):
    assert page.title == TITLE
    assert page.find_element("tag name", "h1").text == TITLE
    assert page.find_elements("id", "x") == []
    assert ODD in [name for name in column(page, 0) if not name.startswith("p")]
    assert f"About {ODD}." in [note.text for note in page.find_elements("class name", "note")]


def test_figures_are_seen(page):
    script = "return [...document.images].map((i) => [i.naturalWidth, i.complete, i.alt.length])"
    images = page.execute_script(script)
    assert len(images) == 4
    for width, complete, alt in images:
        assert width > 300
        assert complete
        assert alt > 50


def test_structures_are_seen(page, proteins):
    first = structure(page)
    assert coloured(first) > 3000
    # Prediction p7 lies on its native: what is left of the native is hidden in the thicker tube, but for pieces.
    assert grey(first, ground=1) < 0.1 * coloured(first)
    page.find_element("id", "next").click()
    second = structure(page)
    assert coloured(second) > 3000
    assert grey(second, ground=1) > 1000
    page.find_element("id", "previous").click()
    np.testing.assert_allclose(structure(page), first)


def test_choice_begins_with_best_median_and_worst(page, proteins):
    options = page.find_elements("css selector", "#protein option")
    assert len(options) == 50
    order = sorted(proteins[:N], key=lambda a: -a.tm[1])
    for option, place, mark in zip(options, (0, 29, 58), ("best", "median", "worst"), strict=False):
        a = order[place]
        assert option.get_property("textContent") == f"{a.id} (TM {a.tm[1]:.3f}, {mark})"
    assert f"50 of {N + 1} proteins are shown" in page.find_element("tag name", "main").text
    assert page.execute_script("return document.getElementById('protein').value") == "0"


def test_facts_are_of_the_chosen_protein(page, proteins):
    options = page.find_elements("css selector", "#protein option")
    options[1].click()
    name = options[1].text.split(" (")[0]
    (a,) = (a for a in proteins if a.id == name)
    lines = page.find_element("id", "facts").text.splitlines()
    facts = dict(zip(lines[::2], lines[1::2], strict=True))
    assert facts["Residues"] == str(len(a.sequence))
    assert facts["TM-score"] == f"{a.tm[1]:.3f}"
    assert facts["Identity to training"] == f"{100 * a.identity:.0f}%"
    assert facts["RMSD"] == "2.50 Å"
    assert facts["Clusters"] == str(len(set(a.clusters.tolist())))


def test_prediction_is_superposed(page, proteins):
    shown = json.loads(page.find_element("id", "data").get_property("textContent"))
    exact = shown[0]  # the best one is p7
    native = np.array(exact["native"])
    np.testing.assert_allclose(np.array(exact["prediction"]), native, atol=0.002)
    assert_moved_as_a_body(native, proteins[7].native)


def test_structures_are_not_mirrored(page, proteins):
    shown = json.loads(page.find_element("id", "data").get_property("textContent"))
    options = page.find_elements("css selector", "#protein option")
    for option in options[:20]:
        name = option.get_property("textContent").split(" (")[0]
        (a,) = (a for a in proteins if a.id == name)
        k = int(option.get_property("value"))
        assert_moved_as_a_body(np.array(shown[k]["prediction"]), a.x)
        assert_moved_as_a_body(np.array(shown[k]["native"]), a.native)


def assert_moved_as_a_body(x: np.ndarray, y: np.ndarray) -> None:
    """A rotation, which is no reflection, brings one on the other, to the digits of the PDB."""
    x, y = x - x.mean(0), y - y.mean(0)
    rotation, _ = Rotation.align_vectors(x, y)
    np.testing.assert_allclose(rotation.apply(y), x, atol=0.003)


def test_table_has_every_protein(page, proteins):
    rows = list(zip(*(column(page, k) for k in range(13)), strict=True))
    assert len(rows) == N + 1
    found = {row[0]: row for row in rows}
    assert found["p8"] == (
        *("p8", "38", "C", "8.0", "1", f"{proteins[8].tm[1]:.3f}", "0.950"),
        *("2.50", "0.510", "0.620", "0.730", "11.0", "9.0"),
    )
    assert found["alone"][2:] == ("", "", "2", "", "", "", "", "", "", "11.0", "")
    assert [row[0] for row in rows][-1] == "alone"


def test_table_of_levels_has_the_means(page, proteins):
    (row,) = (
        row
        for row in page.find_elements("css selector", ".card tbody tr")
        if row.text.startswith("H ")
    )
    mean = np.mean([a.tm[1] for a in proteins[:N] if a.level == "H"])
    count = sum(a.level == "H" for a in proteins)
    assert row.text.split()[:3] == ["H", str(count), f"{mean:.3f}"]


def test_table_is_sorted_by_a_click(page):
    headers = page.find_elements("css selector", "#all thead button")
    tm = column(page, 5)
    assert tm == [*sorted(tm[:-1], reverse=True), ""]
    for repeat in (True, False):
        headers[3].click()
        identity = [float(cell) for cell in column(page, 3)[:-1]]
        assert {len(str(value)) for value in identity} == {3, 4}
        assert identity == sorted(identity, reverse=repeat)
    headers[0].click()
    names = column(page, 0)
    assert names.index("alone") < names.index("p10")
    headers[5].click()
    assert column(page, 5) == tm
    headers[5].click()
    assert column(page, 5) == [*sorted(tm[:-1]), ""]  # what is not known stays last


def test_table_is_filtered(page):
    page.find_element("id", "filter").send_keys("P5")
    assert sorted(column(page, 0)) == sorted(["p5", *(f"p5{k}" for k in range(9))])
    assert page.find_element("id", "found").text == f"10 of {N + 1}"


def test_a_name_in_the_table_shows_its_structure(page):
    before = structure(page)
    button = page.find_elements("css selector", "#all tbody button")[4]
    button.click()
    shown = page.execute_script(
        "return document.getElementById('protein').selectedOptions[0].textContent"
    )
    assert shown.startswith(f"{button.text} (")
    assert np.abs(structure(page) - before).max() > 0.5


def test_dark_ground_and_narrow_window(page, chromium, pages):
    emulate(chromium, 420, "dark")
    image = structure(page)
    assert image[0, 0].max() < 0.25
    assert coloured(image) > 2000
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60
    figure = page.find_element("css selector", "figure img")
    png = matplotlib.image.imread(io.BytesIO(figure.screenshot_as_png))[..., :3]
    assert png[0, 0].max() < 0.25
    assert page.execute_script("return document.documentElement.scrollWidth") <= 420


def test_one_protein_without_native(chromium, pages):
    emulate(chromium, 1280, "light")
    page = opened(chromium, pages / "one.html")
    assert page.get_log("browser") == []
    image = structure(page)
    assert coloured(image) > 3000
    assert grey(image, ground=1) < 0.1 * coloured(image)
    assert page.find_elements("css selector", "figure") == []
    assert "native" not in page.find_element("class name", "legend").text
    notes = [note.text for note in page.find_elements("class name", "note")]
    assert sum("is not drawn" in note for note in notes) == 4
    assert column(page, 0) == ["alone"]


def test_without_webgl_all_else_is_there(chromium, pages):
    source = (
        "HTMLCanvasElement.prototype.getContext = OffscreenCanvas.prototype.getContext = () => null"
    )
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    emulate(chromium, 1280, "light")
    page = opened(chromium, pages / "one.html")
    assert "WebGL" in page.find_element("id", "no-3d").text
    assert not page.find_element("id", "viewer").is_displayed()
    assert "Residues" in page.find_element("id", "facts").text
    chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


# Without browser


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 11, 12, 100, 101])
def test_spread_takes_the_ends_the_median_and_what_is_between(n):
    ranked = [assessment(str(k), tm=(0, 1 - k / n, 1), length=4) for k in range(n)]
    found = [int(a.id) for a in spread(ranked, 10)]
    assert found == sorted(set(found))
    assert len(found) <= 10
    assert {0, (n - 1) // 2, n - 1} <= set(found)
    if n <= 10:
        assert found == list(range(n))
    else:
        assert len(found) == 10
        assert max(np.diff(found)) <= n / 6 + 2


def test_no_half_written_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr(
        Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        write(path, [assessment()])
    assert path.read_text() == "before"
