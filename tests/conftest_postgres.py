"""A real Postgres for the tests."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from resources.database.engine import Database
from tests.support import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server that lives as long as the session (0.8 s to start)."""
    with postgres.running() as server:
        yield server.get_uri(driver="psycopg2")


@pytest.fixture
def new_postgres_url(postgres_server: str) -> Callable[[], str]:
    """Make an empty database with each call."""
    return lambda: postgres.create(postgres_server)


@pytest.fixture
def copy_postgres(postgres_server: str) -> Callable[[str], str]:
    """Make a copy of a database, which nobody may have open, with each call."""
    return lambda url: postgres.create(postgres_server, str(sa.make_url(url).database))


@pytest.fixture(scope="session")
def postgres_with_tables(postgres_server: str) -> Callable[[], str]:
    """Make a database with the domain's tables, and nothing in them, with each call."""
    url = postgres.create(postgres_server)
    database = Database(url)
    with database.read():
        pass
    database.engine.dispose()
    template = str(sa.make_url(url).database)
    return lambda: postgres.create(postgres_server, template)
