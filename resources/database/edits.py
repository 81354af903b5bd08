"""Which sessions of a portfolio an edit of its lots changes: all others' result rows stay valid.

A row of a session rests on the lots that are held then: of a symbol with a market price on their shares, of any other
on their value at entry; and, for the return of the session, on what was held the session before and still is. Not here:
deleting rows (`portfolios`), and what lots are worth (`assets.numerics`).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resources import calendar

if TYPE_CHECKING:
    from resources.database.portfolios import Lot

#: Sums of the same lots in another order round differently.
_SAME = 1e-12


def changed_sessions(
    before: Sequence["Lot"], after: Sequence["Lot"], first: date, last: date, priced_from: Mapping[str, date]
) -> list[date]:
    """Give the sessions from `first` to `last` on which it makes a difference which of the lots are held.

    :param before: in shares of the same session as the lots `after`.
    :param priced_from: the first session with a close, of each public symbol that has any.
    """
    days = calendar.sessions(calendar.shift(first, -1), last)
    changed = np.zeros(len(days), dtype=bool)
    old, new = _by_holding(before), _by_holding(after)
    for key in old.keys() | new.keys():
        one, other = old.get(key, []), new.get(key, [])
        if sorted(one, key=repr) != sorted(other, key=repr):
            asset_class, symbol = key
            priced = priced_from.get(symbol) if asset_class == "public" else None
            same = np.isclose(_held(one, days, priced), _held(other, days, priced), rtol=_SAME, atol=0)
            changed |= ~same.all(axis=1)
    return [day for day, is_changed in zip(days[1:], changed[1:], strict=True) if is_changed]


def _by_holding(lots: Sequence["Lot"]) -> dict[tuple[str, str], list["Lot"]]:
    found: dict[tuple[str, str], list[Lot]] = {}
    for lot in lots:
        found.setdefault((lot.asset_class, lot.symbol), []).append(lot)
    return found


def _held(lots: Sequence["Lot"], days: Sequence[date], priced: date | None) -> NDArray[np.float64]:
    """Give what the lots of a symbol come to on each day, and what is left on it of the day before, as numbers (D, 8).

    These are: whether something is held, the shares (0 without a price), the value at entry (0 with one), and whether
    some lot has neither.
    """
    grid = np.array(days, dtype="datetime64[D]")
    market = grid >= np.datetime64(priced) if priced else np.zeros(len(grid), dtype=bool)
    found = np.zeros((len(grid), 8))
    for lot in lots:
        start = int(np.searchsorted(grid, np.datetime64(lot.entry_date)))
        stop = int(np.searchsorted(grid, np.datetime64(lot.exit_date))) if lot.exit_date else len(grid)
        at_market = [1.0, lot.quantity, 0.0, 0.0]
        at_entry = [1.0, 0.0, lot.quantity * lot.entry_price, float(lot.entry_price <= 0)]
        own = np.where(market[start:stop, None], at_market, at_entry)
        found[start:stop, :4] += own
        found[start + 1 : stop, 4:] += own[:-1]
    flags = [0, 3, 4, 7]
    found[:, flags] = found[:, flags] > 0
    return found
