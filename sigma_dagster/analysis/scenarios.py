"""Scenarios: the table `[stress]` of a TOML file, and the built-in ones. What they do to a book: `stress`."""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from resources import calendar
from resources.database.tables import FACTORS

_BUILT_IN = Path(__file__).with_name("stress.toml")
_MAX_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LONGEST_TITLE = 80
_KEYS = ("title", "factors", "others", "from", "to")
_FORMS = "factors = { market = -0.2 }, or from = 2020-02-19 and to = 2020-03-23"


class ScenarioError(ValueError):
    """A scenario file, or a scenario in it, that breaks a rule: the message names file, scenario, value and rule."""


@dataclass(frozen=True)
class Scenario:
    """Moves of factors, or a window of the past: from the close of one session to that of another."""

    name: str
    title: str
    factors: Mapping[str, float] = field(default_factory=dict)  # decimal moves by factor; empty: a window
    follow: bool = True  # the other factors move as they do with these; else they stand still
    from_: date = date.min
    to: date = date.min

    @property
    def is_window(self) -> bool:
        """Whether it is a window of the past."""
        return not self.factors


def scenarios(path: str = "") -> list[Scenario]:
    """Give the built-in scenarios and those of a file, which come after them; raises ScenarioError."""
    found = {one.name: one for one in _read(str(_BUILT_IN))}
    if path:
        found |= {one.name: one for one in _read(path)}
    return list(found.values())


def _read(path: str) -> list[Scenario]:
    try:
        with Path(path).expanduser().open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the path; RuntimeError: ~nobody
        raise ScenarioError(f"scenarios {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > _MAX_BYTES:
        raise ScenarioError(f"scenarios {path}: larger than 64 KB; it is a TOML file of a few lines a scenario")
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"scenarios {path}: no TOML, where each scenario stands once: {error}") from None
    stress = table.get("stress")
    if not isinstance(stress, dict) or not stress:
        raise ScenarioError(f"scenarios {path}: a table [stress.NAME] is needed, with {_FORMS}")
    return [_scenario(f"scenarios {path}, stress.{name}", name, one) for name, one in stress.items()]


def _scenario(where: str, name: str, table: object) -> Scenario:
    if not _NAME.fullmatch(name):
        raise ScenarioError(f"{where}: the name is not of up to 40 letters, digits, _ and -")
    if not isinstance(table, dict):
        raise ScenarioError(f"{where}: a table is needed, with {_FORMS}")
    for key in table:
        if key not in _KEYS:
            raise ScenarioError(f"{where}: {key!r} is no key of a scenario; the keys are {', '.join(_KEYS)}")
    title = table.get("title", name)
    if not isinstance(title, str) or not title.isprintable() or len(title) > _LONGEST_TITLE:
        raise ScenarioError(f"{where}: title = {title!r} is no text of up to {_LONGEST_TITLE} printable characters")
    if ("factors" in table) == ("from" in table or "to" in table):
        raise ScenarioError(f"{where}: needed is either {_FORMS}")
    if "factors" not in table:
        return Scenario(name, title, from_=_day(where, table, "from"), to=_last(where, table))
    others = table.get("others", "follow")
    if others not in ("follow", "still"):
        raise ScenarioError(f"{where}: others = {others!r} is neither 'follow' nor 'still'")
    return Scenario(name, title, _moves(where, table["factors"]), others == "follow")


def _moves(where: str, table: object) -> dict[str, float]:
    if not isinstance(table, dict) or not table:
        raise ScenarioError(f"{where}: factors = {table!r} is no table such as {{ market = -0.2 }}")
    for factor, move in table.items():
        if factor not in FACTORS:
            raise ScenarioError(f"{where}: {factor!r} is no factor; the catalogue has {', '.join(FACTORS)}")
        number = isinstance(move, int | float) and not isinstance(move, bool)
        if not number or not math.isfinite(move) or not -1 <= move <= 10:
            raise ScenarioError(f"{where}: {factor} = {move!r} is no move from -1 (all is lost) to 10, such as -0.2")
    return {factor: float(move) for factor, move in table.items()}


def _day(where: str, table: Mapping[str, Any], key: str) -> date:
    day = table.get(key)
    if type(day) is not date:
        raise ScenarioError(f"{where}: {key} = {day!r} is no date such as {key} = 2020-02-19")
    try:
        return calendar.session_on_or_before(day)
    except calendar.CalendarError as error:
        raise ScenarioError(f"{where}: {error}") from None


def _last(where: str, table: Mapping[str, Any]) -> date:
    first, last = _day(where, table, "from"), _day(where, table, "to")
    if last <= first:
        raise ScenarioError(f"{where}: to = {last} is not after from = {first}; the window is from close to close")
    return last
