"""The connection to the domain database: transactions for reading and for writing, on SQLite or Postgres.

No query stands here; the sibling modules take the connections that `Database` hands out.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from resources.database import migrate
from resources.postgres import psycopg2_url
from resources.sqlite import keep_private, make_whole, sqlite_url

# Page size: of a new file only, so it comes before the journal. On pages of 4 kB a large write costs a sixth more.
# A large write holds up to 128 MB of pages: with fewer it writes many of them more than once.
_PRAGMAS = ("page_size=16384", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-131072")

#: Grows with every row that is inserted, changed or deleted in the database, if the server counts them.
_CHANGES = """SELECT current_setting('track_counts'), sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del)
    FROM pg_stat_user_tables"""


class NotReadyError(RuntimeError):
    """A database that is only read, and has not been made yet."""

    def __init__(self, url: sa.URL, why: str) -> None:
        super().__init__(f"{url.render_as_string()}: {why}; a sigma command, such as sigma portfolios, makes it ready")
        self.url = url
        self.why = why


class Database:
    """The domain database at `url`; it connects, and makes the tables of an empty one, when first used."""

    def __init__(self, url: str | sa.URL, *, read_only: bool = False) -> None:
        """Name the database; one that is only read is not made, and its connections cannot write."""
        self.url = sa.make_url(url)
        self.read_only = read_only

    @cached_property
    def engine(self) -> Engine:
        """The SQLAlchemy engine; raises OtherReleaseError, or NotReadyError if it is only read and not made."""
        if self.read_only:
            return _open_to_read(self.url)
        if self.url.get_backend_name() == "sqlite":
            return _open_sqlite(self.url)
        engine = sa.create_engine(psycopg2_url(self.url), pool_pre_ping=True)
        migrate.make(engine)
        return engine

    def check_release(self) -> None:
        """Raise OtherReleaseError if another release has changed the tables since they were first used."""
        migrate.is_current(self.engine)

    def state(self) -> object:
        """Give a mark of the database as it is now: an equal one later in this process says that nothing has changed.

        Asked for before anything is read, it errs on the safe side: Postgres counts a change up to ten seconds late.
        """
        if self.engine.dialect.name == "sqlite":
            # The number is the connection's own: it grows when any other has written.
            cursor = self._watching.cursor()
            cursor.execute("PRAGMA data_version")
            return cursor.fetchone()
        with self.read() as connection:
            counted, *changes = connection.exec_driver_sql(_CHANGES).one()
        return tuple(changes) if counted == "on" else object()

    @cached_property
    def _watching(self) -> sa.PoolProxiedConnection:
        """A connection that never writes, and is in no transaction: in one, it would see nothing new."""
        return self.engine.raw_connection()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database."""
        # SQLite's transactions do so anyway; it knows no other level of this name.
        level = "SERIALIZABLE" if self.engine.dialect.name == "sqlite" else "REPEATABLE READ"
        with self.engine.connect().execution_options(isolation_level=level) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give the connection of one transaction: committed at the end of the block, or undone whole."""
        with self.engine.connect().execution_options(sigma_write=True) as connection, connection.begin():
            yield connection


def upgrade(url: str | sa.URL) -> str | None:
    """Bring the tables of a database to this release's version; gives the version it had, None: it was empty.

    Raises OtherReleaseError for a newer one.
    """
    made = sa.make_url(url)
    if made.get_backend_name() != "sqlite":
        engine = sa.create_engine(psycopg2_url(made), poolclass=sa.NullPool)
    else:
        if made.database:
            make_whole(Path(made.database), _make_file)
        engine = _sqlite_engine(made)
    try:
        return migrate.upgrade(engine)
    finally:
        engine.dispose()


def _open_to_read(url: sa.URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = sa.create_engine(psycopg2_url(url), pool_pre_ping=True)

        @event.listens_for(engine, "connect")
        def _only_read(connection: Any, _record: Any) -> None:
            connection.set_session(readonly=True)

    elif not Path(url.database or "").is_file():
        raise NotReadyError(url, "there is no such file")
    else:
        engine = _sqlite_engine(_read_only_url(Path(url.database or "")), pragmas=("query_only=ON",))
    if not migrate.is_current(engine):
        raise NotReadyError(url, "it has no tables")
    return engine


def _open_sqlite(url: sa.URL) -> Engine:
    path = Path(url.database) if url.database else None  # None: in memory
    if path:
        make_whole(path, _make_file)
    if path and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _read_only_engine(path)
    engine = _sqlite_engine(url)
    migrate.make(engine)
    if path:
        keep_private(path)
    return engine


def _read_only_engine(path: Path) -> Engine:
    """Open a file that this user may read and not write, without the files that SQLite would make beside it."""
    engine = _sqlite_engine(_read_only_url(path), pragmas=())
    migrate.make(engine)
    return engine


def _read_only_url(path: Path) -> sa.URL:
    query = {"uri": "true", "mode": "ro"}
    can_share = os.access(path.parent, os.W_OK)  # the files that say who has it open
    if not (can_share or path.with_name(f"{path.name}-wal").exists()):  # nobody has it open
        query["immutable"] = "1"
    return sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)


def _make_file(path: Path) -> None:
    engine = _sqlite_engine(sqlite_url(path))
    migrate.make(engine)
    engine.dispose()


def _sqlite_engine(url: sa.URL, pragmas: Sequence[str] = _PRAGMAS) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: what it reads to decide what to write cannot change meanwhile.
        write = connection.get_execution_options().get("sigma_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
