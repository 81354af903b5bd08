"""Copies of SQLite files while others write to them, and putting such copies in their place."""

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from resources.sqlite import keep_private
from sigma_dagster.errors import BackupError

_PATIENCE = 60.0


@contextmanager
def standing_still(path: Path) -> Iterator[None]:
    """Let nobody write to the file meanwhile."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.rollback()


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that sees the file as it is now, whatever is written later."""
    with closing(connect(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


def copy(seen: sqlite3.Connection, target: Path) -> None:
    """Write what a snapshot sees to a new file; raises OSError when the disk is full."""
    with closing(sqlite3.connect(target)) as connection:
        try:
            seen.backup(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
    keep_private(target)


def version(connection: sqlite3.Connection) -> str:
    """Give the version of the tables, empty without one."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return ""
    return str((connection.execute("SELECT version_num FROM alembic_version").fetchone() or [""])[0])


def damage(path: Path) -> str:
    """Say what is wrong with a file, nothing if it is whole."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            told = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if told == "ok" else " ".join(str(told).split())


def take_over(paths: Sequence[Path]) -> None:
    """End the files' write-ahead logs, as only a single user can; raises BackupError if there is another."""
    for i, path in enumerate(paths):
        with closing(sqlite3.connect(path, timeout=1.0)) as connection:
            try:
                alone = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete"
            except sqlite3.OperationalError:
                alone = False
        if not alone:
            for other in paths[:i]:
                with closing(sqlite3.connect(other)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            raise BackupError(f"{path} is open in another process: end make dev and all other commands first")


def put(made: Path, target: Path) -> None:
    """Put a copy, which may be none, in the place of a file that nobody has open."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for beside in ("-wal", "-shm", "-journal"):
        target.with_name(target.name + beside).unlink(missing_ok=True)
    if made.exists():
        keep_private(made)
        made.replace(target)
    else:
        target.unlink(missing_ok=True)


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, with patience for others that write to it; transactions are begun by hand."""
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
