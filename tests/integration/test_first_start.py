"""The first start makes a home: by several commands at once, killed at any moment, and broken by an earlier release.

`FAULT_ROUNDS=30 pytest tests/integration/test_first_start.py` repeats what depends on chance that often.
"""

import os
import random
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorageMetadata
from dagster_postgres.event_log import PostgresEventLogStorage

from resources.dagster_storage.event_log_postgres import PostgresEventLog
from tests.support.home import Home, holdings

#: `make test-slow`.
pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))
#: The least that makes the whole home.
TINY = {"SIGMA_HISTORY_SESSIONS": "1", "SIGMA_START_DATE": "2022-12-28"}
NewHome = Callable[[], Home]


@pytest.fixture(params=["sqlite", "postgres"])
def new_home(request: pytest.FixtureRequest, tmp_path: Path) -> NewHome:
    """Name a home that nobody has made yet, with each call."""
    made: list[Home] = []

    def new() -> Home:
        variables = dict(TINY)
        if request.param == "postgres":
            for name in ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"):
                url = sa.make_url(request.getfixturevalue("new_postgres_url")())
                variables[name] = url.set(drivername="postgresql").render_as_string(hide_password=False)
        made.append(Home(tmp_path / f"home-{len(made)}", variables))
        return made[-1]

    return new


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A portfolio of one symbol."""
    return holdings(tmp_path / "book.csv", "AAPL")


def start(home: Home, *arguments: str | Path) -> "subprocess.Popen[str]":
    """Start a command."""
    command, environment = home.command(*arguments)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command


def ended(processes: Sequence["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """How each one ended, and what it said in vain."""
    ends = []
    for process in processes:
        _, errors = process.communicate(timeout=300)
        ends.append((process.returncode, errors if process.returncode else ""))
    return ends


@pytest.mark.parametrize("number", [2, 10] if ROUNDS > 2 else [3])
def test_first_commands_at_once_all_succeed(new_home: NewHome, book: Path, number: int) -> None:
    """Whoever comes first makes the home, and the others wait for it: none fails, and nothing is broken for good."""
    for _ in range({2: 6, 10: 2}.get(number, 1) if ROUNDS > 2 else 1):
        home = new_home()
        names = [f"book-{i}" for i in range(number)]
        assert ended([start(home, "onboard", book, "--name", name) for name in names]) == [(0, "")] * number
        listed = home.sigma("portfolios", "--json")
        assert all(name in listed.stdout for name in names)


def test_a_first_command_killed_at_any_moment_is_finished_by_the_next(new_home: NewHome, book: Path) -> None:
    """A half-made home does not stay one: whatever the kill left, the same command succeeds."""
    chance = random.Random()  # noqa: S311
    for _ in range(ROUNDS):
        home, moment = new_home(), chance.uniform(0.1, 5)
        process = start(home, "onboard", book)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert (moment, ended([start(home, "onboard", book)])) == (moment, [(0, "")])


def test_a_home_with_two_versions_names_the_command_that_repairs_it(core_home: Home, book: Path) -> None:
    """What two first starts of an earlier release left: every run, record and row is still there after the repair."""
    files = [core_home.path / "dagster" / name for name in ("history/runs.db", "schedules/schedules.db")]
    for file in files:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
    before, rows = core_home.events(), core_home.rows()
    broken = core_home.sigma_here("onboard", book)
    assert broken.returncode == 1
    assert str(files[0]) in broken.stderr
    assert broken.stderr.strip().endswith("sigma repair")
    assert core_home.sigma_here("repair").returncode == 0
    assert (core_home.events(), core_home.rows().keys()) == (before, rows.keys())
    assert core_home.rows("factor_exposure") == {"factor_exposure": rows["factor_exposure"]}
    assert core_home.sigma_here("onboard", book).returncode == 0
    core_home.assert_records_are_rows()


def test_a_repair_without_a_fault_changes_nothing(core_home: Home, book: Path) -> None:
    """Somebody who tries it for another fault loses nothing."""
    before = core_home.events()
    assert core_home.sigma_here("repair").returncode == 0
    assert core_home.events() == before
    assert core_home.sigma_here("onboard", book).returncode == 0
    core_home.assert_records_are_rows()


MISSING = ["asset_event_tags", "dynamic_partitions", "alembic_version", "runs", "job_ticks"]


@pytest.mark.parametrize("gone", [MISSING[:2], MISSING[2:3], MISSING[3:], MISSING])
def test_half_made_tables_in_postgres_are_finished(new_postgres_url: Callable[[], str], gone: list[str]) -> None:
    """A kill in the first start of an earlier release left some tables out: they are made, the others stay."""
    url = new_postgres_url()
    PostgresEventLog(url).dispose()
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        for table in gone:
            connection.execute(sa.text(f"DROP TABLE {table} CASCADE"))
    storage = PostgresEventLog(url)
    storage.add_dynamic_partitions("symbol", ["AAPL"])
    assert storage.get_dynamic_partitions("symbol") == ["AAPL"]
    assert storage.get_event_tags_for_asset(dg.AssetKey("daily_prices")) == []
    storage.dispose()


def test_the_tables_are_those_that_dagster_makes(new_postgres_url: Callable[[], str]) -> None:
    """Same tables, columns and indexes as Dagster's own class makes, same version, same finished data migrations."""

    def described(url: str) -> dict[str, object]:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        found: dict[str, object] = {}
        with engine.connect() as connection:
            for table in SqlEventLogStorageMetadata.tables:
                columns = [(c["name"], str(c["type"])) for c in sa.inspect(connection).get_columns(table)]
                found[table] = columns, sorted(str(i["name"]) for i in sa.inspect(connection).get_indexes(table))
            found["version"] = connection.execute(sa.text("SELECT version_num FROM alembic_version")).all()
            noted = set(connection.execute(sa.text("SELECT name FROM secondary_indexes")).scalars())
            found["noted"] = {"asset_key_table", "asset_key_index_columns"} <= noted
        return found

    theirs, ours = new_postgres_url(), new_postgres_url()
    PostgresEventLogStorage(theirs).dispose()
    PostgresEventLog(ours).dispose()
    assert described(ours) == described(theirs)


def test_another_user_of_the_machine_can_read_nothing(tmp_path: Path, book: Path) -> None:
    """Whatever the umask: the home belongs to its owner alone, and so does each database, its log included."""
    home = Home(tmp_path / "home", TINY)
    before = os.umask(0o022)
    try:
        assert home.sigma("onboard", book).returncode == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.path / "dagster").stat().st_mode) == 0o700
    databases = [path for path in home.path.rglob("*.db*") if path.suffix != ".lock"]
    assert len(databases) >= 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in databases} == {0o600}


def test_databases_of_an_earlier_release_become_private(core_home: Home) -> None:
    """They were made for all to read."""
    databases = list(core_home.path.rglob("*.db"))
    for path in databases:
        path.chmod(0o644)
    core_home.create()
    assert {stat.S_IMODE(path.stat().st_mode) for path in databases} == {0o600}


@pytest.mark.parametrize("name", ["what?mode=memory", "per%20cent %41 #ß"])
def test_a_home_of_any_name_holds_all_of_its_files(tmp_path: Path, book: Path, name: str) -> None:
    """Characters that mean something in a URL mean nothing in a path: no file lands elsewhere, in no other home."""
    home = Home(tmp_path / "homes" / name, TINY)
    assert home.sigma_here("onboard", book).returncode == 0
    assert [path.name for path in (tmp_path / "homes").iterdir()] == [name]
    assert home.count("factor_exposure") > 0
    home.assert_records_are_rows()
