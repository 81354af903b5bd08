"""The tables of Dagster's three storages: making them whole, and finishing or repairing what is half made.

Dagster makes tables, then stamps their version, then notes which data migrations an empty database does not need, each
on its own and without a lock: two processes at once, or a kill in between, leave a database that nothing opens again.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import alembic.command
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.migration import ASSET_DATA_MIGRATIONS, EVENT_LOG_DATA_MIGRATIONS
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs import migration as runs_data
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules import migration as schedules_data
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION
from sqlalchemy import Connection, Engine, MetaData

from resources.postgres import lock_tables, psycopg2_url
from resources.releases import OtherReleaseError
from resources.secret_files import read_url
from resources.sqlite import keep_private, lock_file, make_whole, sqlite_url

#: The version of the tables of Dagster 1.13; asking Dagster takes 30 ms.
HEAD = "29b539ebc72a"

_VERSION = sa.table("alembic_version", sa.column("version_num"))


class TwoVersionsError(RuntimeError):
    """A database that two processes made at the same time, without a lock: an earlier release did so."""


class Group(NamedTuple):
    """The tables of one storage."""

    metadata: MetaData
    main: str
    """The table without whose rows there is nothing in the others."""
    migrations: tuple[str, ...]
    """Data migrations that an empty database does not need."""


RUNS = Group(RunStorageSqlMetadata, "runs", (*runs_data.REQUIRED_DATA_MIGRATIONS, *runs_data.OPTIONAL_DATA_MIGRATIONS))
SCHEDULES = Group(
    ScheduleStorageSqlMetadata,
    "jobs",
    (*schedules_data.REQUIRED_SCHEDULE_DATA_MIGRATIONS, *schedules_data.OPTIONAL_SCHEDULE_DATA_MIGRATIONS),
)
EVENTS = Group(SqlEventLogStorageMetadata, "event_logs", (*EVENT_LOG_DATA_MIGRATIONS, *ASSET_DATA_MIGRATIONS))


def open_sqlite(path: Path, group: Group) -> str:
    """Give the URL of a storage's file, which is made if it is not there, and finished if it is half made.

    Raises TwoVersionsError, OtherReleaseError.
    """
    make_whole(path, lambda new: _make_file(new, group))
    with _engine(sqlite_url(path)).connect() as connection:
        whole = _is_whole(connection, [group])
    if not whole:
        with lock_file(path), _engine(sqlite_url(path)).begin() as connection:
            _finish(connection, [group])
    keep_private(path)
    return sqlite_url(path).render_as_string()


class CurrentTables:
    """Spares the storages Dagster's looks whether a table or a column is there yet, which come before many a statement.

    All are there: `open_sqlite` and `open_postgres` refuse other versions.
    """

    def has_table(self, table_name: str) -> bool:
        """Say whether the event log has the table."""
        return table_name in EVENTS.metadata.tables

    def has_asset_key_index_cols(self) -> bool:
        """Say that newest materializations stand in columns."""
        return True

    def has_run_stats_index_cols(self) -> bool:
        """Say that runs have columns of their start and end."""
        return True

    def has_backfill_id_column(self) -> bool:
        """Say that runs name their backfill."""
        return True


class KeptEngine:
    """What the SQLite storages share: one engine each, where Dagster makes one a statement and compiles it anew.

    A connection stays open for the next transaction, of any thread, until the storage is disposed of.
    """

    _conn_string: str
    _pool: type[sa.Pool] = sa.QueuePool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # One for each process: SQLite's connections must not be used, nor closed, in a forked one.
        self._engines: dict[int, Engine] = {}
        super().__init__(*args, **kwargs)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Give the connection of one transaction."""
        process = os.getpid()
        if process not in self._engines:
            self._engines[process] = _engine(self._conn_string, self._pool)
        with self._engines[process].begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the connections that nobody uses now."""
        if engine := self._engines.get(os.getpid()):
            engine.dispose()


class KeptConnection:
    """What the Postgres storages share: a connection stays open for the next statement, where Dagster makes one each.

    More are made while several threads want one. One that the server has ended meanwhile is made anew.
    """

    postgres_url: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine = sa.create_engine(
            self.postgres_url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=-1, pool_pre_ping=True
        )

    def dispose(self) -> None:
        """Close the connections that nobody uses now."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


def open_postgres(url: str | sa.URL) -> str:
    """Give the URL of a database with its driver; what it lacks of the three storages' tables is made, all or nothing.

    A text that is no URL is the path of a file that holds one.

    Raises TwoVersionsError, OtherReleaseError.
    """
    if isinstance(url, str):
        url = read_url(url)
    engine = sa.create_engine(psycopg2_url(url), poolclass=sa.NullPool)
    groups = (RUNS, SCHEDULES, EVENTS)
    with engine.connect() as connection:
        whole = _is_whole(connection, groups)
    if not whole:
        with engine.begin() as connection:
            lock_tables(connection)
            _finish(connection, groups)
    return engine.url.render_as_string(hide_password=False)


def other_release(url: sa.URL, found: str) -> OtherReleaseError:
    """Give the refusal of tables of another release of Dagster."""
    return OtherReleaseError(url.render_as_string(), found, HEAD, older=is_older(found))


def is_older(found: str) -> bool:
    """Say whether the version of tables is one that Dagster knows, so that it can bring them to its own."""
    return found in {script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()}


def make(connection: Connection) -> None:
    """Make the tables of all three storages, in the caller's transaction."""
    _make(connection, (RUNS, SCHEDULES, EVENTS))


def upgrade_sqlite(path: Path) -> str | None:
    """Bring a file's tables to this release of Dagster; gives the version they had. Raises OtherReleaseError."""
    with lock_file(path), _engine(sqlite_url(path)).begin() as connection:
        return _upgrade(connection)


def upgrade_postgres(url: str | sa.URL) -> str | None:
    """Do the same with a database; gives None for one without tables, which the first opening makes."""
    with sa.create_engine(psycopg2_url(url), poolclass=sa.NullPool).begin() as connection:
        lock_tables(connection)
        return _upgrade(connection)


def _upgrade(connection: Connection) -> str | None:
    found = next(iter(_versions(connection)), None)
    if found in (None, HEAD):
        return found
    refusal = other_release(connection.engine.url, found)
    if not refusal.older:
        raise refusal
    config = _alembic_config()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
    return found


def repair_sqlite(path: Path, group: Group) -> None:
    """Make a file whole that has two versions: the tables of both are the same."""
    with lock_file(path), _engine(sqlite_url(path)).begin() as connection:
        _make(connection, [group])


def _engine(url: str | sa.URL, pool: type[sa.Pool] = sa.NullPool) -> Engine:
    # As many threads as want a connection get one.
    unlimited = {"max_overflow": -1} if pool is sa.QueuePool else {}
    return sa.create_engine(url, poolclass=pool, connect_args={"timeout": 60}, **unlimited)


def _make_file(path: Path, group: Group) -> None:
    with _engine(sqlite_url(path)).connect() as connection:
        # Dagster's rows are long, and larger pages hold more of them.
        for pragma in ("page_size=16384", "journal_mode=WAL"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        _make(connection, [group])
        connection.commit()


def _is_whole(connection: Connection, groups: Sequence[Group]) -> bool:
    found = _versions(connection)
    if found - {HEAD}:
        raise other_release(connection.engine.url, *found)
    present = set(sa.inspect(connection).get_table_names())
    expected = {name for group in groups for name in group.metadata.tables}
    return found == {HEAD} and expected <= present


def _versions(connection: Connection) -> set[str]:
    if not sa.inspect(connection).has_table(_VERSION.name):
        return set()
    found = set(connection.execute(sa.select(_VERSION)).scalars())
    if len(found) > 1:
        raise TwoVersionsError(f"{connection.engine.url.database}: two processes made this database at the same time")
    return found


def _finish(connection: Connection, groups: Sequence[Group]) -> None:
    _versions(connection)  # looked at again under the lock
    _make(connection, groups)


def _make(connection: Connection, groups: Sequence[Group]) -> None:
    for group in groups:
        group.metadata.create_all(connection)
        tables = group.metadata.tables
        if connection.execute(sa.select(tables[group.main]).limit(1)).first() is None:
            notes = tables["secondary_indexes"]
            known = set(connection.execute(sa.select(notes.c.name)).scalars())
            for name in set(group.migrations) - known:
                connection.execute(sa.insert(notes).values(name=name, migration_completed=datetime.now()))  # noqa: DTZ005 - as Dagster does
    config = _alembic_config()
    config.attributes["connection"] = connection
    alembic.command.stamp(config, "head", purge=True)


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", ALEMBIC_SCRIPTS_LOCATION)
    config.set_main_option("path_separator", "os")
    return config
