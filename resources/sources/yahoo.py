"""The price source `yahoo`: no key, by way of the package yfinance, which the extra `[yahoo]` installs.

yfinance asks Yahoo (cookie, crumb, and a handshake that Yahoo takes for a browser's); what the answer means is read
in `yahoo_chart`, because yfinance makes an empty table of every failure. One object in a process: yfinance has one
session for all. Not for much: a request a second, and none for an hour after Yahoo has had enough.
"""

import contextlib
import importlib.util
import logging
import re
import warnings
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from resources import calendar
from resources.sources.base import (
    PriceRow,
    QuotaSpentError,
    SourceError,
    SourceSettingError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from resources.sources.meter import Limit
from resources.sources.options import SourceOptions
from resources.sources.yahoo_chart import NoSymbolError, price_rows, read
from resources.symbols import dashed

LIMITS = (Limit(1, 1.0, "1 request a second"),)
_SYMBOL = re.compile(r"\^?[A-Z0-9][A-Z0-9.\-=]{0,14}")
_ALIASES = {"SP500": "^GSPC"}
_AN_HOUR = 3600.0
_ENOUGH = "Yahoo takes no more requests from this address for now"
#: A week before the first session asked for: a split or dividend on it is checked against the close before.
_BEFORE = timedelta(days=7)


class YahooSource:
    """Daily prices from Yahoo; no request is made, and yfinance not imported, before the first fetch."""

    name = "yahoo"
    title = "Yahoo"
    coverage = "US stocks, ETFs and indices"

    def __init__(self, options: SourceOptions) -> None:
        if importlib.util.find_spec("yfinance") is None:
            raise SourceSettingError(self.name, "it needs packages that are not installed; run `make install-yahoo`")
        self.calls = 0
        self._options = options
        self._meter = options.meter_for(self.name)

    def latest_session(self) -> None:
        """It follows the market."""

    def symbols(self) -> None:
        """It cannot list them."""

    def fetch(self, symbol: str, first: date, last: date) -> list[PriceRow]:  # noqa: ARG002 - splits need the present
        """Rows of `symbol` from `first` to the last completed session, as traded, ascending.

        Whatever `last` is, the request ends in the present: Yahoo adjusts for every split up to now, and lists only
        those in the span asked for.

        Raises:
            UnknownSymbolError, SourceError, SourceUnavailableError, QuotaSpentError: as the protocol says.
        """
        form = _ALIASES.get(symbol, dashed(symbol))
        if not _SYMBOL.fullmatch(form):
            raise UnknownSymbolError(symbol, self.name)
        self.calls += 1
        status, content = self._ask(form, first)
        if status == 429:
            until = self._meter.close(self.name, _AN_HOUR * self._options.pace, _ENOUGH)
            raise QuotaSpentError(self.name, until, _ENOUGH)
        try:
            chart = read(status, content, symbol)
        except NoSymbolError:
            raise UnknownSymbolError(symbol, self.name) from None
        if chart is None:
            return []
        return price_rows(chart, symbol, first, calendar.last_completed_session(self._options.now()))

    def _ask(self, form: str, first: date) -> tuple[int, bytes]:
        """Have yfinance ask, and give the status and content of Yahoo's last answer about prices."""
        import yfinance

        session = self._session
        session.answer = session.failure = None
        # By the clock on the wall: yfinance answers what ends in the past from a cache.
        tomorrow = datetime.now(calendar.NEW_YORK).date() + timedelta(days=1)
        with warnings.catch_warnings():
            # yfinance 1.7 calls what pandas 3 deprecates; drop this when it no longer does.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            ticker = yfinance.Ticker(form, session=session)
            ticker._tz = "America/New_York"  # spares a request; checked in the answer
            # Its errors say less than the answer that was kept, which is judged in any case.
            with contextlib.suppress(Exception):
                ticker.history(
                    start=first - _BEFORE, end=tomorrow, auto_adjust=False, actions=True, repair=False, keepna=True
                )
        if isinstance(session.failure, QuotaSpentError):
            raise session.failure
        if session.answer is None:
            raise SourceUnavailableError("Yahoo could not be reached, or broke off the connection; ask again later")
        if session.answer[0] >= 500:
            raise SourceError(f"Yahoo answered with status {session.answer[0]}; ask again later")
        status, content = session.answer
        return status, content

    @cached_property
    def _session(self) -> Any:
        import yfinance

        from resources.sources.yahoo_session import YahooSession

        yfinance.config.debug.hide_exceptions = False
        for name in ("yfinance", "peewee"):
            logging.getLogger(name).setLevel(logging.INFO)  # at DEBUG they write down crumb and cookie
        if self._options.cache:
            # Else it writes into the user's own cache folder.
            folder = self._options.cache / "yahoo"
            folder.mkdir(parents=True, exist_ok=True)
            yfinance.set_tz_cache_location(str(folder))
        return YahooSession(self._options, self._meter, self.name, LIMITS)
