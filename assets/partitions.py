"""How the assets are divided: by symbol, by portfolio, and by the date of an exchange session.

Here belong the partition definitions that assets, jobs and sensors share. Not here: which partitions are to be
computed (`sigma_dagster.planner`) and which sessions exist (`resources.calendar`).
"""

from datetime import date, datetime, time, timedelta

import dagster as dg

from resources import calendar

KEY_FORMAT = "%Y-%m-%d"

symbol_partitions = dg.DynamicPartitionsDefinition(name="symbol")
portfolio_partitions = dg.DynamicPartitionsDefinition(name="portfolio")


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


def symbol_date_partitions(dates: dg.TimeWindowPartitionsDefinition) -> dg.MultiPartitionsDefinition:
    """Session by symbol, with keys such as `2022-12-28|AAPL`."""
    return dg.MultiPartitionsDefinition({"date": dates, "symbol": symbol_partitions})


def portfolio_date_partitions(dates: dg.TimeWindowPartitionsDefinition) -> dg.MultiPartitionsDefinition:
    """Session by portfolio, with keys such as `2022-12-28|core`."""
    return dg.MultiPartitionsDefinition({"date": dates, "portfolio": portfolio_partitions})


def _holidays(first: date, last: date) -> list[datetime]:
    """Midnights, without time zone, of the weekdays that are no session."""
    open_days = set(calendar.sessions(first, last))
    days = (first + timedelta(days=i) for i in range((last - first).days + 1))
    return [datetime.combine(day, time.min) for day in days if day.isoweekday() <= 5 and day not in open_days]
