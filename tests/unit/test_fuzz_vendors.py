"""Answers of vendors that nobody expects: refused with a typed error, or stored as they say; never a traceback."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from resources import calendar
from resources.database.engine import Database
from resources.database.quota import DatabaseMeter
from resources.sources import guard
from resources.sources.alpha_vantage import AlphaVantageSource
from resources.sources.base import DelistedError, PriceRow, PriceSource, SourceError, UnknownSymbolError
from resources.sources.options import SourceOptions
from resources.sources.tiingo import TiingoSource
from resources.sources.yahoo import YahooSource
from tests.support import evil
from tests.support.evil import EXAMPLES, fuzz
from tests.support.vendors.alpha_vantage import AlphaVantage, series_of
from tests.support.vendors.market import Market
from tests.support.vendors.server import KEY, Reply, Vendor
from tests.support.vendors.tiingo import Tiingo, cells
from tests.support.vendors.yahoo import Yahoo

EVENING = date(2013, 3, 1)
ROWS = [
    PriceRow(date(2013, 2, 27), 10.0, 11.0, 9.0, 10.5, 1000.0, 0.0, 1.0),
    PriceRow(date(2013, 2, 28), 10.5, 11.5, 10.0, 11.0, 2000.0, 0.25, 1.0),
    PriceRow(date(2013, 3, 1), 11.0, 12.0, 10.5, 11.5, 3000.0, 0.0, 1.0),
]
FIRST = ROWS[0].session
FIELDS = PriceRow._fields[1:]
STATUSES = st.sampled_from([200] * 12 + [400, 401, 403, 404, 418])


@pytest.fixture
def options(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What every source is told: no pauses, the evening of the last session."""
    database = Database(f"sqlite:///{tmp_path / 'sigma.db'}")
    now = datetime.combine(EVENING, datetime.min.time(), calendar.NEW_YORK).replace(hour=20)
    yield {"meter": DatabaseMeter(database), "cache": tmp_path, "pace": 1e-9, "now": lambda: now}
    database.engine.dispose()


def fetch(source: PriceSource) -> tuple[PriceRow, ...] | None:
    """Fetch and check as the product does before it stores; None if the answer is refused."""
    try:
        rows = source.fetch("IBM", FIRST, EVENING)
        return guard.check(source.name, "IBM", rows, completed=EVENING, today=EVENING).rows
    except (SourceError, UnknownSymbolError, DelistedError) as error:
        assert str(error).isprintable(), str(error)
        assert KEY not in str(error)
        return None


@contextmanager
def saying(vendor: Vendor, *replies: Reply) -> Iterator[None]:
    """Have a vendor answer so, whatever it is asked."""
    vendor.hush()
    vendor.say("IBM", *replies[:-1], always=replies[-1])
    yield


def reply(value: Any, status: int = 200) -> Reply:
    """A value as JSON: Python writes NaN and the like too, as some vendors do."""
    return Reply(status, json.dumps(value).encode())


def is_number(value: object) -> bool:
    """Say whether a JSON value is a number; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_decimal(text: object) -> bool:
    """Say whether a text, or number, says a number as vendors write it."""
    return re.fullmatch(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", str(text)) is not None and not isinstance(text, bool)


TIINGO = [cells(row) for row in ROWS]
ALPHA = json.loads(series_of("IBM", ROWS, adjusted=True).body)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_tiingo_answers(options: dict[str, Any], examples: int) -> None:
    """JSON with parts changed, any JSON, any bytes: rows that are accepted have the numbers that stand there."""
    with Tiingo(Market({"IBM": ROWS}), KEY) as vendor:
        source = TiingoSource(SourceOptions(**options, tiingo_key=KEY, tiingo_url=vendor.url))

        def check(answer: Any, status: int) -> None:
            with saying(vendor, reply(answer, status)):
                for row in fetch(source) or ():
                    (told,) = [one for one in answer if str(one["date"])[:10] == row.session.isoformat()]
                    names = ("open", "high", "low", "close", "volume", "divCash", "splitFactor")
                    for name, value in zip(names, row[1:], strict=True):
                        assert is_number(told[name]), told
                        assert value == (told[name] or 1.0 if name == "splitFactor" else told[name]), told

        def check_bytes(body: bytes) -> None:
            with saying(vendor, Reply(200, body)):
                fetch(source)

        fuzz(examples, check, evil.changed(TIINGO) | evil.values, STATUSES)
        fuzz(examples, check_bytes, bodies(TIINGO))


@pytest.mark.parametrize("plan", ["premium", "free"])
@pytest.mark.parametrize("examples", EXAMPLES)
def test_alpha_vantage_answers(options: dict[str, Any], plan: str, examples: int) -> None:
    """The same of its series, and of dividends and splits that a free key asks for by themselves."""
    adjusted = plan == "premium"
    series = json.loads(series_of("IBM", ROWS, adjusted=adjusted).body)
    dividends = {"symbol": "IBM", "data": [{"ex_dividend_date": "2013-02-28", "amount": "0.25"}]}
    splits: dict[str, Any] = {"symbol": "IBM", "data": [{"effective_date": "2013-02-28", "split_factor": "2.0"}]}
    names = {"open": "1. open", "high": "2. high", "low": "3. low", "close": "4. close"}
    with AlphaVantage(Market({"IBM": ROWS})) as vendor:
        settings = SourceOptions(
            **options, alpha_vantage_key=KEY, alpha_vantage_url=vendor.address, alpha_vantage_plan=plan
        )

        def check(series: Any, dividends: Any, splits: Any, status: int) -> None:
            source = AlphaVantageSource(settings)
            source._meter.set_note(source._account, "events IBM", FORGOTTEN)
            answers = [series] if adjusted else [dividends, splits, series]
            with saying(vendor, *(reply(one, status) for one in answers)):
                for row in fetch(source) or ():
                    told = series["Time Series (Daily)"][row.session.isoformat()]
                    assert all(is_decimal(told[name]) for name in names.values()), told
                    assert row[1:5] == tuple(float(told[name]) for name in names.values()), told

        def check_bytes(body: bytes) -> None:
            with saying(vendor, Reply(200, body)):
                fetch(AlphaVantageSource(settings))

        changed_events = [evil.changed(one) | st.just(one) for one in (dividends, splits)]
        fuzz(examples, check, evil.changed(series) | evil.values, *map(st.just, (dividends, splits)), STATUSES)
        if not adjusted:
            fuzz(examples, check, st.just(series), *changed_events, STATUSES)
        fuzz(examples, check_bytes, bodies(series))


#: Dividends and splits that were asked for so long ago that they are asked for again.
FORGOTTEN = '{"asked": "2000-01-03", "dividends": {}, "splits": {}}'


@pytest.mark.parametrize("examples", EXAMPLES)
def test_yahoo_answers(options: dict[str, Any], examples: int) -> None:
    """The same of its chart: without a split, the prices that are accepted stand in the answer."""
    with Yahoo(Market({"IBM": ROWS})) as vendor:
        source = YahooSource(SourceOptions(**options, yahoo_url=vendor.url))
        chart = {"chart": {"result": [vendor.result("IBM", ROWS, FIRST, date(2013, 3, 2))], "error": None}}
        split = json.loads(json.dumps(chart))
        stamp = split["chart"]["result"][0]["timestamp"][1]
        split["chart"]["result"][0]["events"]["splits"] = {
            str(stamp): {"date": stamp, "numerator": 2.0, "denominator": 1.0, "splitRatio": "2:1"}
        }

        def check(answer: Any, status: int) -> None:
            with saying(vendor, reply(answer, status)):
                rows = fetch(source) or ()
            if rows and "splits" not in json.dumps(answer):
                (quote,) = answer["chart"]["result"][0]["indicators"]["quote"]
                told = [round(value, 4) for value in quote["close"] if is_number(value) and abs(value) < 1e300]
                assert {row.close for row in rows} <= set(told), answer

        def check_bytes(body: bytes) -> None:
            with saying(vendor, Reply(200, body)):
                fetch(source)

        fuzz(examples, check, evil.changed(chart) | evil.changed(split) | evil.values, STATUSES)
        fuzz(examples, check_bytes, bodies(chart))


def bodies(good: Any) -> st.SearchStrategy[bytes]:
    """Bytes that are no JSON, or hardly: cut off, changed, nested without end, numbers without end."""
    text = json.dumps(good)
    deep = st.sampled_from([b"[" * 5000, b'{"a":' * 2000, b"1" * 5000, b"[" * 900 + b"]" * 900, b"\xff\xfe[]\x00"])
    wild = st.sampled_from(
        ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000, "[" * 2000 + "]" * 2000, "true", '"\\ud800"']
    )
    numbers = wild.map(lambda value: re.sub(r"11\.[05]", lambda _: value, text, count=1).encode())
    return evil.damaged(text.encode()) | st.binary(max_size=60) | deep | numbers
