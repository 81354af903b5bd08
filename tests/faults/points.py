"""Points in the work of a process, by stage: the n-th fetch, computation, write, or event recorded.

Armed inside a process of the product, whose code knows nothing of it. Not here: who is killed there, and what is held
against what afterwards.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

STAGES = ("fetch", "compute", "write", "record")
#: Names the file of the point at which a run of the daemon is killed.
VARIABLE = "FAULT_POINT"


class Point(NamedTuple):
    """The n-th call of a stage, from 1."""

    stage: str
    n: int


def arm(reached: Callable[[Point], None]) -> None:
    """Have `reached` called at every point of this process from now on."""
    counts: Counter[str] = Counter()

    def count(stage: str) -> None:
        counts[stage] += 1
        reached(Point(stage, counts[stage]))

    _watch_fetches(count)
    _watch_numbers(count)
    _watch_statements(count)


def kill_at(point: Point, signum: signal.Signals) -> Callable[[Point], None]:
    """Make what sends a signal to this process at the point."""

    def reached(one: Point) -> None:
        if one == point:
            os.kill(os.getpid(), signum)

    return reached


def arm_run() -> None:
    """In a run that the daemon started: die at the point that stands in the file, once; alone or with the daemon."""
    file = Path(os.environ[VARIABLE])

    def reached(one: Point) -> None:
        try:
            told = json.loads(file.read_text())
            if [*one] != told["point"]:
                return
            file.rename(file.with_suffix(".reached"))
        except (FileNotFoundError, ValueError):  # none, or another process was there first
            return
        if told["all"]:
            os.killpg(0, signal.SIGKILL)  # daemon, web server, code servers and runs are one group
        os.kill(os.getpid(), signal.SIGKILL)

    arm(reached)


def _watch_fetches(count: Callable[[str], None]) -> None:
    from resources.sources.sample import SampleSource

    fetch = SampleSource.fetch

    def counted(*arguments: Any) -> Any:
        count("fetch")
        rows = fetch(*arguments)
        count("fetch")
        return rows

    SampleSource.fetch = counted  # type: ignore[method-assign]


def _watch_numbers(count: Callable[[str], None]) -> None:
    """Every function of assets.numerics that an asset calls."""
    import assets.factor_exposures
    import assets.portfolio_factor_exposures
    import assets.portfolio_volatility
    import assets.symbol_volatility  # noqa: F401

    def counted(function: FunctionType) -> Callable[..., Any]:
        @wraps(function)
        def calling(*arguments: Any, **more: Any) -> Any:
            count("compute")
            return function(*arguments, **more)

        return calling

    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "assets"]
    for module in modules:
        for name, value in list(vars(module).items()):
            of_numerics = isinstance(value, FunctionType) and value.__module__.startswith("assets.numerics")
            if of_numerics and not module.__name__.startswith("assets.numerics"):
                setattr(module, name, counted(value))


def _watch_statements(count: Callable[[str], None]) -> None:
    """Before and after each statement that changes something, and before each commit: of the domain, and of Dagster."""
    import sqlalchemy as sa

    def stage(connection: sa.Connection) -> str:
        return "write" if "sigma" in (connection.engine.url.database or "").rpartition("/")[2] else "record"

    def executed(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if not statement.lstrip().startswith(("SELECT", "PRAGMA", "BEGIN", "WITH")):
            count(stage(connection))

    sa.event.listen(sa.Engine, "before_cursor_execute", executed)
    sa.event.listen(sa.Engine, "after_cursor_execute", executed)
    sa.event.listen(sa.Engine, "commit", lambda connection: count(stage(connection)))
