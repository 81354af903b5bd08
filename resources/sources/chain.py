"""Several price sources in order of preference: the first that has a symbol serves it, and its series has one source.

A symbol whose prices are stored stays with the source they came from, as long as this has it. Not here: what becomes
of stored prices when a symbol's source changes.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from resources.sources.base import (
    Estimate,
    PriceRow,
    PriceSource,
    SourceError,
    SourceUnavailableError,
    UnknownSymbolError,
    earliest_session,
    estimate,
)

#: Seconds for which a source that failed as a whole is not asked for the next symbol.
_REST = 60.0


class Fetched(NamedTuple):
    """The rows of a symbol, and the name of the source that gave them."""

    source: str
    rows: Sequence[PriceRow]


def members(source: PriceSource) -> Sequence[PriceSource]:
    """Give the sources of a chain, in their order; one that is no chain stands alone."""
    return source.members if isinstance(source, Chain) else (source,)


def fetch_from(source: PriceSource, symbol: str, first: date, last: date, stored: str | None = None) -> Fetched:
    """Fetch from a source or a chain; `stored` names the source of the symbol's stored prices.

    Raises what `PriceSource.fetch` does.
    """
    if isinstance(source, Chain):
        return source.fetch_from(symbol, first, last, stored)
    return Fetched(source.name, source.fetch(symbol, first, last))


def estimates(
    source: PriceSource, symbols: Sequence[str], first: date, stored: Mapping[str, str]
) -> dict[str, Estimate]:
    """Say what fetching the symbols will cost, by the source that is asked first. Makes no request."""
    if not isinstance(source, Chain):
        return {source.name: estimate(source, symbols, first)}
    shares: dict[str, list[str]] = {}
    for symbol in symbols:
        for member in source.candidates(symbol, first, stored.get(symbol))[:1]:
            shares.setdefault(member.name, []).append(symbol)
    return {
        member.name: estimate(member, shares[member.name], first) for member in source.members if member.name in shares
    }


class Chain:
    """A price source made of others."""

    def __init__(self, members: Sequence[PriceSource]) -> None:
        self.members = tuple(members)
        self.name = ",".join(member.name for member in members)
        self.title = f"{', '.join(member.title for member in members[:-1])} and {members[-1].title}"
        self._down: dict[str, tuple[float, SourceUnavailableError]] = {}

    @property
    def calls(self) -> int:
        """Provider calls of all members."""
        return sum(member.calls for member in self.members)

    @property
    def coverage(self) -> str:
        """What each member has."""
        return "; ".join(f"{member.title}: {member.coverage}" for member in self.members)

    def latest_session(self) -> date | None:
        """The last session of the member that reaches furthest, None if one follows the market."""
        ends = [member.latest_session() for member in self.members]
        return None if None in ends else max(end for end in ends if end)

    def symbols(self) -> Sequence[str] | None:
        """All symbols of all members, None if one cannot list its own."""
        lists = [member.symbols() for member in self.members]
        return None if None in lists else sorted({symbol for names in lists for symbol in names or ()})

    def earliest_session(self) -> date | None:
        """The first session that any member can give, None if one has no such limit."""
        starts = [earliest_session(member) for member in self.members]
        return None if None in starts else min(start for start in starts if start)

    def fetch(self, symbol: str, first: date, last: date) -> Sequence[PriceRow]:
        """Rows of `symbol` from the first member that has it; raises as the protocol says."""
        return self.fetch_from(symbol, first, last).rows

    def fetch_from(self, symbol: str, first: date, last: date, stored: str | None = None) -> Fetched:
        """Fetch from the member named `stored` if that has the symbol, else from the first that does.

        A member that does not reach back to `first` gives way to one that does, unless the symbol is stored from it.

        Raises:
            UnknownSymbolError: no member has it.
            SourceUnavailableError: all members have failed as a whole.
            SourceError: the member whose turn it is failed; no other is asked in its place, because a failure does not
                say whether it has the symbol.
        """
        short: Fetched | None = None
        for member in self.candidates(symbol, first, stored):
            try:
                found = Fetched(member.name, self._ask(member, symbol, first, last))
            except UnknownSymbolError:
                continue
            if member.name == stored or not _falls_short(member, first):
                return found
            # Some sources find out how far they reach by being asked.
            short = short or found
        if short:
            return short
        raise UnknownSymbolError(symbol, self.name)

    def candidates(self, symbol: str, first: date, stored: str | None = None) -> list[PriceSource]:
        """Say which members may have a symbol, in the order in which they are asked."""
        possible = [member for member in self.members if (names := member.symbols()) is None or symbol in names]
        return sorted(possible, key=lambda member: (member.name != stored, _falls_short(member, first)))

    def _ask(self, member: PriceSource, symbol: str, first: date, last: date) -> Sequence[PriceRow]:
        since, error = self._down.get(member.name, (0.0, None))
        if error is None or time.monotonic() - since > _REST:
            self._down.pop(member.name, None)
            try:
                return member.fetch(symbol, first, last)
            except SourceUnavailableError as failure:
                error = failure
                self._down[member.name] = time.monotonic(), failure
        if len(self._down) == len(self.members):
            raise error
        # The others may still serve their symbols: this one alone has failed.
        raise SourceError(str(error)) from None


def _falls_short(member: PriceSource, first: date) -> bool:
    start = earliest_session(member)
    return start is not None and start > first
