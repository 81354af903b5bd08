"""The price source `sample`: real daily prices shipped with the package, so that everything runs without a key.

Adjusted closes of 20 US stocks and 5 factor ETFs, and the S&P 500 price index, 2014-01-02 to 2022-12-28, without
gaps. For trying things out, not for trading: `data/NOTICE` beside this file has the terms.
"""

import csv
import functools
import gzip
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from resources.sources.base import PriceRow, UnknownSymbolError
from resources.sources.options import SourceOptions

DATA = Path(__file__).with_name("data")
_PRICES = "sample_prices.csv.gz"


class DamagedSampleError(RuntimeError):
    """The file of the sample's prices cannot be read, or not to its end."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: the sample's prices are damaged ({self.problem}); get the file again, from the project"


class SampleSource:
    """The shipped sample. The file is read once in a process, at the first question (about 20 ms)."""

    name = "sample"
    title = "the sample"

    def __init__(self, _options: SourceOptions | None = None) -> None:
        self.calls = 0

    @property
    def coverage(self) -> str:
        """The stocks; the factor ETFs and the index can be held too, but are here for the factors."""
        with (DATA / "sample_symbols.csv").open(encoding="utf-8", newline="") as file:
            stocks = [row["symbol"] for row in csv.DictReader(file) if row["kind"] == "stock"]
        return f"{len(stocks)} symbols: {', '.join(stocks[:2])}, ..."

    def fetch(self, symbol: str, first: date, last: date) -> list[PriceRow]:
        """Rows of `symbol` from `first` to `last`, ascending: adjusted closes in US dollars, nothing else known.

        Raises:
            UnknownSymbolError: the sample has no such symbol.
            DamagedSampleError: its file is damaged.
        """
        self.calls += 1
        sessions, closes = _table(DATA / _PRICES)
        if symbol not in closes:
            raise UnknownSymbolError(symbol, self.name)
        window = slice(bisect_left(sessions, first), bisect_right(sessions, last))
        return [
            PriceRow(session, None, None, None, float(close), None, dividend=0.0, split=1.0)
            for session, close in zip(sessions[window], closes[symbol][window], strict=True)
        ]

    def latest_session(self) -> date:
        """The last session of the sample."""
        sessions, _ = _table(DATA / _PRICES)
        return sessions[-1]

    def symbols(self) -> Sequence[str]:
        """All symbols of the sample: stocks, factor ETFs and the index."""
        _, closes = _table(DATA / _PRICES)
        return tuple(closes)


@functools.cache
def _table(path: Path) -> tuple[Sequence[date], dict[str, Sequence[str]]]:
    """The sessions, and per symbol the closes beside them as text: a fetch makes numbers of what it returns.

    Raises DamagedSampleError.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            _, *symbols = next(reader := csv.reader(file))
            days, *columns = zip(*reader, strict=True)
        return tuple(map(date.fromisoformat, days)), dict(zip(symbols, columns, strict=True))
    except StopIteration:
        raise DamagedSampleError(path, "it is empty") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedSampleError(path, str(error)) from error
