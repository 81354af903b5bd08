"""What stands between a terminal and Dagster's processes: it passes on what they say, and ends them all together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.web import kill, living, wait_for
from tests.support.home import ROOT

#: A program with a child, both of which take an interrupt for an error, as Python does while it imports.
CLUMSY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, __file__, "child"])
print("started", flush=True)
time.sleep(600)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('started'); time.sleep(600)"


@contextmanager
def started(terminal: Path, *arguments: str, times: int = 1) -> Iterator["subprocess.Popen[bytes]"]:
    """The program in a session of its own, once it says that it has started."""
    command = [sys.executable, "-m", "sigma_dagster.orchestration.foreground", *arguments]
    with terminal.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)  # noqa: S603
    try:
        wait_for(lambda: terminal.read_text().count("started") == times, 60, "the program has started")
        yield process
    finally:
        kill(process)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_hears_nothing_more(tmp_path: Path, signum: signal.Signals) -> None:
    """As a terminal sends it, to the foreground group: no traceback of program or child, and neither is left."""
    (tmp_path / "clumsy.py").write_text(CLUMSY)
    with started(tmp_path / "terminal", str(tmp_path / "clumsy.py"), times=2) as process:
        os.killpg(process.pid, signum)
        assert process.wait(60) == 0
        assert not living(process.pid)
    assert (tmp_path / "terminal").read_text() == "started\nstarted\n"


def test_asked_twice_it_waits_no_longer(tmp_path: Path) -> None:
    """A program that will not end is killed by the second Ctrl-C."""
    with started(tmp_path / "terminal", "-u", "-c", STUBBORN) as process:
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
        assert not living(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells a child that its parent has ended")
def test_killed_it_leaves_no_program(tmp_path: Path) -> None:
    """SIGKILL, as of somebody who is out of patience: nothing goes on without it."""
    with started(tmp_path / "terminal", "-u", "-c", "import time; print('started'); time.sleep(600)") as process:
        process.kill()
        process.wait()
        wait_for(lambda: not living(process.pid), 60, "the program has ended")
        assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_program_that_ends_by_itself_is_heard(code: str, status: int) -> None:
    """Its exit status, and all it said on both streams."""
    program = f"import sys; print('out'); print('err', file=sys.stderr); sys.stdout.flush(); {code}"
    command = [sys.executable, "-m", "sigma_dagster.orchestration.foreground", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout, done.stderr) == (status, "out\n", "err\n")
