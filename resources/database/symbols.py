"""What is known of each symbol, which ones are to be asked for again, and a symbol that got another name.

Here belong the tables `symbol` and `pending_fetch`. Not here: how a name is written and what a source calls it
(`resources.sources`), and the prices themselves (`prices`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database import deletions
from resources.database.bulk import upsert, within
from resources.database.tables import (
    daily_price,
    factor_exposure,
    factor_model_proxy,
    lot,
    pending_fetch,
    symbol,
    symbol_volatility,
)

_REASON_LENGTH = 500


class Known(NamedTuple):
    """A row of `symbol`."""

    symbol: str
    status: str  # "ok", or "unknown" or "delisted": then no source is asked any more
    reason: str | None  # of another status than ok
    source: str  # that said so
    revision: int
    first_session: date | None  # of the stored closes
    last_session: date | None
    new: bool = False  # nothing was stored of it before


class Pending(NamedTuple):
    """A symbol whose missing prices were asked for in vain."""

    symbol: str
    outcome: str  # "late": no row yet; "failed": the fetch; "left": the run ended before its turn
    reason: str
    session: date  # the newest one that was asked for
    retry_at: datetime  # with its zone


class RenameError(ValueError):
    """A symbol that cannot get another name."""

    def __init__(self, old: str, new: str, why: str) -> None:
        super().__init__(old, new, why)
        self.old = old
        self.new = new
        self.why = why

    def __str__(self) -> str:
        return f"{self.old} cannot be renamed to {self.new}: {self.why}"


_COLUMNS = [symbol.c[name] for name in Known._fields if name in symbol.c]


def known(connection: Connection, names: Sequence[str]) -> dict[str, Known]:
    """Give what is known of the symbols, of those that anything is known of."""
    query = sa.select(*_COLUMNS).where(within(symbol.c.symbol, names))
    wanted = set(names)
    return {row[0]: Known(*row) for row in connection.execute(query) if row[0] in wanted}


def lock(connection: Connection, sources: Mapping[str, str]) -> dict[str, Known]:
    """Give what is known of symbols (and the source that new ones come from), theirs alone until the commit.

    Who comes second reads what the first one wrote. All lock in the same order, so that none waits for another in turn.
    """
    names = sorted(sources)
    there = set(connection.execute(sa.select(symbol.c.symbol).where(within(symbol.c.symbol, names))).scalars())
    new = [{"symbol": name, "status": "ok", "source": sources[name]} for name in names if name not in there]
    if new:
        connection.execute(
            sa.text(
                "INSERT INTO symbol (symbol, status, source) VALUES (:symbol, :status, :source) ON CONFLICT DO NOTHING"
            ),
            new,
        )
    query = sa.select(*_COLUMNS).where(within(symbol.c.symbol, names)).order_by(symbol.c.symbol).with_for_update()
    return {row[0]: Known(*row)._replace(new=row[0] not in there) for row in connection.execute(query)}


def save(connection: Connection, facts: Sequence[Known]) -> None:
    """Write what is known of locked symbols now, as of a fetch."""
    if not facts:
        return
    columns: dict[str, Sequence[object]] = {
        name: [_text(getattr(fact, name)) for fact in facts] for name in Known._fields if name in symbol.c
    }
    upsert(connection, symbol, columns)
    names = [fact.symbol for fact in facts]
    connection.execute(sa.update(symbol).where(within(symbol.c.symbol, names)).values(fetched_at=sa.func.now()))


def _text(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


def settle(connection: Connection, late: Mapping[str, Sequence[date]], retry_at: datetime | None) -> None:
    """Note that the symbols were fetched: those with late sessions are pending until `retry_at`, the others no more."""
    done = [name for name, days in late.items() if not days]
    if connection.execute(sa.select(pending_fetch.c.symbol).limit(1)).first():
        connection.execute(sa.delete(pending_fetch).where(within(pending_fetch.c.symbol, done)))
    if retry_at:
        postpone(
            connection,
            [
                Pending(name, "late", f"no row yet of {', '.join(map(str, days))}", days[-1], retry_at)
                for name, days in late.items()
                if days
            ],
        )


def postpone(connection: Connection, noted: Sequence[Pending]) -> None:
    """Note symbols whose prices could not be had, and when it is worth asking for them again."""
    rows = [
        (
            told.symbol,
            told.outcome,
            told.reason[:_REASON_LENGTH],
            told.session.isoformat(),
            told.retry_at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds"),
        )
        for told in noted
    ]
    if rows:
        upsert(connection, pending_fetch, dict(zip(Pending._fields, zip(*rows, strict=True), strict=True)))


def pending(connection: Connection, names: Collection[str] | None = None) -> dict[str, Pending]:
    """Give the symbols (None: all) whose missing prices were asked for in vain."""
    query = sa.select(*(pending_fetch.c[name] for name in Pending._fields))
    if names is not None:
        query = query.where(within(pending_fetch.c.symbol, list(names)))
    rows = [Pending(*row)._replace(retry_at=row[-1].replace(tzinfo=UTC)) for row in connection.execute(query)]
    return {told.symbol: told for told in rows if names is None or told.symbol in names}


class Coverage(NamedTuple):
    """What `sigma symbols` says of one symbol."""

    known: Known
    fetched_at: datetime  # the last answer of a source, with its zone
    pending: Pending | None  # what is not there yet


def coverage(connection: Connection) -> list[Coverage]:
    """Give what is known of all symbols, in alphabetical order."""
    noted = pending(connection)
    query = sa.select(symbol.c.fetched_at, *_COLUMNS).order_by(symbol.c.symbol)
    return [
        Coverage(Known(*row), fetched_at.replace(tzinfo=UTC), noted.get(row[0]))
        for fetched_at, *row in connection.execute(query)
    ]


def check_rename(connection: Connection, old: str, new: str) -> None:
    """Raise RenameError if a symbol cannot get another name; see `rename`."""
    found = known(connection, [old, new])
    if old not in found:
        raise RenameError(old, new, f"no prices of {old} are stored")
    if new == old:
        raise RenameError(old, new, "that is its name")
    if new in found and found[new].first_session:
        raise RenameError(old, new, f"prices of {new} are stored; change the symbol in the holdings file instead")
    if connection.execute(sa.select(factor_model_proxy).where(factor_model_proxy.c.symbol == old)).first():
        raise RenameError(old, new, f"{old} is a proxy of a factor model; make a model with {new} instead")


def rename(connection: Connection, old: str, new: str) -> None:
    """Give a symbol another name: its prices, lots and results keep their numbers, as the company did.

    Portfolio rows stay. What was stored under the new name goes if it holds no close. The rows are noted under both
    names (`deletions`), so that Dagster's record follows.

    Raises:
        RenameError: nothing is known of the old name, the new one has prices of its own, or a factor model names it.
    """
    check_rename(connection, old, new)
    of_partitions = (daily_price, factor_exposure, symbol_volatility)
    for table in of_partitions:
        deletions.note(connection, table, table.c.symbol.in_([old, new]))
    tables = (*of_partitions, symbol, pending_fetch)
    for table in tables:
        connection.execute(sa.delete(table).where(table.c.symbol == new))
    for table in (*tables, lot):
        connection.execute(sa.update(table).where(table.c.symbol == old).values(symbol=new))
    # Who computes the old name meanwhile must not write its results; delisted or unknown was the old name.
    now = {"revision": symbol.c.revision + 1, "status": "ok", "reason": None}
    connection.execute(sa.update(symbol).where(symbol.c.symbol == new).values(now))
