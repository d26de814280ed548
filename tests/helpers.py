"""What tests of several rooms need."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import openmm as mm
import pytest
import torch
from torch import Tensor


def platform(name: str) -> mm.Platform:
    """Return an OpenMM platform; tests always name theirs."""
    return mm.Platform.getPlatformByName(name)


def need_torchforce() -> None:
    """Skip the running test where TorchForce does not work.

    With OPENMM_NEMO_REQUIRE_TORCHFORCE=1 it fails instead, so that a test run can be sure of it.
    """
    from openmm_nemo.engine import torchforce_problem

    _need("TORCHFORCE", torchforce_problem())


def need_plugin() -> None:
    """Skip the running test where the compiled integrator does not work; fail with OPENMM_NEMO_REQUIRE_PLUGIN=1."""
    from openmm_nemo.plugin import plugin_problem

    _need("PLUGIN", plugin_problem())


def _need(name: str, problem: str | None) -> None:
    if problem is None:
        return
    if os.environ.get(f"OPENMM_NEMO_REQUIRE_{name}") == "1":
        pytest.fail(f"OPENMM_NEMO_REQUIRE_{name} is 1, but {problem}")
    pytest.skip(problem)


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, float64."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> Tensor:
    """Uniform numbers, float64."""
    random = torch.rand(shape, generator=generator(seed), dtype=torch.float64)
    return low + (high - low) * random


def random_chain(*shape: int, seed: int = 0) -> Tensor:
    """Chains of shape (*shape, 3), float64: bonds of 3.4 to 4.2 Angstrom, angles of 1.2 to 2.8, any dihedral.

    Grown bond by bond without the package: every direction bends away from the one before it by a given angle, towards
    a random side.
    """
    b = uniform(3.4, 4.2, *shape, seed=seed)
    bend = torch.pi - uniform(1.2, 2.8, *shape, seed=seed + 1)
    sides = normal(*shape, 3, seed=seed + 2)
    u = torch.nn.functional.normalize(normal(*shape[:-1], 3, seed=seed + 3), dim=-1)
    x = [10 * normal(*shape[:-1], 3, seed=seed + 4)]
    for j in range(1, shape[-1]):
        x.append(x[-1] + b[..., j, None] * u)
        side = sides[..., j, :] - (sides[..., j, :] * u).sum(-1, keepdim=True) * u
        side = torch.nn.functional.normalize(side, dim=-1)
        u = bend[..., j, None].cos() * u + bend[..., j, None].sin() * side
    return torch.stack(x, dim=-2)


def random_rotation(seed: int = 0) -> Tensor:
    """A rotation (3, 3), float64."""
    q, _ = torch.linalg.qr(normal(3, 3, seed=seed))
    return q * torch.linalg.det(q).sign()


def degenerate_chains() -> dict[str, Tensor]:
    """Chains (L, 3), float64, at which some internal coordinate is not defined."""
    step = torch.arange(6, dtype=torch.float64)[:, None]
    along = step * torch.tensor([3.8, 0, 0], dtype=torch.float64)
    oblique = step * torch.tensor([2.2, 2.1, 2.3], dtype=torch.float64)
    up = (step % 2) * torch.tensor([0, 2.0, 0], dtype=torch.float64)
    chain = random_chain(6)
    return {
        "coincident": torch.zeros(6, 3, dtype=torch.float64),
        "straight": along,
        "straight, oblique": oblique,
        "folded back": along[[0, 1, 0, 1, 0, 1]],
        "zigzag in a plane": along + up,
        "neighbours in one place": chain[[0, 1, 1, 2, 3, 4]],
        "distant beads in one place": chain[[0, 1, 2, 3, 1, 5]],
        "one point": along[:1],
        "two points": along[:2],
        "three points": chain[:3],
        "three points on a line": along[:3],
    }


# Messages

TEST_FOLDER = re.compile(r"[^\s'\"(]*/pytest-of-[^/]+/pytest-\d+(/popen-gw\d+)?/[^/\s'\"):,]+")
"""A test's temporary folder: its path has words of the test's name."""


def names(message: str | BaseException, *facts: object) -> None:
    """Fail unless a message names all facts, whatever its other words are.

    A fact is what a reader needs from the message: a file, a residue, an option, a value, the option or command of
    the remedy, or the one technical term that tells it from similar messages. Each is found as a whole number, name or
    path, or as the beginning of a word: "chain" in "Chains".
    """
    text = TEST_FOLDER.sub("<folder>", str(message))
    missing = [fact for fact in facts if not re.search(_pattern(str(fact)), text)]
    assert not missing, f"{text!r} does not name {', '.join(map(repr, missing))}"


def _pattern(fact: str) -> str:
    fact = TEST_FOLDER.sub("<folder>", fact)
    first, *_ = fact.split(" ")
    assert first, f"{fact!r} is in every message"
    before = r"(?<![\d.])" if first[0].isdigit() else r"(?<!\w)" if first[0].isalpha() else ""
    word = len(fact) > 1 and fact[-1].islower()
    after = r"(?!\w|\.\d)" if fact[-1].isalnum() and not word else ""
    start = re.escape(fact[0])
    if len(first) > 1 and fact[0].islower():  # words begin sentences, too
        start = f"[{start}{start.upper()}]"
    return before + start + re.escape(fact[1:]) + after


@contextmanager
def raises(
    error: type[BaseException], *facts: object
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """`pytest.raises` for an error whose message names all facts; an `InputError` is one sentence in one line."""
    from openmm_nemo.errors import InputError

    with pytest.raises(error) as caught:
        yield caught
    names(caught.value, *facts)
    if isinstance(caught.value, InputError):
        assert re.fullmatch(r".+\.", str(caught.value))


class Outcome(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def command_line(*arguments: str | Path) -> Outcome:
    """Run ``openmm-nemo`` in this process."""
    from openmm_nemo.cli import main

    out, err = io.StringIO(), io.StringIO()
    argv = ["openmm-nemo", *map(str, arguments)]
    with patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return Outcome(end.code, out.getvalue(), err.getvalue())
    return Outcome(0, out.getvalue(), err.getvalue())


def refused(*arguments: str | Path) -> str:
    """The one line on standard error with which ``openmm-nemo`` refuses bad input, without the program's name."""
    outcome = command_line(*arguments)
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    name, _, sentence = line.partition(": ")
    assert name == "openmm-nemo"
    assert sentence.endswith(".")
    return sentence


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files below a folder by their path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
