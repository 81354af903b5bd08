"""Ctrl-C and SIGTERM, sent to real commands in each of their stages: exit status, one line, the run canceled."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.home import CORE, ROOT, Home, holdings

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
#: The other signal takes the same way: `make test-slow`.
ONE_FAST = [SIGNALS[0], pytest.param(*SIGNALS[1], marks=pytest.mark.slow)]
LAST_LINE = "Interrupted by {}. What was stored is kept; the same command finishes the rest."

#: Says where it is by making a file, and stays there for a while.
STAGE = """
import gc, sys, time
from pathlib import Path
stage, at, *arguments = sys.argv[1:]
def stay():
    Path(at).touch()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.02)
class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        Path(at).touch()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            time.sleep(0.02)
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "typer" and stage == "imports":
            stay()
sys.meta_path.insert(0, Finder())
from sigma_dagster.cli.entry import main
if stage != "imports":
    import sqlite3
    import sqlalchemy as sa
    @sa.event.listens_for(sa.Engine, "connect")
    def without_waiting_for_the_disk(connection, _record):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")
    from resources.sources.sample import SampleSource
    fetch = SampleSource.fetch
    def slow(self, symbol, first, last):
        if stage == "step":
            stay()
        elif symbol == "AMD":
            Cycle()
            gc.collect()
            time.sleep(20)
            Path(at).with_name("next").touch()
        return fetch(self, symbol, first, last)
    SampleSource.fetch = slow
sys.argv = ["sigma", *arguments]
main()
"""


def start(home: Home, stage: str, at: Path, *arguments: str | Path) -> "subprocess.Popen[str]":
    """Start a command of ours that stays at the stage, and wait until it is there."""
    _, environment = home.command()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", STAGE, stage, str(at), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 300
    while not at.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def interrupt(process: "subprocess.Popen[str]", signum: signal.Signals) -> tuple[int, list[str]]:
    """Send the signal; give the exit status and what the command said."""
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=300)
    assert stdout == ""
    return process.returncode, stderr.splitlines()


@pytest.mark.parametrize(("signum", "status"), ONE_FAST)
def test_an_interrupted_step_ends_its_run_as_canceled(
    core_home: Home, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    """In the middle of a fetch: exit status, one line, CANCELED in Dagster; the same command does the rest."""
    file = holdings(tmp_path / "new.csv", "AMD", "KO")
    process = start(core_home, "step", tmp_path / "at", "onboard", file, "--json")
    ended, said = interrupt(process, signum)
    assert ended == status
    assert said[-1] == LAST_LINE.format(signum.name)
    assert [line for line in said if line.startswith("Interrupted")] == said[-1:]
    assert not any("Traceback" in line for line in said)
    assert core_home.statuses() == {"SUCCESS": 3, "CANCELED": 1}
    core_home.onboard(file)
    assert core_home.statuses() == {"SUCCESS": 5, "CANCELED": 1}
    core_home.assert_records_are_rows()


@pytest.mark.parametrize(("signum", "status"), ONE_FAST)
def test_a_signal_during_garbage_collection_is_not_lost(
    core_home: Home, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    """Python swallows what a handler raises within a finalizer: the command ends all the same, and soon."""
    process = start(core_home, "garbage", tmp_path / "at", "onboard", holdings(tmp_path / "new.csv", "AMD", "KO"))
    ended, said = interrupt(process, signum)
    assert ended == status, said
    assert not (tmp_path / "next").exists()  # the step did not go on after the collection
    assert said[-1] == LAST_LINE.format(signum.name)
    assert core_home.statuses() == {"SUCCESS": 3, "CANCELED": 1}


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
def test_a_signal_during_start_up_ends_in_one_line(
    home: Home, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    """While modules are imported there is nothing to keep yet, and no traceback either."""
    process = start(home, "imports", tmp_path / "at", "onboard", CORE)
    assert interrupt(process, signum) == (status, [LAST_LINE.format(signum.name)])


@pytest.mark.slow
def test_who_waits_can_be_interrupted(core_home: Home, tmp_path: Path) -> None:
    """The command that waits for another's run ends; the run that it waits for is not disturbed."""
    file = holdings(tmp_path / "new.csv", "AMD", "KO")
    first = start(core_home, "step", tmp_path / "at", "onboard", file, "--name", "first")
    second = start(core_home, "step", tmp_path / "at", "onboard", file, "--name", "second")
    assert second.stderr is not None
    said = [second.stderr.readline() for _ in range(2)]
    assert said[1].startswith("Waiting for run ")
    assert interrupt(second, signal.SIGTERM) == (143, [LAST_LINE.format("SIGTERM")])
    assert core_home.statuses()["STARTED"] == 1
    assert interrupt(first, signal.SIGTERM)[0] == 143
    assert core_home.statuses() == {"SUCCESS": 3, "CANCELED": 1}
