"""What results rest on: the sessions whose prices they look back on, and the refusal to compute without them.

No Dagster: the command line reads books and windows too. Loading the inputs is the business of whoever computes.
"""

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


def check_complete(panel: PricePanel) -> None:
    """Refuse to compute from a window that nobody has looked at yet: it would be silently short.

    Raises MissingInputsError.
    """
    unknown = ~panel.known
    if unknown.any():
        lacking = [panel.symbols[i] for i in np.flatnonzero(unknown.any(axis=0))]
        days = np.flatnonzero(unknown.any(axis=1))
        raise MissingInputsError(
            f"No daily prices are stored of {listed(lacking)} for {len(days)} sessions in "
            f"{panel.sessions[days[0]]}..{panel.sessions[days[-1]]}, which these rows look back on: "
            "materialize daily_prices of these symbols first, or onboard the portfolio"
        )


def listed(names: list[str]) -> str:
    """Write names for a message, the first ten of many."""
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
