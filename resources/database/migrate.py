"""Bring a database's tables to this version of the program, by the Alembic migrations in `migrations/versions`.

A new one, after a change of `tables`: `python -m resources.database.migrate "what it does"`, then read what it wrote.
"""

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from resources.postgres import lock_tables

_MIGRATIONS = Path(__file__).with_name("migrations")


def is_current(engine: Engine) -> bool:
    """Say whether the tables are those of this version of the program."""
    with engine.connect() as connection:
        return _version(connection) == _newest()


def upgrade(engine: Engine) -> None:
    """Apply the migrations that the database lacks, all in one transaction."""
    if is_current(engine):
        return
    with engine.connect().execution_options(sigma_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            lock_tables(connection)
        # Looked at again under the lock (SQLite's is taken by every write): another process may have come first.
        if _version(connection) != _newest():
            _alembic("upgrade", connection, "head")


def _newest() -> str:
    return max(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


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
