"""Parts of pages that are written from something else at every build, into ``docs/generated``."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import benchmark_parts
import click
from sphinx.application import Sphinx

from openmm_nemo.cli import cli

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "generated"
RESULTS = ROOT / "docs" / "results"


def commands() -> str:
    """What ``--help`` prints, for each command."""

    def walk(command: click.Command, name: str) -> Iterator[str]:
        context = click.Context(command, info_name=name, terminal_width=78)
        if isinstance(command, click.Group):
            for key in command.list_commands(context):
                yield from walk(command.get_command(context, key), f"{name} {key}")
        else:
            yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"

    return "\n".join(walk(cli, "openmm-nemo"))


def changelog() -> str:
    """CHANGELOG.md without its title."""
    path = ROOT / "CHANGELOG.md"
    text = path.read_text() if path.exists() else "There are no releases yet."
    return relinked(re.sub(r"\A# .*\n", "", text), ROOT)


def test_matrix() -> str:
    """A table of the combinations that ``tests/matrix.py`` tested."""
    results = json.loads((RESULTS / "test-matrix.json").read_text())
    lines = [
        "| Python | torch | OpenMM | platforms | backends | unit tests | date |",
        "|---" * 7 + "|",
    ]
    for r in sorted(results, key=lambda r: (r["python"], r["torch"])):
        cells = (
            r["python"],
            r["torch"],
            r["openmm"],
            ", ".join(r["platforms"]),
            ", ".join(r["backends"]),
        )
        lines.append(f"| {' | '.join(cells)} | {r['outcome']} | {r['date']} |")
    return "\n".join(lines) + "\n"


CARDS = sorted(path.parent.name for path in (ROOT / "torchscript_models").glob("*/README.md"))


def card(name: str) -> str:
    """The card of a model, for a page in ``docs/models``."""
    folder = ROOT / "torchscript_models" / name
    return relinked((folder / "README.md").read_text(), folder)


def relinked(text: str, folder: Path) -> str:
    """Text of a file in a folder, for a page one level below ``docs``: its relative links would lead nowhere.

    Pictures are found from there, cards of models are pages, and other files are named.
    """

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        path = (folder / target.partition("#")[0]).resolve().relative_to(ROOT)
        if mark:
            return f"![{text}](../../{path})"
        return f"[{text}]({path.parent.name}.md)" if path.name == "README.md" else f"`{path}`"

    return re.sub(r"(!?)\[([^]]*)\]\(([^)\s]+)\)", link, text)


PARTS: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "changelog.md": changelog,
    "test-matrix.md": test_matrix,
    **{f"card-{name}.md": partial(card, name) for name in CARDS},
    **{
        f"bench-{'-'.join(key)}.md": partial(benchmark_parts.table, *key)
        for key in benchmark_parts.TABLES
    },
}


def write(app: Sphinx) -> None:
    """Write all parts; those that are the same keep their date, so that their pages are not built again."""
    GENERATED.mkdir(exist_ok=True)
    for name, make in PARTS.items():
        path, text = GENERATED / name, make()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    benchmark_parts.draw_all(GENERATED)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write before anything is read."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
