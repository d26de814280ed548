"""Work shared among processes: what comes back, and how it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from openmm_nemo.processes import run_in_batches, run_tasks

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers):
    tasks = [(n, 3) for n in range(5)]
    assert sorted(run_tasks(divmod, tasks, workers)) == [(n, divmod(n, 3)) for n in range(5)]


def powers(batch, exponent):
    return [number**exponent for number in batch]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_of_batches_are_in_the_order_of_the_items(workers):
    done = []
    found = run_in_batches(powers, range(7), 3, (2,), workers, done.append)
    assert found == [0, 1, 4, 9, 16, 25, 36]
    assert done[-1] == 7
    assert len(done) == 3
    assert run_in_batches(powers, [], 3, (2,), workers, done.append) == []


def test_no_tasks_are_no_work():
    assert list(run_tasks(divmod, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_tasks_are_raised(workers):
    with pytest.raises(ZeroDivisionError):
        list(run_tasks(divmod, [(1, 0), (1, 0)], workers))


# Each task writes a file and takes a second.
SLOW = """
import sys, time
from pathlib import Path
from openmm_nemo.processes import run_in_batches, run_tasks

def task(path):
    Path(path).touch()
    time.sleep(1)

if __name__ == "__main__":
    list(run_tasks(task, [(f"{sys.argv[1]}/{n}",) for n in range(60)], 2))
"""


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_work_ends_with_the_process_that_began_it(tmp_path, number):
    """Ctrl-C reaches the whole group, a kill the parent alone; tasks that wait are not done in either case."""
    script, done = tmp_path / "slow.py", tmp_path / "done"
    script.write_text(SLOW)
    done.mkdir()
    process = subprocess.Popen(
        [sys.executable, script, done],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        start_new_session=True,
    )
    try:
        limit = time.monotonic() + 60
        while len(os.listdir(done)) < 3 and time.monotonic() < limit:
            time.sleep(0.1)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        # It is closed when the last process that has it has ended.
        _, said = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert said.count("Traceback") == (number == signal.SIGINT), said
    assert 3 <= len(os.listdir(done)) < 30
