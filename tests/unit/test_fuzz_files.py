"""Files of prices that nobody expects: refused with a typed error, or stored as they say; never a traceback."""

import csv
import io
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from resources.sources import guard
from resources.sources.base import PriceRow, SourceError, UnknownSymbolError
from resources.sources.files import FilesSource
from resources.sources.options import SourceOptions
from resources.symbols import canonical
from tests.support import evil
from tests.support.evil import EXAMPLES, fuzz

EVENING = date(2013, 3, 1)
LONG = [
    ["symbol", "date", "close", "open", "high", "low", "volume", "dividend", "split"],
    ["AAPL", "2013-02-27", "20.5", "20", "21", "19", "1000", "0", "1"],
    ["AAPL", "2013-02-28", "21.5", "21", "22", "20", "1100", "0.25", "1"],
    ["MSFT", "2013-02-28", "41.5", "41", "42", "40", "2100", "", ""],
    ["MSFT", "2013-03-01", "42.5", "42", "43", "41", "2200", "0", "2"],
]
WIDE = [["date", "AAPL", "MSFT"], ["2013-02-27", "20.5", "41.5"], ["2013-02-28", "21.5", ""]]
PAIRS = [
    ["Price", "Close", "Close", "Volume"],
    ["Ticker", "AAPL", "MSFT", "AAPL"],
    ["Date", "", "", ""],
    ["2013-02-27", "20.5", "41.5", "1000"],
]
YAHOO = [
    ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"],
    ["2013-03-01", "40", "42", "39", "41", "20.5", "7"],
]

Rows = dict[str, tuple[PriceRow, ...]]
Read = Callable[[str, bytes], Rows]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a folder with one file of these bytes: the rows of each symbol, as they would be stored."""
    numbers = count()

    def rows(name: str, data: bytes) -> Rows:
        folder = tmp_path / f"{next(numbers)}"
        folder.mkdir()
        (folder / name).write_bytes(data)
        source, found = (
            FilesSource(SourceOptions(price_files=folder, cache=tmp_path)),
            dict[str, tuple[PriceRow, ...]](),
        )
        try:
            for symbol in source.symbols():
                with suppress(UnknownSymbolError):
                    told = source.fetch(symbol, date.min, date.max)
                    found[symbol] = guard.check("files", symbol, told, completed=EVENING, today=EVENING).rows
            source.latest_session()
        except SourceError as error:
            assert str(error).isprintable(), repr(str(error))
        (folder / name).unlink()
        folder.rmdir()
        return found

    return rows


def as_csv(table: list[list[str]], separator: str = ",") -> str:
    """Write a table as a spreadsheet does."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(table)
    return text.getvalue()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_csv_is_refused_or_read(read: Read, examples: int) -> None:
    """Files of every layout with cells, rows and columns changed, in any encoding, cut off or not; and any bytes."""
    tables = st.sampled_from([LONG, WIDE, PAIRS, YAHOO]).flatmap(evil.grids)
    texts = st.tuples(tables, st.sampled_from(",;\t")).map(lambda told: as_csv(*told))
    names = st.sampled_from(["AAPL.csv", "aapl_us_d.csv", "prices.txt", "a b.csv"])
    fuzz(examples, read, names, texts.flatmap(evil.encoded) | st.binary(max_size=80))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_an_accepted_price_is_what_its_line_says(read: Read, examples: int) -> None:
    """Of a long file with one strange cell: accepted, each number and each date is that of the text."""

    def check(row: int, column: int, text: str) -> None:
        table = [list(line) for line in LONG]
        table[row][column] = text
        for symbol, rows in read("prices.csv", as_csv(table).encode()).items():
            for found in rows:
                (line,) = [one for one in table[1:] if says(one, symbol, found.session)]
                close, *others, volume, dividend, split = (number(cell) for cell in line[2:])
                expected = (*others, close, volume, dividend or 0.0, split or 1.0)
                assert found[1:] == expected, line

    fuzz(examples, check, st.integers(1, 4), st.integers(0, 8), evil.texts)


def says(line: list[str], symbol: str, day: date) -> bool:
    """Say whether a line is of a symbol and a day: a date, with or without a time of the day."""
    written = re.fullmatch(r"\s*([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})(\s*|[T ]\s*[0-9]{2}:.*)", line[1])
    name = canonical(re.sub(r"[._]us(_d)?$", "", line[0].strip(), flags=re.IGNORECASE))
    return name == symbol and written is not None and "".join(written.group(1, 3, 4)) == f"{day:%Y%m%d}"


def number(cell: str) -> float | None:
    """What a cell says; None where it says nothing."""
    if cell.strip().upper().lstrip("+-") in ("", "NULL", "NAN", "NONE", "N/A", "NA"):
        return None
    assert re.fullmatch(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", cell), cell
    return float(cell)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_parquet_is_refused_or_read(read: Read, examples: int) -> None:
    """Columns of every type under the names of prices, and files whose bytes were changed."""
    days = [date(2013, 2, 27), date(2013, 2, 28)]
    kinds = [
        *(
            [20.5, 21.5],
            [20, 21],
            ["20.5", "21.5"],
            ["x", "y"],
            [True, False],
            [None, None],
            [float("nan"), float("inf")],
        ),
        *(days, [np.datetime64(day, unit) for day in days for unit in ("ns",)], [[1.0], [2.0]], [b"20.5", b"\xff"]),
        *(
            [{"a": 1.0}, {"a": 2.0}],
            ["AAPL", "MSFT"],
            ["AAPL", None],
            [-1.0, 0.0],
            [2**63 - 1, -(2**63)],
            [1e308, 1e-320],
        ),
        *(["2013-02-27", "2013-02-30"], [20130227, 20130230], [1361923200, 1362009600], ["20130227", "2013 227"]),
    ]
    arrays = st.sampled_from([pa.array(kind) for kind in kinds])
    arrays |= arrays.filter(lambda one: pa.types.is_string(one.type)).map(lambda one: one.dictionary_encode())
    columns = st.fixed_dictionaries(dict.fromkeys(("symbol", "date", "close", "open", "split"), arrays))

    def check(whole: dict[str, pa.Array], good: set[str], gone: str) -> None:
        right = {"symbol": pa.array(["AAPL", "MSFT"]), "date": pa.array(days), "close": pa.array([20.5, 21.5])}
        table = {
            name: right.get(name, cells) if name in good else cells for name, cells in whole.items() if name != gone
        }
        read("AAPL.parquet", parquet(table))

    goods = st.sets(st.sampled_from(["symbol", "date", "close"]))
    fuzz(examples, check, columns, goods, st.sampled_from(["", "", "symbol", "date", "split"]))
    whole = parquet({"date": pa.array(days), "AAPL": pa.array([20.5, 21.5])})
    fuzz(examples, read, st.just("wide.parquet"), evil.damaged(whole))


def parquet(columns: dict[str, pa.Array]) -> bytes:
    """Write columns as a Parquet file."""
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return data.getvalue()
