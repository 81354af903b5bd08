"""What results rest on: the sessions whose prices they look back on, and the refusal to compute without them.

No Dagster: the command line reads books and windows too. Loading the inputs is the business of whoever computes.
"""

from collections.abc import Collection, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from assets.numerics.constants import LOOKBACK_RETURNS
from resources import calendar
from resources.database import bulk, symbols
from resources.database.portfolios import Portfolio
from resources.database.prices import PricePanel
from resources.database.tables import daily_price

_NAMED = 10


class MissingInputsError(RuntimeError):
    """Rows that a result rests on are not stored; the message names them and says what makes them."""


def price_sessions(first: date, last: date) -> list[date]:
    """Give the sessions whose prices the results of the sessions `first` to `last` rest on."""
    return calendar.sessions(calendar.shift(first, -LOOKBACK_RETURNS), last)


def incomplete(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say of which sessions a result would rest on a missing price.

    :param missing: (S, T) prices over the `price_sessions` of the results' sessions.
    :returns: (S, T - look-back), of the results' sessions.
    """
    counts = np.cumsum(np.pad(missing, ((0, 0), (1, 0))), axis=1)
    return counts[:, LOOKBACK_RETURNS + 1 :] > counts[:, : -LOOKBACK_RETURNS - 1]


class Waiting:
    """Symbols whose prices were asked for in vain, and the sessions whose results wait for these prices."""

    def __init__(self, connection: Connection, names: Collection[str], sessions: Sequence[date]) -> None:
        """Look at the pending symbols of `names`."""
        self.sessions = sessions
        self.why = {name: told.reason for name, told in sorted(symbols.pending(connection, names).items())}
        grid = price_sessions(sessions[0], sessions[-1])
        present = bulk.present(connection, daily_price, list(self.why), grid)
        self._of = dict(zip(self.why, incomplete(~present), strict=True))

    def __str__(self) -> str:
        return listed([f"{name} ({why})" for name, why in self.why.items()])

    def symbols(self, names: Sequence[str], inputs: Collection[str]) -> NDArray[np.bool_]:
        """Say which results of symbols wait, shape (names, sessions); each rests on the `inputs` too."""
        waits = np.zeros((len(names), len(self.sessions)), dtype=bool)
        for i, name in enumerate(names):
            waits[i] = self._of.get(name, False)
        return waits | self._any(inputs)

    def portfolios(self, books: Sequence[Portfolio], inputs: Collection[str]) -> NDArray[np.bool_]:
        """Say which rows of portfolios wait, shape (books, sessions): those of a session that holds such a symbol."""
        waits = np.zeros((len(books), len(self.sessions)), dtype=bool)
        days = np.array(self.sessions, dtype="datetime64[D]")
        for i, book in enumerate(books if self._of else ()):
            for lot in book.lots:
                if lot.asset_class == "public" and lot.symbol in self._of:
                    held = days >= np.datetime64(lot.entry_date)
                    if lot.exit_date:
                        held &= days < np.datetime64(lot.exit_date)
                    waits[i] |= held & self._of[lot.symbol]
        return waits | self._any(inputs)

    def _any(self, inputs: Collection[str]) -> NDArray[np.bool_]:
        waits = np.zeros(len(self.sessions), dtype=bool)
        for name in inputs:
            waits |= self._of.get(name, False)
        return waits


def check_complete(panel: PricePanel, used: NDArray[np.bool_] | None = None) -> None:
    """Refuse to compute from a window that nobody has looked at yet: it would be silently short.

    :param used: (T, S) the prices that are read, by default all of the panel.

    Raises MissingInputsError.
    """
    unknown = ~panel.known if used is None else used & ~panel.known
    if unknown.any():
        lacking = [panel.symbols[i] for i in np.flatnonzero(unknown.any(axis=0))]
        days = np.flatnonzero(unknown.any(axis=1))
        rows = panel.sessions[LOOKBACK_RETURNS:] or panel.sessions[-1:]
        span = f"{rows[0]}..{rows[-1]}" if len(rows) > 1 else f"{rows[0]}"
        raise MissingInputsError(
            f"No prices are stored of {listed(lacking)} for {len(days)} sessions in "
            f"{panel.sessions[days[0]]}..{panel.sessions[days[-1]]}, which the rows of {span} look back on. They come "
            f"with the same partitions of prices, look-back included: materialize daily_prices (factor proxies: "
            f"proxy_prices) of {span} for {listed(lacking)}, then this again; or onboard the portfolio"
        )


def listed(names: Sequence[str], most: int = _NAMED) -> str:
    """Write names for a message, the first of many and how many there are."""
    return ", ".join(names[:most]) + (f" ... ({len(names)})" if len(names) > most else "")
