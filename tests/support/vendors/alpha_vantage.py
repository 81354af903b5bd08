"""A pretended Alpha Vantage, with the answers that its documentation and its users quote.

`python -m tests.support.vendors.alpha_vantage --port 8123` serves simulated prices to the key `demo-key`.
"""

import argparse
from datetime import UTC, date, datetime

from resources import calendar
from resources.sources.base import (
    PriceRow,
    QuotaSpentError,
    SourceError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from resources.sources.guard import RefusedPricesError
from tests.support.vendors.market import Market, simulated
from tests.support.vendors.server import FAULTS, KEY, Asked, Reply, Vendor, faults, passing, refused, told

_THANKS = "Thank you for using Alpha Vantage! "
_PLANS = "You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to "

E1 = told(
    {
        "Error Message": "Invalid API call. Please retry or visit the documentation "
        "(https://www.alphavantage.co/documentation/) for TIME_SERIES_DAILY."
    }
)
_CLAIM = (
    "the parameter apikey is invalid or missing. Please claim your free API key on "
    "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
)
E2 = told({"Error Message": _CLAIM})
E2_INFORMATION = told({"Information": _CLAIM})
E3 = told({"Error Message": "This API function (X) does not exist."})
E5 = told(
    {
        "Information": f"{_THANKS}Please consider spreading out your free API requests more sparingly (1 request per "
        f"second). {_PLANS}lift the free key rate limit (25 requests per day), raise the per-second burst limit, and "
        "instantly unlock all premium endpoints"
    }
)
E6 = told(
    {
        "Note": f"{_THANKS}Our standard API call frequency is 5 calls per minute and 500 calls per day. Please visit "
        "https://www.alphavantage.co/premium/ if you would like to target a higher API call frequency."
    }
)
E7 = told({"Information": f"{_THANKS}This is a premium endpoint. {_PLANS}instantly unlock all premium endpoints"})
E8 = told(
    {
        "Information": f"{_THANKS}The outputsize=full parameter value is a premium feature for the TIME_SERIES_DAILY "
        f"endpoint. {_PLANS}instantly unlock all premium features"
    }
)
E9 = told(
    {
        "Information": "The **demo** API key is for demo purposes only. Please claim your free API key at "
        "(https://www.alphavantage.co/support/#api-key) to explore our full API offerings. "
        "It takes fewer than 20 seconds."
    }
)
_CONTACT = "Please contact support@alphavantage.co if you are targeting a higher API request volume."
E10 = told(
    {
        "Information": "Minute-level rate limit exceed. Please stay under the number of API requests per minute for "
        f"your premium subscription plan. {_CONTACT}"
    }
)
E11 = told(
    {
        "Information": "Burst pattern detected. Please consider spreading out your API requests more evenly across a "
        f"1-minute window and query no more than 10 requests per second. {_CONTACT}"
    }
)


def e4(key: str) -> Reply:
    """The notice of a spent day, which repeats the key."""
    return told(
        {
            "Information": f"We have detected your API key as {key} and our standard API rate limit is 25 requests per "
            "day. Please subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly "
            "remove all daily rate limits."
        }
    )


class AlphaVantage(Vendor):
    """Free or premium; it minds its limits when told to."""

    def __init__(self, market: Market, plan: str = "premium", *, a_second: int = 0, a_day: int = 0, port: int = 0):
        super().__init__(port)
        self.market = market
        self.plan = plan
        self._a_second = a_second
        self._a_day = a_day

    @property
    def address(self) -> str:
        """The address up to and with `/query`."""
        return f"{self.url}/query"

    def symbol(self, asked: Asked) -> str:
        return asked.params.get("symbol", "")

    def answer(self, asked: Asked) -> Reply:
        function, symbol, key = (asked.params.get(name, "") for name in ("function", "symbol", "apikey"))
        if asked.path != "/query":
            return told({"detail": "no such page"}, 404)
        if not key:
            return E2
        if self._a_day and len(self.asked) > self._a_day:
            return e4(key)
        if self._a_second and len([one for one in self.asked if one.at > asked.at - 1.0]) > self._a_second:
            return E5
        series = self.market.series(symbol)
        if series is None:
            return E1
        full = asked.params.get("outputsize") == "full"
        if function == "TIME_SERIES_DAILY_ADJUSTED":
            return E7 if self.plan == "free" else series_of(symbol, series if full else series[-100:], adjusted=True)
        if function == "TIME_SERIES_DAILY":
            return E8 if full and self.plan == "free" else series_of(symbol, series if full else series[-100:])
        if function == "DIVIDENDS":
            return events_of(
                symbol, [(row, row.dividend) for row in series if row.dividend], "ex_dividend_date", "amount"
            )
        if function == "SPLITS":
            return events_of(
                symbol, [(row, row.split) for row in series if row.split != 1], "effective_date", "split_factor"
            )
        return E3


def series_of(symbol: str, rows: list[PriceRow], *, adjusted: bool = False) -> Reply:
    """A series as it comes: text, newest first."""
    return told(
        {
            "Meta Data": {
                "1. Information": "Daily Time Series with Splits and Dividend Events",
                "2. Symbol": symbol,
                "3. Last Refreshed": f"{rows[-1].session}" if rows else "",
                "4. Output Size": "Compact",
                "5. Time Zone": "US/Eastern",
            },
            "Time Series (Daily)": {row.session.isoformat(): cells(row, adjusted) for row in reversed(rows)},
        }
    )


def cells(row: PriceRow, adjusted: bool) -> dict[str, str]:
    """One session; the number before `volume` differs between the two series."""
    prices = {
        "1. open": str(row.open),
        "2. high": str(row.high),
        "3. low": str(row.low),
        "4. close": str(row.close),
    }
    if not adjusted:
        return prices | {"5. volume": str(row.volume)}
    return prices | {
        "5. adjusted close": str(row.close),
        "6. volume": str(row.volume),
        "7. dividend amount": f"{row.dividend:.4f}",
        "8. split coefficient": f"{row.split}",
    }


def events_of(symbol: str, happened: list[tuple[PriceRow, float]], day: str, value: str) -> Reply:
    """Dividends or splits, newest first, with a date that nobody knows."""
    data = [{day: row.session.isoformat(), "payment_date": "None", value: str(amount)} for row, amount in happened]
    return told({"symbol": symbol, "data": data[::-1]})


_DAY = date(2013, 3, 1)
_ROW = PriceRow(_DAY, 10.0, 11.0, 9.0, 10.0, 1000.0, 0.0, 1.0)


def _with(**values: str) -> Reply:
    """A series of one session with other cells: `c4_close` is `4. close`."""
    named = {name[1] + ". " + name[3:].replace("_", " "): value for name, value in values.items()}
    return told(_series(_DAY.isoformat(), cells(_ROW, True) | named))


def _series(day: str, row: object) -> dict[str, object]:
    return {"Meta Data": {}, "Time Series (Daily)": {day: row}}


def _on(day: date) -> Reply:
    return series_of("IBM", [_ROW, _ROW._replace(session=day)], adjusted=True)


_TWICE = b'{"Meta Data": {}, "Time Series (Daily)": {%b, %b}}' % ((b'"2013-03-01": {"4. close": "1.0"}',) * 2)
_CSV = b"timestamp,open,high,low,close,volume\r\n2013-03-01,10,11,9,10,1000\r\n"

#: All that may go wrong with an answer.
SCENARIOS = {
    **passing({"E5": E5, "E6": E6, "E10": E10, "E11": E11}),
    **passing(faults("500", "503", "html", "empty", "truncated", "nested", "short", "reset", "stall")),
    **passing(
        {
            "429": Reply(429, b"{}"),
            "500 with a good body": Reply(500, series_of("IBM", [_ROW], adjusted=True).body),
            "csv": Reply(200, _CSV, "application/x-download"),
        }
    ),
    **refused(UnknownSymbolError, "is unknown to the price source 'alpha_vantage'", {"E1": E1}),
    **refused(
        SourceUnavailableError,
        "refuses the key; check ALPHAVANTAGE_API_KEY",
        {"E2": E2, "E2 as Information": E2_INFORMATION, "E9": E9},
    ),
    **refused(QuotaSpentError, "25 requests a day", {"E4": e4(KEY)}),
    **refused(
        SourceUnavailableError,
        "what a (premium plan is for; set SIGMA_ALPHA_VANTAGE_PLAN=free|free plan is for; take another source)",
        {"E7": E7, "E8": E8},
    ),
    **refused(SourceUnavailableError, "another address, which is not followed", faults("redirect")),
    **refused(SourceError, "without anything in it", {"E12": FAULTS["{}"], **faults("null", "[]")}),
    **refused(SourceError, "does not understand", {"E3": E3, "unknown fields": told({"surprise": 1})}),
    **refused(
        SourceError, "without its description", {"no Meta Data": told({"Time Series (Daily)": {"2013-03-01": {}}})}
    ),
    **refused(SourceError, "'None' as the close of 2013-03-01", {"close None": _with(c4_close="None")}),
    **refused(SourceError, "'-3.0' as the close", {"close negative": _with(c4_close="-3.0")}),
    **refused(SourceError, "'0.0' as the close", {"close 0": _with(c4_close="0.0")}),
    **refused(SourceError, "'1_0' as the close", {"close of Python's": _with(c4_close="1_0")}),
    **refused(SourceError, "None where named values", {"no row": told(_series("2013-03-01", None))}),
    **refused(SourceError, "does not understand", {"events for prices": events_of("IBM", [(_ROW, 0.5)], "a", "b")}),
    **refused(SourceError, "'nan' as the open", {"open nan": _with(c1_open="nan")}),
    **refused(SourceError, "'inf' as the volume", {"volume inf": _with(c6_volume="inf")}),
    **refused(SourceError, "'None' as the dividend", {"dividend None": _with(c7_dividend_amount="None")}),
    **refused(SourceError, "2013-03-01 twice", {"session twice": Reply(200, _TWICE)}),
    **refused(RefusedPricesError, "that session is in the future", {"future": _on(date(2099, 1, 5))}),
    **refused(RefusedPricesError, "is no session of", {"Sunday": _on(date(2013, 2, 24))}),
}

DEMO_KEY = "demo-key"


class Anything(Market):
    """Every symbol there is, simulated when asked for."""

    def __init__(self) -> None:
        self.rows = {}
        self.through = calendar.last_completed_session(datetime.now(UTC))

    def series(self, symbol: str) -> list[PriceRow] | None:
        if symbol not in self.rows:
            self.rows |= simulated([symbol], calendar.last_sessions(1500, self.through)[0], self.through).rows
        return super().series(symbol)


class DemoVendor(AlphaVantage):
    """Takes one key."""

    def answer(self, asked: Asked) -> Reply:
        return super().answer(asked) if asked.params.get("apikey") == DEMO_KEY else E2


def main() -> None:
    """Serve until interrupted, and say where."""
    parser = argparse.ArgumentParser(description="A pretended Alpha Vantage with simulated prices.")
    parser.add_argument("--port", type=int, default=0)
    with DemoVendor(Anything(), port=parser.parse_args().port) as vendor:
        print(vendor.address, flush=True)  # noqa: T201 - who started it reads this line
        try:
            vendor.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
