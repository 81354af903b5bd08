"""Portfolios and their positions (lots): storing, listing, and which symbols are held when."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import Enum
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database.deletions import delete_results
from resources.database.tables import portfolio, portfolio_factor_exposure, portfolio_volatility, position


@dataclass(frozen=True, order=True)
class Lot:
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
    basis: date  # the import session: quantities and entry prices are in its shares
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

_LOT = [position.c[name] for name in ("symbol", "quantity", "entry_price", "entry_date", "exit_date", "asset_class")]


def as_stored(connection: Connection, name: str, lots: Sequence[Lot], equity: Equity, basis: date) -> Portfolio:
    """Give the stored portfolio of that name if it has these lots and equity, else what storing them would make."""
    old = next(iter(load(connection, [name])), None)
    if equity is KEEP:
        equity = old.equity if old else None
    if old and sorted(old.lots, key=_order) == sorted(lots, key=_order) and old.equity == equity:
        return old
    return Portfolio(_UNSTORED, name, equity, basis, tuple(lots))


def store(connection: Connection, name: str, lots: Sequence[Lot], equity: Equity, basis: date) -> Stored:
    """Store a portfolio; one of that name with other lots or equity is replaced, its result rows with it.

    A replaced portfolio gets a new id, so that a run which still computes the old one cannot write its rows.
    """
    wanted = as_stored(connection, name, lots, equity, basis)
    if wanted.id != _UNSTORED:
        return Stored(wanted, new=False)
    _delete(connection, name)
    insert = sa.insert(portfolio).values(name=name, equity=wanted.equity).returning(portfolio.c.id)
    number = connection.execute(insert).scalar_one()
    rows = [{**asdict(lot), "portfolio_id": number, "basis": basis} for lot in lots]
    connection.execute(sa.insert(position), rows)
    return Stored(replace(wanted, id=number), new=True)


def _delete(connection: Connection, name: str) -> None:
    named = portfolio.c.name == name
    ids = sa.select(portfolio.c.id).where(named)
    for table in (portfolio_factor_exposure, portfolio_volatility):
        delete_results(connection, table, table.c.portfolio_id.in_(ids))
    connection.execute(sa.delete(portfolio).where(named))


def _order(lot: Lot) -> tuple[object, ...]:
    return (lot.symbol, lot.entry_date, lot.exit_date or date.max, lot.quantity, lot.entry_price, lot.asset_class)


def load(connection: Connection, names: Sequence[str] | None = None) -> list[Portfolio]:
    """Read the named portfolios (None: all) in the order of their names; unknown names are passed over."""
    query = (
        sa.select(portfolio.c.id, portfolio.c.name, portfolio.c.equity, position.c.basis, *_LOT)
        .join(position)
        .order_by(portfolio.c.name, position.c.id)
    )
    if names is not None:
        query = query.where(portfolio.c.name.in_(names))
    heads: dict[int, tuple[str, float | None, date]] = {}
    lots: dict[int, list[Lot]] = {}
    for number, name, equity, basis, *lot in connection.execute(query):
        heads[number] = (name, equity, basis)
        lots.setdefault(number, []).append(Lot(*lot))
    return [Portfolio(number, *head, tuple(lots[number])) for number, head in heads.items()]


def names(connection: Connection) -> list[str]:
    """Give the names of all stored portfolios, sorted."""
    return list(connection.execute(sa.select(portfolio.c.name).order_by(portfolio.c.name)).scalars())
