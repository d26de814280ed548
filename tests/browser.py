"""A real browser without window, for the pages that the package writes."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.image
import numpy as np
from selenium import webdriver

from tests.helpers import _need

# WebGL by the processor, and no traffic of the browser's own.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def need_browser() -> None:
    """Skip the running test where there is no Chromium; fail with OPENMM_NEMO_REQUIRE_BROWSER=1."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    _need("BROWSER", f"{missing[0]} is not installed" if missing else None)


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Chromium with an empty folder for its profile; keeps its console and its requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def emulate(driver: webdriver.Chrome, width: int, ground: str) -> None:
    """Give the window a width, and pages a light or a dark ground."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"prefers-color-scheme": ground, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in media.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def opened(driver: webdriver.Chrome, path: Path) -> webdriver.Chrome:
    """The browser with a page, whose logs begin with it."""
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(path.as_uri())
    return driver


def structure(driver: webdriver.Chrome) -> np.ndarray:
    """Pixels of the 3D view, RGB from 0 to 1."""
    png = driver.find_element("id", "viewer").screenshot_as_png
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def coloured(image: np.ndarray) -> int:
    """Number of coloured pixels."""
    return int((np.ptp(image, axis=-1) > 0.3).sum())


def grey(image: np.ndarray, ground: float) -> int:
    """Pixels that are neither coloured nor ground."""
    return int(((np.ptp(image, axis=-1) < 0.05) & (np.abs(image.mean(-1) - ground) > 0.2)).sum())
