"""The one look at what a source sent, before any of it goes into the database.

Here belongs what can be said of an answer by itself. Not here: what it changes in the stored prices
(`resources.database.corrections`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from itertools import pairwise
from numbers import Real

from resources import calendar
from resources.sources.base import PriceRow, SourceError

#: Vendors round each price by itself: a high below the close by so little is the close.
_ROUNDING = 1e-4
_SHOWN = 60

KEPT = "nothing of this answer is stored, and what is stored is kept; check the symbol at the source, or ask again"


class RefusedPricesError(SourceError):
    """A source sent what cannot be a price; nothing of its answer is stored."""

    def __init__(self, source: str, symbol: str, session: object, value: object, rule: str, remedy: str = KEPT) -> None:
        super().__init__(source, symbol, session, value, rule, remedy)
        self.source = source
        self.symbol = symbol
        self.session = session
        self.value = value
        self.rule = rule
        self.remedy = remedy

    def __str__(self) -> str:
        where = f" {self.session}" if self.session is not None else ""
        shown = repr(self.value)[:_SHOWN]
        return f"{self.symbol}{where}: the price source {self.source!r} sent {shown}, but {self.rule}; {self.remedy}"


@dataclass(frozen=True)
class CheckedRows:
    """An answer that may be stored."""

    rows: tuple[PriceRow, ...]  # ascending, one a session, plain finite numbers
    refused: Mapping[date, str]  # sessions whose row contradicts itself, and how


def check(source: str, symbol: str, rows: Sequence[PriceRow], *, completed: date, today: date) -> CheckedRows:
    """Check and convert an answer; rows before the calendar, and of sessions after `completed`, are dropped.

    A row whose high or low contradicts the others is left out by itself; anything else that cannot be a price refuses
    the answer whole.

    :param completed: the last session that is complete.
    :param today: the date in New York; no row can be later.

    Raises:
        RefusedPricesError: naming source, symbol, session, value and rule.
    """
    last = min(completed, calendar.LAST_DAY)
    clean = rows if _is_clean(rows, today) else _cleaned(source, symbol, rows, last, today)
    refused = {row.session: why for row in clean if row.session <= last and (why := _contradiction(row))}
    return CheckedRows(tuple(row for row in clean if row.session <= last and row.session not in refused), refused)


def _is_clean(rows: Sequence[PriceRow], today: date) -> bool:
    """Say whether nothing is to be converted, dropped or refused. Looks at columns: nearly all answers are clean."""
    if not rows or not all(type(row) is PriceRow for row in rows):
        return False
    days, *traded, close, volume, dividend, split = zip(*rows, strict=True)
    there = (close, dividend, split)
    return (
        set(map(type, days)) == {date}
        and _sessions().issuperset(days)
        and all(one < other for one, other in pairwise(days))
        and days[-1] <= today
        and all(set(map(type, column)) == {float} for column in there)
        and all(set(map(type, column)) <= {float, type(None)} for column in (*traded, volume))
        # The sum of finite numbers is finite, but for ones that are looked at again one by one.
        and all(math.isfinite(sum(filter(None, column))) for column in (*traded, volume, *there))
        and min(close) > 0 <= min(dividend)
        and min(split) > 0
    )


def _cleaned(source: str, symbol: str, rows: Sequence[PriceRow], last: date, today: date) -> list[PriceRow]:
    """Convert and refuse row by row; gives the rows of the calendar up to `last`, ascending."""
    good: dict[date, PriceRow] = {}
    for row in rows:
        if not isinstance(row, PriceRow):
            raise RefusedPricesError(source, symbol, None, row, "every row is a PriceRow")
        day = row.session
        _check_session(source, symbol, day, today)
        if not calendar.FIRST_DAY <= day <= last:
            continue
        if day not in _sessions():
            raise RefusedPricesError(source, symbol, day, day, f"{day:%A} {day} is no session of {calendar.NAME}")
        if day in good:
            raise RefusedPricesError(source, symbol, day, row.close, "a session has one row")
        good[day] = _clean(source, symbol, row)
    return [good[day] for day in sorted(good)]


@cache
def _sessions() -> frozenset[date]:
    return frozenset(calendar.sessions(calendar.FIRST_DAY, calendar.LAST_DAY))


def _check_session(source: str, symbol: str, day: object, today: date) -> None:
    if not isinstance(day, date) or isinstance(day, datetime):
        raise RefusedPricesError(source, symbol, None, day, "a session is a plain datetime.date")
    if day > today:
        raise RefusedPricesError(source, symbol, day, day, f"that session is in the future (today is {today})")


def _clean(source: str, symbol: str, row: PriceRow) -> PriceRow:
    numbers = [_number(source, symbol, row.session, name, value) for name, value in zip(_FIELDS, row[1:], strict=True)]
    open_, high, low, close, volume, dividend, split = numbers
    if close is None or close <= 0:
        raise RefusedPricesError(source, symbol, row.session, row.close, "a close is greater than 0")
    if dividend is not None and dividend < 0:
        raise RefusedPricesError(source, symbol, row.session, row.dividend, "a dividend is 0 or more")
    if split is not None and split < 0:
        raise RefusedPricesError(source, symbol, row.session, row.split, "a split is greater than 0 (none: 1)")
    # Many vendors write 0, or nothing, for "no split".
    return PriceRow(row.session, open_, high, low, close, volume, dividend or 0.0, split or 1.0)


_FIELDS = PriceRow._fields[1:]


def _number(source: str, symbol: str, session: date, name: str, value: object) -> float | None:
    """Give a plain float for a number of any kind (numpy's scalars, Decimal), None for None."""
    if type(value) is float and math.isfinite(value):
        return value
    if value is None:
        return None
    number = math.nan
    if isinstance(value, Real | Decimal) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):  # a signalling NaN; an integer beyond any float
            number = math.nan
    if not math.isfinite(number):
        raise RefusedPricesError(source, symbol, session, value, f"{name} is a finite number")
    return number


def _contradiction(row: PriceRow) -> str:
    """Say how high or low contradict open and close; empty if they do not."""
    traded = [price for price in (row.open, row.close) if price is not None]
    if row.high is not None and row.high < max(traded) * (1 - _ROUNDING):
        return f"high {row.high:g} is below open or close, {max(traded):g}"
    if row.low is not None and row.low > min(traded) * (1 + _ROUNDING):
        return f"low {row.low:g} is above open or close, {min(traded):g}"
    return ""
