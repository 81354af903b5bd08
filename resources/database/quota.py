"""Attempts at providers and notes about them, counted and kept for all processes that share the database.

An attempt counts in a limit until the limit's time has passed since its *end*: whatever delays a request on its way,
the provider never sees two of them closer together than the limit allows. Not here: the limits (each source knows
its own) and the waiting (`resources.sources.meter`).
"""

import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database.bulk import upsert
from resources.database.engine import Database
from resources.database.tables import provider_call, provider_note
from resources.sources.meter import Limit, Turn

#: Seconds after which an attempt that never ended (its process was killed) is over: longer than any time-out.
_LEASE = 40.0
_KEPT = 2 * 86_400.0
_CLOSED = "closed until"


class DatabaseMeter:
    """A `resources.sources.meter.Meter` on two tables of the domain database.

    The clock is the database server's on Postgres, so that hosts agree; a test may give another.
    """

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._clock = clock

    def begin(self, account: str, limits: Sequence[Limit]) -> Turn:
        """Count an attempt that begins now and give its ticket, or count nothing and say how long to wait."""
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":
                # Held to the end of the transaction: two hosts do not both take the last turn.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(zlib.crc32(account.encode()))))
            now = self._now(connection)
            until, rule = max([self._closed(connection, account), *self._waits(connection, account, limits, now)])
            if until > now:
                return Turn(None, until - now, _moment(until), rule)
            connection.execute(
                sa.delete(provider_call).where(provider_call.c.account == account, provider_call.c.began < now - _KEPT)
            )
            made = sa.insert(provider_call).values(account=account, began=now).returning(provider_call.c.id)
            return Turn(connection.execute(made).scalar_one(), 0.0, _moment(now), "")

    def end(self, ticket: int) -> None:
        """Say that the attempt is over; until then it counts as being made now."""
        with self._database.write() as connection:
            ended = sa.update(provider_call).where(provider_call.c.id == ticket)
            connection.execute(ended.values(ended=self._now(connection)))

    def close(self, account: str, seconds: float, rule: str) -> datetime:
        """Give no more turns for so many seconds: the provider says that its quota is spent. Returns the end."""
        with self._database.write() as connection:
            until = self._now(connection) + seconds
            _write_note(connection, account, _CLOSED, f"{until!r} {rule}")
        return _moment(until)

    def used(self, account: str, seconds: float) -> int:
        """Count the attempts that began in the last `seconds`."""
        with self._database.read() as connection:
            since = provider_call.c.began > self._now(connection) - seconds
            query = sa.select(sa.func.count()).where(provider_call.c.account == account, since)
            return int(connection.execute(query).scalar_one())

    def note(self, account: str, name: str) -> str | None:
        """Give what was noted under a name, None if nothing was."""
        with self._database.read() as connection:
            return _read_note(connection, account, name)

    def set_note(self, account: str, name: str, text: str) -> None:
        """Note a text under a name, instead of what stands there."""
        with self._database.write() as connection:
            _write_note(connection, account, name, text)

    def _now(self, connection: Connection) -> float:
        if self._clock:
            return self._clock()
        if connection.dialect.name == "postgresql":
            return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        return time.time()

    @staticmethod
    def _closed(connection: Connection, account: str) -> tuple[float, str]:
        until, _, rule = (_read_note(connection, account, _CLOSED) or "0").partition(" ")
        return float(until), rule

    @staticmethod
    def _waits(connection: Connection, account: str, limits: Sequence[Limit], now: float) -> list[tuple[float, str]]:
        """When each limit has room again: its time after the end of the attempt that fills it."""
        unfinished = sa.case((provider_call.c.began > now - _LEASE, now), else_=provider_call.c.began)
        over = sa.func.coalesce(provider_call.c.ended, unfinished)
        waits = []
        for limit in limits:
            query = (
                sa.select(over)
                .where(provider_call.c.account == account, over > now - limit.seconds)
                .order_by(over.desc())
                .offset(limit.requests - 1)
                .limit(1)
            )
            fills = connection.execute(query).scalar()
            if fills is not None:
                waits.append((fills + limit.seconds, limit.rule))
        return waits


class Spent(NamedTuple):
    """What was asked of a provider lately."""

    source: str
    calls: int  # attempts in the last 24 hours, over which daily limits count
    closed_until: datetime | None  # it says that its quota is spent until then


def spent(connection: Connection, sources: Sequence[str], now: datetime) -> list[Spent]:
    """Give what was asked of these sources, and of any other, in the last 24 hours; all accounts of one together."""
    at = now.timestamp()
    query = sa.select(provider_call.c.account).where(provider_call.c.began > at - 86_400.0)
    calls = Counter(account.split()[0] for account in connection.execute(query).scalars())
    closed: dict[str, float] = {}
    notes = sa.select(provider_note.c.account, provider_note.c.text).where(provider_note.c.name == _CLOSED)
    for account, text in connection.execute(notes):
        source, until = account.split()[0], float(text.partition(" ")[0])
        closed[source] = max(until, closed.get(source, 0.0))
    return [
        Spent(source, calls[source], _moment(closed[source]) if closed.get(source, 0.0) > at else None)
        for source in dict.fromkeys([*sources, *sorted(calls), *sorted(closed)])
    ]


def _read_note(connection: Connection, account: str, name: str) -> str | None:
    query = sa.select(provider_note.c.text).where(provider_note.c.account == account, provider_note.c.name == name)
    return connection.execute(query).scalar()


def _write_note(connection: Connection, account: str, name: str, text: str) -> None:
    upsert(connection, provider_note, {"account": [account], "name": [name], "text": [text]})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
