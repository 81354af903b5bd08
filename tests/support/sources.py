"""A price source over the shipped sample that writes down what it is asked, and can be made to differ or to fail."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from resources.sources.base import PriceRow, SourceError
from resources.sources.sample import SampleSource

Edit = Callable[[str, list[PriceRow]], list[PriceRow]]


class RecordedSource:
    """The sample as a provider that is paid by the call."""

    name = "sample"
    title = "the sample"
    coverage = "20 symbols: AAPL, AMD, ..."

    def __init__(self, edit: Edit | None = None, broken: Sequence[str] = ()) -> None:
        self.asked: list[tuple[str, date, date]] = []
        self.errors: dict[str, Exception] = {}  # what a symbol's fetch raises
        self.whole_from: date | None = None  # it sends all of a series from here on, whatever it is asked for
        self.broken = set(broken)  # symbols whose calls fail
        self._edit = edit
        self._sample = SampleSource()

    @property
    def calls(self) -> int:
        return len(self.asked)

    @property
    def fetched(self) -> list[str]:
        """The symbols asked for, in order."""
        return [symbol for symbol, _, _ in self.asked]

    def fetch(self, symbol: str, first: date, last: date) -> Sequence[PriceRow]:
        self.asked.append((symbol, first, last))
        if symbol in self.broken:
            raise SourceError("the provider answered 503")
        if symbol in self.errors:
            raise self.errors[symbol]
        rows = self._sample.fetch(symbol, min(first, self.whole_from or first), last)
        return self._edit(symbol, rows) if self._edit else rows

    def latest_session(self) -> date | None:
        return self._sample.latest_session()

    def symbols(self) -> Sequence[str] | None:
        return None


def without(symbol: str, absent: Callable[[date], bool]) -> Edit:
    """Leave out the sessions of a symbol for which `absent` says so."""
    return lambda name, rows: [row for row in rows if name != symbol or not absent(row.session)]


def at_price(symbol: str, price: Callable[[PriceRow], float]) -> Edit:
    """Give a symbol other closes."""
    return lambda name, rows: [row._replace(close=price(row)) for row in rows] if name == symbol else rows


def each(*edits: Edit) -> Edit:
    """Apply several edits, one after the other."""

    def edit(name: str, rows: list[PriceRow]) -> list[PriceRow]:
        for one in edits:
            rows = one(name, rows)
        return rows

    return edit


def changed(symbol: str, session: date, **values: Any) -> Edit:
    """Give one row other values; a value may be a function of the row."""

    def other(row: PriceRow) -> PriceRow:
        told = {name: value(row) if callable(value) else value for name, value in values.items()}
        return row._replace(**told) if row.session == session else row

    return lambda name, rows: [other(row) for row in rows] if name == symbol else rows


class LiveSource(RecordedSource):
    """One that follows the market, as far as it can tell: it has no last session."""

    title = "a live source"

    def latest_session(self) -> date | None:
        return None
