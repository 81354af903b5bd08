"""What results rest on: the sessions whose prices they look back on, and the refusal to compute without them.

No Dagster: the command line reads books and windows too. Loading the inputs is the business of whoever computes.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np

from assets.numerics.constants import LOOKBACK_RETURNS
from resources import calendar
from resources.database.prices import PricePanel

_NAMED = 10


class MissingInputsError(RuntimeError):
    """Rows that a result rests on are not stored; the message names them and says what makes them."""


def price_sessions(first: date, last: date) -> list[date]:
    """Give the sessions whose prices the results of the sessions `first` to `last` rest on."""
    return calendar.sessions(calendar.shift(first, -LOOKBACK_RETURNS), last)


def check_complete(panel: PricePanel, rows: Sequence[date]) -> None:
    """Refuse to compute the rows of some sessions from a window that nobody has looked at yet: it would be short.

    Raises MissingInputsError, which names the partitions that bring the prices.
    """
    unknown = ~panel.known
    if unknown.any():
        lacking = [panel.symbols[i] for i in np.flatnonzero(unknown.any(axis=0))]
        days = np.flatnonzero(unknown.any(axis=1))
        span = f"{rows[0]}..{rows[-1]}" if rows[0] != rows[-1] else f"{rows[0]}"
        raise MissingInputsError(
            f"No prices are stored of {listed(lacking)} for {len(days)} sessions in "
            f"{panel.sessions[days[0]]}..{panel.sessions[days[-1]]}, which the rows of {span} look back on. They come "
            f"with the same partitions of prices, look-back included: materialize daily_prices (factor proxies: "
            f"proxy_prices) of {span} for {listed(lacking)}, then this again; or onboard the portfolio"
        )


def listed(names: list[str], most: int = _NAMED) -> str:
    """Write names for a message, the first of many and how many there are."""
    return ", ".join(names[:most]) + (f" ... ({len(names)})" if len(names) > most else "")
