"""Prices that a vendor has adjusted for every later split, turned back into prices as traded.

A pure function on numbers: not here is how a vendor tells them, nor whether they are right.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from resources.sources.base import PriceRow

#: Vendors tell adjusted numbers with about 7 digits; a price of this many decimals comes back exactly.
_DECIMALS = 4
_DIVIDEND_DECIMALS = 6


class Told(NamedTuple):
    """One session in shares of the newest session known to the vendor."""

    session: date
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None


def as_traded(rows: Sequence[Told], dividends: Mapping[date, float], splits: Mapping[date, float]) -> list[PriceRow]:
    """Undo the splits: rows in shares of their own session, ascending.

    `rows` ascend. `dividends` are in shares of today as well, `splits` are new shares for one old; both must hold
    everything from the first row up to the present, also on days without a row. Walking back from the newest row,
    the factor is the product of the splits strictly after it: prices and dividends times the factor, volume divided
    by it. The dividend of a split's own day is then in shares after the split, as `PriceRow` has it.
    """
    pending = sorted(splits, reverse=True)
    factor, found = 1.0, []
    for row in reversed(rows):
        while pending and pending[0] > row.session:
            factor *= splits[pending.pop(0)]
        opened, high, low = (None if price is None else round(price * factor, _DECIMALS) for price in row[1:4])
        found.append(
            PriceRow(
                session=row.session,
                open=opened,
                high=high,
                low=low,
                close=round(row.close * factor, _DECIMALS),
                volume=None if row.volume is None else row.volume / factor,
                dividend=round(dividends.get(row.session, 0.0) * factor, _DIVIDEND_DECIMALS),
                split=splits.get(row.session, 1.0),
            )
        )
    return found[::-1]
