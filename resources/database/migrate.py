"""The tables of a database at this release's version, by the Alembic migrations in `migrations/versions`.

An empty database gets its tables without being asked. One of an older release is refused until `sigma db upgrade`
runs the migrations: a new program that is started for a look must not change what the old one still works with.

A new one, after a change of `tables`: `python -m resources.database.migrate "what it does"`, then read what it wrote.
"""

import sys
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from resources.postgres import lock_tables
from resources.releases import OtherReleaseError

_MIGRATIONS = Path(__file__).with_name("migrations")


def is_current(engine: Engine) -> bool:
    """Say whether the tables are those of this release, and not missing; raises OtherReleaseError."""
    with engine.connect() as connection:
        found = version(connection)
    if found not in (None, newest()):
        raise other_release(engine.url, found)
    return found is not None


def make(engine: Engine) -> None:
    """Make the tables of an empty database; raises OtherReleaseError for those of another release."""
    if not is_current(engine):
        _migrate(engine)


def upgrade(engine: Engine) -> str | None:
    """Apply the migrations that the database lacks, all in one transaction; gives the version that it had.

    Raises OtherReleaseError for a newer one, which is left as it is.
    """
    with engine.connect() as connection:
        found = version(connection)
    if found is not None and found > newest():
        raise other_release(engine.url, found)
    if found != newest():
        _migrate(engine)
    return found


def make_version(connection: Connection, wanted: str) -> None:
    """Make the tables of an empty database as the release with this version had them, in the caller's transaction."""
    _alembic("upgrade", connection, wanted)


def other_release(url: sa.URL, found: str) -> OtherReleaseError:
    """Give the refusal of a database at another version."""
    return OtherReleaseError(url.render_as_string(), found, newest(), older=found < newest())


@cache
def newest() -> str:
    """Give the version of this release's tables: of the code that the process imported, whatever replaced its files."""
    return max(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def version(connection: Connection) -> str | None:
    """Give the version of a database's tables, None if it has none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine) -> None:
    with engine.connect().execution_options(sigma_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            lock_tables(connection)
        # Looked at again under the lock (SQLite's is taken by every write): another process may have come first.
        if version(connection) != newest():
            _alembic("upgrade", connection, "head")


def _alembic(command: str, connection: Connection, *arguments: str, **options: object) -> None:
    # Imported here because only a new or an old database needs it.
    import alembic.command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    getattr(alembic.command, command)(config, *arguments, **options)


def _new_migration(message: str) -> None:
    number = f"{len(list((_MIGRATIONS / 'versions').glob('[0-9]*.py'))) + 1:04}"
    with tempfile.TemporaryDirectory() as folder, sa.create_engine(f"sqlite:///{folder}/db").connect() as connection:
        _alembic("upgrade", connection, "head")
        _alembic("revision", connection, message=message, autogenerate=True, rev_id=number)


if __name__ == "__main__":
    _new_migration(sys.argv[1])
