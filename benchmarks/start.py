"""Commands that find little or nothing to do, case ``start``: each is a process of its own, and mostly its imports.

The yardstick is ``import_dagster``, a process that imports Dagster and ends. `growth_after_core` computes: it is the
command of the case ``onboarding``, its start included.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import Row
from sigma_dagster.settings import PROJECT

ROUNDS = 5
_SIGMA = "from sigma_dagster.cli.entry import main; main()"

Times = tuple[float, float]
"""CPU and wall seconds."""


def start() -> Iterator[Row]:
    """Measure the commands in turns, on a home that has computed `core`."""
    with TemporaryDirectory() as folder:
        home = Path(folder) / "core"
        _sigma(home, "onboard", _example("core"))
        methods: dict[str, Callable[[], Times]] = {
            "import_dagster": lambda: _run(home, "import dagster"),
            "show": lambda: _sigma(home, "show", "core"),
            "plan": lambda: _sigma(home, "plan"),
            "onboard_complete": lambda: _sigma(home, "onboard", _example("core")),
            "growth_after_core": lambda: _on_a_copy(home, "onboard", _example("growth")),
        }
        taken: dict[str, list[Times]] = {name: [] for name in methods}
        for _ in range(ROUNDS):
            for name, work in methods.items():
                taken[name].append(work())
    for name, times in taken.items():
        cpu, wall = (round(median(each), 6) for each in zip(*times, strict=True))
        yield Row("start", "core", name, cpu, wall, sampled=False)


def _example(name: str) -> str:
    return str(PROJECT / "examples" / f"{name}.csv")


def _on_a_copy(home: Path, *arguments: str) -> Times:
    with TemporaryDirectory() as folder:
        return _sigma(Path(shutil.copytree(home, Path(folder) / "copy")), *arguments)


def _sigma(home: Path, *arguments: str) -> Times:
    return _run(home, _SIGMA, *arguments)


def _run(home: Path, code: str, *arguments: str) -> Times:
    """Run Python in a process of its own, and give what it took."""
    environment = {**os.environ, "SIGMA_HOME": str(home)}
    command: Sequence[str] = (sys.executable, "-c", code, *arguments)
    before, wall = os.times(), time.perf_counter()
    subprocess.run(command, check=True, env=environment, cwd=PROJECT, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    wall, after = time.perf_counter() - wall, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return cpu, wall
