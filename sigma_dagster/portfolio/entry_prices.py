"""Entry prices that do not fit the market of their day: a slip of the pen, or lots in shares of before a split.

A warning, never a refusal: what the broker wrote may be right. Not here: what a lot is worth (`assets.shared`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database.portfolios import Portfolio
from resources.database.tables import daily_price, lot

#: Further from the close of the day than this, no trade of that day was at the price.
_FACTOR = 3.0
#: Within a day prices lie so close to the close that they can be told from those in other shares.
_CLOSE_BY = 0.1


@dataclass(frozen=True)
class Misfit:
    """A lot whose entry price does not fit the stored close of its entry date."""

    symbol: str
    entry_date: date
    entry_price: float  # dollars a share, as the next two
    close: float  # of the entry date, in shares of the portfolio's import session
    traded: float  # the same close as it was traded, in shares of the day

    def __str__(self) -> str:
        close = f"the close of that day is {self.close:,.6g}"
        if self.traded != self.close:
            close += f" in shares of today, {self.traded:,.6g} in shares of the day, before splits"
        return (
            f"Warning: {self.symbol}, entry_price: {self.entry_price:,.6g} on {self.entry_date}, but {close}. "
            "Lots are in shares of today, splits applied"
        )


def misfits(connection: Connection, portfolio: Portfolio) -> Iterator[Misfit]:
    """Find the lots of a stored portfolio whose entry price does not fit; one without a close of its day fits."""
    query = (
        sa.select(lot.c.symbol, lot.c.entry_date, lot.c.entry_price, daily_price.c.close)
        .join(
            daily_price,
            (daily_price.c.symbol == lot.c.symbol) & (daily_price.c.session == lot.c.entry_date),
        )
        .where(
            lot.c.portfolio_id == portfolio.id,
            lot.c.asset_class == "public",
            lot.c.entry_price > 0,
            daily_price.c.close.is_not(None),
        )
        .order_by(lot.c.id)
    )
    lots = connection.execute(query).all()
    splits = _splits(connection, portfolio) if lots else {}
    for symbol, day, price, traded in lots:
        ratio = math.prod(ratio for session, ratio in splits.get(symbol, ()) if session > day)
        found = Misfit(symbol, day, price, traded / ratio, traded)
        if not _fits(found):
            yield found


def _splits(connection: Connection, portfolio: Portfolio) -> dict[str, list[tuple[date, float]]]:
    """Give the stored splits of the portfolio's symbols since its first entry, up to its import session."""
    held = sa.select(lot.c.symbol).where(lot.c.portfolio_id == portfolio.id)
    query = sa.select(daily_price.c.symbol, daily_price.c.session, daily_price.c.split).where(
        daily_price.c.symbol.in_(held),
        daily_price.c.session.between(portfolio.first_entry, portfolio.shares_as_of),
        daily_price.c.split != 1,
    )
    splits: dict[str, list[tuple[date, float]]] = {}
    for symbol, session, ratio in connection.execute(query):
        splits.setdefault(symbol, []).append((session, ratio))
    return splits


def _fits(found: Misfit) -> bool:
    price = found.entry_price
    if not 1 / _FACTOR <= price / found.close <= _FACTOR:
        return False
    in_old_shares = found.traded != found.close and abs(price / found.traded - 1) <= _CLOSE_BY
    return not in_old_shares or abs(price / found.close - 1) <= _CLOSE_BY
