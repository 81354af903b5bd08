"""The price source `alpha_vantage`: raw prices, dividends and splits, with a free or a premium key.

Premium: one request for each symbol, its last 100 sessions if these are enough, else all of its history. Free: three
requests the first time and one later, and never more than the last 100 sessions. Not here: the request itself
(`alpha_vantage_client`) and what an answer means (`alpha_vantage_answers`).
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from resources import calendar
from resources.sources.alpha_vantage_answers import (
    DayQuotaError,
    KeyRefusedError,
    NothingError,
    PremiumError,
    events,
    rows,
)
from resources.sources.base import (
    Estimate,
    PriceRow,
    QuotaSpentError,
    SourceError,
    SourceSettingError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from resources.sources.http import Client
from resources.sources.meter import Limit
from resources.sources.options import SourceOptions, account
from resources.symbols import dashed

if TYPE_CHECKING:
    from resources.sources.alpha_vantage_client import AlphaVantageClient

PLANS = ("auto", "free", "premium")
COMPACT = 100  # sessions in the short form of an answer
_DAY = 86_400.0
_A_DAY = Limit(25, _DAY, "25 requests a day with a free key")
_LIMITS = {
    "free": (Limit(1, 1.0, "1 request a second with a free key"), _A_DAY),
    "premium": (Limit(10, 1.0, "10 requests a second"), Limit(75, 60.0, "75 requests a minute")),
}
#: When the provider's day begins is not published: after a refusal it is asked again so many seconds later.
_ASK_AGAIN = 6 * 3600.0
_REMEMBERED = timedelta(days=30)  # a refused plan, and dividends and splits of a free key
_LIKE_A_SPLIT = math.log(1.25)  # |log return| from which a split may be what explains it
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")


@dataclass(frozen=True)
class _Events:
    """What a company paid and split, by ISO date, and when it was asked for."""

    asked: date
    dividends: dict[str, float]
    splits: dict[str, float]


class AlphaVantageSource:
    """Daily prices from Alpha Vantage; no request is made before the first fetch."""

    name = "alpha_vantage"
    title = "Alpha Vantage"
    coverage = "US stocks and ETFs"

    def __init__(self, options: SourceOptions) -> None:
        if not options.alpha_vantage_key:
            raise SourceSettingError(
                self.name, "set ALPHAVANTAGE_API_KEY; a free key is at https://www.alphavantage.co/support/#api-key"
            )
        if options.alpha_vantage_plan not in PLANS:
            raise SourceSettingError(
                self.name, f"SIGMA_ALPHA_VANTAGE_PLAN={options.alpha_vantage_plan}: choose from {', '.join(PLANS)}"
            )
        self._options = options
        self._meter = options.meter_for(self.name)
        self._account = account(self.name, options.alpha_vantage_key)
        self._http = Client(self.name, self.title, options.alpha_vantage_key, self._account, options)

    @property
    def calls(self) -> int:
        """Requests made so far, repeated and refused ones included."""
        return self._http.attempts

    def latest_session(self) -> None:
        """It follows the market."""

    def symbols(self) -> None:
        """It cannot list them at the price of a symbol's request."""

    def earliest_session(self) -> date | None:
        """The first session that it can give at all: a free key reaches back 100 sessions."""
        return calendar.last_sessions(COMPACT, self._today)[0] if self._plan() == "free" else None

    def estimate(self, symbols: Sequence[str], first: date) -> Estimate:
        """Say what fetching the symbols will cost, and what a free key cannot give. Makes no request."""
        plan = self._plan()
        if plan == "premium":
            return Estimate(len(symbols), 1, "")
        requests = sum(1 if self._is_fresh(self._noted_events(symbol)) else 3 for symbol in symbols)
        left = self._left_today()
        days = 1 + math.ceil(max(0, requests - left) / _A_DAY.requests)
        note = ""
        if first < calendar.last_sessions(COMPACT, self._today)[0]:
            note = (
                f"a free key gives the last {COMPACT} sessions only: results rest on {COMPACT - 1} returns "
                "(quality limited_history)"
            )
        if plan == "auto":
            first_request = "the first request finds out whether the key is a premium one; this is for a free one"
            return Estimate(requests, days, "; ".join(filter(None, (first_request, note))))
        return Estimate(requests, days, note)

    def requests_left(self) -> int | None:
        """Give what is left of the day's requests, None for a key without such a limit. Makes no request."""
        return None if self._plan() == "premium" else self._left_today()

    def _left_today(self) -> int:
        return max(0, _A_DAY.requests - self._meter.used(self._account, _DAY))

    def fetch(self, symbol: str, first: date, last: date) -> list[PriceRow]:  # noqa: ARG002 - an answer has no end
        """Rows of `symbol` from `first` on, and all that come with them: raw prices, dividends and splits.

        A free key gives at most the last 100 sessions.

        Raises:
            UnknownSymbolError, SourceError, SourceUnavailableError, QuotaSpentError: as the protocol says.
        """
        if not _SYMBOL.fullmatch(symbol):
            raise UnknownSymbolError(symbol, self.name)
        if self._plan() != "free":
            try:
                found = self._adjusted(symbol, first)
            except PremiumError:
                if self._options.alpha_vantage_plan == "premium":
                    raise _refused("premium", "set SIGMA_ALPHA_VANTAGE_PLAN=free, or take a premium plan") from None
                self._remember("free")
            else:
                self._remember("premium")
                return found
        try:
            return self._raw(symbol)
        except PremiumError:
            raise _refused("free", "take another source, or a premium plan") from None

    # --- the two plans

    def _adjusted(self, symbol: str, first: date) -> list[PriceRow]:
        """One request: the short answer when it reaches back to `first`, else all of the history."""
        short = len(calendar.sessions(first, self._today)) <= COMPACT if first >= calendar.FIRST_DAY else False
        try:
            series = self._ask("get_daily_adjusted", symbol, "compact" if short else "full")
        except UnknownSymbolError:
            if short:
                raise
            self._ask("get_daily_adjusted", symbol, "compact")  # unknown to this as well, or only its history lacks
            raise SourceError(
                f"Alpha Vantage knows {symbol}, but refuses its history beyond {COMPACT} sessions; ask again later"
            ) from None
        return rows(series, self._completed, self._today)

    def _raw(self, symbol: str) -> list[PriceRow]:
        """The last 100 sessions, with dividends and splits that are asked for once in 30 days."""
        known = self._noted_events(symbol)
        happened = known if known and self._is_fresh(known) else self._ask_events(symbol)
        series = _with_events(rows(self._ask("get_daily", symbol, "compact"), self._completed, self._today), happened)
        # A split that nobody told us of yet; asked again a week long, as it may be listed late.
        since = happened.asked - timedelta(days=7)
        if happened.asked < self._today and any(day >= since for day in _leaps(series)):
            series = _with_events(series, self._ask_events(symbol))
        return series

    # --- requests

    @cached_property
    def _client(self) -> "AlphaVantageClient":
        from resources.sources.alpha_vantage_client import AlphaVantageClient

        return AlphaVantageClient(self._http, self._options.alpha_vantage_url, self._options.alpha_vantage_key, ())

    def _ask(self, function: str, symbol: str, *arguments: str) -> dict[Any, Any]:
        """Call a function of the package, with the form of the symbol that the provider knows."""
        self._client.limits = _LIMITS["premium" if self._plan() == "premium" else "free"]
        forms = [self._meter.note(self._account, f"form {symbol}") or "", symbol, dashed(symbol)]
        for form in dict.fromkeys(filter(None, forms)):
            try:
                data, _ = getattr(self._client, function)(form, *arguments)
            except NothingError:
                continue
            except KeyRefusedError:
                raise SourceUnavailableError(
                    "Alpha Vantage refuses the key; check ALPHAVANTAGE_API_KEY "
                    "(a free one is at https://www.alphavantage.co/support/#api-key)"
                ) from None
            except DayQuotaError:
                until = self._meter.close(self._account, _ASK_AGAIN * self._options.pace, _A_DAY.rule)
                raise QuotaSpentError(self.name, until, _A_DAY.rule) from None
            if form != symbol:
                self._meter.set_note(self._account, f"form {symbol}", form)
            return dict(data)
        raise UnknownSymbolError(symbol, self.name)

    def _ask_events(self, symbol: str) -> _Events:
        dividends = events(self._ask("get_dividends", symbol), "ex_dividend_date", "amount")
        splits = events(self._ask("get_splits", symbol), "effective_date", "split_factor")
        found = _Events(self._today, dividends, splits)
        text = json.dumps({"asked": found.asked.isoformat(), "dividends": dividends, "splits": splits})
        self._meter.set_note(self._account, f"events {symbol}", text)
        return found

    # --- what is remembered

    def _plan(self) -> str:
        """The plan as set, else as found out in the last 30 days, else `auto`."""
        plan, _, noted = (self._meter.note(self._account, "plan") or "auto").partition(" ")
        if self._options.alpha_vantage_plan != "auto":
            return self._options.alpha_vantage_plan
        return plan if noted and date.fromisoformat(noted) + _REMEMBERED >= self._today else "auto"

    def _remember(self, plan: str) -> None:
        if self._plan() != plan:
            self._meter.set_note(self._account, "plan", f"{plan} {self._today}")

    def _noted_events(self, symbol: str) -> _Events | None:
        noted = self._meter.note(self._account, f"events {symbol}")
        if noted is None:
            return None
        fields = json.loads(noted)
        return _Events(date.fromisoformat(fields["asked"]), fields["dividends"], fields["splits"])

    def _is_fresh(self, known: _Events | None) -> bool:
        return known is not None and known.asked + _REMEMBERED >= self._today

    @property
    def _today(self) -> date:
        return self._options.now().astimezone(calendar.NEW_YORK).date()

    @property
    def _completed(self) -> date:
        return calendar.last_completed_session(self._options.now())


def _refused(plan: str, remedy: str) -> SourceUnavailableError:
    return SourceUnavailableError(f"Alpha Vantage refuses this key what a {plan} plan is for; {remedy}")


def _with_events(series: Sequence[PriceRow], happened: _Events) -> list[PriceRow]:
    return [
        row._replace(
            dividend=happened.dividends.get(row.session.isoformat(), 0.0),
            split=happened.splits.get(row.session.isoformat(), 1.0),
        )
        for row in series
    ]


def _leaps(series: Sequence[PriceRow]) -> Iterator[date]:
    """Sessions whose return, splits applied, is so large that a split may be missing."""
    for before, row in pairwise(series):
        if abs(math.log(row.close * row.split / before.close)) > _LIKE_A_SPLIT:
            yield row.session
