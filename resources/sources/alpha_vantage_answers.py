"""What an answer of Alpha Vantage means: errors by their sentence, series and events as numbers.

Every error comes with status 200 and prose, and three unlike conditions share a field and half of their words, so the
order of the rules counts. Not here: asking (`alpha_vantage`).
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from typing import Any

import requests

from resources.sources.base import PriceRow, SourceError
from resources.sources.http import TransientError, read_json

#: Where an answer has its data: prices, or dividends or splits.
SERIES, EVENTS = "Time Series (Daily)", "data"
_MINUTE = 65.0  # seconds until a limit by the minute is over


class KeyRefusedError(Exception):
    """The key is missing, malformed, or the demonstration key."""


class DayQuotaError(Exception):
    """The provider says that the quota of the day is spent."""


class PremiumError(Exception):
    """The plan of this key does not include the request."""


class NothingError(Exception):
    """The provider says that the request makes no sense to it: an unknown symbol, as far as one can tell."""


#: The first expression found in the sentence decides.
_RULES: tuple[tuple[str, Callable[[], Exception]], ...] = (
    (r"apikey is invalid or missing|\*\*demo\*\*", KeyRefusedError),
    (r"minute-level|calls per minute", lambda: TransientError("asks for fewer requests a minute", _MINUTE)),
    (r"more sparingly|per second|burst pattern", lambda: TransientError("asks for fewer requests a second", 1.2)),
    (r"per day", DayQuotaError),
    (r"premium|entitle", PremiumError),
)


def payload(response: requests.Response, asked: str) -> dict[str, Any]:
    """Give the answer's fields if it has the data asked for, SERIES or EVENTS.

    Raises:
        KeyRefusedError, DayQuotaError, PremiumError, NothingError: as the sentence says.
        TransientError: throttled, or no JSON at all.
        SourceError: an answer that means nothing known.
    """
    if response.status_code == 429:
        raise TransientError("asks for fewer requests", 1.2)
    try:
        # The package asks for JSON, and some answers to that say `text/plain`.
        answer = read_json(response.content, _without_twins)
    except ValueError:
        answer = _NO_JSON
    if answer is _NO_JSON:
        raise TransientError("sent something that is no JSON")
    if not isinstance(answer, dict) or not answer:
        raise SourceError("Alpha Vantage sent an answer without anything in it; ask again later")
    if isinstance(answer.get(asked), dict if asked == SERIES else list):
        return _complete(answer, asked)
    sentence = " ".join(str(answer[name]) for name in ("Error Message", "Information", "Note") if name in answer)
    for expression, error in _RULES:
        if re.search(expression, sentence, re.IGNORECASE):
            raise error()
    if "Error Message" in answer and "api function" not in sentence.lower():
        raise NothingError
    raise SourceError("Alpha Vantage sent an answer that this version does not understand")


def rows(series: Mapping[str, Mapping[str, str]], through: date, today: date) -> list[PriceRow]:
    """Give the sessions in order, but those after `through` up to `today`: they are not over, and no row is final.

    A session in the future is given too, and refused with the whole series where rows are checked.

    Raises:
        SourceError: a cell is no number, or a date no date.
    """
    found = []
    for text, cells in series.items():
        day = _day(text)
        if through < day <= today:
            continue
        named = {name.split(". ", 1)[-1]: value for name, value in _fields(cells).items()}
        cell = {name: _number(named.get(name), name, text) for name in ("open", "high", "low", "close", "volume")}
        dividend = _number(named.get("dividend amount", "0"), "dividend", text)
        split = _number(named.get("split coefficient", "1"), "split", text)
        found.append(PriceRow(day, **cell, dividend=dividend, split=split))
    return sorted(found)


def events(data: Mapping[Any, Mapping[str, str]], day: str, value: str) -> dict[str, float]:
    """Give the amounts of DIVIDENDS or SPLITS by ISO date, from the fields of that name; undated ones are left out.

    Raises:
        SourceError: an amount is no number.
    """
    dated = [event for event in map(_fields, data.values()) if event.get(day) not in (None, "None", "")]
    return {_day(event[day]).isoformat(): _number(event.get(value), value, event[day]) for event in dated}


_NO_JSON = object()
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_SHOWN = 40


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"Alpha Vantage sent {twin} twice in one answer; nothing of it is used")
    return fields


def _complete(answer: dict[str, Any], asked: str) -> dict[str, Any]:
    """Make sure of what the package looks up, and keep it from making a table of a list."""
    if asked == SERIES:
        if not isinstance(answer.get("Meta Data"), dict):
            raise SourceError("Alpha Vantage sent a series without its description; ask again later")
        return answer
    return {"symbol": answer.get("symbol", ""), EVENTS: dict(enumerate(answer[EVENTS]))}


def _fields(cells: Any) -> Mapping[str, Any]:
    if isinstance(cells, dict):
        return cells
    raise SourceError(f"Alpha Vantage sent {repr(cells)[:_SHOWN]} where named values are expected")


def _day(text: Any) -> date:
    if isinstance(text, str) and _DATE.fullmatch(text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise SourceError(f"Alpha Vantage sent {repr(text)[:_SHOWN]} where a date is expected")


def _number(text: object, name: str, day: str) -> float:
    number = float(str(text)) if _NUMBER.fullmatch(str(text)) else math.nan
    if not math.isfinite(number) or number < 0 or (number == 0 and name in ("open", "high", "low", "close")):
        told = repr(str(text))[:_SHOWN]
        raise SourceError(f"Alpha Vantage sent {told} as the {name} of {day}; nothing of this series is used")
    return number
