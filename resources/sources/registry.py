"""Which price sources there are, and how the names in SIGMA_PRICE_SOURCES become one.

A source of somebody else's is a Python entry point in the group `sigma_dagster.price_sources`
(docs/price-sources.md). Not here: reading that setting (`sigma_dagster.settings`) and the sources themselves.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from resources.sources.base import PriceSource, SourceSettingError
from resources.sources.chain import Chain
from resources.sources.options import SourceOptions

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "sigma_dagster.price_sources"

#: Module and class, imported when the name is asked for.
_BUILT_IN = {
    "sample": "resources.sources.sample:SampleSource",
    "files": "resources.sources.files:FilesSource",
    "alpha_vantage": "resources.sources.alpha_vantage:AlphaVantageSource",
    "tiingo": "resources.sources.tiingo:TiingoSource",
    "yahoo": "resources.sources.yahoo:YahooSource",
}

#: For whoever has no prices yet: what one has, and the line to type; `{}` stands for the sources that come before.
_LIVE = {
    "no key": "make install-yahoo && export SIGMA_PRICE_SOURCES={}yahoo",
    "a free key": "export SIGMA_PRICE_SOURCES={}tiingo SIGMA_TIINGO_KEY=YOUR_KEY",
    "Alpha Vantage": "export SIGMA_PRICE_SOURCES={}alpha_vantage ALPHAVANTAGE_API_KEY=YOUR_KEY",
}


class UnknownSourceError(SourceSettingError):
    """A name in the setting of price sources that is no price source."""

    def __str__(self) -> str:
        return f"SIGMA_PRICE_SOURCES{self.problem}"


def price_sources(names: Sequence[str], options: SourceOptions | None = None) -> PriceSource:
    """The price source for `names`, in order of preference.

    Raises:
        UnknownSourceError: `names` is empty, repeats a name, or has one that no source goes by.
        SourceSettingError: a source lacks a key, a folder or a package, or is no price source.
    """
    if not names:
        raise UnknownSourceError("", f" names no price source; choose from: {_known()}")
    for position, name in enumerate(names):
        if name in names[:position]:
            raise UnknownSourceError(name, f": {name!r} is named twice; name each price source once")
    members = [_source(name, options or SourceOptions()) for name in names]
    return members[0] if len(members) == 1 else Chain(members)


def live_sources(before: Sequence[str] = ()) -> dict[str, str]:
    """Give the line to type for each source of any US stock, by what one has; `before` are sources to keep."""
    kept = "".join(f"{name}," for name in before)
    return {what: line.format(kept) for what, line in _LIVE.items()}


def _source(name: str, options: SourceOptions) -> PriceSource:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        made: PriceSource = getattr(importlib.import_module(module), attribute)(options)
        return made
    for entry in _others():
        if entry.name == name:
            try:
                made = entry.load()(options)
            except SourceSettingError:
                raise
            except Exception as error:
                # Somebody else's code: whatever it raises is said in one line, not as a traceback of ours.
                raise SourceSettingError(name, f"{entry.value} cannot be made: {error!r}") from error
            if getattr(made, "name", None) != name:
                raise SourceSettingError(name, f"{entry.value} has another `name`: the entry point's is needed")
            return made
    raise UnknownSourceError(name, f": {name!r} is not a price source; choose from: {_known()}")


def _known() -> str:
    return ", ".join([*_BUILT_IN, *sorted(entry.name for entry in _others())])


def _others() -> "Sequence[EntryPoint]":
    # Imported for a name that is none of ours: 75 ms.
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))
