"""Whether the process of a run lives: told by a lock that ends with it, never guessed; the same on both databases."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from assets.factor_models import SAMPLE_5
from resources.database import executions
from resources.database.engine import Database
from resources.database.executions import ClaimedError
from resources.sources.sample import SampleSource
from sigma_dagster.runs.liveness import alive, forget, hold, is_alive, left_behind, release
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
from tests.support.home import ROOT


def services_of(database: Database, home: Path) -> Services:
    """The parts of a home whose domain database is given."""
    url = database.url.set(drivername=database.url.get_backend_name()).render_as_string(hide_password=False)
    settings = Settings.from_environment({"SIGMA_HOME": str(home), "SIGMA_DATABASE_URL": url})
    return Services(settings, database, SampleSource(), SAMPLE_5)


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Services:
    """On SQLite, and on Postgres."""
    return services_of(database, tmp_path)


@pytest.fixture
def other(services: Services, tmp_path: Path) -> Iterator[Services]:
    """The parts as another process has them; on Postgres one of another home, as on another host."""
    home = tmp_path / "other" if services.database.url.get_backend_name() == "postgresql" else tmp_path
    made = services_of(Database(services.database.url), home)
    yield made
    made.database.engine.dispose()


#: Holds the run `run` and says so; then it waits to be killed.
HOLDER = """
import os, sys, time
from sigma_dagster.runs import liveness
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
liveness.hold(Services.of(Settings.from_environment(os.environ)), "run")
print("held", flush=True)
time.sleep(600)
"""


def holder(services: Services) -> "subprocess.Popen[str]":
    """Start a process that holds a run."""
    settings = services.settings
    url = settings.database_url.render_as_string(hide_password=False)
    environment = {**os.environ, "SIGMA_HOME": str(settings.home), "SIGMA_DATABASE_URL": url}
    process = subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", HOLDER], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_lives_while_it_is_executed(services: Services, other: Services) -> None:
    """Inside the block the run lives, for every process; after it, nothing of it is left."""
    with alive(services, "run"):
        assert (is_alive(services, "run"), is_alive(other, "run")) == (True, True)
        assert left_behind(other) == []
    assert (is_alive(services, "run"), is_alive(other, "run")) == (False, False)
    assert left_behind(other) == []
    assert not list((services.settings.dagster_home / "running").glob("*"))


def test_a_run_that_raises_is_left_behind_until_it_is_looked_after(services: Services, other: Services) -> None:
    """What ended badly may have rows without records: its note says so to the next command."""
    with pytest.raises(KeyError), alive(services, "run"):
        raise KeyError
    assert left_behind(other) == ["run"]
    assert not is_alive(other, "run")
    forget(other, ["run"])
    assert left_behind(services) == []


def test_a_killed_process_leaves_its_run_behind(services: Services) -> None:
    """SIGKILL runs no code of ours; the operating system or the server frees the lock."""
    process = holder(services)
    assert process.stdout
    assert is_alive(services, "run")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    while is_alive(services, "run"):  # the server needs a moment to see the end of the connection
        pass
    assert left_behind(services) == ["run"]


def test_a_run_that_begins_is_never_taken_for_one_left_behind(services: Services, other: Services) -> None:
    """Others look for dead runs at every moment: none of them finds a run whose process is just taking its lock."""
    found: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            left = left_behind(other)
            found.extend(run_id for run_id in left if run_id == current[0])
            forget(other, left)

    current = [""]
    looker = threading.Thread(target=look)
    looker.start()
    try:
        for number in range(100):
            current[0] = str(number)
            with alive(services, str(number)):
                assert is_alive(services, str(number))
                current[0] = ""
    finally:
        stop.set()
        looker.join()
    assert found == []


def test_a_postgres_lock_outlives_no_connection(postgres_with_tables: Callable[[], str], tmp_path: Path) -> None:
    """A connection that the server ended, as after a cut network, holds nothing; to release it then is no error."""
    services = services_of(Database(postgres_with_tables()), tmp_path)
    hold(services, "run")
    with services.database.write() as connection:
        ended = connection.execute(
            sa.text("SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'")
        )
        assert ended.scalars().all() == [True]
    assert left_behind(services) == ["run"]
    release(services, "run")
    assert left_behind(services) == []
    services.database.engine.dispose()


# --- claims, in the database


def test_of_many_that_claim_at_once_one_gets_each_part(services: Services) -> None:
    """Askers in the same millisecond: the database lets one of them have a part, and nobody waits for ever."""
    runs = [f"run {number}" for number in range(8)]
    for run_id in runs:
        hold(services, run_id)
    start = threading.Barrier(len(runs))

    def ask(number: int) -> bool:
        # Each shares half of its parts with the next, in an order of its own.
        parts = [("daily_prices", f"S{(number * 10 + i) % 80}") for i in range(20)]
        start.wait()
        try:
            with services.database.write() as connection:
                executions.claim(connection, runs[number], parts[:: (-1) ** number])
        except ClaimedError:
            return False
        return True

    with ThreadPoolExecutor(len(runs)) as pool:
        got = list(pool.map(ask, range(len(runs))))
    assert any(got)
    assert not any(got[number] and got[(number + 1) % 8] for number in range(8))
    for run_id in runs:
        release(services, run_id)
    with services.database.read() as connection:
        assert executions.claimants(connection, "daily_prices", [f"S{i}" for i in range(80)]) == set()


def test_a_claim_is_whole_or_none(services: Services) -> None:
    """A run that is refused one part has none of the others either."""
    with alive(services, "first"), alive(services, "second"):
        with services.database.write() as connection:
            executions.claim(connection, "first", [("daily_prices", "KO")])
        with pytest.raises(ClaimedError), services.database.write() as connection:
            executions.claim(connection, "second", [("daily_prices", "AAPL"), ("daily_prices", "KO")])
        with services.database.read() as connection:
            assert executions.claimants(connection, "daily_prices", ["AAPL", "KO"]) == {"first"}
