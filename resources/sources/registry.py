"""Which price sources there are, and how a name in SIGMA_PRICE_SOURCES becomes one.

Not here: reading that setting (`sigma_dagster.settings`) and the sources themselves.
"""

from collections.abc import Callable, Sequence

from resources.sources.base import PriceSource
from resources.sources.sample import SampleSource

SOURCES: dict[str, Callable[[], PriceSource]] = {SampleSource.name: SampleSource}


class UnknownSourceError(ValueError):
    """A name in the setting of price sources that is no price source."""


def price_sources(names: Sequence[str]) -> PriceSource:
    """The price source for `names`.

    Raises:
        UnknownSourceError: `names` is empty, repeats a name, has one that no source goes by, or has several.
    """
    known = ", ".join(SOURCES)
    if not names:
        raise UnknownSourceError(f"SIGMA_PRICE_SOURCES names no price source; choose from: {known}")
    for position, name in enumerate(names):
        if name not in SOURCES:
            raise UnknownSourceError(f"SIGMA_PRICE_SOURCES: {name!r} is not a price source; choose from: {known}")
        if name in names[:position]:
            raise UnknownSourceError(f"SIGMA_PRICE_SOURCES: {name!r} is named twice; name each price source once")
    if len(names) > 1:
        # With a second kind of source comes the one that asks several in order.
        raise UnknownSourceError(
            f"SIGMA_PRICE_SOURCES: {', '.join(names)} are {len(names)} price sources, and one can be asked; name one"
        )
    return SOURCES[names[0]]()
