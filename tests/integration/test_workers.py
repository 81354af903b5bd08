"""Runs on two workers, each on a host of its own: shared out, killed, cut off, ended by a user, without a broker.

Minutes: `make test-workers`. What was measured is printed.
"""

import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from celery import Celery

from benchmarks.web import ask, wait_for
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol_volatility,
)
from sigma_dagster.runs.claims import HOST_TAG
from sigma_dagster.runs.request import TO_RECONCILE
from tests.support.cluster import POSTGRES_PASSWORD, REDIS_PASSWORD, Cluster, Process, Redis, cluster, end, postgres
from tests.support.contents import assert_records_are_rows, rows
from tests.support.home import LAST, Home, assert_same, holdings
from tests.support.hosts import Host, Hosts, hosts
from tests.support.vendors.alpha_vantage import Anything
from tests.support.vendors.server import KEY, Asked, Reply
from tests.support.vendors.tiingo import Tiingo

pytestmark = pytest.mark.workers

HELD = ("AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO", "LLY", "MRK", "MSFT", "PEP", "PFE", "PG")
SETTINGS = {"SIGMA_HISTORY_SESSIONS": "5", "SIGMA_START_DATE": "2022-12-01", "SIGMA_MAX_SYMBOLS_PER_RUN": "2"}
BLOCKS = 8
QUEUED, SENT, STARTED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED
DONE, FAILED, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
TERMINATE = """mutation End($id: String!, $policy: TerminateRunPolicy) {
    terminateRun(runId: $id, terminatePolicy: $policy) {
        __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
#: The UI ends a run that was sent and has not begun by force, and in no other way.
POLICIES = {QUEUED: "SAFE_TERMINATE", SENT: "MARK_AS_CANCELED_IMMEDIATELY", STARTED: "SAFE_TERMINATE"}
CONFIGURATION = """{ instance { info runLauncher { name } } }"""

Tell = Callable[[str], None]
Installing = Callable[[Mapping[str, str]], Cluster]


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
def install(places: Hosts, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installing]:
    """Make an installation with these settings too; its control is up, and it has no workers."""
    with ExitStack() as stack:

        def make(settings: Mapping[str, str]) -> Cluster:
            made = stack.enter_context(cluster(tmp_path / "cluster", places, server, {**SETTINGS, **settings}))
            for name, value in made.variables.items():
                monkeypatch.setenv(name, value)  # dagster.yaml names the variables, not the passwords
            made.start_control()
            return made

        yield make


@pytest.fixture
def to_workers(redis: Redis, tmp_path: Path) -> dict[str, str]:
    """The settings that send runs to two workers; the broker's address, which has a password, stands in a file."""
    file = tmp_path / "broker"
    file.write_text(f"{redis.url}\n")
    return {"SIGMA_BROKER_URL_FILE": str(file), "SIGMA_WORKER_SLOTS": "2"}


@pytest.fixture
def installation(install: Installing, to_workers: dict[str, str]) -> Cluster:
    """One without workers."""
    return install(to_workers)


@pytest.fixture
def workers(installation: Cluster) -> list[Process]:
    """Two workers of the installation that are ready."""
    return _start_workers(installation, *installation.hosts.others)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a measured figure."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)  # noqa: T201

    return say


def _start_workers(installation: Cluster, *places: Host) -> list[Process]:
    """Start a worker on each host, and wait until they are ready."""
    started = [installation.start(host.name, "worker", host=host) for host in places]
    for host in places:
        wait_for(lambda name=host.name: " is ready;" in installation.said(name), 120, f"{host.name} is ready")
    return started


def _add(installation: Cluster, *held: str, name: str = "book") -> None:
    book = holdings(installation.folder / f"{name}.csv", *held)
    told = installation.home.sigma("add", book)
    assert told.returncode == 0, told.stderr


def _runs(installation: Cluster, *statuses: dg.DagsterRunStatus, job: str = "symbol_block") -> list[dg.DagsterRun]:
    """Runs of symbols, the newest first; no status: all."""
    with installation.home.instance() as instance:
        return list(instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses)))


def _run(installation: Cluster, run_id: str) -> dg.DagsterRun:
    with installation.home.instance() as instance:
        found = instance.get_run_by_id(run_id)
    assert found
    return found


def _is_complete(installation: Cluster) -> bool:
    return bool(_runs(installation, DONE, job="portfolio_block"))


def _is_recorded(installation: Cluster) -> bool:
    """Say whether all runs that ended badly were looked after."""
    due = dg.RunsFilter(statuses=[FAILED, CANCELED], tags=TO_RECONCILE)
    with installation.home.instance() as instance:
        return instance.get_runs_count(due) == 0


def _assert_all_is_right(installation: Cluster, alone: Home) -> None:
    """No row doubled, missing or other than of a home that knew one process; no record without its row."""
    alone.onboard(installation.folder / "book.csv")
    _assert_same_rows(installation, alone)


def _assert_same_rows(installation: Cluster, alone: Home) -> None:
    assert_records_are_rows(installation.home)
    for table in (daily_price, factor_exposure, symbol_volatility, portfolio_factor_exposure, portfolio_volatility):
        assert_same(rows(installation.home, table), rows(alone, table), 1e-12)


def _start_seconds(installation: Cluster, tell: Tell, who: str) -> float:
    """From the launch of a run of symbols, or the end of the one that its host had before, to its start.

    The median, told with the ends.
    """
    with installation.home.instance() as instance:
        told = [(run.tags[HOST_TAG], instance.get_run_stats(run.run_id)) for run in _runs(installation)]
    seconds = []
    for host, stats in told:
        assert stats.start_time
        assert stats.launch_time
        ends = [other.end_time or 0.0 for name, other in told if name == host]
        earlier = [end for end in ends if end < stats.start_time]
        seconds.append(stats.start_time - max([stats.launch_time, *earlier]))
    median = statistics.median(seconds)
    tell(f"{who}: a run starts after {median:.2f} s (median of {len(seconds)}; {min(seconds):.2f}-{max(seconds):.2f})")
    return median


def _assert_no_password_is_shown(installation: Cluster) -> None:
    """Not in what any part said or wrote, in what Dagster keeps of runs, or in what the UI shows of the instance."""
    shown = {str(path): path.read_text(errors="replace") for path in installation.folder.rglob("*") if path.is_file()}
    engine = sa.create_engine(installation.variables["SIGMA_DAGSTER_DATABASE_URL"].replace("://", "+psycopg2://"))
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        shown |= {name: str(connection.execute(sa.select(table)).all()) for name, table in tables.tables.items()}
    engine.dispose()
    shown["UI"] = str(ask(installation.port, CONFIGURATION))
    assert "run_launcher" in shown["UI"]
    passwords = (POSTGRES_PASSWORD, REDIS_PASSWORD)
    assert [where for where, text in shown.items() if any(password in text for password in passwords)] == []


@contextmanager
def _held_up(installation: Cluster) -> Iterator[None]:
    """Keep every run from writing factor exposures: their prices are stored, and they are in the middle."""
    services = installation.home.environment()
    with services.database.engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE factor_exposure IN EXCLUSIVE MODE"))
        yield
    services.database.engine.dispose()


def _in_the_middle(installation: Cluster, workers: int = 2) -> dict[str, str]:
    """Runs that wait for the lock of `_held_up`, with their hosts, when each of so many workers has one."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'factor_exposure'::regclass")
    services = installation.home.environment()
    with services.database.read() as connection:
        number = connection.execute(waiting).scalar()
    services.database.engine.dispose()
    found = {run.run_id: run.tags.get(HOST_TAG, "") for run in _runs(installation, STARTED)}
    return found if number == len(found) == workers and all(found.values()) else {}


def _on(installation: Cluster, host: str) -> str:
    """Give the run that a host executes."""
    return next(run.run_id for run in _runs(installation, STARTED) if run.tags[HOST_TAG] == host)


class _Opened:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self._path), "w"))


def test_two_workers_share_the_blocks(
    installation: Cluster, workers: list[Process], home: Home, redis: Redis, tell: Tell, tmp_path: Path
) -> None:
    """8 of 8 blocks, both workers used, every partition right; no secret and no pickle in what crosses the broker.

    A pickle that somebody sends is not opened.
    """
    opened = tmp_path / "opened"
    Celery(broker=redis.url).send_task("execute_job", [_Opened(opened)], queue="dagster", serializer="pickle")
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
    runs = _runs(installation)
    assert [run.status for run in runs] == [DONE] * BLOCKS
    if installation.hosts.apart:
        assert {run.tags[HOST_TAG] for run in runs} == {"worker1", "worker2"}
    _assert_all_is_right(installation, home)
    assert "execute_job" in messages
    assert '\\"content-type\\": \\"application/json\\"' in messages
    assert "pickle" not in messages
    assert POSTGRES_PASSWORD not in messages
    assert REDIS_PASSWORD not in messages
    assert not opened.exists()
    assert "Refusing to deserialize" in installation.said("worker1") + installation.said("worker2")
    assert {process.poll() for process in workers} == {None}
    assert _start_seconds(installation, tell, "workers") < 2


def test_the_launcher_without_workers_for_comparison(install: Installing, home: Home, tell: Tell) -> None:
    """No broker is named: runs are processes of the daemon's host, as before, and all is computed."""
    installation = install({})
    _add(installation, *HELD)
    wait_for(lambda: _is_complete(installation), 400, "everything is computed")
    _assert_all_is_right(installation, home)
    _start_seconds(installation, tell, "processes")


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_a_worker_is_lost_in_the_middle_of_a_block(
    how: str, installation: Cluster, workers: list[Process], home: Home, tell: Tell
) -> None:
    """The run has failed within 30 s; the other worker does its block; nothing is doubled, missing or only recorded."""
    if not installation.hosts.apart:
        pytest.skip("needs root: hosts are network namespaces")
    with _held_up(installation):
        _add(installation, *HELD[:4])
        wait_for(lambda: _in_the_middle(installation), 180, "both workers are in the middle of a block")
        lost = _on(installation, "worker1")
        began = time.monotonic()
        if how == "killed":
            end(workers[:1])
        else:
            installation.hosts.others[0].cut()
        wait_for(lambda: _run(installation, lost).is_finished, 60, "the run has ended")
        failed = time.monotonic() - began
    assert _run(installation, lost).status == FAILED
    wait_for(lambda: _is_complete(installation), 240, "everything is computed")
    done = time.monotonic() - began
    if how == "cut off":
        installation.hosts.others[0].join()
    assert {run.tags[HOST_TAG] for run in _runs(installation, DONE)} == {"worker2"}
    _assert_all_is_right(installation, home)
    tell(f"a worker {how}: its run has failed after {failed:.1f} s, all is computed after {done:.1f} s")
    assert failed < 30


class _Holding(Tiingo):
    """Answers about what is held only when it may."""

    def __init__(self, host: str) -> None:
        super().__init__(Anything(), KEY, host=host)
        self.waiting = 0
        self.go_on = threading.Event()

    def reply(self, asked: Asked) -> Reply:
        if self.symbol(asked) in HELD:
            self.waiting += 1
            self.go_on.wait()
        return super().reply(asked)


def test_a_late_writer_does_no_harm(places: Hosts, install: Installing, to_workers: dict[str, str], home: Home) -> None:
    """A worker is cut off with prices in hand; another does its block; then it is back, and writes what it has.

    Rows of equal values, and no second record of them.
    """
    if not places.apart:
        pytest.skip("needs root: hosts are network namespaces")
    with _Holding(places.address) as vendor:
        sells = {"price_sources": "tiingo", "tiingo_url": vendor.url, "tiingo_key": KEY, "as_of": LAST.isoformat()}
        installation = install({**to_workers, **{f"SIGMA_{name.upper()}": value for name, value in sells.items()}})
        workers = _start_workers(installation, *places.others)
        _add(installation, *HELD[:4])
        wait_for(lambda: vendor.waiting == len(workers), 240, "both workers wait for the vendor")
        late = _on(installation, "worker1")
        os.killpg(workers[0].pid, signal.SIGSTOP)  # it takes no notice of the cut
        vendor.go_on.set()
        time.sleep(1)  # the answer is on its machine
        places.others[0].cut()
        wait_for(lambda: _is_complete(installation), 240, "the other worker has computed everything")
        assert _run(installation, late).status == FAILED
        places.others[0].join()
        os.killpg(workers[0].pid, signal.SIGCONT)
        wait_for(lambda: _run(installation, late).status == DONE, 120, "the late writer has written and recorded")
        told = home.sigma("onboard", installation.folder / "book.csv", **sells)
        assert told.returncode == 0, told.stderr
    _assert_same_rows(installation, home)


def test_runs_that_are_ended_in_the_ui_are_canceled_and_stay_so(installation: Cluster, tell: Tell) -> None:
    """CANCELED within 5 s and not retried: one in the queue, one that was sent and has not begun, one at work.

    What that one had stored is recorded, and its worker goes on.
    """
    _start_workers(installation, installation.hosts.others[0])  # one, for two slots: four runs are sent
    states, seconds = list(POLICIES), []
    with _held_up(installation):
        _add(installation, *HELD[:10])
        wait_for(lambda: _in_the_middle(installation, workers=1), 180, "the worker is in the middle of a block")
        wait_for(lambda: all(_runs(installation, state) for state in states), 60, "one run is in each state")
        for run in [_runs(installation, state)[0] for state in states]:
            policy = POLICIES[run.status]
            began = time.monotonic()
            told = ask(installation.port, TERMINATE, {"id": run.run_id, "policy": policy})
            assert told["terminateRun"] == {"__typename": "TerminateRunSuccess"}
            wait_for(lambda run_id=run.run_id: _run(installation, run_id).is_finished, 40, "the run has ended")
            seconds.append(time.monotonic() - began)
    _add(installation, *HELD[10:12], name="other")
    wait_for(lambda: len(_runs(installation, DONE)) == 3, 120, "the worker has computed all others")
    wait_for(lambda: _is_recorded(installation), 60, "what was stored is recorded")
    assert sorted(run.status.value for run in _runs(installation)) == ["CANCELED"] * len(states) + ["SUCCESS"] * 3
    assert_records_are_rows(installation.home)
    told = ", ".join(f"{one:.1f} s ({state.value})" for one, state in zip(seconds, states, strict=True))
    tell(f"ended in the UI: CANCELED after {told}")
    assert max(seconds) < 5


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_a_worker_that_is_asked_to_end_loses_no_block(
    how: str, installation: Cluster, workers: list[Process], home: Home
) -> None:
    """As on a deploy. SIGTERM has it finish its block; Ctrl-C reaches the run too, which another worker takes over."""
    if not installation.hosts.apart:
        pytest.skip("needs root: hosts have names of their own")
    with _held_up(installation):
        _add(installation, *HELD[:8])
        wait_for(lambda: _in_the_middle(installation), 180, "both workers are in the middle of a block")
        ours = _on(installation, "worker1")
        asked = workers[0]
        if how == "SIGTERM":
            asked.terminate()
        else:
            os.killpg(asked.pid, signal.SIGINT)
        time.sleep(3)
        assert asked.poll() is None
    status = asked.wait(60)
    ended = _run(installation, ours).status
    wait_for(lambda: _is_complete(installation), 300, "everything is computed")
    of_it = [run.run_id for run in _runs(installation) if run.tags.get(HOST_TAG) == "worker1"]
    assert of_it == [ours]  # it took no other
    assert (status, ended) == ((0, DONE) if how == "SIGTERM" else (1, FAILED))
    _assert_all_is_right(installation, home)


def test_the_running_block_finishes_without_a_broker(
    installation: Cluster, workers: list[Process], home: Home, redis: Redis, tell: Tell
) -> None:
    """Redis is gone for ten seconds: what runs is finished meanwhile, and the rest is done when it is back."""
    with _held_up(installation):
        _add(installation, *HELD[:8])
        wait_for(lambda: _in_the_middle(installation), 180, "both workers are in the middle of a block")
        running = [run.run_id for run in _runs(installation, STARTED)]
        redis.stop()
    wait_for(lambda: all(_run(installation, run_id).status == DONE for run_id in running), 60, "they have finished")
    time.sleep(10)
    redis.start()
    back = time.monotonic()
    assert {process.poll() for process in workers} == {None}
    wait_for(lambda: _is_complete(installation), 600, "everything is computed")
    tell(f"Redis is back: all is computed after {time.monotonic() - back:.1f} s")
    _assert_all_is_right(installation, home)
    _assert_no_password_is_shown(installation)
