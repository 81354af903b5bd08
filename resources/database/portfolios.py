"""Portfolios and their lots: storing, editing, listing, and which symbols are held when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database import edits, prices, tables
from resources.database.bulk import among, within
from resources.database.deletions import delete_results, note
from resources.database.tables import portfolio, portfolio_factor_exposure, portfolio_volatility, symbol


class Lot(NamedTuple):
    """One purchase or short sale: active on the sessions d with `entry_date <= d < exit_date`."""

    symbol: str
    quantity: float  # shares; negative is short
    entry_price: float  # dollars a share; 0: no entry value is known
    entry_date: date
    exit_date: date | None = None
    asset_class: str = "public"  # or "private": valued at entry, never fetched, without exposures; or "cash"

    def held_within(self, first: date, last: date) -> bool:
        """Say whether the lot is active at some time from `first` to `last`; one of a single day never is."""
        return self.entry_date <= last and (self.exit_date is None or self.exit_date > max(first, self.entry_date))


@dataclass(frozen=True)
class Portfolio:
    """A stored portfolio."""

    id: int
    name: str
    equity: float | None  # dollars; the denominator of weights where it is given
    shares_as_of: date  # the import session: quantities and entry prices are in its shares
    lots: tuple[Lot, ...]

    @property
    def symbols(self) -> set[str]:
        """What it holds at some time, cash aside."""
        return {lot.symbol for lot in self.lots if lot.asset_class != "cash"}

    @property
    def first_entry(self) -> date:
        """The first entry date: rows of the portfolio begin there."""
        return min(lot.entry_date for lot in self.lots)


class Keep(Enum):
    """What stands in the place of a value that is to stay as it is stored."""

    STORED = "stored"


KEEP: Literal[Keep.STORED] = Keep.STORED

#: Dollars that weights are shares of; None: there are none, weights are shares of the gross value.
Equity = float | None | Literal[Keep.STORED]


class Stored(NamedTuple):
    """A portfolio as it is stored now."""

    portfolio: Portfolio
    new: bool  # False: the very same one was stored before


#: The id of a portfolio that is not stored: no row has it.
_UNSTORED = -1
#: The name of a portfolio while its successor is stored.
_NAMELESS = ""

_RESULTS = (portfolio_factor_exposure, portfolio_volatility)

_LOT = [tables.lot.c[name] for name in ("symbol", "quantity", "entry_price", "entry_date", "exit_date", "asset_class")]


def as_stored(connection: Connection, name: str, lots: Sequence[Lot], equity: Equity, shares_as_of: date) -> Portfolio:
    """Give the stored portfolio of that name if it has these lots and equity, else what storing them would make."""
    old = next(iter(load(connection, [name])), None)
    if equity is KEEP:
        equity = old.equity if old else None
    if old and sorted(old.lots, key=_order) == sorted(lots, key=_order) and old.equity == equity:
        return old
    return Portfolio(_UNSTORED, name, equity, shares_as_of, tuple(lots))


def store(connection: Connection, name: str, lots: Sequence[Lot], equity: Equity, shares_as_of: date) -> Stored:
    """Store a portfolio; one of that name with other lots or equity is replaced.

    The result rows that the difference changes are deleted, the others stay. A replaced portfolio gets a new id, so
    that a run which still computes the old one cannot write its rows.
    """
    wanted = as_stored(connection, name, lots, equity, shares_as_of)
    if wanted.id != _UNSTORED:
        return Stored(wanted, new=False)
    # Locked, so that no run stores rows of it meanwhile (SQLite: the database is).
    connection.execute(sa.select(portfolio.c.id).where(portfolio.c.name == name).with_for_update())
    old = next(iter(load(connection, [name])), None)
    if old:
        _delete_changed(connection, old, wanted)
        connection.execute(sa.update(portfolio).where(portfolio.c.id == old.id).values(name=_NAMELESS))
    insert = sa.insert(portfolio).values(name=name, equity=wanted.equity).returning(portfolio.c.id)
    number = connection.execute(insert).scalar_one()
    rows = [{**lot._asdict(), "portfolio_id": number, "shares_as_of": shares_as_of} for lot in lots]
    connection.execute(sa.insert(tables.lot), rows)
    if old:
        for table in _RESULTS:
            connection.execute(sa.update(table).where(table.c.portfolio_id == old.id).values(portfolio_id=number))
        connection.execute(sa.delete(portfolio).where(portfolio.c.id == old.id))
    return Stored(replace(wanted, id=number), new=True)


def _delete_changed(connection: Connection, old: Portfolio, new: Portfolio) -> None:
    """Delete the rows of a portfolio that are others with the new lots and equity."""
    days = [table.c.session for table in _RESULTS]
    spans = [sa.select(sa.func.min(day), sa.func.max(day)).where(day.table.c.portfolio_id == old.id) for day in days]
    known = [day for span in spans for day in connection.execute(span).one() if day]
    if not known:
        return
    if old.equity == new.equity:
        first_close = sa.select(symbol.c.symbol, symbol.c.first_session).where(
            within(symbol.c.symbol, sorted(old.symbols | new.symbols)), symbol.c.first_session.is_not(None)
        )
        priced_from = dict(connection.execute(first_close).all())
        before = in_shares_of(connection, old, new.shares_as_of)
        changed = edits.changed_sessions(before, new.lots, min(known), max(known), priced_from)
    for table in _RESULTS:
        of_it = [table.c.portfolio_id == old.id]
        if old.equity == new.equity:
            of_it.append(table.c.session.in_(changed))
        delete_results(connection, table, *of_it)


def in_shares_of(connection: Connection, one: Portfolio, session: date) -> list[Lot]:
    """Give the lots of a stored portfolio in shares of another session than its import's, by the stored splits."""
    ratios = prices.split_ratios(connection, sorted(one.symbols), one.shares_as_of, session)

    def adjusted(lot: Lot) -> Lot:
        ratio = ratios.get(lot.symbol, 1.0) if lot.asset_class == "public" else 1.0
        return lot._replace(quantity=lot.quantity * ratio, entry_price=lot.entry_price / ratio)

    return [adjusted(lot) for lot in one.lots]


def set_entry_prices(connection: Connection, one: Portfolio, found: Mapping[Lot, float]) -> None:
    """Give lots that have none an entry price: a close of their own symbol, so that no row becomes another."""
    for lot, price in found.items():
        same = ("symbol", "quantity", "entry_price", "entry_date", "asset_class")
        of_lot = [tables.lot.c.portfolio_id == one.id, *(tables.lot.c[name] == getattr(lot, name) for name in same)]
        connection.execute(sa.update(tables.lot).where(*of_lot).values(entry_price=price))


def remove(connection: Connection, name: str) -> None:
    """Delete a portfolio and its result rows; what its symbols have stays."""
    named = portfolio.c.name == name
    ids = sa.select(portfolio.c.id).where(named)
    for table in _RESULTS:
        delete_results(connection, table, table.c.portfolio_id.in_(ids))
    connection.execute(sa.delete(portfolio).where(named))


def rename(connection: Connection, old: str, new: str) -> None:
    """Give a portfolio another name, which no other has; its lots and rows stay."""
    ids = sa.select(portfolio.c.id).where(portfolio.c.name == old)
    for table in _RESULTS:
        note(connection, table, table.c.portfolio_id.in_(ids))
    connection.execute(sa.update(portfolio).where(portfolio.c.name == old).values(name=new))


def _order(lot: Lot) -> tuple[object, ...]:
    return (lot.symbol, lot.entry_date, lot.exit_date or date.max, lot.quantity, lot.entry_price, lot.asset_class)


def load(connection: Connection, names: Sequence[str] | None = None) -> list[Portfolio]:
    """Read the named portfolios (None: all) in the order of their names; unknown names are passed over."""
    query = (
        sa.select(portfolio.c.id, portfolio.c.name, portfolio.c.equity, tables.lot.c.shares_as_of, *_LOT)
        .join(tables.lot)
        .order_by(portfolio.c.name, tables.lot.c.id)
    )
    if names is not None:
        query = query.where(among(portfolio.c.name, names))
    heads: dict[int, tuple[str, float | None, date]] = {}
    lots: dict[int, list[Lot]] = {}
    for number, name, equity, shares_as_of, *lot in connection.execute(query).all():
        heads[number] = (name, equity, shares_as_of)
        lots.setdefault(number, []).append(Lot(*lot))
    return [Portfolio(number, *head, tuple(lots[number])) for number, head in heads.items()]


def names(connection: Connection, *, after: int = 0) -> list[str]:
    """Give the names of all stored portfolios, or of those of an id greater than `after`, sorted."""
    query = sa.select(portfolio.c.name).where(portfolio.c.id > after).order_by(portfolio.c.name)
    return list(connection.execute(query).scalars())
