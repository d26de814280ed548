"""Scripts for clusters, the image and the development container: linted, and run where that is possible.

SLURM is replaced by a few lines that run the tasks of a job on this machine, with its environment variables.
"""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line, names
from tests.integration.runs import SEQUENCE
from tests.integration.test_sample import assert_same_ensembles, members, wait_until

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "cluster"
PROGRAMS = Path(sys.executable).parent

SRUN = """#!/bin/bash
# A signal goes to all tasks, and the status is that of one that failed.
trap 'kill $(jobs -p)' TERM
tasks=()
for ((task = 0; task < SLURM_NTASKS; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=($!)
done
status=0
for task in "${tasks[@]}"; do
    until wait "$task" || code=$?; ! kill -0 "$task" 2>/dev/null; do :; done
    status=${code:-$status}
done
exit $status
"""

SCONTROL = """#!/bin/sh
echo "scontrol $*" >>calls
"""


# Linters


def lint(*command: str | Path) -> None:
    outcome = subprocess.run(
        [PROGRAMS / command[0], *command[1:]], capture_output=True, text=True, cwd=ROOT
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_shell_scripts_are_clean():
    folders = [ROOT / name for name in (".ci", "docs", "examples", "openmm_nemo", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    scripts = [path for path in files if re.match(rb"#!.*sh\n", path.read_bytes())]
    assert {path.name for path in scripts} >= {"run", "train_on_gpu.sh", "sample.sbatch"}
    lint("shellcheck", *scripts)


def test_the_dockerfile_is_clean():
    lint("hadolint", "Dockerfile")


# Containers


def copied() -> list[str]:
    """What the Dockerfile copies into the image."""
    lines = re.findall(r"(?m)^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text())
    return " ".join(lines).split()


def test_the_image_gets_all_that_the_package_is_built_from():
    sent = (ROOT / ".dockerignore").read_text().split()
    assert sent[0] == "*"
    assert sorted(f"!{name}" for name in copied()) == sorted(n for n in sent if n[0] == "!")
    assert all((ROOT / name).exists() for name in copied())
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    assert {name for name in manifest if name.endswith((".md", ".cff"))} <= set(copied())


def test_the_development_container_is_the_machine_of_the_workflows():
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert f"container: {settings['image']}\n" in (ROOT / ".github/workflows/ci.yml").read_text()
    make, target = settings["postCreateCommand"].split()
    assert make == "make"
    assert re.search(rf"(?m)^{re.escape(target)}:", (ROOT / "Makefile").read_text())
    python = settings["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python.startswith(f"{Path(target).parent}/")


# SLURM


class Cluster:
    """A folder that jobs run in, and the programs that they find."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.jobs: list[subprocess.Popen[bytes]] = []
        self.program("srun", SRUN)
        self.program("scontrol", SCONTROL)

    def program(self, name: str, text: str) -> None:
        """Put a program before those that are installed."""
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def submit(
        self, script: str, *arguments: str | int | Path, tasks: int
    ) -> subprocess.Popen[bytes]:
        """Start a job, whose output is in job.log."""
        slurm = {"JOB_ID": "7", "JOB_NAME": "nemo", "NNODES": "1", "NTASKS": str(tasks)}
        slurm |= {"NTASKS_PER_NODE": str(tasks), "NODEID": "0", "NODELIST": "localhost"}
        environment = {f"SLURM_{name}": value for name, value in slurm.items()} | {
            "PATH": f"{self.programs}:{PROGRAMS}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
        }
        with open(self.folder / "job.log", "wb") as log:
            job = subprocess.Popen(
                ["bash", RECIPES / script, *map(str, arguments)],
                cwd=self.folder,
                env=os.environ | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.jobs.append(job)
        return job

    def log(self) -> str:
        """What the last job wrote."""
        return (self.folder / "job.log").read_text()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    for job in cluster.jobs:  # one that a failed test left would hold the port of the next
        for pid in members(job.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        job.wait()


@pytest.fixture
def options(tmp_path):
    """Options of ``sample`` with a small model."""
    (tmp_path / "two.fasta").write_text(f">one\n{SEQUENCE}\n>two\n{SEQUENCE[:12]}\n")
    return ("--fasta", tmp_path / "two.fasta", "--model", "nemo-tiny", "-n", 12, "--steps", 10)


@pytest.mark.slow
def test_a_job_samples_what_one_machine_does_also_after_it_was_ended(cluster, options, tmp_path):
    first = cluster.submit("sample.sbatch", *options, "--out", "out", tasks=2)
    wait_until(lambda: list(tmp_path.glob("dask-7-*/scheduler.json")))
    (work,) = tmp_path.glob("dask-7-*")
    assert work.stat().st_mode & 0o77 == 0
    assert json.loads((work / "scheduler.json").read_text())["address"].startswith("tls://")
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 143
    wait_until(lambda: members(first.pid) == [])
    assert not work.exists()

    second = cluster.submit("sample.sbatch", *options, "--out", "out", tasks=2)
    assert second.wait(300) == 0, cluster.log()
    assert "Wrote 24 samples of 2 proteins" in cluster.log()
    wait_until(lambda: members(second.pid) == [])
    assert not list(tmp_path.glob("dask-*"))
    alone = command_line("sample", *options, "--out", tmp_path / "alone", "--workers", 1)
    assert alone.code == 0, alone
    assert_same_ensembles(tmp_path / "out", tmp_path / "alone")


ONE_PART_DIES = """#!/bin/sh
[ "$1" != {part} ] || {{ echo "$1 is broken"; exit 3; }}
trap 'trap - TERM' TERM # as if the first signal had come while the job was being started
while :; do sleep 0.1; done
"""


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_a_job_ends_with_its_scheduler_or_workers(part, cluster, options, tmp_path):
    cluster.program("dask", ONE_PART_DIES.format(part=part))
    job = cluster.submit("sample.sbatch", *options, "--out", "out", tasks=2)
    assert job.wait(60) == 1
    names(cluster.log(), f"{part} is broken", "ended before the sampling")
    wait_until(lambda: members(job.pid) == [])
    assert not list(tmp_path.glob("dask-*"))


STAND_IN = """#!/bin/sh
echo "$@" >>calls
[ "$2" = bad.toml ] && exit 2
[ -e "$4/last.ckpt" ] && exit 0
touch "$4/last.ckpt"
exit 130
"""


def test_training_returns_to_the_queue_until_it_is_done(cluster, tmp_path):
    """With a stand-in for openmm-nemo that is interrupted the first time."""
    cluster.program("openmm-nemo", STAND_IN)
    (tmp_path / "run").mkdir()
    codes = [
        cluster.submit("train.sbatch", f"{name}.toml", "run", tasks=1).wait(30)
        for name in ("good", "good", "bad")
    ]
    assert codes == [130, 0, 2]
    train = "train {}.toml --out run {}--nodes 1 --devices 1"
    assert (tmp_path / "calls").read_text().splitlines() == [
        train.format("good", ""),
        "scontrol requeue 7",
        train.format("good", "--resume "),
        train.format("bad", "--resume "),
    ]


CONFIG = """
description = "Model of a test"
seed = 1
[data]
set = "domains"
split = "domains/split.json"
max_length = 40
[model]
preset = "tiny"
[[stages]]
updates = {updates}
losses = {{initial_distances = 1.0}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2])
def test_training_returns_to_the_queue_by_its_signal(cluster, tmp_path, tasks):
    domains, split = tmp_path / "domains", tmp_path / "domains" / "split.json"
    data = ROOT / "examples" / "data" / "small_domains.jsonl.gz"
    assert command_line("data", "build", data, "--out", domains).code == 0
    parts = ("--validation", "0.12", "--test", "0.06", "--seed", "1")
    assert command_line("data", "split", domains, *parts, "--out", split).code == 0
    (tmp_path / "tiny.toml").write_text(CONFIG.format(updates=50))
    metrics, checkpoint = tmp_path / "run" / "metrics.csv", tmp_path / "run" / "last.ckpt"

    job = cluster.submit("train.sbatch", "tiny.toml", "run", tasks=tasks)
    wait_until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 1)
    for pid in members(job.pid):
        if b"openmm-nemo" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1]:
            os.kill(pid, signal.SIGTERM)
    assert job.wait(60) == 130, cluster.log()
    assert (tmp_path / "calls").read_text() == "scontrol requeue 7\n"
    if tasks == 1:
        assert 0 < read_checkpoint(checkpoint)["global_step"] < 50
    else:  # it has no checkpoint yet, and begins again
        assert not checkpoint.exists()

    again = cluster.submit("train.sbatch", "tiny.toml", "run", tasks=tasks)
    assert again.wait(300) == 0, cluster.log()
    assert read_checkpoint(checkpoint)["global_step"] == 50
    assert "50/50" in cluster.log()
