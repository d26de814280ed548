"""The built site in a real browser."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import browser, emulate, need_browser, opened

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

# The theme hides what is wider than the window, or lets the text as a whole scroll.
WIDER = """
const content = document.querySelector('.content');
return content.scrollWidth - content.clientWidth
"""
MISSING = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built pages."""
    need_browser()
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "docs", folder / "html"]
    subprocess.run([*command, "-d", folder / "doctrees"], cwd=ROOT, check=True)
    return folder / "html"


@pytest.mark.parametrize("width", [420, 1400])
def test_no_page_is_wider_than_the_window(site, tmp_path, width):
    """Tables, code and formulas that are wider scroll by themselves."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    wide, missing = [], []
    with browser(tmp_path) as driver:
        emulate(driver, width, "light")
        for page in pages:
            opened(driver, page)
            if driver.execute_script(WIDER) > 0:
                wide.append(page.name)
            missing += driver.execute_script(MISSING)
    assert wide == []
    assert missing == []
