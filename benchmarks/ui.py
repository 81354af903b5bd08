"""What the Dagster UI waits for, case ``ui_statistics``: 500 symbols x 750 sessions, 126,000 of them materialized.

The webserver of `sigma dev` is asked by GraphQL for the partition statistics of `factor_exposures`: ``cold`` for the
first time after its start, ``warm`` from then on. Its time is that of its processes, as is their CPU time.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import dagster as dg
import psutil

from benchmarks.measure import Row
from benchmarks.onboarding import LAST, environment
from benchmarks.web import ask, free_port, running
from resources import calendar
from resources.dagster_storage.event_log import record_materializations
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.services import Services

SYMBOLS = tuple(f"S{i:03}" for i in range(500))
N_SESSIONS = 750
N_MATERIALIZED = 252
"""Sessions up to the last, of every symbol."""
ROUNDS = 5
ASSET = dg.AssetKey("factor_exposures")
STATISTICS = """{ assetNodes(assetKeys: [{path: ["factor_exposures"]}]) { id
    partitionStats { numMaterialized numPartitions numFailed } } }"""
EXPECTED = {
    "numMaterialized": len(SYMBOLS) * N_MATERIALIZED,
    "numPartitions": len(SYMBOLS) * N_SESSIONS,
    "numFailed": 0,
}

Times = tuple[float, float]
"""CPU and wall seconds."""


def ui_statistics() -> Iterator[Row]:
    """Measure the first answer, and the median of five more."""
    sessions = calendar.last_sessions(N_SESSIONS, LAST)
    with TemporaryDirectory() as folder:
        home, port = Path(folder) / "sigma", free_port()
        settings = {"SIGMA_START_DATE": sessions[0].isoformat()}
        _record(environment(home, **settings), sessions[-N_MATERIALIZED:])
        variables = {**os.environ, **settings, "SIGMA_HOME": str(home)}
        with running(variables, port, Path(folder) / "terminal") as process:
            cold, *warm = [_timed(lambda: _ask(port), process.pid) for _ in range(1 + ROUNDS)]
    for method, taken in (("cold", [cold]), ("warm", warm)):
        cpu, wall = (round(median(times), 6) for times in zip(*taken, strict=True))
        yield Row("ui_statistics", f"{len(SYMBOLS)}x{N_SESSIONS}", method, cpu, wall, sampled=False)


def _record(services: Services, sessions: Sequence[date]) -> None:
    """Record the partitions of these sessions as a planned run does."""
    found = {"beta_market": 1.164903, "r_squared": 0.844559, "n_obs": 252, "quality": "full_history"}
    keys = (dg.MultiPartitionKey({"date": f"{day}", "symbol": name}) for day in sessions for name in SYMBOLS)
    with services.database.read(), open_instance(services.settings) as instance:
        instance.add_dynamic_partitions("symbol", SYMBOLS)
        run = instance.add_run(dg.DagsterRun("symbol_block", status=dg.DagsterRunStatus.SUCCESS))
        record_materializations(instance, run, ASSET, ((key, found) for key in keys))


def _ask(port: int) -> None:
    (asset,) = ask(port, STATISTICS)["assetNodes"]
    if asset["partitionStats"] != EXPECTED:
        raise RuntimeError(f"{asset['partitionStats']} was answered, not {EXPECTED}")


def _timed(work: Callable[[], object], pid: int) -> Times:
    cpu, wall = _cpu_seconds(pid), time.perf_counter()
    work()
    taken = time.perf_counter() - wall
    return _cpu_seconds(pid) - cpu, taken


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and all that it started."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)
