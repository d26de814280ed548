"""Pictures on a light and on a dark background."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from openmm_nemo.files import completing

_LIGHT = {"paper": "#ffffff", "ink": "#24292f"}
_DARK = {"paper": "#1c2128", "ink": "#d0d7de"}


class Picture(NamedTuple):
    """A picture, or the reason why there is none.

    Attributes
    ----------
    name : str
        Name of its file, without extension.
    title : str
    text : str
        What it shows, in words, or why there is nothing to draw.
    light, dark : bytes
        PNG on a light and on a dark background; empty if there is nothing to draw.
    """

    name: str
    title: str
    text: str
    light: bytes = b""
    dark: bytes = b""

    def write(self, folder: Path) -> None:
        """Write the light one as NAME.png; if there is none, remove that of an earlier call."""
        path = folder / f"{self.name}.png"
        path.unlink(missing_ok=True)
        if self.light:
            with completing(path) as partial:
                partial.write_bytes(self.light)


def draw_picture(name: str, title: str, text: str, draw: Callable[[Any, str], None]) -> Picture:
    """Draw a picture.

    Parameters
    ----------
    name, title, text : str
        See `Picture`.
    draw : callable
        Draws on matplotlib's axes, with a colour for lines and text. Called once per background.
    """
    # Imported here, because it takes longer than everything else that the command line imports.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images = []
    for scheme in (_LIGHT, _DARK):
        ink, paper = scheme["ink"], scheme["paper"]
        inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        grounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
        settings: Any = dict.fromkeys(inks, ink) | dict.fromkeys(grounds, paper)
        with rc_context(settings):
            figure = Figure(figsize=(4.8, 3.5), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.add_subplot()
            axes.grid(alpha=0.3)
            draw(axes, ink)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=160)
        images.append(buffer.getvalue())
    return Picture(name, title, text, *images)
