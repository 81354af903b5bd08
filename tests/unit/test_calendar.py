"""The trading calendar: what every other date in the project rests on."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import calendar
from resources.calendar import CalendarError

NEW_YORK = ZoneInfo("America/New_York")
COVERED_DAYS = st.dates(date(1990, 1, 2), date(2040, 12, 31))

# Dates and their reasons; none of them comes from the library.
CLOSED = {
    date(2001, 9, 11): "attacks, closed to the 14th",
    date(2012, 10, 29): "Hurricane Sandy, with the 30th",
    date(2018, 12, 5): "mourning for G. H. W. Bush",
    date(2021, 7, 5): "Independence Day, observed on Monday",
    date(2022, 6, 20): "Juneteenth, a holiday since 2022",
    date(2025, 1, 9): "mourning for J. Carter",
    date(2022, 12, 25): "a Sunday",
}
OPEN = {
    date(2021, 6, 18): "Juneteenth was no exchange holiday before 2022",
    date(2021, 12, 31): "a Friday before a New Year's Day on Saturday is no holiday",
    date(2022, 11, 25): "the day after Thanksgiving, open to 13:00",
}


def test_special_days_are_what_happened() -> None:
    """Unscheduled closings, holidays that moved and early closes are known."""
    assert [day for day in CLOSED if calendar.sessions(day, day)] == []
    assert [day for day in OPEN if calendar.sessions(day, day) != [day]] == []


def test_sessions_include_both_ends_and_are_ascending() -> None:
    """Sessions are plain dates from `first` to `last` inclusive."""
    assert calendar.sessions(date(2022, 12, 23), date(2022, 12, 28)) == [
        date(2022, 12, 23),
        date(2022, 12, 27),
        date(2022, 12, 28),
    ]
    assert calendar.sessions(date(2022, 12, 24), date(2022, 12, 26)) == []
    assert calendar.sessions(date(2022, 12, 28), date(2022, 12, 23)) == []


def test_last_sessions_end_on_or_before_the_day() -> None:
    """A look-back is counted in sessions, and ends with the session before a holiday."""
    assert calendar.last_sessions(2, date(2022, 12, 26)) == [date(2022, 12, 22), date(2022, 12, 23)]
    assert calendar.last_sessions(365, date(2022, 12, 28))[0] == date(2021, 7, 20)
    assert calendar.last_sessions(0, date(2022, 12, 28)) == []


@given(COVERED_DAYS)
def test_the_neighbouring_sessions_enclose_a_day(day: date) -> None:
    """On or before and on or after meet on a session, and have none between them on any other day."""
    before, after = calendar.session_on_or_before(day), calendar.session_on_or_after(day)
    assert before <= day <= after
    assert calendar.sessions(before, after) == sorted({before, after})


@given(st.integers(-500, 500))
def test_shift_counts_sessions(n: int) -> None:
    """A shift there and back is no shift, and passes as many sessions as it says."""
    start = date(2020, 3, 9)
    shifted = calendar.shift(start, n)
    assert calendar.shift(shifted, -n) == start
    assert len(calendar.sessions(min(start, shifted), max(start, shifted))) == abs(n) + 1


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2022, 12, 28, 16, 59, 59, tzinfo=NEW_YORK), date(2022, 12, 27)),
        (datetime(2022, 12, 28, 17, 0, tzinfo=NEW_YORK), date(2022, 12, 28)),
        # An early close (13:00) keeps the one cut-off, so that it agrees with the date partitions.
        (datetime(2022, 11, 25, 16, 0, tzinfo=NEW_YORK), date(2022, 11, 23)),
        (datetime(2022, 11, 25, 17, 0, tzinfo=NEW_YORK), date(2022, 11, 25)),
        # A holiday that follows a weekend.
        (datetime(2022, 12, 26, 20, 0, tzinfo=NEW_YORK), date(2022, 12, 23)),
        # 21:30 UTC is after the cut-off in summer (17:30 in New York), before it in winter (16:30).
        (datetime(2022, 7, 20, 21, 30, tzinfo=UTC), date(2022, 7, 20)),
        (datetime(2022, 12, 28, 21, 30, tzinfo=UTC), date(2022, 12, 27)),
        # Already the next day in UTC.
        (datetime(2022, 12, 29, 3, 0, tzinfo=UTC), date(2022, 12, 28)),
    ],
)
def test_a_session_is_complete_from_17_00_in_new_york(now: datetime, expected: date) -> None:
    """There is one cut-off, on New York's clock, whatever zone the moment is given in."""
    assert calendar.last_completed_session(now) == expected


def test_a_naive_moment_is_refused() -> None:
    """The time zone of `now` is never guessed."""
    with pytest.raises(ValueError, match="without a time zone"):
        calendar.last_completed_session(datetime(2022, 12, 28, 17, 0))  # noqa: DTZ001 - the case under test


@pytest.mark.parametrize("day", [date.min, date(1989, 12, 31), date(2041, 1, 1), date.max])
def test_a_day_outside_the_calendar_is_an_error_and_not_an_empty_answer(day: date) -> None:
    """Beyond its ends the calendar does not pretend to know that there were no sessions."""
    for ask in (
        lambda: calendar.sessions(day, day),
        lambda: calendar.last_sessions(1, day),
        lambda: calendar.session_on_or_before(day),
        lambda: calendar.session_on_or_after(day),
        lambda: calendar.shift(day, 0),
    ):
        with pytest.raises(CalendarError, match=f"{day} is outside the calendar XNYS, 1990-01-01 to 2040-12-31"):
            ask()


def test_errors_name_the_value_and_the_rule() -> None:
    """Each refusal says what was asked and what would do."""
    with pytest.raises(CalendarError, match="2022-12-25 is not a session"):
        calendar.shift(date(2022, 12, 25), 1)
    with pytest.raises(CalendarError, match="-3 sessions from 1990-01-03 is outside"):
        calendar.shift(date(1990, 1, 3), -3)
    with pytest.raises(CalendarError, match=r"n is 9, but .* has 1 sessions from 1990-01-01 to 1990-01-02"):
        calendar.last_sessions(9, date(1990, 1, 2))
    with pytest.raises(ValueError, match="n is -1"):
        calendar.last_sessions(-1, date(2022, 12, 28))


def test_the_calendar_reaches_years_ahead() -> None:
    """The fixed horizon is moved on in time: this test fails five years before it is reached."""
    assert datetime.now(UTC).date() + timedelta(days=5 * 365) < calendar.LAST_DAY


def test_importing_the_calendar_does_not_import_pandas() -> None:
    """The command line imports this module at every start; pandas costs half a second and comes with first use."""
    code = "import sys, resources.calendar; sys.exit('pandas' in sys.modules or 'exchange_calendars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own code


def test_the_kept_sessions_are_those_of_the_library() -> None:
    """The file that is read at every start says what the library says; if not: python -m resources.calendar."""
    kept = Path(calendar.__file__).with_name("xnys_closed.txt").read_text(encoding="utf-8")
    assert kept == calendar.keep()


def test_asking_the_calendar_does_not_import_pandas() -> None:
    """A plan, which asks for sessions, takes less time than pandas takes to be imported."""
    code = (
        "import sys, datetime; from resources import calendar; calendar.last_sessions(9, datetime.date(2022, 12, 28))"
    )
    code += "; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - code of this test
