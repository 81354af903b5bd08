"""One more session for a large portfolio, case ``next_session``: all of `sigma refresh`, after Dagster is imported.

The prices are simulated and cost nothing to ask for; what is measured is planning, storing, computing and recording.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from assets.factor_models import US_6
from benchmarks.measure import Row
from benchmarks.onboarding import LAST, environment
from benchmarks.simulated import SimulatedSource
from resources import calendar
from resources.database import portfolios
from resources.database.portfolios import Lot
from sigma_dagster.orchestration.compute import compute
from sigma_dagster.services import Services

CASE = "next_session"
SYMBOLS = (500, 2000)
STORED = 20
"""Target sessions of the home before the new one."""
ROUNDS = 5
STAGES = ("fetch", "compute", "write")


def next_session() -> Iterator[Row]:
    """Measure the new session of 500 and of 2,000 symbols; ``four_of_500x1`` is what linear growth would make of it."""
    few = [row for n in SYMBOLS[:1] for row in _of(n)]
    many = [row for n in SYMBOLS[1:] for row in _of(n)]
    yield from few
    yield from many
    ratio = SYMBOLS[1] / SYMBOLS[0]
    scaled = {"cpu_seconds": ratio * few[0].cpu_seconds, "wall_seconds": ratio * few[0].wall_seconds}
    yield replace(few[0], size=many[0].size, method="four_of_500x1", sampled=True, stages=None, **scaled)


def _of(n_symbols: int) -> Iterator[Row]:
    names = [f"S{i:04}" for i in range(n_symbols)]
    source = SimulatedSource(US_6.proxies, names, STORED, LAST)
    with TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        services = _services(before, source)
        _store(services, names)
        compute(services, None, calendar.shift(LAST, -1), say=_say_nothing)
        services.database.engine.dispose()
        taken = [_round(before, source, len(names)) for _ in range(ROUNDS)]
    cpu, wall, *stages = (round(median(times), 6) for times in zip(*taken, strict=True))
    by_stage = dict(zip(STAGES, stages, strict=True))
    yield Row(CASE, f"{n_symbols}x1", "ours", cpu, wall, sampled=False, stages=by_stage)


def _round(before: Path, source: SimulatedSource, n_symbols: int) -> list[float]:
    """Compute the new session on a copy of the home; gives CPU and wall seconds, and those of the stages."""
    with TemporaryDirectory() as folder:
        home = Path(folder) / "sigma"
        shutil.copytree(before, home)
        services = _services(home, source)
        cpu, wall = time.process_time(), time.perf_counter()
        tally = compute(services, None, LAST, say=_say_nothing)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        services.database.engine.dispose()
    if tally.regressions_run != n_symbols:
        raise RuntimeError(f"{tally.regressions_run} regressions were run, not {n_symbols}")
    return [cpu, wall, *(tally.seconds[stage] for stage in STAGES)]


def _services(home: Path, source: SimulatedSource) -> Services:
    settings = {"SIGMA_HISTORY_SESSIONS": f"{STORED}", "SIGMA_START_DATE": f"{calendar.last_sessions(STORED, LAST)[0]}"}
    return replace(environment(home, **settings), source=source, model=US_6)


def _store(services: Services, names: Sequence[str]) -> None:
    day = calendar.shift(LAST, -STORED)
    with services.database.write() as connection:
        portfolios.store(connection, "all", [Lot(name, 100.0, 50.0, day) for name in names], None, day)


def _say_nothing(_message: str) -> None:
    """Progress is for a terminal."""
