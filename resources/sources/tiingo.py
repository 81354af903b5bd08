"""The price source `tiingo`: raw prices, dividends and splits for exactly the sessions asked for, with a free key.

One request for each symbol, the key in a header. Rows come as they are stored: the close as traded, the dividend on
its ex-date, and the split as new shares for one old.
"""

import math
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from typing import Any

import requests
from requests.auth import AuthBase

from resources import calendar
from resources.sources.base import (
    Estimate,
    PriceRow,
    QuotaSpentError,
    SourceError,
    SourceSettingError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from resources.sources.http import Client, TransientError, read_json
from resources.sources.meter import Limit
from resources.sources.options import SourceOptions, account
from resources.symbols import dashed

_AN_HOUR = Limit(50, 3600.0, "50 requests an hour with a free key")
_LIMITS = (Limit(5, 1.0, "5 requests a second"), _AN_HOUR)
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(T[0-9:.]+Z?)?")
_SHOWN = 40
_FIELDS = ("open", "high", "low", "close", "volume", "divCash", "splitFactor")


class _QuotaError(Exception):
    """The provider says that a quota is spent."""


class _NotFoundError(Exception):
    """The provider has no such symbol."""


class TiingoSource:
    """Daily prices from Tiingo; no request is made before the first fetch."""

    name = "tiingo"
    title = "Tiingo"
    coverage = "US stocks and ETFs"

    def __init__(self, options: SourceOptions) -> None:
        if not options.tiingo_key:
            raise SourceSettingError(self.name, "set SIGMA_TIINGO_KEY; a free key is at https://www.tiingo.com")
        self._options = options
        self._meter = options.meter_for(self.name)
        self._account = account(self.name, options.tiingo_key)
        self._auth = _Header(options.tiingo_key)
        self._http = Client(self.name, self.title, options.tiingo_key, self._account, options)

    @property
    def calls(self) -> int:
        """Requests made so far, repeated and refused ones included."""
        return self._http.attempts

    def latest_session(self) -> None:
        """It follows the market."""

    def symbols(self) -> None:
        """It is not asked for a list."""

    def estimate(self, symbols: Sequence[str], first: date) -> Estimate:  # noqa: ARG002 - its history has no end
        """Say what fetching the symbols will cost. Makes no request."""
        hours = math.ceil(len(symbols) / _AN_HOUR.requests)
        note = f"{hours} hours at {_AN_HOUR.rule}" if hours > 1 else ""
        return Estimate(len(symbols), max(1, math.ceil(hours / 24)), note)

    def requests_left(self) -> int:
        """Give what is left of the hour's requests. Makes no request."""
        return max(0, _AN_HOUR.requests - self._meter.used(self._account, _AN_HOUR.seconds))

    def fetch(self, symbol: str, first: date, last: date) -> list[PriceRow]:
        """Rows of `symbol` from `first` to `last`, raw, ascending; the running session is left out.

        Raises:
            UnknownSymbolError, SourceError, SourceUnavailableError, QuotaSpentError: as the protocol says.
        """
        if not _SYMBOL.fullmatch(symbol):
            raise UnknownSymbolError(symbol, self.name)
        address = f"{self._options.tiingo_url.rstrip('/')}/tiingo/daily/{dashed(symbol)}/prices"
        span = {"startDate": first.isoformat(), "endDate": last.isoformat(), "format": "json"}
        try:
            answer = self._http.get(address, _judge, limits=_LIMITS, params=span, auth=self._auth)
        except _NotFoundError:
            raise UnknownSymbolError(symbol, self.name) from None
        except _QuotaError:
            until = self._meter.close(self._account, _AN_HOUR.seconds * self._options.pace, _AN_HOUR.rule)
            raise QuotaSpentError(self.name, until, _AN_HOUR.rule) from None
        now = self._options.now()
        completed, today = calendar.last_completed_session(now), now.astimezone(calendar.NEW_YORK).date()
        rows = sorted(_row(cells) for cells in answer)
        # A session in the future is left to the check that refuses it.
        return [row for row in rows if row.session <= completed or row.session > today]


class _Header(AuthBase):
    """Puts the key into the header; as `auth`, so that a password file of the user's does not replace it."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Token {self._key}"
        return request


def _judge(response: requests.Response) -> list[Any]:
    """Give the rows of an answer; raises what the answer says instead."""
    if response.status_code in (401, 403):
        raise SourceUnavailableError("Tiingo refuses the key; check SIGMA_TIINGO_KEY (a free one is at tiingo.com)")
    if response.status_code == 404:
        raise _NotFoundError
    if response.status_code == 429 or b"You have run over your" in response.content:
        raise _QuotaError
    if response.status_code != 200:
        raise SourceError(f"Tiingo answered with status {response.status_code}")
    try:
        answer = read_json(response.content)
    except ValueError:
        answer = None
    if answer is None:
        raise TransientError("sent something that is no JSON")
    if not isinstance(answer, list):
        raise SourceError("Tiingo sent an answer that this version does not understand")
    return answer


def _row(cells: Any) -> PriceRow:
    day = cells.get("date") if isinstance(cells, dict) else cells
    found = _DATE.fullmatch(str(day)) if isinstance(cells, dict) else None
    session = None
    with suppress(ValueError):
        session = date.fromisoformat(found[1]) if found else None
    if session is None:
        raise SourceError(f"Tiingo sent {str(day)[:_SHOWN]!r} where a date is expected")
    opened, high, low, close, volume, dividend, split = (_number(cells.get(name), name, session) for name in _FIELDS)
    return PriceRow(session, opened, high, low, close, volume, dividend, split or 1.0)


def _number(value: object, name: str, session: date) -> float:
    is_price = name in ("open", "high", "low", "close")
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if (number > 0 if is_price else number >= 0) and number <= sys.float_info.max:
        return float(number)
    raise SourceError(f"Tiingo sent {repr(value)[:_SHOWN]} as the {name} of {session}; nothing of this series is used")
