"""The block: what one run is to compute, keys x sessions for some assets, and how it is written in a run's config.

The one description of it that the planner makes, runs are started with, assets read, and claims are compared by. Not
here: which block a run of the Dagster UI has (`run_block`, `sigma_dagster.runs.claims`). No Dagster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from assets.catalogue import BY_NAME
from resources import calendar


class BlockConfigError(ValueError):
    """A run config that describes no block: the field, its value and the rule."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {value!r} {rule}")
        self.field = field
        self.value = value
        self.rule = rule


@dataclass(frozen=True)
class Step:
    """One asset's part of a block: which keys, and what it may take for granted."""

    asset: str
    keys: tuple[str, ...]
    force: bool = False  # what exists is computed again and replaced
    cached_keys: int = 0  # what the planner found stored already and therefore left out
    cached_rows: int = 0
    whole: bool = False  # of prices: all that is stored of a symbol is asked for and compared
    source: str = ""  # of prices: the one source that is asked; empty: the one that a symbol's prices came from


@dataclass(frozen=True)
class Block:
    """For each of some assets, what its keys lack from session `first` to session `last`, both included."""

    dimension: str  # of all its assets: what a key is
    keys: tuple[str, ...]  # of all steps
    first: date
    last: date
    steps: tuple[Step, ...]
    completed: date | None = None  # the last completed session: what a price source lacks up to it may still come

    @classmethod
    def of_keys(cls, assets: Sequence[str], keys: Sequence[str], first: date, last: date) -> "Block":
        """Make the block that has all keys for all of the assets."""
        dimension = BY_NAME[assets[0]].dimension
        return cls(dimension, tuple(keys), first, last, tuple(Step(name, tuple(keys)) for name in assets))

    @classmethod
    def from_config(cls, configs: Mapping[str, Mapping[str, Any]]) -> "Block":
        """Read what `to_config` wrote; raises BlockConfigError."""
        steps = tuple(_step(name, config) for name, config in configs.items())
        if not steps:
            raise BlockConfigError("ops", {}, "names no asset")
        dimensions = {BY_NAME[step.asset].dimension for step in steps}
        if len(dimensions) > 1:
            raise BlockConfigError("ops", list(configs), "mixes assets whose keys are proxies, symbols or portfolios")
        first = min(_session("first", config) for config in configs.values())
        last = max(_session("last", config) for config in configs.values())
        if last < first:
            raise BlockConfigError("last", last.isoformat(), f"is before first, {first}")
        keys = tuple(dict.fromkeys(key for step in steps for key in step.keys))
        return cls(dimensions.pop(), keys, first, last, steps)

    def to_config(self) -> dict[str, dict[str, Any]]:
        """Give the run config of each asset."""
        return {
            step.asset: {
                "force": step.force,
                "keys": list(step.keys),
                "first": self.first.isoformat(),
                "last": self.last.isoformat(),
                **({"whole": True} if step.whole else {}),
                **({"source": step.source} if step.source else {}),
            }
            for step in self.steps
        }

    @cached_property
    def sessions(self) -> tuple[date, ...]:
        """The sessions, ascending; raises CalendarError."""
        return tuple(calendar.sessions(self.first, self.last))

    @property
    def size(self) -> str:
        """The number of keys for people, such as "6 proxies"."""
        plural = "proxies" if self.dimension == "proxy" else f"{self.dimension}s"
        return f"{len(self.keys)} {self.dimension if len(self.keys) == 1 else plural}"

    @property
    def span(self) -> str:
        """The sessions for people."""
        return f"{self.first}..{self.last}"

    def overlaps(self, other: "Block") -> bool:
        """Say whether both would compute some cell of some asset."""
        if other.last < self.first or self.last < other.first:
            return False
        theirs = {step.asset: step.keys for step in other.steps}
        return any(not set(step.keys).isdisjoint(theirs.get(step.asset, ())) for step in self.steps)


def _step(name: str, config: Mapping[str, Any]) -> Step:
    if name not in BY_NAME:
        raise BlockConfigError("ops", name, f"is no asset that has blocks; there are {', '.join(BY_NAME)}")
    keys, force = config.get("keys"), config.get("force", False)
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise BlockConfigError(f"{name}.keys", keys, "is no list of keys such as [AAPL, MSFT]")
    if not isinstance(force, bool):
        raise BlockConfigError(f"{name}.force", force, "is neither true nor false")
    whole, source = bool(config.get("whole")), str(config.get("source") or "")
    return Step(name, tuple(dict.fromkeys(keys)), force, whole=whole, source=source)


def _session(field: str, config: Mapping[str, Any]) -> date:
    text = config.get(field)
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise BlockConfigError(field, text, "is no date YYYY-MM-DD; a block needs keys, first and last") from None
