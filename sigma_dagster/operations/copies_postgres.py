"""Copies of a Postgres database while others write to it, and loading such copies.

Rows travel by COPY through the driver that is installed anyway: pg_dump is a program of the server's release, which a
machine that is empty, or reaches its server over the network, does not have. The tables themselves are made by the
migrations, so that a restored database is one that this program made.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from resources.postgres import psycopg2_url
from sigma_dagster.analysis.wording import counted
from sigma_dagster.errors import BackupError

#: Less than Postgres waits before it looks for a deadlock: of two that wait for each other, the backup gives way.
_LOCK_MILLISECONDS = 500
_ATTEMPTS = 60
#: A session that was just ended is seen for a moment: so often it is looked for, with a pause in seconds.
_LOOKS = 20
_PAUSE = 0.1
_VERSION = "alembic_version"


def engine(url: sa.URL) -> Engine:
    """Make an engine that keeps no connection."""
    return sa.create_engine(psycopg2_url(url), poolclass=sa.NullPool)


@contextmanager
def standing_still(url: sa.URL) -> Iterator[None]:
    """Let nobody write to the tables meanwhile; raises BackupError if that cannot be had for a minute."""
    with engine(url).connect() as connection:
        names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in _tables(connection))
        for _ in range(_ATTEMPTS):
            try:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}"))
                if names:
                    connection.execute(sa.text(f"LOCK TABLE {names} IN SHARE MODE"))
                break
            except OperationalError:
                connection.rollback()
        else:
            raise BackupError("the database was written to all the time for half a minute: try again later")
        try:
            yield
        finally:
            connection.rollback()


@contextmanager
def snapshot(url: sa.URL) -> Iterator[Connection]:
    """Give a connection that sees the database as it is now, whatever is written later."""
    with engine(url).connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        connection.execute(sa.text("SELECT 1 FROM pg_class LIMIT 1")).all()
        yield connection


def version(connection: Connection) -> str:
    """Give the version of the tables, empty without one."""
    if not sa.inspect(connection).has_table(_VERSION):
        return ""
    return str(connection.execute(sa.text(f"SELECT version_num FROM {_VERSION}")).scalar() or "")  # noqa: S608 - a name of ours


def copy(seen: Connection, folder: Path) -> dict[str, Any]:
    """Write a file for each table; gives their columns and the state of their sequences."""
    inspector, tables = sa.inspect(seen), {}
    cursor = _cursor(seen)
    for name in _tables(seen):
        columns = [column["name"] for column in inspector.get_columns(name)]
        tables[name] = columns
        with (folder / f"{name}.copy").open("wb") as file:
            cursor.copy_expert(f"COPY {_of(seen, name, columns)} TO STDOUT", file)
    found = seen.execute(
        sa.text("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()")
    )
    return {"tables": tables, "sequences": dict(found.all())}


def refuse_others(connection: Connection) -> None:
    """Raise BackupError while other sessions are connected, such as a web server that would mix old rows with new."""
    others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    for _ in range(_LOOKS):
        count = connection.execute(others).scalar_one()
        connection.rollback()  # the server shows a transaction the same sessions all the time
        if not count:
            return
        time.sleep(_PAUSE)
    raise BackupError(
        f"{connection.engine.url.database} has {counted(count, 'other session')}: end make dev, the workers, and all "
        "other commands and clients first"
    )


def load(
    connection: Connection, folder: Path, tables: Mapping[str, list[str]], sequences: Mapping[str, int | None]
) -> None:
    """Replace all rows, and set the sequences, in the caller's transaction."""
    there = _tables(connection)
    if unknown := sorted({*tables} - {*there}):
        raise BackupError(f"the database has no table {unknown[0]}")
    names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in there)
    connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    cursor = _cursor(connection)
    for name in there:  # a table after those that it refers to
        if name in tables:
            with (folder / f"{name}.copy").open("rb") as file:
                try:
                    cursor.copy_expert(f"COPY {_of(connection, name, tables[name])} FROM STDIN", file)
                except (psycopg2.DataError, psycopg2.IntegrityError):
                    raise BackupError(f"{name}: the database refuses its rows; nothing was replaced") from None
    for name, last in sequences.items():
        if last is not None:
            connection.execute(
                sa.text("SELECT setval(:name, :last)"), {"name": _quoted(connection, name), "last": last}
            )


def _tables(connection: Connection) -> list[str]:
    """Name the tables, each after those that it refers to."""
    ordered = sa.inspect(connection).get_sorted_table_and_fkc_names()
    return [name for name, _ in ordered if name and name != _VERSION]


def _of(connection: Connection, name: str, columns: list[str]) -> str:
    return f"{_quoted(connection, name)} ({', '.join(_quoted(connection, column) for column in columns)})"


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()
