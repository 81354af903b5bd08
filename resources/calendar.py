"""The one trading calendar: the sessions of the New York Stock Exchange (XNYS), as plain dates.

Here belong questions about sessions: which exist, which is next, which one is complete at a given moment. Not here:
the clock (the caller passes the time in), what an asset does with a session (`assets.partitions`), and any list of
holidays of our own: they come from the library exchange_calendars, as far as it knows them ahead. Because the library
takes longer than a whole command, what it says is kept in a file beside this module, made anew for each of its releases
by `python -m resources.calendar`; a file of another release is not used.
"""

import functools
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date, datetime, time
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

NAME = "XNYS"
NEW_YORK = ZoneInfo("America/New_York")
CUT_OFF = time(17, 0)
"""New York time from which the session of the same day counts as complete; early closes keep it too."""

# Fixed, not "a year from today": two processes started on different days must agree on every date partition.
FIRST_DAY = date(1990, 1, 1)
LAST_DAY = date(2040, 12, 31)

_LIBRARY = "exchange-calendars"
_CLOSED = Path(__file__).with_name("xnys_closed.txt")


class CalendarError(ValueError):
    """A date for which the trading calendar has no answer."""


def sessions(first: date, last: date) -> list[date]:
    """Sessions from `first` to `last`, both included, ascending; empty if there is none between them.

    Raises:
        CalendarError: `first` or `last` lies outside the calendar.
    """
    _check_covered(first)
    _check_covered(last)
    every = _sessions()
    return list(every[bisect_left(every, first) : bisect_right(every, last)])


def last_sessions(n: int, up_to: date) -> list[date]:
    """The `n` consecutive sessions that end with the last one on or before `up_to`, ascending.

    Raises:
        CalendarError: `up_to` lies outside the calendar, or fewer than `n` sessions precede it.
        ValueError: `n` is negative.
    """
    if n < 0:
        raise ValueError(f"n is {n}; a number of sessions is 0 or more")
    _check_covered(up_to)
    every = _sessions()
    end = bisect_right(every, up_to)
    if n > end:
        raise CalendarError(
            f"n is {n}, but the calendar {NAME} has {end} sessions from {FIRST_DAY} to {up_to}; ask for fewer"
        )
    return list(every[end - n : end])


def session_on_or_before(day: date) -> date:
    """The last session on or before `day`.

    Raises:
        CalendarError: `day` lies outside the calendar, or before its first session.
    """
    return last_sessions(1, day)[0]


def session_on_or_after(day: date) -> date:
    """The first session on or after `day`.

    Raises:
        CalendarError: `day` lies outside the calendar.
    """
    _check_covered(day)
    every = _sessions()
    return every[bisect_left(every, day)]


def shift(session: date, n: int) -> date:
    """The session `n` sessions after `session`; before it if `n` is negative.

    Raises:
        CalendarError: `session` is no session, or the answer lies outside the calendar.
    """
    _check_covered(session)
    every = _sessions()
    start = bisect_left(every, session)
    if every[start] != session:
        raise CalendarError(f"{session} is not a session of {NAME}; take session_on_or_before or session_on_or_after")
    if not 0 <= start + n < len(every):
        raise CalendarError(
            f"{n} sessions from {session} is outside the calendar {NAME}, {FIRST_DAY} to {LAST_DAY}; use a smaller n"
        )
    return every[start + n]


def complete_at(session: date) -> datetime:
    """The moment from which `session` counts as complete, with time zone."""
    return datetime.combine(session, CUT_OFF, NEW_YORK)


def last_completed_session(now: datetime) -> date:
    """The last session that is complete at `now`.

    Raises:
        CalendarError: `now` lies outside the calendar.
        ValueError: `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError(f"now is {now.isoformat()} without a time zone; pass an aware datetime")
    today = now.astimezone(NEW_YORK).date()
    candidates = last_sessions(2, today)
    return candidates[-1] if complete_at(candidates[-1]) <= now else candidates[0]


def _check_covered(day: date) -> None:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise CalendarError(f"{day} is outside the calendar {NAME}, {FIRST_DAY} to {LAST_DAY}; use a date inside it")


@functools.cache
def _sessions() -> Sequence[date]:
    kept = _kept()
    return kept if kept is not None else _sessions_of_library()


def _kept() -> Sequence[date] | None:
    """Give the sessions by the file of closed weekdays; None if another release of the library made it."""
    release, *closed = _CLOSED.read_text(encoding="utf-8").split()
    if release != _release():
        return None
    holidays = {date.fromisoformat(day).toordinal() for day in closed}
    every = range(FIRST_DAY.toordinal(), LAST_DAY.toordinal() + 1)
    # An ordinal that 7 divides is a Sunday.
    return tuple(date.fromordinal(day) for day in every if 0 < day % 7 < 6 and day not in holidays)


def _release() -> str:
    return f"{_LIBRARY}=={version(_LIBRARY)}"


def _sessions_of_library() -> Sequence[date]:
    # Imported here because it imports pandas, which takes longer than a whole command.
    from exchange_calendars.exchange_calendar_xnys import XNYSExchangeCalendar

    with warnings.catch_warnings():
        # exchange_calendars 4.13 calls what pandas 3.1 deprecates; drop this when it no longer does.
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = XNYSExchangeCalendar(start=FIRST_DAY.isoformat(), end=LAST_DAY.isoformat())
    return tuple(calendar.sessions.date)


def keep() -> str:
    """Give the text of the file of closed weekdays, as this release of the library has them."""
    days = (date.fromordinal(day) for day in range(FIRST_DAY.toordinal(), LAST_DAY.toordinal() + 1))
    weekdays = {day for day in days if day.weekday() < 5}
    open_days = set(_sessions_of_library())
    if not open_days <= weekdays:
        raise CalendarError(f"{min(open_days - weekdays)} is a session on a weekend: the file cannot say so")
    return "\n".join([_release(), *map(str, sorted(weekdays - open_days)), ""])


if __name__ == "__main__":
    _CLOSED.write_text(keep(), encoding="utf-8")
