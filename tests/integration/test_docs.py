"""The pages of the site: each block of code runs as written, in the order of its page, and gives what the page shows.

- ``python`` blocks of a page share their names, as in a notebook.
- ``bash`` blocks: commands of openmm-nemo run, and ``export`` sets variables for them; of ``make``, ``pip`` and
  ``python`` it is checked that their targets, extras and files exist, because other tests run them.
- ``toml`` and ``fasta`` blocks that begin with ``# file: NAME`` are written to that file for the commands after them.
- A ``text`` block right after one of these is what it prints. If it begins with ``openmm-nemo: `` or ``InputError: ``,
  the block before it fails with this message. ``...`` stands for anything.
"""

import io
import re
import shlex
import shutil
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from openmm_nemo import InputError
from openmm_nemo.cli import cli
from openmm_nemo.encoders import ENCODERS
from openmm_nemo.energies import TERMS
from openmm_nemo.training.losses import LOSSES
from tests.helpers import command_line

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SLOW = {"start.md", "howto/free-energies.md", "howto/train.md"}
"""Pages whose code takes minutes."""

LANGUAGES = {"python", "bash", "toml", "fasta", "text"}


class Block(NamedTuple):
    """A fenced block of code and the output that the page shows right after it, or None."""

    language: str
    code: str
    output: str | None


def blocks(text: str) -> list[Block]:
    fences = list(re.finditer(r"(?ms)^```(\w+)\n(.*?)^```$", text))
    found = []
    for k, fence in enumerate(fences):
        output = None
        if k + 1 < len(fences) and fences[k + 1][1] == "text":
            between = text[fence.end() : fences[k + 1].start()]
            output = fences[k + 1][2] if not between.strip() else None
        found.append(Block(fence[1], fence[2], output))
    return found


PAGES = {
    str(path.relative_to(DOCS)): blocks(path.read_text())
    for path in sorted(DOCS.rglob("*.md"))
    if "generated" not in path.parts
}
RUN = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name, page in PAGES.items()
    if any(block.language != "text" for block in page)
]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that has what the code needs of a fresh clone, and a structure that lacks two residues."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    lines = (ROOT / "examples" / "data" / "1l2y.pdb").read_text().splitlines(keepends=True)
    gap = [
        line
        for line in lines
        if not (line.startswith("ATOM") and line[22:26].strip() in ("9", "10"))
    ]
    (tmp_path / "gap.pdb").write_text("".join(gap))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def registries():
    """What pages register is gone afterwards: other tests look at all that there is."""
    before = [(registry, dict(registry)) for registry in (TERMS, ENCODERS, LOSSES)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("name", PAGES)
def test_blocks_have_languages_that_are_run(name):
    opening = re.findall(r"(?ms)^```(\S*)[^\n]*\n.*?^```$", (DOCS / name).read_text())
    languages = {name for name in opening if not name.startswith("{")}
    assert languages <= LANGUAGES, languages


WRITTEN = [
    (name, line.strip())
    for name in PAGES
    for line in (DOCS / name).read_text().splitlines()
    if line.startswith("    openmm-nemo ")
]


@pytest.mark.parametrize(("name", "line"), WRITTEN)
def test_commands_with_files_of_readers_have_options_that_exist(name, line):
    """They are in indented blocks, which do not run."""
    command, context = cli, click.Context(cli)
    arguments = shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group):
        first, *arguments = arguments
        command = command.get_command(context, first)
        assert command is not None, first
    command.make_context(first, arguments)


@pytest.mark.parametrize("name", RUN)
def test_code_on_page_runs(name, clone, monkeypatch):
    names: dict[str, object] = {"__name__": "__main__"}
    for block in PAGES[name]:
        if block.language == "python":
            run_python(block, names)
        elif block.language == "bash":
            run_commands(block, monkeypatch)
        elif match := re.match(r"# file: (\S+)\n", block.code):
            Path(match[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(match[1]).write_text(block.code[match.end() :])
        elif block.language == "toml":
            tomllib.loads(block.code)


def run_python(block: Block, names: dict[str, object]) -> None:
    printed = io.StringIO()
    code = compile(block.code, "page", "exec")
    if block.output is not None and block.output.startswith("InputError: "):
        with pytest.raises(InputError) as error:
            exec(code, names)
        assert same(f"InputError: {error.value}", block.output), error.value
        return
    with redirect_stdout(printed):
        exec(code, names)
    if block.output is not None:
        assert same(printed.getvalue(), block.output), printed.getvalue()


def run_commands(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in re.sub(r" *\\\n *", " ", block.code).splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        program, *arguments = words
        if program == "openmm-nemo":
            outcome = command_line(*arguments)
            if block.output is not None and block.output.startswith("openmm-nemo: "):
                assert outcome.code == 2, (line, outcome)
                assert same(outcome.err, block.output), outcome.err
            else:
                assert outcome.code in (0, None), (line, outcome)
        elif program == "export":
            (assignment,) = arguments
            monkeypatch.setenv(*assignment.split("="))
        else:
            CHECKED[program](arguments)


def check_make(arguments: list[str]) -> None:
    (target, *settings) = arguments
    assert re.search(rf"(?m)^{target}( [\w-]+)*:", (ROOT / "Makefile").read_text()), target
    assert all("=" in setting for setting in settings)


def check_pip(arguments: list[str]) -> None:
    """An installation of this package, from here or from an index."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    command, requirement = arguments
    match = re.fullmatch(r"(\.|openmm-nemo)(\[([\w,]+)\])?", requirement)
    assert command == "install"
    assert match, arguments
    assert set((match[3] or "test").split(",")) <= set(extras)


def check_python(arguments: list[str]) -> None:
    """A program of ours."""
    if arguments[0] == "-m":
        assert (ROOT / arguments[1].replace(".", "/") / "__main__.py").exists(), arguments
    else:
        assert (ROOT / arguments[0]).exists(), arguments


CHECKED = {
    "make": check_make,
    "pip": check_pip,
    "python": check_python,
}


def same(printed: str, shown: str) -> bool:
    """Whether a page shows what was printed, but for the places of line breaks; ``...`` stands for anything."""
    pattern = re.escape(" ".join(shown.split())).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, " ".join(printed.split())) is not None
