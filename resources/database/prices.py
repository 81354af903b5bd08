"""Daily prices: what is stored, storing what a source gave, reading windows of it.

A stored row is a close, or the knowledge that the source has none for that session. When a stored row changes, every
result that was computed from it is deleted in the same transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from resources import calendar
from resources.database import results
from resources.database.bulk import session_text, upsert, within
from resources.database.tables import daily_price, symbol
from resources.sources.base import PriceRow

_NUMBERS = ("open", "high", "low", "close", "volume", "dividend", "split")
_CLOSE = _NUMBERS.index("close")
_SPLIT = _NUMBERS.index("split")


@dataclass(frozen=True)
class PricePanel:
    """Prices of symbols over consecutive sessions; every array has shape (sessions, symbols)."""

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    close: NDArray[np.float64]  # dollars, as traded; NaN where there is none
    dividend: NDArray[np.float64]  # dollars a share
    split: NDArray[np.float64]  # new shares for one old
    known: NDArray[np.bool_]  # the source was asked: a close or a recorded absence is stored
    revision: dict[str, int]  # of each symbol, when it was read

    def columns(self, symbols: Sequence[str]) -> list[int]:
        """Give the positions of the symbols in the arrays."""
        at = {name: i for i, name in enumerate(self.symbols)}
        return [at[name] for name in symbols]


class Stored(NamedTuple):
    """What storing one symbol's prices did."""

    sessions: list[date]  # that had no row before
    rewritten: int  # rows that had another value before


def store(
    connection: Connection,
    name: str,
    rows: Sequence[PriceRow],
    asked: Sequence[date],
    *,
    source: str,
    look_back: int,
) -> Stored:
    """Store a symbol's prices, and why there is none for each asked session that the source gave no row for.

    Rows of sessions that were not asked for are stored as well: they are paid for. Results that rest on a rewritten
    price are deleted: those of its session and of the `look_back` sessions after it.
    """
    by_session = {row.session: row for row in rows}
    sessions = sorted({*asked, *by_session})
    old = _stored(connection, name, sessions)
    listed = min([*by_session, *(day for day, values in old.items() if values[_CLOSE] is not None)], default=None)
    new = {day: _values(by_session.get(day), source, _absence(day, listed)) for day in sessions}
    fresh = [day for day in sessions if day not in old]
    changed = [day for day in sessions if day in old and old[day] != new[day][: len(_NUMBERS)]]
    written = fresh + changed
    columns: dict[str, Sequence[object]] = {
        "symbol": [name] * len(written),
        "session": [day.isoformat() for day in written],
    }
    for i, column in enumerate((*_NUMBERS, "source", "absence")):
        columns[column] = [new[day][i] for day in written]
    upsert(connection, daily_price, columns)
    _touch_symbol(connection, name, "ok" if listed else "unknown", source, rewritten=bool(changed))
    if changed:
        last = calendar.shift(calendar.session_on_or_before(changed[-1]), look_back)
        split = any((old[day][_SPLIT] or 1) != (new[day][_SPLIT] or 1) for day in changed)
        results.delete_for_symbol(connection, name, changed[0], last, split=split)
    return Stored(fresh, len(changed))


def _stored(connection: Connection, name: str, sessions: Sequence[date]) -> dict[date, tuple[float | None, ...]]:
    query = sa.select(daily_price.c.session, *(daily_price.c[c] for c in _NUMBERS)).where(
        daily_price.c.symbol == name, daily_price.c.session.between(sessions[0], sessions[-1])
    )
    return {row[0]: tuple(row[1:]) for row in connection.execute(query)}


def _absence(day: date, listed: date | None) -> str:
    if listed is None:
        return "unknown to the source"
    return "not listed yet" if day < listed else "no trade"


def _values(row: PriceRow | None, source: str, absence: str) -> tuple[object, ...]:
    if row is None:
        return (*[None] * len(_NUMBERS), source, absence)
    return (*(getattr(row, column) for column in _NUMBERS), source, None)


def _touch_symbol(connection: Connection, name: str, status: str, source: str, *, rewritten: bool) -> None:
    found = connection.execute(sa.select(symbol.c.revision).where(symbol.c.symbol == name)).scalar()
    values = {"status": status, "source": source, "fetched_at": sa.func.now()}
    if found is None:
        connection.execute(sa.insert(symbol).values(symbol=name, **values))
    else:
        revision = found + 1 if rewritten else found
        connection.execute(sa.update(symbol).where(symbol.c.symbol == name).values(revision=revision, **values))


def load(connection: Connection, symbols: Sequence[str], sessions: Sequence[date]) -> PricePanel:
    """Read the prices of the symbols over the sessions (consecutive, ascending)."""
    numbers = [daily_price.c[name] for name in ("close", "dividend", "split")]
    query = sa.select(daily_price.c.symbol, session_text(daily_price), *numbers).where(
        within(daily_price.c.symbol, symbols), daily_price.c.session.between(sessions[0], sessions[-1])
    )
    shape = (len(sessions), len(symbols))
    close, dividend, split = np.full(shape, np.nan), np.zeros(shape), np.ones(shape)
    known = np.zeros(shape, dtype=bool)
    at_symbol = {name: i for i, name in enumerate(symbols)}
    at_session = {session.isoformat(): i for i, session in enumerate(sessions)}
    for name, day, price, paid, ratio in connection.execute(query):
        i, j = at_session.get(day), at_symbol.get(name)
        if i is None or j is None:
            continue
        known[i, j] = True
        if price is not None:
            close[i, j] = price
        dividend[i, j] = paid or 0.0
        split[i, j] = ratio or 1.0
    return PricePanel(tuple(sessions), tuple(symbols), close, dividend, split, known, revisions(connection, symbols))


def revisions(connection: Connection, symbols: Sequence[str]) -> dict[str, int]:
    """Give the price revision of each stored symbol."""
    query = sa.select(symbol.c.symbol, symbol.c.revision).where(within(symbol.c.symbol, symbols))
    return dict(connection.execute(query).all())


def split_ratios(connection: Connection, symbols: Sequence[str], start: date, end: date) -> dict[str, float]:
    """Give, by symbol, how many shares of session `end` one share of session `start` is, where it is not one."""
    if start == end:
        return {}
    first, last = min(start, end), max(start, end)
    query = sa.select(daily_price.c.symbol, daily_price.c.split).where(
        within(daily_price.c.symbol, symbols),
        daily_price.c.session > first,
        daily_price.c.session <= last,
        daily_price.c.split != 1,
    )
    ratios: dict[str, float] = {}
    for name, ratio in connection.execute(query):
        ratios[name] = ratios.get(name, 1.0) * (ratio if start < end else 1 / ratio)
    return ratios


def last_closes(connection: Connection, symbols: Sequence[str], before: date) -> dict[str, tuple[date, float]]:
    """Give the last stored close of each symbol before a session, and its session."""
    earlier = daily_price.c.close.is_not(None) & (daily_price.c.session < before)
    last = (
        sa.select(daily_price.c.symbol, sa.func.max(daily_price.c.session).label("session"))
        .where(within(daily_price.c.symbol, symbols), earlier)
        .group_by(daily_price.c.symbol)
        .subquery()
    )
    query = sa.select(daily_price.c.symbol, daily_price.c.session, daily_price.c.close).join(
        last, (last.c.symbol == daily_price.c.symbol) & (last.c.session == daily_price.c.session)
    )
    return {name: (day, close) for name, day, close in connection.execute(query)}
