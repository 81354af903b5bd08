"""What a price source is: the protocol every source implements, the row it returns, the errors it raises.

Not here: any particular source (a module each beside this one) and the choice among them (`registry`).
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple, Protocol


class PriceRow(NamedTuple):
    """One session of one symbol, in US dollars a share as traded that day; None where the source has no such number.

    A source that has adjusted closes only gives them as `close`, with dividend 0 and split 1.
    """

    session: date
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None
    dividend: float
    """Cash a share with this session as its ex-date, in shares after the session's split."""
    split: float
    """New shares for one old share, effective this session; 1 if none."""


class SourceSettingError(ValueError):
    """A price source cannot be made from the settings: a name that no source goes by, a key or folder that lacks."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(source, problem)
        self.source = source
        self.problem = problem

    def __str__(self) -> str:
        return f"price source {self.source!r}: {self.problem}"


class SourceError(Exception):
    """The fetch of one symbol failed; the fetch of another may succeed. Asking again later may help."""


class SourceUnavailableError(SourceError):
    """The source itself fails: key refused, or not reachable after retries. Ends the fetching of a run."""


class QuotaSpentError(SourceUnavailableError):
    """The source's quota is spent until the aware datetime `until`, when it is reset."""

    def __init__(self, source: str, until: datetime, rule: str) -> None:
        super().__init__(source, until, rule)
        self.source = source
        self.until = until
        self.rule = rule

    def __str__(self) -> str:
        return (
            f"the price source {self.source!r} takes no more requests before {self.until:%Y-%m-%d %H:%M %Z} "
            f"({self.rule}); what was fetched is kept, and the rest is fetched after that"
        )


class UnknownSymbolError(Exception):
    """The source works and says that it has no such symbol: a fact worth storing, not a failure."""

    def __init__(self, symbol: str, source: str) -> None:
        super().__init__(symbol, source)
        self.symbol = symbol
        self.source = source

    def __str__(self) -> str:
        return f"{self.symbol!r} is unknown to the price source {self.source!r}; check the symbol or add a source"


class DelistedError(Exception):
    """The source works and says that the symbol is no longer traded: a fact; `last` is its last session, if told."""

    def __init__(self, symbol: str, source: str, last: date | None) -> None:
        super().__init__(symbol, source, last)
        self.symbol = symbol
        self.source = source
        self.last = last

    def __str__(self) -> str:
        when = f" since {self.last}" if self.last else ""
        return f"{self.symbol!r} is no longer traded{when}, says the price source {self.source!r}"


class Estimate(NamedTuple):
    """What fetching will cost."""

    requests: int
    days: int  # that the source's quota makes of it
    note: str  # what the source cannot give, or does not know yet; empty if nothing


class PriceSource(Protocol):
    """Where daily prices come from."""

    name: str
    """The name in SIGMA_PRICE_SOURCES, stored with each row."""
    title: str
    """What a message calls the source, such as `the sample`."""

    @property
    def calls(self) -> int:
        """Provider calls made so far, failed ones included."""

    @property
    def coverage(self) -> str:
        """What the source has, in a few words for a message, such as `20 symbols: AAPL, AMD, ...`."""

    def fetch(self, symbol: str, first: date, last: date) -> Sequence[PriceRow]:
        """Rows of `symbol` for the sessions from `first` to `last`, ascending, in one provider call.

        More rows than asked for may come back when the provider sends them for the same price; empty when the symbol
        is known and has none. A session without a row is a session the source has no price for.

        Raises:
            UnknownSymbolError: the source has no such symbol.
            DelistedError: the source says that the symbol is no longer traded.
            SourceError: this fetch failed; a SourceUnavailableError: so would any other.
        """

    def latest_session(self) -> date | None:
        """The last session of a source that has an end, None if it follows the market. Makes no provider call."""

    def symbols(self) -> Sequence[str] | None:
        """All symbols of the source, None if it cannot list them. Makes no provider call."""


def earliest_session(source: PriceSource) -> date | None:
    """The first session that a source can give at all, None if it has no such limit.

    Sessions before it are beyond the source's history: they say nothing about when a symbol was listed. A source that
    has such a limit has a method of this name.
    """
    method = getattr(source, "earliest_session", None)
    return method() if method else None


def changed(source: PriceSource, symbols: Sequence[str]) -> list[str]:
    """Those of the symbols whose stored prices the source would now give otherwise, as far as it notices by itself.

    A source that does so, such as a folder of files, has a method of this name, and `stored` for `take_note`.
    """
    method = getattr(source, "changed", None)
    return list(method(symbols)) if method else []


def take_note(source: PriceSource, symbols: Sequence[str]) -> None:
    """Tell a source that notices changes that what it gave of these symbols is stored."""
    method = getattr(source, "stored", None)
    if method:
        method(symbols)


def estimate(source: PriceSource, symbols: Sequence[str], first: date) -> Estimate:
    """Say what fetching the symbols from `first` on will cost; without a method of this name a request for each."""
    method = getattr(source, "estimate", None)
    return method(symbols, first) if method else Estimate(len(symbols), 1, "")
