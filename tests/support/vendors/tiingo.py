"""A pretended Tiingo."""

from datetime import date

from resources.sources.base import (
    PriceRow,
    QuotaSpentError,
    SourceError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from resources.sources.guard import RefusedPricesError
from tests.support.vendors.market import Market
from tests.support.vendors.server import Asked, Reply, Vendor, faults, passing, refused, told

NOT_FOUND = told({"detail": "Not found."}, 404)
NO_KEY = told({"detail": "Invalid token."}, 401)
NO_PERMISSION = told({"detail": "You do not have permission to access the Tiingo API."}, 403)
TOO_MANY = told({"detail": "Too many requests."}, 429)
RUN_OVER = Reply(200, b"Error: You have run over your hourly request allocation. Please upgrade.", "text/plain")


class Tiingo(Vendor):
    """Takes one key in the header, and gives the sessions asked for."""

    def __init__(self, market: Market, key: str, *, an_hour: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__(host=host)
        self.market = market
        self.key = key
        self._an_hour = an_hour

    def symbol(self, asked: Asked) -> str:
        parts = asked.path.split("/")
        return parts[3] if len(parts) == 5 else ""

    def answer(self, asked: Asked) -> Reply:
        if asked.headers.get("Authorization") != f"Token {self.key}":
            return NO_KEY
        if self._an_hour and len(self.asked) > self._an_hour:
            return TOO_MANY
        series = self.market.series(self.symbol(asked).replace("-", "."))
        if series is None:
            return NOT_FOUND
        first, last = (date.fromisoformat(asked.params[name]) for name in ("startDate", "endDate"))
        return told([cells(row) for row in series if first <= row.session <= last])


def cells(row: PriceRow) -> dict[str, object]:
    """One session as it comes."""
    prices = {name: getattr(row, name) for name in ("open", "high", "low", "close", "volume")}
    adjusted = {f"adj{name.capitalize()}": value for name, value in prices.items()}
    events = {"divCash": row.dividend, "splitFactor": row.split}
    return {"date": f"{row.session}T00:00:00.000Z", **prices, **adjusted, **events}


_ROW = cells(PriceRow(date(2013, 3, 1), 10.0, 11.0, 9.0, 10.0, 1000.0, 0.0, 1.0))


def _with(**values: object) -> Reply:
    return told([_ROW | values])


_MONTH = told("You have run over your 500 symbol look up for this month.")

#: All that may go wrong with an answer.
SCENARIOS = {
    **passing(faults("500", "503", "html", "empty", "truncated", "nested", "short", "null", "reset", "stall")),
    **refused(UnknownSymbolError, "is unknown to the price source 'tiingo'", {"404": NOT_FOUND}),
    **refused(
        SourceUnavailableError,
        "refuses the key; check SIGMA_TIINGO_KEY",
        {"401": NO_KEY, "403": NO_PERMISSION},
    ),
    **refused(
        QuotaSpentError,
        "takes no more requests before .*50 requests an hour",
        {"429": TOO_MANY, "run over": RUN_OVER, "run over for this month": _MONTH},
    ),
    **refused(SourceUnavailableError, "another address, which is not followed", faults("redirect")),
    **refused(SourceError, "status 400", {"400": Reply(400, b"bad dates")}),
    **refused(SourceError, "does not understand", {**faults("{}"), "a sentence": told("surprise")}),
    **refused(SourceError, "'yesterday' where a date", {"no date": _with(date="yesterday")}),
    **refused(SourceError, "'x' where a date", {"no row": told(["x"])}),
    **refused(SourceError, "'2013-03-01' where a date", {"a date for a row": told(["2013-03-01"])}),
    **refused(SourceError, "'2013-W09-5' where a date", {"a day of a week": _with(date="2013-W09-5")}),
    **refused(SourceError, "True as the close of 2013-03-01", {"close true": _with(close=True)}),
    **refused(SourceError, "10+ as the volume", {"volume beyond any float": _with(volume=10**400)}),
    **refused(SourceError, "None as the close of 2013-03-01", {"close null": _with(close=None)}),
    **refused(SourceError, "0 as the close of 2013-03-01", {"close 0": _with(close=0)}),
    **refused(SourceError, "-1.0 as the open of 2013-03-01", {"open negative": _with(open=-1.0)}),
    **refused(SourceError, "'0.5' as the divCash of 2013-03-01", {"dividend as text": _with(divCash="0.5")}),
    **refused(RefusedPricesError, "that session is in the future", {"future": _with(date="2099-01-05")}),
    **refused(RefusedPricesError, "is no session of", {"Sunday": _with(date="2013-02-24")}),
    **refused(RefusedPricesError, "a session has one row", {"session twice": told([_ROW, _ROW])}),
}
