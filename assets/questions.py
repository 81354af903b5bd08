"""What the asset checks ask the stored rows: each question gives what offends, and nothing if all is well.

Plain questions to the database, about all rows or about a part of them. Not here: which checks there are, when they
are asked, and how their answers reach Dagster (`checks`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterEventType
from sqlalchemy import ColumnElement, Connection

from assets.catalogue import Asset
from assets.factor_models import FactorModel
from assets.numerics.constants import MIN_COVERAGE
from resources import calendar
from resources.database import bulk, symbols
from resources.database.engine import Database
from resources.database.tables import daily_price, lot, portfolio, portfolio_factor_exposure, symbol

#: A larger move from one session to the next is worth a look: mostly it is a split that the source did not report.
MAX_MOVE = 0.4
#: So many equal closes in a row are mostly a price that nobody makes any more.
EQUAL_CLOSES = 5
#: New prices are looked at: those of so many sessions up to the newest.
RECENT_SESSIONS = 30
#: Betas as of today need factor prices of today; so many sessions bridge a refresh that failed over a weekend.
MAX_SESSIONS_BEHIND = 2
#: The longest pause between two sessions so far was a week.
_PAUSE = timedelta(days=7)
#: More partitions than this are listed by Dagster at once faster than they are looked up.
_FEW_PARTITIONS = 5_000


class Scope(NamedTuple):
    """The rows that are looked at: of some keys (None: all), of the sessions `first` to `last` (None: all)."""

    keys: Sequence[str] | None = None
    first: date | None = None
    last: date | None = None

    def where(self, key: ColumnElement[Any], session: ColumnElement[Any]) -> Iterator[ColumnElement[bool]]:
        """Restrict a query to the rows."""
        if self.keys is not None:
            yield bulk.within(key, self.keys)
        if self.first is not None and self.last is not None:
            yield session.between(self.first, self.last)

    def with_neighbours(self) -> "Scope":
        """Take in the sessions on both sides: a move has two ends, and so has a hole."""
        if self.first is None or self.last is None:
            return self
        return self._replace(first=self.first - _PAUSE, last=self.last + _PAUSE)


EVERYTHING = Scope()


class Offender(NamedTuple):
    """What a question found: the key whose rows offend, and how it is named to people."""

    key: str
    text: str


@dataclass(frozen=True)
class Asked:
    """Whom a question is put to."""

    asset: Asset
    instance: dg.DagsterInstance
    database: Database
    model: FactorModel
    scope: Scope = EVERYTHING

    @property
    def of_model(self) -> ColumnElement[bool]:
        """Restrict the rows of the asset to those of the factor model."""
        return self.asset.table.c.model == self.model.key if self.asset.of_model else sa.true()


Question = Callable[[Asked], Sequence[Offender]]


def not_positive(asked: Asked) -> list[Offender]:
    """Name the closes that are no positive number."""
    price = daily_price.c
    wrong = sa.select(price.symbol, price.session).where(
        price.close.is_not(None), ~price.close.between(1e-9, 1e12), *asked.scope.where(price.symbol, price.session)
    )
    with asked.database.read() as connection:
        return [Offender(name, f"{name} {session}") for name, session in connection.execute(wrong)]


def incomplete(asked: Asked) -> list[Offender]:
    """Name the symbols with a hole between their first and last row, and days with rows that are no session."""
    price, scope = daily_price.c, asked.scope.with_neighbours()
    counts = sa.select(price.symbol, sa.func.count()).where(*scope.where(price.symbol, price.session))
    with asked.database.read() as connection:
        ends = price_ends(connection, scope.keys)
        if not ends:
            return []
        days = calendar.sessions(min(first for first, _ in ends.values()), max(last for _, last in ends.values()))
        closed = _on_no_session(connection, scope, days)
        late = symbols.pending(connection)
        stored: dict[str, int] = dict(connection.execute(counts.group_by(price.symbol)).all())
    found = []
    for name, (first, last) in ends.items():
        begin = max(first, scope.first or first)
        end = min(last, scope.last or last)
        if name not in late and stored.get(name, 0) != max(bisect_right(days, end) - bisect_left(days, begin), 0):
            found.append(Offender(name, name))
    return closed + found


def price_ends(connection: Connection, keys: Sequence[str] | None) -> dict[str, tuple[date, date]]:
    """Give the first and last session with a row of each symbol, by index: reading all rows takes longer."""
    own = daily_price.c.symbol == symbol.c.symbol
    first = sa.select(sa.func.min(daily_price.c.session)).where(own).scalar_subquery()
    last = sa.select(sa.func.max(daily_price.c.session)).where(own).scalar_subquery()
    query = sa.select(symbol.c.symbol, first, last).where(*Scope(keys).where(symbol.c.symbol, first))
    return {name: (begin, end) for name, begin, end in connection.execute(query) if begin is not None}


def _on_no_session(connection: Connection, scope: Scope, days: Sequence[date]) -> list[Offender]:
    price = daily_price.c
    of_scope = list(scope.where(price.symbol, price.session))
    stored = connection.execute(sa.select(price.session).where(*of_scope).distinct()).scalars()
    closed = sorted(set(stored).difference(days))
    if not closed:
        return []
    rows = connection.execute(sa.select(price.session, price.symbol).where(price.session.in_(closed), *of_scope))
    return [Offender(name, f"{day} (no session)") for day, name in rows]


def jumps(asked: Asked) -> list[Offender]:
    """Name the moves of more than MAX_MOVE from one session to the next, dividends and splits allowed for."""
    price, scope = daily_price.c, asked.scope.with_neighbours()
    before = sa.func.lag(price.close).over(partition_by=price.symbol, order_by=price.session)
    ratio = (price.close + price.dividend) * price.split / before
    rows = sa.select(price.symbol, price.session, ratio.label("ratio")).where(*scope.where(price.symbol, price.session))
    moves = rows.subquery()
    query = sa.select(moves.c.symbol, moves.c.session).where(~moves.c.ratio.between(1 - MAX_MOVE, 1 + MAX_MOVE))
    with asked.database.read() as connection:
        return [Offender(name, f"{name} {session}") for name, session in connection.execute(query)]


def doubtful_prices(connection: Connection, first: date, last: date) -> list[str]:
    """Name prices of the sessions that look as if nobody had made them.

    That is a session on which open, high, low and close are the close before, while other symbols moved, and a close
    that is the same for `EQUAL_CLOSES` sessions.
    """
    price = daily_price.c
    of_symbol: dict[str, Any] = {"partition_by": price.symbol, "order_by": price.session}
    before = sa.func.lag(price.close).over(**of_symbol).label("before")
    number = sa.func.row_number().over(**of_symbol).label("number")
    start = calendar.shift(calendar.session_on_or_after(first), -EQUAL_CLOSES)
    known = sa.select(price.symbol, price.session, price.open, price.high, price.low, price.close, before, number)
    # Symbol by symbol, as the table is ordered: by the index of sessions SQLite takes four times as long.
    rows = known.where(price.symbol.in_(sa.select(symbol.c.symbol)), price.session.between(start, last))
    row = rows.subquery().c
    flat = sa.and_(*(row[name] == row.before for name in ("open", "high", "low")))
    equal = sa.select(row.symbol, row.session, row.number, flat).where(row.close == row.before)
    found: list[tuple[str, date, bool]] = []
    end, closes = ("", 0), 1  # the row before, by symbol and number, and how many closes are the same up to it
    for name, day, at, all_day in connection.execute(equal.order_by(row.symbol, row.session)):
        closes = closes + 1 if end == (name, at - 1) else 2
        end = (name, at)
        if day >= first and (all_day or closes >= EQUAL_CLOSES):
            found.append((name, day, closes >= EQUAL_CLOSES))
    moved = sa.select(row.session).where(row.close != row.before).distinct()
    traded = set(connection.execute(moved).scalars()) if found else set()
    return [
        f"{name} {day} ({f'the same for {EQUAL_CLOSES} sessions' if same else 'the close before, all day'})"
        for name, day, same in found
        if same or day in traded
    ]


def doubtful(asked: Asked) -> list[Offender]:
    """Name the doubtful prices of the newest sessions."""
    with asked.database.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(daily_price.c.session))).scalar()
        if newest is None:
            return []
        found = doubtful_prices(connection, calendar.shift(newest, -RECENT_SESSIONS), newest)
    return [Offender(text.partition(" ")[0], text) for text in found]


def held_without(asked: Asked) -> list[Offender]:
    """Name the symbols held at the newest session that have no row there."""
    table = asked.asset.table
    newest_row = sa.select(table.c.session).where(asked.of_model).order_by(table.c.session.desc()).limit(1)
    with asked.database.read() as connection:
        newest = connection.execute(newest_row).scalar()
        if newest is None:
            return []
        present = sa.select(table.c.symbol).where(table.c.session == newest, asked.of_model)
        held = sa.select(lot.c.symbol).where(
            lot.c.asset_class == "public",
            lot.c.entry_date <= newest,
            lot.c.exit_date.is_(None) | (lot.c.exit_date > newest),
            lot.c.symbol.not_in(present),
        )
        return [Offender(name, name) for name in sorted(connection.execute(held.distinct()).scalars())]


def thinly_covered(asked: Asked) -> list[Offender]:
    """Name the portfolios whose symbols with exposures make up too little of their value at the newest session."""
    rows, model = portfolio_factor_exposure, asked.model.key
    # By portfolio: the index begins with it.
    own = sa.select(sa.func.max(rows.c.session)).where(rows.c.portfolio_id == portfolio.c.id, rows.c.model == model)
    newest = sa.select(sa.func.max(own.scalar_subquery())).select_from(portfolio).scalar_subquery()
    query = (
        sa.select(portfolio.c.name)
        .join(rows)
        .where(rows.c.model == model, rows.c.session == newest, rows.c.weight_coverage < MIN_COVERAGE)
    )
    with asked.database.read() as connection:
        return [Offender(name, name) for name in sorted(connection.execute(query).scalars())]


def stale_proxies(database: Database, model: FactorModel, completed: date) -> list[str]:
    """Name the factor proxies whose newest close is too far behind the last completed session, or that have none."""
    price = daily_price.c
    newest = sa.select(price.symbol, sa.func.max(price.session)).where(
        price.symbol.in_(model.proxies), price.close.is_not(None)
    )
    with database.read() as connection:
        found = dict(connection.execute(newest.group_by(price.symbol)).all())
    oldest = calendar.shift(completed, -MAX_SESSIONS_BEHIND)
    return [
        f"{proxy} ({found.get(proxy, 'no price')})" for proxy in model.proxies if found.get(proxy, date.min) < oldest
    ]


def proxies_behind(asked: Asked) -> list[Offender]:
    """Name the stale factor proxies as of now."""
    completed = calendar.last_completed_session(datetime.now(UTC))
    return [Offender(text, text) for text in stale_proxies(asked.database, asked.model, completed)]


def recorded_without_row(asked: Asked) -> list[Offender]:
    """Name the partitions that Dagster shows as materialized and that have no row."""
    recorded = _recorded(asked)
    if not recorded:
        return []
    table = asked.asset.table
    key = portfolio.c.name if asked.asset.dimension == "portfolio" else table.c.symbol
    query = sa.select(bulk.session_text(table), key).where(asked.of_model, *asked.scope.where(key, table.c.session))
    if asked.asset.dimension == "portfolio":
        query = query.join(portfolio)
    with asked.database.read() as connection:
        rows = {f"{session}|{name}" for session, name in connection.execute(query)}
    return [Offender(partition.split("|", 1)[1], partition) for partition in sorted(recorded - rows)]


def _recorded(asked: Asked) -> set[str]:
    """Give the partitions within the scope that Dagster shows as materialized."""
    key, (keys, first, last) = dg.AssetKey(asked.asset.name), asked.scope
    if keys is None:
        return set(asked.instance.get_materialized_partitions(key))
    days = None if first is None or last is None else [day.isoformat() for day in calendar.sessions(first, last)]
    if days is not None and len(keys) * len(days) <= _FEW_PARTITIONS:
        wanted = {f"{day}|{name}" for day in days for name in keys}
        latest = asked.instance.event_log_storage.get_latest_storage_id_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION, wanted
        )
        return set(latest)
    found = (partition.split("|", 1) for partition in asked.instance.get_materialized_partitions(key))
    names, of_days = set(keys), None if days is None else set(days)
    return {f"{day}|{name}" for day, name in found if name in names and (of_days is None or day in of_days)}
