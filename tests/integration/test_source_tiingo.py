"""The price source `tiingo` against a pretended vendor, over HTTP."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from resources import calendar
from resources.sources.base import (
    PriceSource,
    QuotaSpentError,
    SourceSettingError,
    SourceUnavailableError,
)
from resources.sources.options import SourceOptions
from resources.sources.tiingo import TiingoSource
from tests.conftest_sources import Options, everything_said, refusal
from tests.support.vendors import tiingo as vendor_answers
from tests.support.vendors.market import archive
from tests.support.vendors.server import FAULTS, KEY
from tests.support.vendors.tiingo import SCENARIOS, Tiingo

EVENING = date(2013, 3, 1)

pytestmark = pytest.mark.usefixtures("no_key_gets_out")


@pytest.fixture
def vendor() -> Iterator[Tiingo]:
    with Tiingo(archive(), KEY) as server:
        yield server


@pytest.fixture
def settings(vendor: Tiingo, options: Options) -> SourceOptions:
    return options(EVENING, tiingo_key=KEY, tiingo_url=vendor.url)


@pytest.fixture
def source(settings: SourceOptions) -> TiingoSource:
    return TiingoSource(settings)


def test_one_request_gives_exactly_the_sessions_asked_for(vendor: Tiingo, source: PriceSource) -> None:
    """Raw prices with dividend and split on their sessions, both dates included."""
    first, last = date(2005, 2, 1), date(2012, 11, 30)
    rows = source.fetch("AAPL", first, last)
    assert rows == [row for row in vendor.market.rows["AAPL"] if first <= row.session <= last]
    assert {row.session: row.split for row in rows if row.split != 1} == {date(2005, 2, 28): 2.0}
    assert {row.session: row.dividend for row in rows if row.dividend} == {
        date(2012, 8, 9): 2.65,
        date(2012, 11, 7): 2.65,
    }
    (asked,) = vendor.asked
    assert asked.path == "/tiingo/daily/AAPL/prices"
    assert asked.params == {"startDate": "2005-02-01", "endDate": "2012-11-30", "format": "json"}
    assert source.calls == 1


def test_the_key_is_in_the_header_and_nowhere_else(vendor: Tiingo, source: TiingoSource) -> None:
    """Not in the address, which proxies and logs write down."""
    source.fetch("IBM", EVENING, EVENING)
    (asked,) = vendor.asked
    assert asked.headers["Authorization"] == f"Token {KEY}"
    assert KEY not in f"{asked.path} {asked.params}"
    assert KEY not in repr(source)


def test_a_share_class_is_written_with_a_dash(vendor: Tiingo, source: PriceSource) -> None:
    """`BRK.B` is `BRK-B` there."""
    vendor.market.rows["BRK.B"] = vendor.market.rows["IBM"]
    assert source.fetch("BRK.B", EVENING, EVENING)[-1].session == EVENING
    assert vendor.asked[0].path == "/tiingo/daily/BRK-B/prices"


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.error])
def test_an_answer_that_no_retry_helps_is_one_request_and_one_clear_error(
    vendor: Tiingo, source: PriceSource, name: str
) -> None:
    """Never retried; nothing that led to the error knows the key. One cell that is no number refuses the series."""
    scenario = SCENARIOS[name]
    vendor.say("*", always=scenario.reply)
    error = refusal(source)
    assert type(error) is scenario.error
    assert re.search(scenario.message, str(error))
    assert len(vendor.asked) == source.calls == 1
    assert KEY not in everything_said(error)


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if not scenario.error])
def test_what_passes_is_asked_again(vendor: Tiingo, settings: SourceOptions, name: str) -> None:
    """The next answer counts, and both attempts are counted."""
    vendor.say("IBM", SCENARIOS[name].reply)
    source = TiingoSource(replace(settings, timeout=0.5))
    assert source.fetch("IBM", EVENING, EVENING)[-1].session == EVENING
    assert len(vendor.asked) == source.calls == 2


def test_what_does_not_pass_ends_after_four_attempts(vendor: Tiingo, source: PriceSource) -> None:
    """The source itself has failed."""
    vendor.say("*", always=FAULTS["reset"])
    with pytest.raises(SourceUnavailableError, match="Tiingo could not be reached") as caught:
        source.fetch("IBM", EVENING, EVENING)
    assert len(vendor.asked) == source.calls == 4
    assert KEY not in everything_said(caught.value)


def test_no_row_is_no_error(vendor: Tiingo, source: PriceSource) -> None:
    """The symbol is known and has no price in the span."""
    assert source.fetch("FB", date(2010, 1, 4), date(2010, 3, 1)) == []
    assert len(vendor.asked) == 1


def test_the_running_session_is_left_out(settings: SourceOptions) -> None:
    """Its row is not final before the session counts as complete."""
    noon = settings.now() - timedelta(hours=8)
    rows = TiingoSource(replace(settings, now=lambda: noon)).fetch("IBM", date(2013, 2, 25), EVENING)
    assert rows[-1].session == calendar.shift(EVENING, -1)


def test_the_51st_request_of_an_hour_is_not_made(options: Options) -> None:
    """Our own count stops before the vendor does; whoever asks next is told the same without a request."""
    with Tiingo(archive(), KEY, an_hour=50) as vendor:
        settings = options(EVENING, tiingo_key=KEY, tiingo_url=vendor.url, pace=0.03)  # an hour is 108 seconds
        source = TiingoSource(settings)
        for _ in range(50):
            source.fetch("IBM", EVENING, EVENING)
        for again in (source, TiingoSource(settings)):
            with pytest.raises(QuotaSpentError, match="50 requests an hour"):
                again.fetch("IBM", EVENING, EVENING)
        assert len(vendor.asked) == source.calls == 50


def test_a_quota_that_the_vendor_says_is_spent_is_believed(vendor: Tiingo, settings: SourceOptions) -> None:
    """Another program may use the same key: after the refusal nobody asks for an hour."""
    vendor.say("IBM", vendor_answers.TOO_MANY)
    with pytest.raises(QuotaSpentError) as caught:
        TiingoSource(replace(settings, pace=1.0)).fetch("IBM", EVENING, EVENING)
    with pytest.raises(QuotaSpentError) as again:
        TiingoSource(settings).fetch("AAPL", EVENING, EVENING)
    assert again.value.until == caught.value.until
    assert len(vendor.asked) == 1


def test_what_it_costs_is_known_before(source: TiingoSource) -> None:
    """A request for each symbol; beyond 50 it takes hours."""
    assert source.estimate(["A"] * 28, EVENING) == (28, 1, "")
    assert source.estimate(["A"] * 120, EVENING) == (120, 1, "3 hours at 50 requests an hour with a free key")


def test_a_missing_key_says_where_to_get_one(options: Options) -> None:
    """Before any request."""
    with pytest.raises(SourceSettingError, match="set SIGMA_TIINGO_KEY; a free key is at"):
        TiingoSource(options(EVENING))
