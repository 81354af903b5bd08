"""The price source `alpha_vantage` against a pretended vendor, over HTTP: what it asks, what it makes of answers."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from resources import calendar
from resources.database.quota import DatabaseMeter
from resources.sources.alpha_vantage import AlphaVantageSource
from resources.sources.base import (
    PriceRow,
    PriceSource,
    QuotaSpentError,
    SourceError,
    SourceSettingError,
    SourceUnavailableError,
    UnknownSymbolError,
)
from resources.sources.options import SourceOptions, account
from tests.conftest_sources import Options, everything_said, refusal
from tests.support.vendors import alpha_vantage as vendor_answers
from tests.support.vendors.alpha_vantage import SCENARIOS, AlphaVantage, series_of
from tests.support.vendors.market import archive
from tests.support.vendors.server import FAULTS, KEY, Reply, told

EVENING = date(2013, 3, 1)
LONG_AGO = date(2012, 1, 3)
RECENT = calendar.last_sessions(100, EVENING)[0]

pytestmark = pytest.mark.usefixtures("no_key_gets_out")


@pytest.fixture
def vendor() -> Iterator[AlphaVantage]:
    with AlphaVantage(archive()) as server:
        yield server


@pytest.fixture
def settings(vendor: AlphaVantage, options: Options) -> SourceOptions:
    return options(EVENING, alpha_vantage_key=KEY, alpha_vantage_url=vendor.address)


@pytest.fixture
def source(settings: SourceOptions) -> AlphaVantageSource:
    return AlphaVantageSource(settings)


def asked(vendor: AlphaVantage) -> list[tuple[str, str, str]]:
    """Function, symbol and size of each request."""
    return [(a.params["function"], a.params["symbol"], a.params.get("outputsize", "")) for a in vendor.asked]


# --- what is asked


def test_a_premium_key_gets_all_of_the_history_in_one_request(vendor: AlphaVantage, source: PriceSource) -> None:
    """Raw prices, dividends and splits come as they are, sorted, and later fetches need no more of them."""
    rows = source.fetch("AAPL", LONG_AGO, EVENING)
    assert asked(vendor) == [("TIME_SERIES_DAILY_ADJUSTED", "AAPL", "full")]
    assert rows == vendor.market.series("AAPL")
    assert source.calls == 1
    splits = {row.session: row.split for row in rows if row.split != 1}
    assert splits == {date(2000, 6, 21): 2.0, date(2005, 2, 28): 2.0}


@pytest.mark.parametrize(
    ("first", "size"), [(RECENT, "compact"), (calendar.shift(RECENT, -1), "full"), (EVENING, "compact")]
)
def test_the_short_answer_is_asked_for_when_it_reaches(
    vendor: AlphaVantage, source: PriceSource, first: date, size: str
) -> None:
    """100 sessions are enough exactly when the first missing one is among the last 100."""
    rows = source.fetch("IBM", first, EVENING)
    assert asked(vendor) == [("TIME_SERIES_DAILY_ADJUSTED", "IBM", size)]
    assert rows[0].session <= first
    assert rows[-1].session == EVENING


def test_numbers_come_in_the_forms_that_the_vendor_writes(vendor: AlphaVantage, source: PriceSource) -> None:
    """A volume with a decimal point, a spin-off's split of four decimals, a last refresh with a time of the day."""
    prices = {"1. open": "201.4000", "2. high": "203.0", "3. low": "200.5000", "4. close": "202.9100"}
    events = {"7. dividend amount": "0.8500", "8. split coefficient": "1.0460"}
    answer = {
        "Meta Data": {"2. Symbol": "IBM", "3. Last Refreshed": "2013-03-01 16:00:01", "4. Output Size": "Compact"},
        "Time Series (Daily)": {
            "2013-03-01": prices | {"5. adjusted close": "202.9100", "6. volume": "2360900.0"} | events,
            "2013-02-28": prices
            | {"5. adjusted close": "193.1740", "6. volume": "2360900", "8. split coefficient": "1"},
        },
    }
    vendor.say("IBM", told(answer))
    assert source.fetch("IBM", date(2013, 2, 28), EVENING) == [
        PriceRow(date(2013, 2, 28), 201.4, 203.0, 200.5, 202.91, 2360900.0, 0.0, 1.0),
        PriceRow(EVENING, 201.4, 203.0, 200.5, 202.91, 2360900.0, 0.85, 1.046),
    ]


def test_the_key_travels_with_each_request_and_is_no_attribute_of_the_package(
    vendor: AlphaVantage, source: AlphaVantageSource, caplog: pytest.LogCaptureFixture
) -> None:
    """It has to stand in the address, which is logged at DEBUG; nothing that is printed or stored may have it."""
    source.fetch("IBM", EVENING, EVENING)
    # Other tests' keys are hidden in this process too, should one be a part of the name.
    assert re.search(r"api\S*=\*\*\*", caplog.text)
    assert [a.params["apikey"] for a in vendor.asked] == [KEY]
    assert KEY not in repr(source)
    assert KEY not in repr(SourceOptions(alpha_vantage_key=KEY, tiingo_key=KEY))


def test_a_free_key_is_found_out_once(vendor: AlphaVantage, settings: SourceOptions) -> None:
    """The refusal is remembered by all processes; then three requests for a symbol, and one while events are fresh."""
    vendor.plan = "free"
    rows = AlphaVantageSource(settings).fetch("AAPL", LONG_AGO, EVENING)
    three = [("DIVIDENDS", "AAPL", ""), ("SPLITS", "AAPL", ""), ("TIME_SERIES_DAILY", "AAPL", "compact")]
    assert asked(vendor) == [("TIME_SERIES_DAILY_ADJUSTED", "AAPL", "full"), *three]
    assert rows == (vendor.market.series("AAPL") or [])[-100:]
    assert {row.session: row.dividend for row in rows if row.dividend} == {
        date(2012, 11, 7): 2.65,
        date(2013, 2, 7): 2.65,
    }
    vendor.asked.clear()
    again = AlphaVantageSource(settings)
    assert again.fetch("AAPL", EVENING, EVENING) == rows
    assert asked(vendor) == three[2:]
    again.fetch("IBM", EVENING, EVENING)
    assert [function for function, _, _ in asked(vendor)[1:]] == ["DIVIDENDS", "SPLITS", "TIME_SERIES_DAILY"]


def test_a_free_key_says_how_far_back_it_reaches(vendor: AlphaVantage, settings: SourceOptions) -> None:
    """Known before anything is spent when the plan is set, and after the first refusal when it is not."""
    free = AlphaVantageSource(replace(settings, alpha_vantage_plan="free"))
    assert free.earliest_session() == RECENT
    cost = free.estimate(["AAPL", "IBM", "MSFT", "GOOG", "FB", *"ABCDE"], LONG_AGO)
    assert (cost.requests, cost.days) == (30, 2)
    assert "99 returns (quality limited_history)" in cost.note
    assert "limited" not in free.estimate(["AAPL"], EVENING).note
    unknown = AlphaVantageSource(settings)
    assert unknown.earliest_session() is None
    assert "finds out whether the key is a premium one" in unknown.estimate(["AAPL"], LONG_AGO).note
    assert vendor.asked == []
    assert AlphaVantageSource(replace(settings, alpha_vantage_plan="premium")).estimate(["A", "B"], LONG_AGO) == (
        2,
        1,
        "",
    )


def test_events_are_asked_for_again_after_30_days(vendor: AlphaVantage, settings: SourceOptions) -> None:
    """A free key's dividends and splits are cached, and never older than that."""
    vendor.plan = "free"
    free = replace(settings, alpha_vantage_plan="free")
    for days, functions in ((0, 3), (30, 1), (31, 3)):
        vendor.asked.clear()
        then = free.now() + timedelta(days=days)
        AlphaVantageSource(replace(free, now=lambda then=then: then)).fetch("MSFT", EVENING, EVENING)
        assert len(vendor.asked) == functions, days


def test_a_return_that_looks_like_a_split_asks_for_splits(vendor: AlphaVantage, settings: SourceOptions) -> None:
    """A free key has no split in its series: a halved close is looked into at once, not after 30 days."""
    vendor.plan = "free"
    free = replace(settings, alpha_vantage_plan="free")
    vendor.market.through = calendar.shift(EVENING, -3)
    before = free.now() - timedelta(days=3)
    AlphaVantageSource(replace(free, now=lambda: before)).fetch("MSFT", EVENING, EVENING)
    vendor.market.through = EVENING
    last = (vendor.market.series("MSFT") or [])[-1]
    vendor.market.replace("MSFT", EVENING, close=last.close / 2, low=last.close / 2, split=2.0)
    vendor.asked.clear()
    rows = AlphaVantageSource(free).fetch("MSFT", EVENING, EVENING)
    assert [function for function, _, _ in asked(vendor)] == ["TIME_SERIES_DAILY", "DIVIDENDS", "SPLITS"]
    assert (rows[-1].close, rows[-1].split) == (last.close / 2, 2.0)


def test_a_symbol_that_goes_by_another_form_is_tried_once(vendor: AlphaVantage, source: PriceSource) -> None:
    """`BRK.B` is asked for as `BRK-B` when the first form is unknown, and only so from then on."""
    vendor.market.rows["BRK-B"] = vendor.market.rows["IBM"]
    assert source.fetch("BRK.B", EVENING, EVENING)[-1].session == EVENING
    source.fetch("BRK.B", EVENING, EVENING)
    assert [symbol for _, symbol, _ in asked(vendor)] == ["BRK.B", "BRK-B", "BRK-B"]


@pytest.mark.parametrize("symbol", ["BRK.B&function=EVIL", "M&M", "../x", "", "A" * 16, "aapl"])
def test_what_is_no_symbol_is_not_asked(vendor: AlphaVantage, source: AlphaVantageSource, symbol: str) -> None:
    """The package does not encode: such a symbol would become a parameter of its own."""
    with pytest.raises(UnknownSymbolError):
        source.fetch(symbol, EVENING, EVENING)
    assert vendor.asked == []


# --- what answers mean


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.error])
def test_an_answer_that_no_retry_helps_is_one_request_and_one_clear_error(
    vendor: AlphaVantage, settings: SourceOptions, name: str
) -> None:
    """Never retried; the message says what to do, and nothing that led to it knows the key. Numbers are never guessed:
    one bad cell refuses the series."""
    scenario = SCENARIOS[name]
    vendor.say("IBM", always=scenario.reply)
    source = AlphaVantageSource(replace(settings, alpha_vantage_plan="premium"))
    error = refusal(source)
    assert type(error) is scenario.error
    assert re.search(scenario.message, str(error))
    assert len(vendor.asked) == source.calls == 1
    assert KEY not in everything_said(error)


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if not scenario.error])
def test_what_passes_is_asked_again(vendor: AlphaVantage, settings: SourceOptions, name: str) -> None:
    """Throttles, broken connections and bodies, server errors: the next answer counts, and each attempt is counted."""
    vendor.say("IBM", SCENARIOS[name].reply)
    source = AlphaVantageSource(replace(settings, timeout=0.5))
    assert source.fetch("IBM", EVENING, EVENING)[-1].session == EVENING
    assert len(vendor.asked) == source.calls == 2


@pytest.mark.parametrize("name", ["503", "reset", "html"])
def test_what_does_not_pass_ends_after_four_attempts(vendor: AlphaVantage, source: PriceSource, name: str) -> None:
    """The source itself has failed: there is no use in asking for the next symbol."""
    vendor.say("*", always=FAULTS[name])
    with pytest.raises(SourceUnavailableError, match=r"Alpha Vantage .*, 4 times; ask again later") as caught:
        source.fetch("IBM", EVENING, EVENING)
    assert len(vendor.asked) == source.calls == 4
    assert KEY not in everything_said(caught.value)


def test_nobody_listens(settings: SourceOptions) -> None:
    """A refused connection names the source, not the address, which has the key."""
    source = AlphaVantageSource(replace(settings, alpha_vantage_url="http://127.0.0.1:9/query"))
    with pytest.raises(SourceUnavailableError, match="could not be reached") as caught:
        source.fetch("IBM", EVENING, EVENING)
    assert KEY not in everything_said(caught.value)


def test_an_unknown_symbol_is_a_fact(vendor: AlphaVantage, source: PriceSource) -> None:
    """Asked for in both sizes: at times the vendor refuses the long one only."""
    with pytest.raises(UnknownSymbolError) as caught:
        source.fetch("NVDA", LONG_AGO, EVENING)
    assert (caught.value.symbol, caught.value.source) == ("NVDA", "alpha_vantage")
    assert [size for _, _, size in asked(vendor)] == ["full", "compact"]


def test_a_history_that_is_refused_is_no_unknown_symbol(vendor: AlphaVantage, source: PriceSource) -> None:
    """The short answer proves that the symbol exists: this fetch failed."""
    vendor.say("IBM", vendor_answers.E1)
    with pytest.raises(SourceError, match="knows IBM, but refuses its history") as caught:
        source.fetch("IBM", LONG_AGO, EVENING)
    assert not isinstance(caught.value, SourceUnavailableError)


def test_a_series_beside_a_notice_counts(vendor: AlphaVantage, source: PriceSource) -> None:
    """What was paid for is used, whatever stands next to it."""
    answer = (
        vendor_answers.E5.body[:-1] + b", " + series_of("IBM", vendor.market.rows["IBM"][-3:], adjusted=True).body[1:]
    )
    vendor.say("IBM", Reply(200, answer, "text/plain"))
    assert len(source.fetch("IBM", EVENING, EVENING)) == 3


def test_the_order_of_an_answer_does_not_matter(vendor: AlphaVantage, source: PriceSource) -> None:
    """Rows come back ascending."""
    vendor.say("IBM", series_of("IBM", vendor.market.rows["IBM"][-5:][::-1], adjusted=True))
    sessions = [row.session for row in source.fetch("IBM", EVENING, EVENING)]
    assert sessions == sorted(sessions)
    assert len(sessions) == 5


def test_an_empty_series_is_no_price_and_no_error(vendor: AlphaVantage, source: PriceSource) -> None:
    """The symbol is known and has none."""
    vendor.say("IBM", series_of("IBM", []))
    assert source.fetch("IBM", EVENING, EVENING) == []


def test_the_running_session_is_left_out(vendor: AlphaVantage, settings: SourceOptions) -> None:
    """Its row is not final before the session counts as complete."""
    noon = settings.now() - timedelta(hours=8)
    rows = AlphaVantageSource(replace(settings, now=lambda: noon)).fetch("IBM", EVENING, EVENING)
    assert vendor.market.rows["IBM"][-1].session == EVENING
    assert rows[-1].session == calendar.shift(EVENING, -1)


# --- limits


def test_a_spent_day_is_not_asked_about_again(
    vendor: AlphaVantage, settings: SourceOptions, meter: DatabaseMeter
) -> None:
    """The refusal closes the account for every process until it is worth asking again; a plan is not forgotten."""
    free = replace(settings, alpha_vantage_plan="free", pace=1.0)
    vendor.say("IBM", always=vendor_answers.e4(KEY))
    with pytest.raises(QuotaSpentError) as caught:
        AlphaVantageSource(free).fetch("IBM", EVENING, EVENING)
    assert caught.value.until.tzinfo is not None
    with pytest.raises(QuotaSpentError) as again:
        AlphaVantageSource(free).fetch("MSFT", EVENING, EVENING)
    assert again.value.until == caught.value.until
    assert len(vendor.asked) == 1
    assert meter.used(account("alpha_vantage", KEY), 86_400) == 1


def test_our_own_count_stops_before_the_vendor_does(settings: SourceOptions) -> None:
    """25 attempts a day with a free key: the 26th is never made, and what was fetched before is kept."""
    with AlphaVantage(archive(), "free", a_day=25) as vendor:
        free = replace(settings, alpha_vantage_plan="free", alpha_vantage_url=vendor.address)
        vendor.say("IBM", *[FAULTS["503"]] * 2)
        source = AlphaVantageSource(free)
        # Two attempts are refused, four symbols cost three requests at first and one from then on.
        for i in range(4 + (25 - 2 - 4 * 3)):
            assert source.fetch(("IBM", "AAPL", "MSFT", "GOOG")[i % 4], EVENING, EVENING)
        with pytest.raises(QuotaSpentError, match="25 requests a day"):
            source.fetch("IBM", EVENING, EVENING)
        assert len(vendor.asked) == source.calls == 25


# --- settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha_vantage_key": ""}, "set ALPHAVANTAGE_API_KEY; a free key is at"),
        ({"alpha_vantage_plan": "gold"}, "SIGMA_ALPHA_VANTAGE_PLAN=gold: choose from auto, free, premium"),
    ],
)
def test_wrong_settings_are_named(settings: SourceOptions, given: dict[str, str], message: str) -> None:
    """When the source is made, before any request."""
    with pytest.raises(SourceSettingError, match=message):
        AlphaVantageSource(replace(settings, **given))
