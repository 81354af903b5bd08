"""Daily prices: what is stored, storing what a source gave, reading windows of it.

A stored row is a close, or the knowledge that the source has none for that session. When a stored row changes, every
result that was computed from it is deleted in the same transaction. A close is never taken away: a source that no
longer has it, or the symbol, changes nothing. Not here: what an answer changes (`corrections`), which symbols are asked
for again and when (`symbols`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from resources import calendar
from resources.database import corrections, results, symbols
from resources.database.bulk import session_text, upsert, within
from resources.database.corrections import Comparison, StoredPrice
from resources.database.results import Corrected
from resources.database.symbols import Known
from resources.database.tables import daily_price, symbol
from resources.sources.base import PriceRow
from resources.sources.guard import RefusedPricesError

_NUMBERS = StoredPrice._fields

#: A source that follows the market may print a session late: for so many completed sessions, no row is no absence.
GRACE_SESSIONS = 10

# So many are named in a query.
_SYMBOLS_AT_A_TIME = 10_000


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
        return [self._column[name] for name in symbols]

    @cached_property
    def _column(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.symbols)}

    @cached_property
    def _row(self) -> dict[date, int]:
        return {session: i for i, session in enumerate(self.sessions)}

    @cached_property
    def complete(self) -> frozenset[str]:
        """The symbols of which every session is known."""
        return frozenset(np.array(self.symbols, dtype=object)[self.known.all(axis=0)])

    def covers(self, sessions: Sequence[date]) -> bool:
        """Say whether consecutive sessions are among its own."""
        return {sessions[0], sessions[-1]} <= self._row.keys()

    def part(self, symbols: Sequence[str], sessions: Sequence[date]) -> "PricePanel | None":
        """Give the prices of some of its symbols over some of its consecutive sessions; None if it has not all."""
        if (tuple(symbols), tuple(sessions)) == (self.symbols, self.sessions):
            return self
        if not self._column.keys() >= set(symbols) or not self.covers(sessions):
            return None
        first = self._row[sessions[0]]
        return self._cells(symbols, slice(first, first + len(sessions)))

    def joined(self, other: "PricePanel") -> "PricePanel":
        """Give both together; what is in both is as the other, of the same sessions, has it."""
        kept = self._cells([name for name in self.symbols if name not in other._column], slice(None))
        arrays = {name: np.hstack([getattr(kept, name), getattr(other, name)]) for name in _ARRAYS}
        return PricePanel(
            self.sessions, kept.symbols + other.symbols, **arrays, revision={**kept.revision, **other.revision}
        )

    def _cells(self, symbols: Sequence[str], rows: slice) -> "PricePanel":
        arrays = {name: getattr(self, name)[rows, self.columns(symbols)] for name in _ARRAYS}
        revision = {name: self.revision[name] for name in symbols if name in self.revision}
        return PricePanel(self.sessions[rows], tuple(symbols), **arrays, revision=revision)


_ARRAYS = ("close", "dividend", "split", "known")


@dataclass(frozen=True)
class Answer:
    """What a source said of one symbol."""

    symbol: str
    asked: Sequence[date]  # the sessions it was asked for because no row is stored, or by force; ascending
    rows: Sequence[PriceRow]  # checked (`resources.sources.guard`), ascending; others than those asked for too
    source: str
    status: str = "ok"  # or "unknown", "delisted": the source says so
    reason: str | None = None  # of a status that is not ok
    refused: Mapping[date, str] = field(default_factory=dict)  # rows that contradict themselves
    reach: date | None = None  # the first session that the source can give of any symbol; None: no such limit


class Stored(NamedTuple):
    """What storing one symbol's prices did."""

    sessions: list[date]  # that had no row before
    rewritten: int  # rows that had another value before
    late: list[date]  # asked sessions that may still come: nothing is stored of them


@dataclass(frozen=True)
class Outcome:
    """What storing some answers did."""

    stored: dict[str, Stored]
    refused: dict[str, RefusedPricesError]  # symbols whose answer contradicts what is stored


def grace_sessions(completed: date) -> list[date]:
    """Give the sessions that a source which follows the market may still print."""
    return calendar.last_sessions(GRACE_SESSIONS, completed)


def store(
    connection: Connection,
    answers: Sequence[Answer],
    *,
    look_back: int,
    completed: date | None = None,
    retry_at: datetime | None = None,
) -> Outcome:
    """Store the answers, and why there is no price of an asked session that a source gave no row for.

    Rows of sessions that were not asked for are stored as well: they are paid for. Results that rest on a price which
    became another one are deleted: a close is part of the returns of its session and the next, a return of the results
    of its session and the `look_back - 1` after it.

    :param look_back: how many returns a result reads.
    :param completed: the last completed session, if the sources follow the market: then the sessions of
        `grace_sessions` without a row are no absences but late, and the symbols pending until `retry_at`.
    """
    answers = sorted(answers, key=lambda answer: answer.symbol)
    known = symbols.lock(connection, {answer.symbol: answer.source for answer in answers})
    old, followed = _stored(connection, answers), _followed(connection, answers)
    done: dict[str, Stored] = {}
    refused: dict[str, RefusedPricesError] = {}
    written = _Rows()
    facts: list[Known] = []
    for answer in answers:
        before, was = old[answer.symbol], known[answer.symbol]
        share = corrections.is_other_security(before, answer.rows)
        if share is not None:
            refused[answer.symbol] = _other_security(answer, share)
            continue
        found = corrections.compare(before, answer.rows)
        now, absences, late = _told(answer, before, was, completed)
        rows = [*found.fresh, *found.rewritten, *found.refreshed]
        written.add(answer, rows, absences)
        if found.factor != 1:
            _scale(connection, answer.symbol, found.factor)
        if not was.new:
            after = connection if answer.symbol in followed else None
            corrected = _corrected(after, answer, found, before, look_back, completed)
            if results.delete_for_symbol(connection, answer.symbol, corrected) or found.factor != 1:
                now = now._replace(revision=was.revision + 1)
        facts.append(now)
        fresh = sorted([*(row.session for row in found.fresh), *absences])
        done[answer.symbol] = Stored(fresh, len(found.rewritten), late)
    upsert(connection, daily_price, written.columns())
    symbols.save(connection, facts)
    symbols.settle(connection, {name: stored.late for name, stored in done.items()}, retry_at)
    return Outcome(done, refused)


class _Rows:
    """Rows of `daily_price`, collected as columns."""

    def __init__(self) -> None:
        self._rows: list[tuple[object, ...]] = []

    def add(self, answer: Answer, rows: Sequence[PriceRow], absences: Mapping[date, str]) -> None:
        for day, *numbers in rows:
            self._rows.append((answer.symbol, day.isoformat(), *numbers, answer.source, None))
        nothing = [None] * len(_NUMBERS)
        for day, why in absences.items():
            self._rows.append((answer.symbol, day.isoformat(), *nothing, answer.source, why))

    def columns(self) -> dict[str, Sequence[object]]:
        names = ("symbol", "session", *_NUMBERS, "source", "absence")
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(names)
        return dict(zip(names, columns, strict=True))


def _stored(connection: Connection, answers: Sequence[Answer]) -> dict[str, dict[date, StoredPrice]]:
    """Read what is stored of the sessions that the answers speak of."""
    found: dict[str, dict[date, StoredPrice]] = {answer.symbol: {} for answer in answers}
    days = [day for answer in answers for day in (*answer.asked, *(row.session for row in answer.rows))]
    if not days:
        return found
    query = sa.select(daily_price.c.symbol, daily_price.c.session, *(daily_price.c[c] for c in _NUMBERS)).where(
        within(daily_price.c.symbol, list(found)), daily_price.c.session.between(min(days), max(days))
    )
    for name, day, *numbers in connection.execute(query):
        if name in found:
            found[name][day] = StoredPrice(*numbers)
    return found


def _followed(connection: Connection, answers: Sequence[Answer]) -> set[str]:
    """Name the symbols that have rows after the first session of all answers; mostly none when a session is new."""
    days = [row.session for answer in answers for row in answer.rows]
    names, row = [answer.symbol for answer in answers], daily_price.c
    if not days:
        return set()
    query = sa.select(row.symbol).where(within(row.symbol, names), row.session > min(days)).distinct()
    return set(connection.execute(query).scalars())


def _told(
    answer: Answer, before: Mapping[date, StoredPrice], was: Known, completed: date | None
) -> tuple[Known, dict[date, str], list[date]]:
    """Say what is known of the symbol now, why asked sessions have no price, and which of them may still come."""
    days = [row.session for row in answer.rows]
    first = min(filter(None, [was.first_session, *days[:1]]), default=None)
    last = max(filter(None, [was.last_session, *days[-1:]]), default=None)
    lacking = sorted(set(answer.asked).difference(before, days))
    recent = set(grace_sessions(completed)) if completed and answer.status == "ok" else set()
    status, reason = answer.status, answer.reason
    if status == "ok" and first is None and recent <= {*answer.asked, *before}:
        status, reason = "unknown", answer.reason or f"{answer.source} has no price of it"
        recent = set()
    late = [day for day in lacking if day in recent or (completed and day > completed)]
    absences = {day: _absence(answer, status, day, first) for day in lacking if day not in late}
    now = Known(answer.symbol, status, reason, answer.source, was.revision, first, last)
    return now, absences, late


def _absence(answer: Answer, status: str, day: date, first: date | None) -> str:
    if day in answer.refused:
        return "refused by the data checks"
    if answer.reach and day < answer.reach and (first is None or day < first):
        return "beyond the source's history"
    if first is None:
        return "unknown to the source" if status == "unknown" else status
    if day < first:
        return "not listed yet"
    return "delisted" if status == "delisted" else "no trade"


def _other_security(answer: Answer, share: float) -> RefusedPricesError:
    return RefusedPricesError(
        answer.source,
        answer.symbol,
        None,
        f"{len(answer.rows)} rows",
        f"{share:.0%} of the closes differ from the stored ones by more than 1% after splits: "
        "is it another security under this ticker?",
    )


def _scale(connection: Connection, name: str, factor: float) -> None:
    """Carry a new adjustment of the series to all that is stored of it: its returns stay what they are."""
    prices = {column: daily_price.c[column] * factor for column in ("open", "high", "low", "close", "dividend")}
    connection.execute(sa.update(daily_price).where(daily_price.c.symbol == name).values(prices))


def _corrected(
    connection: Connection | None,
    answer: Answer,
    found: Comparison,
    before: Mapping[date, StoredPrice],
    look_back: int,
    completed: date | None,
) -> Corrected:
    """Say which sessions' results rest on what the comparison found to be another number.

    Without a connection, nothing is stored after any row of the answer.
    """
    closes = set(found.closes)
    spans = [
        (row.session, calendar.shift(row.session, look_back if row.session in closes else look_back - 1))
        for row in found.rewritten
    ]
    # A symbol without a close at the start of a window is valued at its last one before, however old that is.
    priced = {row.session for row in answer.rows} | {day for day, row in before.items() if row.close is not None}
    stale = []
    for day in [*(row.session for row in found.fresh), *found.closes]:
        after = calendar.shift(day, 1)
        first = calendar.shift(after, look_back)
        if connection is None or after in priced or (completed and first > completed):
            continue
        upto, newest = _after(connection, answer.symbol, day)
        if newest and upto != after:
            stale.append((first, calendar.shift(upto, look_back - 1) if upto else date.max))
    return Corrected(spans, stale, found.splits)


def _after(connection: Connection, name: str, day: date) -> tuple[date | None, date | None]:
    """Give the next session with a close, and the last one with a row."""
    session = daily_price.c.session
    query = sa.select(sa.func.min(session).filter(daily_price.c.close.is_not(None)), sa.func.max(session)).where(
        daily_price.c.symbol == name, session > day
    )
    upto, newest = connection.execute(query).one()
    return upto, newest


def load(connection: Connection, symbols: Sequence[str], sessions: Sequence[date]) -> PricePanel:
    """Read the prices of the symbols over the sessions (consecutive, ascending)."""
    shape = (len(sessions), len(symbols))
    close, dividend, split = np.full(shape, np.nan), np.zeros(shape), np.ones(shape)
    known = np.zeros(shape, dtype=bool)
    at_symbol = {name: i for i, name in enumerate(symbols)}
    at_session = {session.isoformat(): i for i, session in enumerate(sessions)}
    rows = _Window(connection, sessions)
    counts = rows.counts(symbols)
    # Sessions of the calendar only are ever stored: so many rows are all of them.
    whole = [name for name, n in counts.items() if n == len(sessions) and name in at_symbol]
    for first in range(0, len(whole), _SYMBOLS_AT_A_TIME):
        part = whole[first : first + _SYMBOLS_AT_A_TIME]
        columns = [at_symbol[name] for name in part]
        close[:, columns] = rows.closes(part).reshape(len(part), len(sessions)).T
        known[:, columns] = True
    settled = set(whole)
    for name, day, price in rows.some([name for name in counts if name in at_symbol and name not in settled]):
        if day in at_session:
            cell = at_session[day], at_symbol[name]
            known[cell] = True
            close[cell] = np.nan if price is None else price
    for name, day, paid, ratio in rows.actions(symbols):
        if day in at_session and name in at_symbol:
            cell = at_session[day], at_symbol[name]
            dividend[cell], split[cell] = paid or 0.0, ratio or 1.0
    return PricePanel(tuple(sessions), tuple(symbols), close, dividend, split, known, revisions(connection, symbols))


class _Window:
    """The rows of `daily_price` from the first to the last session, read as columns: no Python object for a row."""

    def __init__(self, connection: Connection, sessions: Sequence[date]) -> None:
        self._connection = connection
        self._between = daily_price.c.session.between(sessions[0], sessions[-1])

    def counts(self, symbols: Sequence[str]) -> dict[str, int]:
        """Give the number of rows of each symbol that has any, in the database's order of symbols."""
        name = daily_price.c.symbol
        query = self._of(symbols, name, sa.func.count()).group_by(name).order_by(name)
        return dict(self._connection.execute(query).all())

    def closes(self, symbols: Sequence[str]) -> NDArray[np.float64]:
        """Give the closes by symbol and session, NaN where an absence is stored."""
        row = daily_price.c
        # Stored closes are greater than 0, and numpy takes no None here.
        query = self._of(symbols, sa.func.coalesce(row.close, -1.0)).order_by(row.symbol, row.session)
        cursor: Any = self._connection.execute(query).cursor
        found = np.fromiter(chain.from_iterable(cursor), dtype=np.float64)
        return np.where(found < 0, np.nan, found)

    def some(self, symbols: Sequence[str]) -> Sequence[Any]:
        """Give symbol, session (ISO text) and close of each row."""
        if not symbols:
            return []
        return self._rows(symbols, daily_price.c.close)

    def actions(self, symbols: Sequence[str]) -> Sequence[Any]:
        """Give symbol, session, dividend and split of the rows with one."""
        row = daily_price.c
        return self._rows(symbols, row.dividend, row.split, where=[(row.dividend != 0) | (row.split != 1)])

    def _rows(self, symbols: Sequence[str], *columns: Any, where: Sequence[Any] = ()) -> Sequence[Any]:
        query = self._of(symbols, daily_price.c.symbol, session_text(daily_price), *columns).where(*where)
        return self._connection.execute(query).all()

    def _of(self, symbols: Sequence[str], *columns: Any) -> sa.Select[Any]:
        return sa.select(*columns).where(within(daily_price.c.symbol, symbols), self._between)


class Reader:
    """Reads the prices that several results rest on once, as long as they stay what they are.

    It keeps those of one range of sessions, of all symbols that were asked for: the blocks of a new session share it.
    For a run, or for those of one command: a symbol that is renamed may come back with the revision that it had.
    """

    def __init__(self) -> None:
        self._kept: PricePanel | None = None

    def load(self, connection: Connection, symbols: Sequence[str], sessions: Sequence[date]) -> PricePanel:
        """Give what `load` would read."""
        kept = self._kept
        if kept is None or not kept.covers(sessions):
            self._kept = load(connection, symbols, sessions)
            return self._kept
        # A price that becomes another one moves the revision; one that comes where none was known does not.
        now = revisions(connection, symbols)
        same = {name for name in kept.complete if kept.revision.get(name) == now.get(name)}
        stale = [name for name in symbols if name not in same]
        if stale:
            self._kept = kept = kept.joined(load(connection, stale, kept.sessions))
        return kept.part(symbols, sessions) or load(connection, symbols, sessions)


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
