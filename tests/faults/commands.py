"""Commands of the product as processes that cost no start: each is forked from one that has imported all of it.

What a kill during the start does, `tests/integration/test_first_start.py` knows.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults import points
from tests.faults.points import Point
from tests.support.home import Home

_MINUTES = 5 * 60
_TERMINALS = tempfile.TemporaryDirectory(prefix="terminals-", ignore_cleanup_errors=True)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "sigma_dagster.cli.main",
        "sigma_dagster.cli.failures",
        "sigma_dagster.cli.computing",
        "sigma_dagster.portfolio.onboarding",
        "sigma_dagster.orchestration.blocks",
        "sigma_dagster.orchestration.build",
        "tests.faults.commands",
    ]
)


@dataclass(frozen=True)
class Command:
    """A command that was started."""

    arguments: tuple[str, ...]
    process: BaseProcess
    terminal: Path

    def kill_after(self, seconds: float) -> None:
        """Kill it if it lives so long."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.send(signal.SIGKILL)

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(int(self.process.pid or 0), signum)

    def wait(self, seconds: float = _MINUTES) -> int:
        """Wait for its end and give its exit status, -9 of one that was killed."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise TimeoutError(f"{self} hangs: {self.said()}")
        return int(self.process.exitcode)

    def said(self) -> str:
        """What it has written."""
        return self.terminal.read_text()

    def fault(self, *expected: int) -> str:
        """Say what is wrong with how it ended: nothing where the status is expected, without a traceback."""
        status = self.wait()
        bad = status not in (expected or (0,)) or "Traceback" in self.said()
        return f"{self} ended with {status}: {self.said()}" if bad else ""

    def __str__(self) -> str:
        return f"sigma {' '.join(self.arguments)}"


def start(
    home: Home,
    *arguments: str | Path,
    point: Point | None = None,
    signum: signal.Signals = signal.SIGKILL,
    before: Callable[[], None] | None = None,
) -> Command:
    """Start a command on a home, after a function of a module; at the point it gets the signal."""
    # Not beside the home, whose disk may be full.
    terminal = Path(_TERMINALS.name, f"{time.monotonic_ns()}")
    terminal.touch()
    _, environment = home.command()
    told = tuple(map(str, arguments))
    process = _context.Process(target=_run, args=(told, environment, terminal, point, signum, before))
    process.start()
    return Command(told, process, terminal)


def create(home: Home) -> None:
    """Make the databases that the first command makes: in a process of its own, where the variables are the home's."""
    process = _context.Process(target=_create, args=(home,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _create(home: Home) -> None:
    os.environ.update(home.variables)
    home.create()


def count_points(home: Home, *arguments: str | Path) -> dict[str, int]:
    """Run a command and say how many points of each stage it comes to."""
    file = home.path.with_name("counted")
    _, environment = home.command()
    terminal = home.path.with_name("counted-terminal")
    process = _context.Process(target=_count, args=(tuple(map(str, arguments)), environment, terminal, file))
    process.start()
    process.join()
    assert process.exitcode == 0, terminal.read_text()
    return dict(json.loads(file.read_text()))


def _count(arguments: tuple[str, ...], environment: dict[str, str], terminal: Path, file: Path) -> None:
    seen: dict[str, int] = {}
    points.arm(lambda point: seen.update([point]))
    try:
        _run(arguments, environment, terminal)
    finally:
        file.write_text(json.dumps(seen))


def _run(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    terminal: Path,
    point: Point | None = None,
    signum: signal.Signals = signal.SIGKILL,
    before: Callable[[], None] | None = None,
) -> None:
    """Be the command."""
    os.environ.clear()
    os.environ.update(environment)
    with terminal.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["sigma", *arguments]
    if before:
        before()
    if point:
        points.arm(points.kill_at(point, signum))
    from sigma_dagster.cli.entry import main

    main()
