"""How it grows: 100, 1,000 and 5,000 symbols x 1 year, on SQLite and on Postgres (`make bench-scale`).

A home of a simulated market takes one step after the other, each in a process of its own, so that its peak memory is
its own: a year is onboarded, one more session is computed, and then what a person and the daemon ask of a home that is
complete. Dagster is imported before a step begins. Each row of ``scale.json``, which a run writes, is one step,
measured once: it is long enough. ``python -m benchmarks.scale --tables`` prints them as tables in Markdown.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import numpy as np
import sqlalchemy as sa
from rich.console import Console

from assets import checks
from assets.factor_models import US_6
from benchmarks.__main__ import ONE_THREAD
from benchmarks.onboarding import LAST, environment
from benchmarks.partitions import postgres
from benchmarks.simulated import SimulatedSource
from benchmarks.web import ask, free_port, webserver_alone
from resources import calendar
from resources.database import portfolios
from resources.database.portfolios import Lot
from sigma_dagster.orchestration import sensors
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.compute import compute
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.services import Services

RESULTS = Path(__file__).with_name("scale.json")
SIZES = {100: 20, 1000: 200, 5000: 1000}
"""Portfolios, by the number of symbols."""
NAMES = 30
"""Symbols of a portfolio."""
SESSIONS = 252
"""Target sessions stored before the new one."""
NEW = 5
"""Symbols of the portfolio that is added at the end, which nobody had before."""
ROUNDS = 5

_err = Console(stderr=True, soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Size:
    """What is measured, and on which databases."""

    symbols: int
    portfolios: int
    sessions: int
    database: str

    @property
    def source(self) -> SimulatedSource:
        """The prices."""
        return SimulatedSource(US_6.proxies, self.names, self.sessions + 1, LAST)

    @property
    def names(self) -> list[str]:
        """The symbols held, and those that the last portfolio brings."""
        return [f"S{i:04}" for i in range(self.symbols + NEW)]


@dataclass(frozen=True)
class Taken:
    """What a step took."""

    step: str
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    stages: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage, where runs were made."""
    disk_mb: float | None = None
    """Both databases after the step, where it wrote."""


# --- the steps


def onboarding(services: Services, size: Size) -> dict[str, float]:
    """All portfolios and symbols of an empty home, up to the session before the last."""
    random = np.random.default_rng(5)
    day = calendar.shift(LAST, -size.sessions)
    with services.database.write() as connection:
        for i in range(size.portfolios):
            own = random.choice(size.symbols, min(NAMES, size.symbols), replace=False)
            portfolios.store(connection, f"book-{i:04}", _lots(size, own, day), None, day)
    return _compute(services, calendar.shift(LAST, -1))


def next_session(services: Services, _size: Size) -> dict[str, float]:
    """One more session of everything."""
    return _compute(services, LAST)


def plan_complete(services: Services, _size: Size) -> None:
    """What all portfolios lack: nothing."""
    with services.database.read() as connection:
        stored = portfolios.load(connection)
    if services.plan(stored, LAST).blocks:
        raise RuntimeError("something is missing")


def sensor_idle(services: Services, _size: Size) -> dict[str, float]:
    """A tick of the sensor with nothing to do: the first of its process, and the median of five more."""
    with open_instance(services.settings) as instance:
        defs = build_defs(services)
        taken, memory = [], sensors.Memory()
        for _ in range(1 + ROUNDS):
            context = dg.build_sensor_context(instance=instance, definitions=defs)
            began = time.perf_counter()
            if sensors.evaluate(context, services, datetime.now(UTC), memory).run_requests:
                raise RuntimeError("something is missing")
            taken.append(time.perf_counter() - began)
    return {"first": taken[0], "later": median(taken[1:])}


def ui_queries(services: Services, _size: Size) -> dict[str, float]:
    """What the pages of assets wait for: the partition statistics, first and later, and the whole graph."""
    statistics = """{ assetNodes(assetKeys: [{path: ["factor_exposures"]}]) { id
        partitionStats { numMaterialized numPartitions numFailed } } }"""
    graph = "{ assetNodes { id partitionStats { numMaterialized numPartitions } } }"
    home, port = services.settings.home, free_port()
    with webserver_alone({**os.environ, "SIGMA_HOME": str(home)}, port, home / "terminal"):

        def seconds(query: str) -> float:
            began = time.perf_counter()
            ask(port, query)
            return time.perf_counter() - began

        first = seconds(statistics)
        later = median(seconds(statistics) for _ in range(ROUNDS))
        return {"statistics_first": first, "statistics_later": later, "all_assets": seconds(graph)}


def new_portfolio(services: Services, size: Size) -> dict[str, float]:
    """One more portfolio, of symbols that are there but for five, of the last 20 sessions."""
    day = calendar.shift(LAST, -20)
    own = np.arange(size.symbols + NEW - NAMES, size.symbols + NEW)
    with services.database.write() as connection:
        portfolios.store(connection, "new", _lots(size, own, day), None, day)
    return _compute(services, LAST, ["new"])


_START, _SUCCESS = dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS
_STAGES = {
    "proxy_prices": "prices",
    "daily_prices": "prices",
    "factor_exposures": "exposures",
    "symbol_volatility": "volatility",
    "portfolio_factor_exposures": "portfolio_exposures",
    "portfolio_volatility": "portfolio_volatility",
}

_DAY = ("fetch", *dict.fromkeys(_STAGES.values()), "checks", "plans_and_runs")

Step = Callable[[Services, Size], dict[str, float] | None]
STEPS: tuple[Step, ...] = (onboarding, next_session, plan_complete, sensor_idle, ui_queries, new_portfolio)


def _lots(size: Size, own: Sequence[int] | np.ndarray[Any, Any], day: date) -> list[Lot]:
    return [Lot(size.names[i], 100.0, 50.0, day) for i in own]


def _compute(services: Services, as_of: date, names: Sequence[str] | None = None) -> dict[str, float]:
    """Compute, and say how long each asset's steps took (fetching apart), the checks, and the rest: plans and runs."""
    began, clock = datetime.now(UTC), time.perf_counter()
    with _timed(checks, "evaluate") as checking:
        tally = compute(services, names, as_of, say=_err.print)
    total, steps = time.perf_counter() - clock, _by_asset(services, began)
    steps["prices"] -= tally.seconds["fetch"]
    rest = total - sum(steps.values()) - tally.seconds["fetch"] - sum(checking)
    return {"fetch": tally.seconds["fetch"], **steps, "checks": sum(checking), "plans_and_runs": rest}


def _by_asset(services: Services, since: datetime) -> dict[str, float]:
    """Give the seconds of the steps of all runs, by what they made, as Dagster keeps them."""
    found = dict.fromkeys(_STAGES.values(), 0.0)
    with open_instance(services.settings) as instance:
        for record in instance.get_run_records(dg.RunsFilter(created_after=since)):
            ends = instance.all_logs(record.dagster_run.run_id, of_type={_START, _SUCCESS})
            for event in ends:
                sign = 1 if event.get_dagster_event().event_type == _SUCCESS else -1
                found[_STAGES[event.step_key or ""]] += sign * event.timestamp
    return found


@contextmanager
def _timed(module: Any, name: str) -> Iterator[list[float]]:
    """Collect the seconds of each call of a module's function meanwhile."""
    function, taken = getattr(module, name), list[float]()

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            taken.append(time.perf_counter() - began)

    setattr(module, name, timed)
    try:
        yield taken
    finally:
        setattr(module, name, function)


# --- running them


def measure(size: Size, variables: Mapping[str, str]) -> Iterator[Taken]:
    """Take all steps of one size on one kind of database, in a home that is thrown away."""
    with TemporaryDirectory() as folder:
        home = Path(folder) / "sigma"
        for step in STEPS:
            # A process is spawned and used once: it has not the memory of another step, nor what it had read.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                taken = pool.submit(_take, STEPS.index(step), home, size, dict(variables)).result()
            yield replace(taken, disk_mb=round(_bytes(home, variables) / 2**20, 1))


def _take(index: int, home: Path, size: Size, variables: dict[str, str]) -> Taken:
    step = STEPS[index]
    settings = {
        "SIGMA_HISTORY_SESSIONS": f"{size.sessions}",
        "SIGMA_START_DATE": f"{calendar.shift(LAST, -size.sessions)}",
        **variables,
    }
    os.environ.update(settings)
    services = replace(environment(home, **settings), source=size.source, model=US_6)
    _ = services.source.fetch(size.names[0], LAST, LAST)  # simulated once, before the clock starts
    with open_instance(services.settings) if index else nullcontext():
        pass  # what the first opening of a home costs is no step of this
    cpu, wall = time.process_time(), time.perf_counter()
    stages = step(services, size) or {}
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    services.database.engine.dispose()
    rounded = {stage: round(seconds, 4) for stage, seconds in stages.items()}
    return Taken(step.__name__, round(wall, 3), round(cpu, 3), round(peak, 1), rounded)


def _bytes(home: Path, variables: Mapping[str, str]) -> int:
    found = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    for url in variables.values():
        engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
        with engine.connect() as connection:
            found += int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
    return found


@contextmanager
def _postgres() -> Iterator[dict[str, str]]:
    """Both databases on a server of its own, with its default settings."""
    with postgres() as server:
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        url = sa.make_url(server).set(drivername="postgresql")
        found = {}
        with engine.connect() as connection:
            for variable, name in (("SIGMA_DATABASE_URL", "domain"), ("SIGMA_DAGSTER_DATABASE_URL", "dagster")):
                connection.execute(sa.text(f"CREATE DATABASE {name}"))
                found[variable] = url.set(database=name).render_as_string(hide_password=False)
        yield found


# --- what is left of it


def write(size: Size, taken: Sequence[Taken], path: Path = RESULTS) -> None:
    """Put the rows in the place of those of the same size and database."""
    kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    own = asdict(size)
    new = [{**own, **{name: value for name, value in asdict(one).items() if value}} for one in taken]
    rows = [*(row for row in kept if any(row[name] != own[name] for name in own)), *new]
    rows.sort(key=lambda row: (row["database"] != "sqlite", row["sessions"], row["symbols"]))
    path.write_text("[\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def tables(path: Path = RESULTS) -> str:
    """Give the rows as tables: one for each database and number of sessions, a row a step; last, a day's stages."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for database, sessions in dict.fromkeys((row["database"], row["sessions"]) for row in rows):
        own = [row for row in rows if (row["database"], row["sessions"]) == (database, sessions)]
        steps = {(row["step"], row["symbols"]): _cell(row) for row in own}
        sizes = dict.fromkeys((row["symbols"], row["portfolios"]) for row in own)
        heads = [f"{symbols:,} symbols, {books:,} portfolios" for symbols, books in sizes]
        lines = [[f"`{step.__name__}`", *(steps.get((step.__name__, n), "") for n, _ in sizes)] for step in STEPS]
        parts.append(f"### {database}, {sessions} sessions\n\n{_table(['step', *heads], lines)}")
    days = [row for row in rows if row["step"] == next_session.__name__]
    heads = [f"{row['symbols']:,} symbols, {row['database']}" for row in days]
    shares = [[stage, *(f"{row['stages'][stage] / sum(row['stages'].values()):.0%}" for row in days)] for stage in _DAY]
    parts.append(f"### A new session by stage\n\n{_table(['stage', *heads], shares)}")
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _cell(row: Mapping[str, Any]) -> str:
    if row["step"] in (sensor_idle.__name__, ui_queries.__name__):
        return ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in row["stages"].items())
    return f"{row['cpu_seconds']:,.1f} s; {row['peak_mb']:,.0f} MB; {row['disk_mb']:,.0f} MB on disk"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Measure how it grows.")
    parser.add_argument("--symbols", type=int, nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="target sessions before the new one")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print what was measured as tables")
    asked = parser.parse_args()
    if asked.tables:
        Console(soft_wrap=True, highlight=False, markup=False).print(tables(), end="")
        return
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    for symbols in asked.symbols:
        for database in asked.databases:
            size = Size(symbols, SIZES[symbols], asked.sessions, database)
            with _postgres() if database == "postgres" else nullcontext({}) as variables:
                taken = []
                for one in measure(size, variables):
                    _err.print(f"{symbols:,} symbols, {database}, {one.step}: {_cell(asdict(one))}")
                    taken.append(one)
                    write(size, taken)


if __name__ == "__main__":
    main()
