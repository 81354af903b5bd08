"""What an answer of Yahoo's chart means: prices turned back to as traded, events, and what looks wrong in them.

Not here: asking (`yahoo`, and there the package yfinance).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from resources import calendar
from resources.sources.base import PriceRow, SourceError
from resources.sources.http import read_json
from resources.sources.split_adjusted import Told, as_traded

_BIG_SPLIT = math.log(1.5)  # |log| from which an unadjusted price stands out
_PLAUSIBLE = (0.6, 1.6)  # a told dividend over the one that the adjusted close implies
_TINY = 1e-3  # dividend over price below which rounding hides what is implied


class NoSymbolError(Exception):
    """Yahoo says that it has no such symbol."""


@dataclass(frozen=True)
class Chart:
    """One symbol's answer: rows in shares of today, with events by date."""

    equity: bool
    rows: list[Told]
    adjusted: dict[date, float]  # closes adjusted for dividends too
    dividends: dict[date, float]
    splits: dict[date, float]


def read(status: int, content: bytes, symbol: str) -> Chart | None:
    """Read an answer; None if the symbol is known and has no session in the span asked for.

    Raises:
        NoSymbolError: Yahoo says so.
        SourceError: the answer is none, or is about something else than US dollars in New York.
    """
    if b"will be right back" in content.lower():
        raise SourceError("Yahoo is down for now; ask again later")
    try:
        chart = read_json(content)["chart"]
        result, error = chart.get("result"), chart.get("error") or {}
        said = str(error.get("description") or error.get("code") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        chart = None
    if chart is None or (status >= 400 and not said):
        raise SourceError(f"Yahoo sent nothing of use for {symbol} (status {status}); ask again later")
    if "Data doesn't exist" in said:
        return None
    if status == 404 or "No data found" in said:
        raise NoSymbolError
    if said or not isinstance(result, list) or not result:
        raise SourceError(f"Yahoo refuses {symbol} (status {status}); ask again later")
    with _as_expected(symbol):
        return _chart(result[0], symbol)


def price_rows(chart: Chart, symbol: str, first: date, through: date) -> list[PriceRow]:
    """Give rows as traded for the sessions from `first` to `through`; raises SourceError for what looks wrong."""
    with _as_expected(symbol):
        _check_splits(chart, symbol)
        if chart.equity:
            _check_dividends(chart, symbol)
        sessions = set(calendar.sessions(first, through))
        # All rows and events take part in undoing the splits, also those that are left out of the result.
        return [row for row in as_traded(chart.rows, chart.dividends, chart.splits) if row.session in sessions]


@contextmanager
def _as_expected(symbol: str) -> Iterator[None]:
    """Turn what goes wrong with an answer of another make, or with numbers beyond any price, into a SourceError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        what = type(error).__name__
    else:
        return
    raise SourceError(f"Yahoo's answer for {symbol} is not made as expected ({what}); ask again later")


def _chart(result: Mapping[str, Any], symbol: str) -> Chart | None:
    meta = result["meta"]
    for name, expected in (("currency", "USD"), ("exchangeTimezoneName", "America/New_York")):
        if meta.get(name) != expected:
            raise SourceError(f"Yahoo's {symbol} has {name} {meta.get(name)!r}; only {expected} is supported")
    stamps = result.get("timestamp")
    if not stamps:
        return None
    quote = result["indicators"]["quote"][0]
    adjusted = result["indicators"].get("adjclose", [{}])[0].get("adjclose") or [None] * len(stamps)
    prices = [quote.get(name) or [None] * len(stamps) for name in ("open", "high", "low", "close", "volume")]
    told: dict[date, Told] = {}
    adjusted_close: dict[date, float] = {}
    for stamp, value, *cells in zip(stamps, adjusted, *prices, strict=True):
        day, numbers = _day(stamp), [_finite(cell) for cell in cells]
        close = numbers[3]
        if close is None or close <= 0:
            continue
        told[day] = Told(day, numbers[0], numbers[1], numbers[2], close, numbers[4])  # of a day told twice the later
        if (number := _finite(value)) is not None and number > 0:
            adjusted_close[day] = number
    happened = result.get("events") or {}
    dividends = {_day(event["date"]): _known(event["amount"]) for event in (happened.get("dividends") or {}).values()}
    splits = {
        _day(event["date"]): _known(event["numerator"]) / _known(event["denominator"])
        for event in (happened.get("splits") or {}).values()
    }
    rows = sorted(told.values())
    return Chart(meta.get("instrumentType") == "EQUITY", rows, adjusted_close, dividends, splits)


def _check_splits(chart: Chart, symbol: str) -> None:
    """A split that is listed while the prices before it are not adjusted would show as a jump of its size."""
    for before, row in pairwise(chart.rows):
        split = chart.splits.get(row.session, 1.0)
        jump = math.log(row.close / before.close)
        if abs(math.log(split)) >= _BIG_SPLIT and abs(jump + math.log(split)) < abs(jump) / 2:
            raise SourceError(
                f"Yahoo lists a split of {symbol} on {row.session} ({split:g} for 1) that its prices do not show yet; "
                "ask again tomorrow"
            )


def _check_dividends(chart: Chart, symbol: str) -> None:
    """The adjusted close says what was paid; a told dividend far from it is in other shares, or wrong."""
    for before, row in pairwise(chart.rows):
        told = chart.dividends.get(row.session, 0.0)
        if told < _TINY * before.close or not {before.session, row.session} <= chart.adjusted.keys():
            continue
        factor_before = chart.adjusted[before.session] / before.close
        implied = before.close * (1 - factor_before / (chart.adjusted[row.session] / row.close))
        if not _PLAUSIBLE[0] * told <= implied <= _PLAUSIBLE[1] * told:
            raise SourceError(
                f"Yahoo's dividend of {symbol} on {row.session} is {told:g}, but its adjusted close implies "
                f"{implied:.4g}; ask again tomorrow, or use another source"
            )


def _day(stamp: float) -> date:
    return datetime.fromtimestamp(stamp, calendar.NEW_YORK).date()


def _known(value: object) -> float:
    if (number := _finite(value)) is None:
        raise ValueError(f"{value!r} is no number")
    return number


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
