"""The price source `yahoo` against a pretended vendor, over HTTP and through yfinance."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from resources import calendar
from resources.sources.base import (
    PriceSource,
    QuotaSpentError,
    SourceError,
    SourceSettingError,
    UnknownSymbolError,
)
from resources.sources.options import SourceOptions
from resources.sources.yahoo import YahooSource
from tests.conftest_sources import Options, refusal
from tests.support.vendors import yahoo as vendor_answers
from tests.support.vendors.market import archive
from tests.support.vendors.server import Reply
from tests.support.vendors.yahoo import SCENARIOS, Yahoo, opening

EVENING = date(2013, 3, 1)
MONTH_AGO = date(2013, 2, 1)


@pytest.fixture
def vendor() -> Iterator[Yahoo]:
    with Yahoo(archive()) as server:
        yield server


@pytest.fixture
def settings(vendor: Yahoo, options: Options) -> SourceOptions:
    return options(EVENING, yahoo_url=vendor.url)


@pytest.fixture
def source(settings: SourceOptions) -> YahooSource:
    return YahooSource(settings)


# --- numbers


@pytest.mark.parametrize("symbol", ["AAPL", "MSFT", "IBM"])
def test_prices_come_back_as_traded(vendor: Yahoo, source: PriceSource, symbol: str) -> None:
    """Closes, dividends and splits of 13 years, told adjusted and in single precision, come back exactly."""
    rows, truth = source.fetch(symbol, date(2000, 3, 1), EVENING), vendor.market.rows[symbol]
    for name in ("session", "open", "high", "low", "close", "dividend", "split"):
        assert [getattr(row, name) for row in rows] == [getattr(row, name) for row in truth], name
    assert [row.volume for row in rows] == pytest.approx([row.volume for row in truth])


def test_a_later_split_changes_no_row(vendor: Yahoo, source: PriceSource) -> None:
    """Yahoo restates all of its history at a split; what was stored as traded stays as it is."""
    day = calendar.shift(EVENING, 1)
    before = source.fetch("IBM", date(2012, 1, 3), EVENING)
    last = vendor.market.rows["IBM"][-1]
    vendor.market.rows["IBM"].append(last._replace(session=day, close=last.close / 10, split=10.0))
    vendor.market.through = day
    assert source.fetch("IBM", date(2012, 1, 3), EVENING) == before


def test_a_request_ends_in_the_present(vendor: Yahoo, source: PriceSource) -> None:
    """A split after the last session asked for is undone too, because it is in the answer."""
    rows = source.fetch("AAPL", date(2000, 6, 1), date(2000, 6, 30))
    (asked,) = vendor.charts
    assert int(asked.params["period2"]) > opening(EVENING)
    assert rows[0] == next(row for row in vendor.market.rows["AAPL"] if row.session == date(2000, 6, 1))
    assert rows[0].close == 89.12


def test_a_dividend_on_the_day_of_a_split_is_in_new_shares(vendor: Yahoo, source: PriceSource) -> None:
    """As `PriceRow` says; a reverse split works the same."""
    vendor.market.replace("IBM", date(2012, 11, 1), split=0.5, dividend=3.0, close=197.2 * 2)
    rows = {row.session: row for row in source.fetch("IBM", date(2012, 10, 1), EVENING)}
    assert (rows[date(2012, 11, 1)].dividend, rows[date(2012, 11, 1)].split) == (3.0, 0.5)


# --- what is asked


def test_one_fetch_is_one_request_for_prices(vendor: Yahoo, source: PriceSource) -> None:
    """Cookie and crumb come once; an unknown symbol costs no more than a known one."""
    source.fetch("IBM", MONTH_AGO, EVENING)
    source.fetch("AAPL", MONTH_AGO, EVENING)
    with pytest.raises(UnknownSymbolError) as caught:
        source.fetch("NVDA", MONTH_AGO, EVENING)
    assert (caught.value.symbol, caught.value.source) == ("NVDA", "yahoo")
    assert [asked.path.rsplit("/")[-1] for asked in vendor.charts] == ["IBM", "AAPL", "NVDA"]
    assert source.calls == 3


@pytest.mark.parametrize(("symbol", "form"), [("BRK.B", "BRK-B"), ("SP500", "^GSPC")])
def test_symbols_are_written_as_yahoo_does(vendor: Yahoo, source: PriceSource, symbol: str, form: str) -> None:
    """A share class with a dash, the index by its own name."""
    vendor.market.rows[symbol] = vendor.market.rows["IBM"]
    assert source.fetch(symbol, EVENING, EVENING)[-1].session == EVENING
    assert vendor.charts[0].path.rsplit("/")[-1] == form.replace("^", "%5E")


def test_requests_keep_their_distance(vendor: Yahoo, settings: SourceOptions) -> None:
    """A second apart in earnest, here a fifth: measured where they arrive."""
    source = YahooSource(replace(settings, pace=0.2))
    for symbol in ("IBM", "AAPL", "MSFT"):
        source.fetch(symbol, EVENING, EVENING)
    times = [asked.at for asked in vendor.charts]
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(times))


def test_the_home_of_the_user_is_left_alone(settings: SourceOptions, tmp_path: Path, vendor: Yahoo) -> None:
    """yfinance keeps its files in the given folder; a second process can work beside the first."""
    code = (
        "import sys; from pathlib import Path; from datetime import date, datetime, UTC\n"
        "from resources.database.engine import Database; from resources.database.quota import DatabaseMeter\n"
        "from resources.sources.options import SourceOptions; from resources.sources.yahoo import YahooSource\n"
        "now = datetime(2013, 3, 2, 1, tzinfo=UTC)\n"
        f"meter = DatabaseMeter(Database('sqlite:///{tmp_path}/sigma.db'))\n"
        f"options = SourceOptions(cache=Path({str(settings.cache)!r}), meter=meter, yahoo_url={vendor.url!r},\n"
        "    pace=0.01, now=lambda: now)\n"
        "print(len(YahooSource(options).fetch('IBM', date(2013, 2, 1), date(2013, 3, 1))))\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own code
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60) for process in started] == [("20\n", ""), ("20\n", "")]
    assert list(home.iterdir()) == []
    assert settings.cache is not None
    assert list((settings.cache / "yahoo").iterdir())


# --- answers that are none


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_failure_is_told_from_an_absence(vendor: Yahoo, settings: SourceOptions, name: str) -> None:
    """yfinance makes an empty table of all of them, `possibly delisted`."""
    scenario = SCENARIOS[name]
    vendor.say("IBM", always=scenario.reply)
    source = YahooSource(replace(settings, timeout=0.5))
    error = refusal(source)
    assert type(error) is scenario.error
    assert re.search(scenario.message, str(error))
    assert source.calls == 1


def test_after_too_many_requests_nobody_asks_for_an_hour(vendor: Yahoo, settings: SourceOptions) -> None:
    """One refusal, one request: it is not repeated, for no symbol and by no process."""
    vendor.say("IBM", vendor_answers.TOO_MANY)
    with pytest.raises(QuotaSpentError) as caught:
        YahooSource(replace(settings, pace=1.0)).fetch("IBM", EVENING, EVENING)
    with pytest.raises(QuotaSpentError) as again:
        YahooSource(settings).fetch("AAPL", EVENING, EVENING)
    assert again.value.until == caught.value.until
    assert len(vendor.charts) == 1


@pytest.mark.parametrize("reply", [vendor_answers.NO_DATA, None])
def test_no_session_in_the_span_is_no_error(vendor: Yahoo, source: PriceSource, reply: Reply | None) -> None:
    """Said by a status of 400, or by a result without times: the symbol is known."""
    if reply:
        vendor.say("FB", reply)
    assert source.fetch("FB", date(2010, 1, 4), EVENING)[:1] == ([] if reply else vendor.market.rows["FB"][:1])
    vendor.market.through = date(2012, 1, 3)
    assert source.fetch("FB", MONTH_AGO, EVENING) == []


# --- answers that are wrong


def test_rows_that_are_no_final_session_are_left_out(vendor: Yahoo, settings: SourceOptions) -> None:
    """A null row, a weekend, a day told twice (the later counts), and today before it is over."""

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        quote = result["indicators"]["quote"][0]
        quote["close"][-3] = None
        adjusted = result["indicators"]["adjclose"][0]["adjclose"]
        saturday = opening(date(2013, 2, 23))
        for stamp, close in ((opening(date(2013, 2, 28)) + 60, 200.5), (saturday, 1.0)):
            result["timestamp"].append(stamp)
            adjusted.append(close)
            for name, values in quote.items():
                values.append(close if name != "volume" else 1)
        return result

    vendor.edit = edit
    noon = settings.now() - timedelta(hours=8)
    rows = YahooSource(replace(settings, now=lambda: noon)).fetch("IBM", MONTH_AGO, EVENING)
    expected = [row.session for row in vendor.market.rows["IBM"] if MONTH_AGO <= row.session < EVENING]
    expected.remove(date(2013, 2, 27))
    assert [row.session for row in rows] == expected
    assert rows[-1].close == 200.5


def test_a_missing_session_is_left_missing(vendor: Yahoo, source: PriceSource) -> None:
    """It is not filled; when it comes, it is there."""
    whole = list(vendor.market.rows["IBM"])
    vendor.market.without("IBM", date(2013, 2, 28))
    assert date(2013, 2, 28) not in [row.session for row in source.fetch("IBM", MONTH_AGO, EVENING)]
    vendor.market.rows["IBM"] = whole
    assert date(2013, 2, 28) in [row.session for row in source.fetch("IBM", MONTH_AGO, EVENING)]


def test_an_event_on_a_day_without_a_row_still_counts(vendor: Yahoo, source: PriceSource) -> None:
    """The prices before such a split are told in new shares all the same."""

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        at = result["timestamp"].index(opening(date(2005, 2, 28)))
        result["indicators"]["quote"][0]["close"][at] = None
        return result

    vendor.edit = edit
    rows = source.fetch("AAPL", date(2005, 2, 1), EVENING)
    truth = {row.session: row.close for row in vendor.market.rows["AAPL"]}
    assert all(row.close == truth[row.session] for row in rows)
    assert rows[0].close > 75


def test_a_split_that_the_prices_do_not_show_is_refused(vendor: Yahoo, source: PriceSource) -> None:
    """Listed on the day, applied a day later: taken as it is, it would be a return of 100%."""

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        stamp = opening(EVENING)
        result["indicators"]["quote"][0]["close"][-1] /= 2
        result["events"] = {"splits": {str(stamp): {"date": stamp, "numerator": 2, "denominator": 1}}}
        return result

    vendor.edit = edit
    with pytest.raises(SourceError, match=r"lists a split of IBM on 2013-03-01 .2 for 1. that its prices do not show"):
        source.fetch("IBM", MONTH_AGO, EVENING)


def test_a_dividend_in_other_shares_is_refused(vendor: Yahoo, source: PriceSource) -> None:
    """The adjusted close says what was paid: a told one far from it has not been adjusted for a later split."""

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        for event in result["events"]["dividends"].values():
            event["amount"] *= 7
        return result

    vendor.edit = edit
    with pytest.raises(SourceError, match=r"dividend of AAPL on 2013-02-07 is 18.55, but its adjusted close implies"):
        source.fetch("AAPL", MONTH_AGO, EVENING)
    vendor.meta = {"instrumentType": "ETF"}
    assert source.fetch("AAPL", MONTH_AGO, EVENING)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("timestamp", 10**20),
        ("close", 10**400),
        ("splits", {"numerator": 2, "denominator": 0}),
        ("splits", {"numerator": -2, "denominator": 1}),
        ("dividends", {"amount": True}),
        ("dividends", {"amount": "1_0"}),
    ],
)
def test_numbers_of_another_make_are_refused(vendor: Yahoo, source: PriceSource, where: str, value: Any) -> None:
    """A day beyond all days, a price beyond all floats, a split by nothing, a payment that is none: one sentence."""

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        if where == "timestamp":
            result["timestamp"][-1] = value
        elif where == "close":
            result["indicators"]["quote"][0]["close"][-1] = value
        else:
            stamp = opening(EVENING)
            result["events"] = {where: {str(stamp): {"date": stamp, **value}}}
        return result

    vendor.edit = edit
    with pytest.raises(SourceError, match=r"Yahoo's answer for IBM is not made as expected"):
        source.fetch("IBM", MONTH_AGO, EVENING)


def test_true_is_no_price(vendor: Yahoo, source: PriceSource) -> None:
    """Python takes it for 1: the session is left out as one without a close."""

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        result["indicators"]["quote"][0]["close"][-1] = True
        return result

    vendor.edit = edit
    assert source.fetch("IBM", MONTH_AGO, EVENING)[-1].session < EVENING


@pytest.mark.parametrize("meta", [{"currency": "CAD"}, {"exchangeTimezoneName": "America/Toronto"}])
def test_what_is_not_traded_in_dollars_in_new_york_is_refused(
    vendor: Yahoo, source: PriceSource, meta: dict[str, str]
) -> None:
    """The error says what was told and what is supported."""
    vendor.meta = meta
    with pytest.raises(SourceError, match=f"{next(iter(meta.values()))!r}; only .* is supported"):
        source.fetch("IBM", MONTH_AGO, EVENING)


# --- the extra


def test_without_its_packages_it_says_what_to_run(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command, not an import."""
    monkeypatch.setitem(sys.modules, "yfinance", None)  # as if it were not installed
    with pytest.raises(SourceSettingError, match="run `make install-yahoo`"):
        YahooSource(options(EVENING))
