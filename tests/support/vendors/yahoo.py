"""A pretended Yahoo: cookie, crumb, and a chart whose prices are adjusted for every split up to now."""

import struct
from datetime import date, datetime, time
from typing import Any
from urllib.parse import quote, unquote

from resources import calendar
from resources.sources.base import (
    PriceRow,
    QuotaSpentError,
    SourceError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from tests.support.vendors.market import Market
from tests.support.vendors.server import KEY, Asked, Reply, Vendor, faults, refused, told

CHART = "/v8/finance/chart/"


def _chart_error(code: str, description: str, status: int) -> Reply:
    return told({"chart": {"result": None, "error": {"code": code, "description": description}}}, status)


NOT_FOUND = _chart_error("Not Found", "No data found, symbol may be delisted", 404)
NO_DATA = _chart_error("Bad Request", "Data doesn't exist for startDate = 1, endDate = 2", 400)
TOO_MANY = Reply(429, b"Too Many Requests", "text/plain")
_CRUMB_REFUSED = {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}
BAD_CRUMB = told(_CRUMB_REFUSED, 401)

#: All that may go wrong with an answer; none is asked about again. yfinance makes an empty table of each.
SCENARIOS = {
    **refused(UnknownSymbolError, "is unknown to the price source 'yahoo'", {"404": NOT_FOUND}),
    **refused(QuotaSpentError, "takes no more requests from this address for now", {"429": TOO_MANY}),
    **refused(SourceError, "nothing of use for .* .status 401.; ask again later", {"401": BAD_CRUMB}),
    **refused(SourceError, "nothing of use", {"bad crumb with status 200": told(_CRUMB_REFUSED)}),
    **refused(SourceError, "nothing of use", faults("empty", "{}", "null", "[]", "truncated", "nested")),
    **refused(SourceError, "Yahoo answered with status 50", faults("500", "503")),
    **refused(SourceError, "Yahoo is down for now", faults("html")),
    **refused(
        SourceError,
        "exchangeTimezoneName None",
        {"no time zone": told({"chart": {"result": [{"meta": {"currency": "USD"}}]}})},
    ),
    **refused(SourceError, "not made as expected", {"no meta": told({"chart": {"result": [{}], "error": None}})}),
    **refused(SourceError, "refuses ", {"no result": told({"chart": {"result": [], "error": None}})}),
    **refused(SourceUnavailableError, "could not be reached", faults("reset", "short", "stall")),
}


class Yahoo(Vendor):
    """Anybody may ask; only what was asked about prices is written down in `charts`."""

    def __init__(self, market: Market) -> None:
        super().__init__()
        self.market = market
        self.meta: dict[str, Any] = {}
        self.edit = lambda result: result  # of a chart's result, before it is sent

    @property
    def charts(self) -> list[Asked]:
        """The requests for prices."""
        return [asked for asked in self.asked if asked.path.startswith(CHART)]

    def symbol(self, asked: Asked) -> str:
        return unquote(asked.path.removeprefix(CHART)) if asked.path.startswith(CHART) else ""

    def reply(self, asked: Asked) -> Reply:
        if not asked.path.startswith(CHART):
            self.asked.append(asked)
            cookie = f"A3=d={quote(KEY)}; Max-Age=31557600; Path=/"
            return Reply(200, KEY.encode(), "text/plain", (("Set-Cookie", cookie),))
        return super().reply(asked)

    def answer(self, asked: Asked) -> Reply:
        symbol = self.symbol(asked)
        series = self.market.series(symbol.replace("-", ".").replace("^GSPC", "SP500"))
        if series is None:
            return NOT_FOUND
        first, end = (
            datetime.fromtimestamp(int(asked.params[name]), calendar.NEW_YORK).date() for name in ("period1", "period2")
        )
        return told({"chart": {"result": [self.edit(self.result(symbol, series, first, end))], "error": None}})

    def result(self, symbol: str, series: list[PriceRow], first: date, end: date) -> dict[str, Any]:
        meta = {"currency": "USD", "symbol": symbol, "exchangeTimezoneName": "America/New_York", "timezone": "EST"}
        meta |= {"instrumentType": "EQUITY", "gmtoffset": -18000, "validRanges": ["1d", "max"], "dataGranularity": "1d"}
        rows, dividends, splits = [], {}, {}
        factor, paid = 1.0, 1.0
        adjusted: list[float] = []
        later: PriceRow | None = None
        for row in reversed(series):
            if later is not None:
                if later.dividend:
                    told_dividend = later.dividend / factor
                    paid *= 1 - told_dividend / (row.close / (factor * later.split))
                factor *= later.split
            if first <= row.session < end:
                rows.append((row, factor, paid))
            later = row
        rows.reverse()
        for row, shares, of_paid in rows:
            stamp = opening(row.session)
            if row.dividend:
                dividends[str(stamp)] = {"amount": single(row.dividend / shares), "date": stamp}
            if row.split != 1:
                splits[str(stamp)] = {
                    "date": stamp,
                    "numerator": row.split,
                    "denominator": 1.0,
                    "splitRatio": f"{row.split:g}:1",
                }
            adjusted.append(single(row.close / shares * of_paid))
        quote = {
            name: [single(getattr(row, name) / shares) for row, shares, _ in rows]
            for name in ("open", "high", "low", "close")
        }
        quote["volume"] = [(row.volume or 0) * shares for row, shares, _ in rows]
        found: dict[str, Any] = {
            "meta": meta | self.meta,
            "indicators": {"quote": [quote], "adjclose": [{"adjclose": adjusted}]},
        }
        if rows:
            found["timestamp"] = [opening(row.session) for row, _, _ in rows]
        if dividends or splits:
            found["events"] = {"dividends": dividends, "splits": splits}
        return found


def opening(day: date) -> int:
    """Seconds since 1970 at the opening of a session."""
    return int((datetime.combine(day, time(9, 30), calendar.NEW_YORK)).timestamp())


def single(value: float) -> float:
    """Six decimals in single precision."""
    return float(struct.unpack("f", struct.pack("f", round(value, 6)))[0])
