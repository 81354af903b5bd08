"""The date partitions: one key per session, none before its session is complete."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest
from dagster import DagsterInstance
from dagster._core.definitions.partitions.context import partition_loading_context

from assets.partitions import by_dimension, date_partitions
from resources import calendar

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # exchange_calendars 4.13 on pandas 3.1
def test_keys_are_the_exchange_sessions() -> None:
    """Date keys from 2015 to 2026 are exactly the XNYS sessions, as the library itself lists them."""
    sessions = exchange_calendars.get_calendar("XNYS", start="2015-01-01", end="2026-12-31").sessions
    keys = date_partitions(date(2015, 1, 1)).get_partition_keys(datetime(2026, 12, 31, 17, tzinfo=NEW_YORK))
    assert keys == [session.strftime("%Y-%m-%d") for session in sessions]


# Thanksgiving with its early close, Christmas observed on a Monday, New Year; the start and the end of summer time.
@pytest.mark.parametrize("first", [date(2022, 11, 21), date(2022, 12, 20), date(2022, 3, 10), date(2022, 11, 3)])
def test_trap_23_a_key_exists_from_the_completion_of_its_session(first: date) -> None:
    """Hour by hour, the last key is the calendar's last completed session: 17:00 brings today's, 16:59 does not."""
    dates = date_partitions(date(2021, 1, 4))
    begin = datetime.combine(first, time.min, NEW_YORK)
    for minutes in range(0, 15 * 24 * 60, 60):
        for now in (begin + timedelta(minutes=minutes), begin + timedelta(minutes=minutes + 59)):
            with partition_loading_context(now):
                assert dates.get_last_partition_key() == calendar.last_completed_session(now).isoformat(), now


def test_no_key_before_the_close() -> None:
    """At 16:00 of a session the list of keys ends with the session before, at 17:00 with the session itself."""
    dates = date_partitions(date(2021, 1, 4))
    assert dates.get_partition_keys(datetime(2022, 12, 28, 16, tzinfo=NEW_YORK))[-1] == "2022-12-27"
    assert dates.get_partition_keys(datetime(2022, 12, 28, 17, tzinfo=NEW_YORK))[-1] == "2022-12-28"


def test_keys_end_with_the_last_session_of_a_finite_source() -> None:
    """The last key is `end`, on any kind of day: mid-week, before a weekend, before a holiday."""
    now = datetime(2026, 1, 2, 18, tzinfo=NEW_YORK)
    for end in calendar.sessions(date(2022, 11, 21), date(2023, 1, 5)):
        dates = date_partitions(date(2022, 11, 1), end)
        assert dates.get_partition_keys(now) == [day.isoformat() for day in calendar.sessions(date(2022, 11, 1), end)]
        assert dates.get_last_partition_key() == end.isoformat()


def test_a_start_that_is_no_session_begins_with_the_next_one() -> None:
    """The first date is a setting, and may be a holiday."""
    assert date_partitions(date(2021, 1, 1)).get_first_partition_key() == "2021-01-04"


def test_the_definition_does_not_depend_on_the_day_it_is_made() -> None:
    """Dagster takes partitions with other exclusions for other partitions: they reach to a fixed day."""
    exclusions = date_partitions(date(2021, 1, 4)).exclusions
    assert exclusions is not None
    latest = max(excluded.timestamp for excluded in exclusions if not isinstance(excluded, str))
    assert datetime.fromtimestamp(latest, NEW_YORK).date() == date(2040, 12, 25)


def test_asset_keys_are_session_and_symbol_or_portfolio() -> None:
    """Keys read `2022-12-28|AAPL`: other code writes and parses them."""
    dates = date_partitions(date(2022, 12, 28), date(2022, 12, 28))
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("proxy", ["SP500"])
        instance.add_dynamic_partitions("symbol", ["AAPL"])
        instance.add_dynamic_partitions("portfolio", ["core"])
        for dimension, partitions in by_dimension(dates).items():
            keys = partitions.get_partition_keys(dynamic_partitions_store=instance)
            assert keys == ["2022-12-28|" + {"proxy": "SP500", "symbol": "AAPL", "portfolio": "core"}[dimension]]
