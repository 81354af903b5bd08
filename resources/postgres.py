"""Postgres: URLs as the driver that is installed needs them, and doing something once for all processes."""

import sqlalchemy as sa
from sqlalchemy import Connection

#: Any number, as long as nobody else locks it: "sigma" in ASCII.
_MAKING_TABLES = int.from_bytes(b"sigma")


def psycopg2_url(url: str | sa.URL) -> sa.URL:
    """Name the driver psycopg2, which Dagster needs: SQLAlchemy takes `postgresql://` for psycopg 3."""
    return sa.make_url(url).set(drivername="postgresql+psycopg2")


def lock_tables(connection: Connection) -> None:
    """Wait until no other process makes tables in this database; held until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
