"""How the assets are divided: by symbol, by portfolio, and by the date of an exchange session.

Here belong the partition definitions that assets, jobs and sensors share. Not here: which partitions are to be
computed (`sigma_dagster.planning.planner`) and which sessions exist (`resources.calendar`).
"""

from datetime import date, datetime, time, timedelta

import dagster as dg

from assets.catalogue import DIMENSIONS
from resources import calendar

KEY_FORMAT = "%Y-%m-%d"


def date_partitions(start: date, end: date | None = None) -> dg.TimeWindowPartitionsDefinition:
    """One key per session from `start` on, which exists from the moment its session is complete.

    `end` is for price sources that have an end: the last session up to it is the last key. Without it the keys go on
    with the market.

    Raises:
        CalendarError: `start` or `end` lies outside the calendar.
    """
    # Two windows a weekday, of which the one up to the cut-off is the partition. With one window, from cut-off to
    # cut-off, the evening of a holiday would bring the key of the next session into being, a day too early.
    after_cut_off = f"0 {calendar.CUT_OFF.hour} * * 1-5"
    return dg.TimeWindowPartitionsDefinition(
        start=start.strftime(KEY_FORMAT),
        end=calendar.complete_at(end) if end else None,
        fmt=KEY_FORMAT,
        cron_schedule=f"0 0,{calendar.CUT_OFF.hour} * * 1-5",
        timezone=calendar.NEW_YORK.key,
        exclusions=[after_cut_off, *_holidays(start, end or calendar.LAST_DAY)],
    )


def by_dimension(dates: dg.TimeWindowPartitionsDefinition) -> dict[str, dg.MultiPartitionsDefinition]:
    """Session by key, with keys such as `2022-12-28|AAPL`, for each dimension that a key may have."""
    keys = {dimension: dg.DynamicPartitionsDefinition(name=dimension) for dimension in DIMENSIONS}
    return {name: dg.MultiPartitionsDefinition({"date": dates, name: of_name}) for name, of_name in keys.items()}


def _holidays(first: date, last: date) -> list[datetime]:
    """Midnights, without time zone, of the weekdays that are no session."""
    open_days = set(calendar.sessions(first, last))
    days = (first + timedelta(days=i) for i in range((last - first).days + 1))
    return [datetime.combine(day, time.min) for day in days if day.isoweekday() <= 5 and day not in open_days]
