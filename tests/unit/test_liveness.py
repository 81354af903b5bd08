"""Whether a run's process lives: told by a lock that ends with the process, never guessed from a file."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sigma_dagster.runs.liveness import alive, forget, is_alive, left_behind
from tests.support.home import ROOT


def test_a_run_lives_while_it_is_executed(tmp_path: Path) -> None:
    """Inside the block the run lives; after it, nothing of it is left."""
    with alive(tmp_path, "run"):
        assert is_alive(tmp_path, "run")
        assert left_behind(tmp_path) == []
    assert not is_alive(tmp_path, "run")
    assert left_behind(tmp_path) == []


def test_a_run_that_raises_is_left_behind_until_it_is_looked_after(tmp_path: Path) -> None:
    """What ended badly may have rows without records: its file says so to the next command."""
    with pytest.raises(KeyError), alive(tmp_path, "run"):
        raise KeyError
    assert left_behind(tmp_path) == ["run"]
    assert not is_alive(tmp_path, "run")
    forget(tmp_path, "run")
    assert left_behind(tmp_path) == []


def test_a_killed_process_leaves_its_run_behind(tmp_path: Path) -> None:
    """SIGKILL runs no code of ours; the operating system frees the lock."""
    code = (
        "import os, signal, sys; from pathlib import Path; from sigma_dagster.runs.liveness import alive\n"
        "with alive(Path(sys.argv[1]), 'run'):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)  # noqa: S603
    assert done.returncode == -signal.SIGKILL
    assert left_behind(tmp_path) == ["run"]


def test_a_run_that_begins_is_never_taken_for_one_left_behind(tmp_path: Path) -> None:
    """Others look for dead runs at every moment: none of them finds a run whose process is just taking its lock."""
    found: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for run_id in left_behind(tmp_path):
                if run_id == current[0]:
                    found.append(run_id)
                forget(tmp_path, run_id)

    current = [""]
    others = [threading.Thread(target=look) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for number in range(300):
            current[0] = str(number)
            with alive(tmp_path, str(number)):
                assert is_alive(tmp_path, str(number))
                current[0] = ""
    finally:
        stop.set()
        for other in others:
            other.join()
    assert found == []
