"""Postgres: URLs as the driver that is installed needs them, and doing something once for all processes."""

import sqlalchemy as sa
from sqlalchemy import Connection

#: Seconds, of both ends: a connection that is silent is given up after 5 + 3 x 5, and one that takes no data after 20.
#: Else the transactions of a host that was cut off hold their locks for hours. Over a Unix socket they mean nothing.
_KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3}
_MILLISECONDS_WITHOUT_ANSWER = 20_000
_CLIENT = {**_KEEPALIVES, "tcp_user_timeout": _MILLISECONDS_WITHOUT_ANSWER}
_SERVER = {f"tcp_{name}": value for name, value in _KEEPALIVES.items()} | {
    "tcp_user_timeout": _MILLISECONDS_WITHOUT_ANSWER
}

#: Any number, as long as nobody else locks it: "sigma" in ASCII.
_MAKING_TABLES = int.from_bytes(b"sigma")


def psycopg2_url(url: str | sa.URL) -> sa.URL:
    """Give the URL for the driver psycopg2, which Dagster needs, with keepalives at both ends.

    SQLAlchemy takes `postgresql://` for psycopg 3. What a user's URL says itself of connections stays.
    """
    made = sa.make_url(url).set(drivername="postgresql+psycopg2")
    client = {name: str(value) for name, value in _CLIENT.items() if name not in made.query}
    server = " ".join(f"-c {name}={value}" for name, value in _SERVER.items())
    return made.update_query_dict({**client, "options": made.query.get("options", server)})


def lock_tables(connection: Connection) -> None:
    """Wait until no other process makes tables in this database; held until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
