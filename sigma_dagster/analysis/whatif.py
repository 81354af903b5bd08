"""What a book would risk after some trades: the same rows that an onboarding would make, kept in memory.

Nothing is stored. Not here: what symbols cost that nobody has computed (the planner), and computing them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.shared.fit_columns import fit_columns
from assets.shared.look_back import MissingInputsError, listed
from resources.database import prices, symbols
from resources.database.bulk import Columns
from resources.database.portfolios import Lot, Portfolio
from resources.database.tables import factor_exposure
from resources.sources.base import PriceSource
from sigma_dagster.analysis import risk
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.services import Services

#: A position smaller than this share of what was held is rounding: it is closed.
_ROUNDING = 1e-12


class TradeError(ValueError):
    """A trade that cannot be thought of: the symbol, and the rule that it breaks."""

    def __init__(self, symbol: str, rule: str) -> None:
        super().__init__(f"{symbol}: {rule}")
        self.symbol = symbol
        self.rule = rule


@dataclass(frozen=True)
class Trade:
    """Shares bought (above 0) or sold at the close of a session, in shares of that session."""

    symbol: str
    quantity: float
    price: float  # dollars a share


@dataclass(frozen=True)
class Hedge:
    """The trades in a factor's proxies that bring the exposure to it to zero."""

    factor: str
    trades: tuple[Trade, ...]
    value: float  # dollars bought of the factor, below 0: sold
    value_se: float | None  # the standard error of that, by the book's own residuals

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class WhatIf:
    """A book before and after: `before` is None for a book that is not stored."""

    before: Risk | None
    after: Risk
    hedge: Hedge | None = None

    def to_json(self) -> dict[str, Any]:
        """Give both as `sigma show --json` does, and the hedge if one was asked for."""
        both = {"before": self.before and self.before.to_json(), "after": self.after.to_json()}
        return both if self.hedge is None else {**both, "hedge": self.hedge.to_json()}


@dataclass(frozen=True)
class Question:
    """What is asked: of a stored portfolio after some trades, or of a book that replaces it."""

    stored: Portfolio | None
    book: Portfolio
    session: date
    trades: Mapping[str, float]  # shares bought by symbol, below 0: sold
    closed: Sequence[str] = ()
    hedge: str | None = None  # a factor

    @property
    def symbols(self) -> list[str]:
        """The symbols whose rows of the session it needs."""
        held = (lot.symbol for lot in self.book.lots if _is_public(lot) and lot.held_within(self.session, self.session))
        return list(dict.fromkeys([*held, *self.trades]))


def _is_public(lot: Lot) -> bool:
    return lot.asset_class == "public"


def answer(services: Services, asked: Question) -> tuple[WhatIf, list[str]]:
    """Answer from what is stored; gives what is worth saying of the trades, too.

    Raises TradeError; MissingInputsError if rows of a symbol are not stored.
    """
    sessions = services.sessions(asked.session)
    with services.database.read() as connection:
        _refuse_private(asked.book, asked.session, asked.trades)
        _refuse_unknown(connection, services.source, asked)
        before = risk.read(connection, asked.stored, services.model, asked.session) if asked.stored else None
        book, notes = traded(connection, asked.book, asked.session, asked.trades, asked.closed)
        return measure(connection, before, book, services.model, sessions, asked.hedge), notes


def _refuse_private(one: Portfolio, session: date, traded: Collection[str]) -> None:
    for lot in one.lots:
        if lot.symbol in traded and lot.asset_class == "private" and lot.held_within(session, session):
            rule = "is held as private, which has no market price to trade at; --close closes it"
            raise TradeError(lot.symbol, rule)


def _refuse_unknown(connection: Connection, source: PriceSource, asked: Question) -> None:
    listed_there = source.symbols()
    known = symbols.known(connection, asked.symbols)
    for symbol in asked.trades:
        was = known.get(symbol)
        if was is None and listed_there is not None and symbol not in listed_there:
            raise TradeError(symbol, f"is not in {source.title} ({source.coverage})")
        if was is not None and was.last_session is None and was.status != "ok":
            raise TradeError(symbol, f"has no prices: {was.reason or was.status}")


def newest_session(connection: Connection, model: FactorModel, up_to: date | None) -> date | None:
    """Give the newest session that some symbol has exposures of."""
    query = sa.select(sa.func.max(factor_exposure.c.session)).where(factor_exposure.c.model == model.key)
    if up_to is not None:
        query = query.where(factor_exposure.c.session <= up_to)
    found: date | None = connection.execute(query).scalar()
    return found


def traded(
    connection: Connection,
    one: Portfolio,
    session: date,
    trades: Mapping[str, float],
    closed: Sequence[str] = (),
) -> tuple[Portfolio, list[str]]:
    """Give the book after trades at the closes of a session, and what is worth saying of them.

    A trade is a lot that is entered that day; a position that it brings to zero, and one that is closed, exits.
    Raises TradeError; MissingInputsError for a symbol whose close is not stored.
    """
    if both := sorted(set(trades) & set(closed)):
        raise TradeError(both[0], "is to be traded and closed: a --trade of what is to remain does both")
    _refuse_private(one, session, trades)
    held = [lot for lot in one.lots if lot.held_within(session, session)]
    names = sorted({lot.symbol for lot in held})
    for symbol in closed:
        if symbol not in names:
            raise TradeError(symbol, f"portfolio {one.name} does not hold it on {session}; it holds {listed(names)}")
    ratio = prices.split_ratios(connection, list(trades), one.shares_as_of, session)
    close = _closes(connection, list(trades), session)
    lots, leaving, notes = [], set(closed), []
    for symbol, quantity in trades.items():
        scale = ratio.get(symbol, 1.0)
        before = math.fsum(lot.quantity for lot in held if lot.symbol == symbol) * scale
        after = before + quantity
        if symbol in names and abs(after) <= _ROUNDING * abs(before):
            leaving.add(symbol)
            continue
        lots.append(Lot(symbol, quantity / scale, close[symbol] * scale, session))
        if before * after < 0:
            side = "sells" if quantity < 0 else "buys"
            now = "short" if after < 0 else "long"
            notes.append(f"{symbol}: {side} {abs(quantity):g} of {abs(before):g} held: {now} {abs(after):g} after it")
    kept = tuple(
        lot._replace(exit_date=session) if lot.symbol in leaving and lot.held_within(session, session) else lot
        for lot in one.lots
    )
    return replace(one, lots=(*kept, *lots)), notes


def _closes(connection: Connection, symbols: Sequence[str], session: date) -> dict[str, float]:
    """Give the last close of each symbol up to a session, in shares of that session."""
    last = prices.last_closes(connection, symbols, session + timedelta(days=1))
    if lacking := [symbol for symbol in symbols if symbol not in last]:
        raise MissingInputsError(f"No close of {listed(lacking)} is stored up to {session}")
    return {
        symbol: close / prices.split_ratios(connection, [symbol], day, session).get(symbol, 1.0)
        for symbol, (day, close) in last.items()
    }


def measure(
    connection: Connection,
    before: Risk | None,
    book: Portfolio,
    model: FactorModel,
    sessions: Sequence[date],
    factor: str | None = None,
) -> WhatIf:
    """Measure the changed book as of the last of the target sessions, hedged against a factor if one is named.

    Raises MissingInputsError if rows that it rests on are not stored; TradeError for a hedge that cannot be.
    """
    if factor is None:
        return WhatIf(before, risk.of_unstored(connection, book, model, sessions))
    hedged, trades, value, fitted = _hedge(connection, book, model, sessions[-1], factor)
    after = risk.of_unstored(connection, hedged, model, sessions, fitted)
    se = after.standard_errors[factor]
    error = (
        None
        if se is None or after.denominator is None
        else abs(se * after.denominator / _own_beta(model, fitted, factor))
    )
    return WhatIf(before, after, Hedge(factor, trades, value, error))


def _hedge(
    connection: Connection, book: Portfolio, model: FactorModel, session: date, factor: str
) -> tuple[Portfolio, tuple[Trade, ...], float, Columns]:
    """Give the hedged book, its trades, their value in dollars, and the exposures of the proxies it trades."""
    legs = _legs(model, factor)
    measured = risk.measure(connection, book, model, session)
    k = model.factor_names.index(factor)
    exposure = float(measured.measured.exposures.exposure[0, k] * measured.valuation.weights.denominator[0])
    if not math.isfinite(exposure):
        raise TradeError(factor, f"portfolio {book.name} has no exposures on {session} that could be hedged")
    panel = measured.valuation.panel
    fitted = fit_columns(model, panel, list(legs), [len(panel.sessions) - 1])
    own = _own_beta(model, fitted, factor)
    if not math.isfinite(own) or own == 0:
        raise TradeError(factor, f"its proxy {next(iter(legs))} has no beta on {session} to hedge with")
    value = -exposure / own
    close = _closes(connection, list(legs), session)
    quantities = {symbol: sign * value / close[symbol] for symbol, sign in legs.items()}
    hedged, _ = traded(connection, book, session, quantities if value else {})
    trades = tuple(Trade(symbol, quantity, close[symbol]) for symbol, quantity in quantities.items())
    return hedged, trades, value, fitted


def _legs(model: FactorModel, factor: str) -> dict[str, float]:
    """What is bought (1) and sold (-1) of a factor."""
    found = {one.name: one for one in model.factors}
    if factor not in found:
        raise TradeError(factor, f"is no factor of the model {model.name}, which has {', '.join(found)}")
    one = found[factor]
    return {one.proxy: 1.0} if one.minus is None else {one.proxy: 1.0, one.minus: -1.0}


def _own_beta(model: FactorModel, fitted: Columns, factor: str) -> float:
    """What a dollar of the factor's own proxies adds to the exposure: 1 by least squares, less where betas shrink."""
    signs = _legs(model, factor)
    return float(
        sum(signs[symbol] * beta for symbol, beta in zip(fitted["symbol"], fitted[f"beta_{factor}"], strict=True))
    )
