"""How a file of prices is laid out: which column is what, and whose prices they are.

Three kinds: *long* (a row for each symbol and session), *single* (a row for each session, the symbol is the file's
name) and *wide* (a column for each symbol, or for each field of each symbol as yfinance writes it). Not here: the
numbers (`file_tables`).
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.sources.base import SourceError
from resources.symbols import canonical

#: How the columns are called by ourselves, Yahoo, Stooq, Alpha Vantage and Tiingo, in small letters.
_FIELDS = {
    "date": ("date", "timestamp", "datetime", "session", "<date>"),
    "symbol": ("symbol", "ticker", "<ticker>"),
    "open": ("open", "<open>"),
    "high": ("high", "<high>"),
    "low": ("low", "<low>"),
    "close": ("close", "<close>"),
    "adjusted_close": ("adjusted_close", "adj close", "adj_close", "adjusted close", "adjclose"),
    "volume": ("volume", "vol", "<vol>"),
    "dividend": ("dividend", "dividend_amount", "divcash"),
    "split": ("split", "split_coefficient", "splitfactor"),
    # Seen, and left alone: Yahoo's closes are adjusted for these already.
    "": ("dividends", "stock splits", "capital gains", "<per>", "<time>", "<openint>", "openint"),
}
#: What pandas calls an index without a name: the dates, unless another column has them.
_INDEX = ("", "unnamed: 0", "__index_level_0__")
_FIELD_OF = {name: field for field, names in _FIELDS.items() for name in names}
_SYMBOL = re.compile(r"\^?[A-Z0-9][A-Z0-9.\-]{0,14}")
_MARKET = re.compile(r"[._]us(_d)?$", re.IGNORECASE)  # of Stooq
_PAIR = re.compile(r"\(('[^']*'|\"[^\"]*\"), ('[^']*'|\"[^\"]*\")\)")

NUMBERS = ("open", "high", "low", "close", "adjusted_close", "volume", "dividend", "split")
HELP = (
    "a file has `symbol,date,close` and any of open, high, low, volume, dividend, split; or "
    "`symbol,date,adjusted_close`; or the same without `symbol`, the file being named after it; "
    "or `date` and a column of adjusted closes for each symbol"
)


class PriceFileError(SourceError):
    """A file of prices has something wrong at a place; `line` is None if it is not about a line."""

    def __init__(self, file: str, line: int | None, column: str | None, problem: str) -> None:
        super().__init__(file, line, column, problem)
        self.file = file
        self.line = line
        self.column = column
        self.problem = problem

    def __str__(self) -> str:
        place = [self.file, f"line {self.line}" if self.line else "", f"column {self.column!r}" if self.column else ""]
        return f"{', '.join(filter(None, place))}: {self.problem}"


@dataclass(frozen=True)
class Layout:
    """Where a file has its date, its symbol and its numbers."""

    file: str
    date: str  # column name
    symbol: str | None  # column name, of a long file
    series: dict[str, dict[str, str]]  # symbol to field to column; of a long file under the symbol ""


def of_columns(path: Path, columns: Sequence[str]) -> Layout:
    """Recognise a file by its columns; raises PriceFileError."""
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise PriceFileError(path.name, 1, twins[0], "the column stands there twice")
    if any(_FIELD_OF.get(column.strip().lower()) == "date" for column in columns):
        columns = [column for column in columns if column.strip().lower() not in _INDEX]
    pairs = {column: pair for column in columns if (pair := _pair(column))}
    if pairs:
        return _of_pairs(path, columns, pairs)
    fields = {column: _field(column) for column in columns}
    named = {field: column for column, field in fields.items() if field}
    if "date" not in named:
        raise PriceFileError(path.name, 1, None, f"there is no column `date`; {HELP}")
    if "close" in named or "adjusted_close" in named:
        unknown = [column for column, field in fields.items() if field is None]
        if unknown:
            raise PriceFileError(path.name, 1, unknown[0], f"is not a column of prices; {HELP}")
        numbers = {field: column for field, column in named.items() if field in NUMBERS}
        whose = "" if "symbol" in named else _symbol(path.name, None, path.name.rsplit(".", 1)[0])
        return Layout(path.name, named["date"], named.get("symbol"), {whose: numbers})
    if "symbol" in named:
        raise PriceFileError(path.name, 1, None, f"there is no column `close` or `adjusted_close`; {HELP}")
    names = [column for column in columns if column != named["date"]]
    return Layout(
        path.name, named["date"], None, _by_symbol(path, [(_symbol(path.name, c, c), "close", c) for c in names])
    )


def canonical_name(text: str) -> str:
    """Give the canonical symbol of a name in a file or of a file: `aapl_us_d`, `AAPL.US` and `AAPL` are the same."""
    return canonical(_MARKET.sub("", text.strip()))


def _of_pairs(path: Path, columns: Sequence[str], pairs: dict[str, tuple[str, str]]) -> Layout:
    """A frame of yfinance: field and symbol of each column, in either order."""
    dates = [column for column in columns if column not in pairs and _field(column) == "date"]
    if len(dates) != 1:
        raise PriceFileError(path.name, 1, None, "there is no column of dates beside the prices")
    found = []
    for column, (one, other) in pairs.items():
        field_first = one.lower() in _FIELD_OF
        field, symbol = (one, other) if field_first else (other, one)
        name = _FIELD_OF.get(field.lower())
        if name in NUMBERS:
            found.append((_symbol(path.name, column, symbol), name, column))
    return Layout(path.name, dates[0], None, _by_symbol(path, found))


def _by_symbol(path: Path, found: Sequence[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    series: dict[str, dict[str, str]] = {}
    for symbol, field, column in found:
        if field in series.setdefault(symbol, {}):
            raise PriceFileError(path.name, 1, column, f"is the second column of {symbol}")
        series[symbol][field] = column
    if not series:
        raise PriceFileError(path.name, 1, None, f"there is no column of prices; {HELP}")
    for symbol, fields in series.items():
        if not {"close", "adjusted_close"} & fields.keys():
            raise PriceFileError(path.name, 1, next(iter(fields.values())), f"there are no closes of {symbol}")
    return series


def _symbol(file: str, column: str | None, text: str) -> str:
    symbol = canonical_name(text)
    if not _SYMBOL.fullmatch(symbol):
        raise PriceFileError(file, 1 if column else None, column, f"{text!r} is not a symbol; {HELP}")
    return symbol


def is_symbol(text: str) -> bool:
    """Say whether a canonical name can be a symbol."""
    return _SYMBOL.fullmatch(text) is not None


def _field(column: str) -> str | None:
    name = column.strip().lower()
    return "date" if name in _INDEX else _FIELD_OF.get(name)


def _pair(column: str) -> tuple[str, str] | None:
    """Read a column name such as `('Close', 'AAPL')`, which is how Parquet keeps two levels."""
    if not _PAIR.fullmatch(column):
        return None
    try:
        one, other = ast.literal_eval(column)
    except (SyntaxError, ValueError):  # backslashes
        return None
    return one, other
