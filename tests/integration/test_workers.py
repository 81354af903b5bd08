"""Runs on two workers, each on a host of its own: shared out, killed, cut off, ended by a user, without a broker.

Minutes: `make test-workers`. What was measured is printed.
"""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from benchmarks.web import ask, wait_for
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol_volatility,
)
from sigma_dagster.runs.claims import HOST_TAG
from tests.support.cluster import POSTGRES_PASSWORD, REDIS_PASSWORD, Cluster, Process, Redis, cluster, end, postgres
from tests.support.contents import assert_records_are_rows, rows
from tests.support.home import Home, assert_same, holdings
from tests.support.hosts import Hosts, hosts

pytestmark = pytest.mark.workers

HELD = ("AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO", "LLY", "MRK", "MSFT", "PEP", "PFE", "PG")
SETTINGS = {"SIGMA_HISTORY_SESSIONS": "5", "SIGMA_START_DATE": "2022-12-01", "SIGMA_MAX_SYMBOLS_PER_RUN": "2"}
BLOCKS = 8
DONE = dg.DagsterRunStatus.SUCCESS
TERMINATE = """mutation End($id: String!) { terminateRun(runId: $id) { __typename } }"""


@pytest.fixture(scope="module")
def places() -> Iterator[Hosts]:
    with hosts("worker1", "worker2") as made:
        yield made


@pytest.fixture(scope="module")
def server(places: Hosts) -> Iterator[str]:
    with postgres(places) as url:
        yield url


@pytest.fixture
def redis(places: Hosts, tmp_path: Path) -> Iterator[Redis]:
    made = Redis(places, tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def installation(
    places: Hosts, server: str, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """One without workers, its control up."""
    variables = {**SETTINGS, "SIGMA_BROKER_URL": redis.url, "SIGMA_WORKER_SLOTS": "2"}
    with cluster(tmp_path / "cluster", places, server, variables) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)  # dagster.yaml names the variables, not the passwords
        made.start_control()
        yield made


@pytest.fixture
def workers(installation: Cluster) -> list[Process]:
    """Two workers of the installation that are ready."""
    started = [installation.start(host.name, "worker", host=host) for host in installation.hosts.others]
    for host in installation.hosts.others:
        wait_for(lambda name=host.name: _listens(installation, name), 120, f"{host.name} is ready")
    return started


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a measured figure."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)  # noqa: T201

    return say


def _listens(installation: Cluster, name: str) -> bool:
    return " is ready;" in installation.said(name)


def _add(installation: Cluster, *held: str) -> None:
    book = holdings(installation.folder / "book.csv", *held)
    told = installation.home.sigma("add", book)
    assert told.returncode == 0, told.stderr


def _runs(installation: Cluster, job: str = "symbol_block", **wanted: object) -> list[dg.RunRecord]:
    with installation.home.instance() as instance:
        return list(instance.get_run_records(dg.RunsFilter(job_name=job, **wanted)))


def _run(installation: Cluster, run_id: str) -> dg.DagsterRun:
    with installation.home.instance() as instance:
        found = instance.get_run_by_id(run_id)
    assert found
    return found


def _is_complete(installation: Cluster) -> bool:
    return bool(_runs(installation, "portfolio_block", statuses=[DONE]))


def _assert_all_is_right(installation: Cluster, alone: Home) -> None:
    """No row doubled, missing or other than of a home that knew one process; no record without its row."""
    assert_records_are_rows(installation.home)
    alone.onboard(installation.folder / "book.csv")
    for table in (daily_price, factor_exposure, symbol_volatility, portfolio_factor_exposure, portfolio_volatility):
        assert_same(rows(installation.home, table), rows(alone, table), 1e-12)


def _start_seconds(installation: Cluster) -> list[float]:
    """From the launch of each run of symbols to its start."""
    with installation.home.instance() as instance:
        told = [instance.get_run_stats(record.dagster_run.run_id) for record in _runs(installation)]
    return [stats.start_time - stats.launch_time for stats in told if stats.start_time and stats.launch_time]


@contextmanager
def _held_up(installation: Cluster) -> Iterator[None]:
    """Keep every run from writing factor exposures: their prices are stored, and they are in the middle."""
    services = installation.home.environment()
    with services.database.engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE factor_exposure IN EXCLUSIVE MODE"))
        yield
    services.database.engine.dispose()


def _in_the_middle(installation: Cluster) -> dict[str, str]:
    """Runs that wait for the lock of `_held_up`, by host."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'factor_exposure'::regclass")
    services = installation.home.environment()
    with services.database.read() as connection:
        number = connection.execute(waiting).scalar()
    services.database.engine.dispose()
    started = _runs(installation, statuses=[dg.DagsterRunStatus.STARTED])
    found = {record.dagster_run.tags.get(HOST_TAG, ""): record.dagster_run.run_id for record in started}
    return found if number == len(found) == 2 and "" not in found else {}


def test_two_workers_share_the_blocks(
    installation: Cluster, workers: list[Process], home: Home, redis: Redis, tell: Callable[[str], None]
) -> None:
    """8 of 8 blocks, both workers used, every partition right; no secret and no pickle in what crosses the broker."""
    watched = subprocess.Popen(  # noqa: S603 - our own server
        ["redis-cli", "-h", redis.hosts.address, "-p", str(redis.port), "-a", REDIS_PASSWORD, "MONITOR"],  # noqa: S607
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _add(installation, *HELD)
    wait_for(lambda: _is_complete(installation), 300, "everything is computed")
    watched.terminate()
    messages = watched.communicate()[0]
    runs = [record.dagster_run for record in _runs(installation)]
    assert [run.status for run in runs] == [DONE] * BLOCKS
    used = [run.tags[HOST_TAG] for run in runs]
    if installation.hosts.apart:
        assert set(used) == {"worker1", "worker2"}
    _assert_all_is_right(installation, home)
    assert "execute_job" in messages
    assert '\\"content-type\\": \\"application/json\\"' in messages
    assert "pickle" not in messages
    assert POSTGRES_PASSWORD not in messages
    assert REDIS_PASSWORD not in messages
    assert len({process.poll() for process in workers}) == 1
    seconds = sorted(_start_seconds(installation))
    tell(
        f"workers: a run starts after {statistics.median(seconds):.2f} s (median of {len(seconds)}; "
        f"{seconds[-1]:.2f} at most)"
    )
    assert statistics.median(seconds) < 2


def test_the_launcher_without_workers_for_comparison(
    places: Hosts, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    """No broker is named: runs are processes of the daemon's host, as before, and all is computed."""
    with cluster(tmp_path / "cluster", places, server, SETTINGS) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        made.start_control()
        _add(made, *HELD[:8])
        wait_for(lambda: _is_complete(made), 400, "everything is computed")
        assert_records_are_rows(made.home)
        seconds = sorted(_start_seconds(made))
        tell(f"processes: a run starts after {statistics.median(seconds):.2f} s (median of {len(seconds)})")


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_a_worker_is_lost_in_the_middle_of_a_block(
    how: str, installation: Cluster, workers: list[Process], home: Home, tell: Callable[[str], None]
) -> None:
    """The run has failed within 30 s; the other worker does its block; nothing is doubled, missing or only recorded."""
    if not installation.hosts.apart:
        pytest.skip("needs root: hosts are network namespaces")
    with _held_up(installation):
        _add(installation, *HELD[:4])
        wait_for(lambda: _in_the_middle(installation), 180, "both workers are in the middle of a block")
        lost = _in_the_middle(installation)["worker1"]
        began = time.monotonic()
        if how == "killed":
            end(workers[:1])
        else:
            installation.hosts.others[0].cut()
        wait_for(lambda: _run(installation, lost).is_finished, 60, "the run has ended")
        failed = time.monotonic() - began
    assert _run(installation, lost).status == dg.DagsterRunStatus.FAILURE
    wait_for(lambda: _is_complete(installation), 240, "everything is computed")
    done = time.monotonic() - began
    if how == "cut off":
        installation.hosts.others[0].join()  # a late writer
        time.sleep(5)
    after = [record.dagster_run for record in _runs(installation, statuses=[DONE])]
    assert {run.tags[HOST_TAG] for run in after} == {"worker2"}
    _assert_all_is_right(installation, home)
    tell(f"a worker {how}: its run has failed after {failed:.1f} s, all is computed after {done:.1f} s")
    assert failed < 30


@pytest.mark.usefixtures("workers")
def test_a_run_that_is_ended_in_the_ui_is_canceled_and_stays_so(
    installation: Cluster, tell: Callable[[str], None]
) -> None:
    """CANCELED within 5 s, and nobody retries it."""
    with _held_up(installation):
        _add(installation, *HELD[:4])
        wait_for(
            lambda: len(_runs(installation, statuses=[dg.DagsterRunStatus.STARTED])) == 2, 180, "two runs have begun"
        )
        time.sleep(3)
        run_id = _runs(installation, statuses=[dg.DagsterRunStatus.STARTED])[0].dagster_run.run_id
        began = time.monotonic()
        assert ask(installation.port, TERMINATE, {"id": run_id})["terminateRun"]["__typename"] == "TerminateRunSuccess"
        wait_for(lambda: _run(installation, run_id).is_finished, 40, "the run has ended")
        seconds = time.monotonic() - began
    wait_for(lambda: not _runs(installation, statuses=[dg.DagsterRunStatus.STARTED]), 60, "the other has ended")
    time.sleep(10)
    assert _run(installation, run_id).status == dg.DagsterRunStatus.CANCELED
    assert [record for record in _runs(installation) if record.dagster_run.parent_run_id == run_id] == []
    tell(f"ended in the UI: CANCELED after {seconds:.1f} s")
    assert seconds < 5


def test_the_running_block_finishes_without_a_broker(
    installation: Cluster, workers: list[Process], home: Home, redis: Redis
) -> None:
    """Redis is gone for ten seconds: what runs is finished meanwhile, and the rest is done when it is back."""
    with _held_up(installation):
        _add(installation, *HELD[:8])
        wait_for(
            lambda: len(_runs(installation, statuses=[dg.DagsterRunStatus.STARTED])) == 2, 180, "two runs have begun"
        )
        running = {record.dagster_run.run_id for record in _runs(installation, statuses=[dg.DagsterRunStatus.STARTED])}
        redis.stop()
    wait_for(lambda: all(_run(installation, run_id).status == DONE for run_id in running), 60, "they have finished")
    time.sleep(10)
    redis.start()
    assert {process.poll() for process in workers} == {None}
    wait_for(lambda: _is_complete(installation), 600, "everything is computed")
    _assert_all_is_right(installation, home)
