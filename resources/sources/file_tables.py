"""The numbers of a file of prices, CSV or Parquet: read once as a stream, kept on disk, looked up by symbol.

Each batch of the stream is sorted by symbol and appended to a scratch file that has no name: whatever the order of the
rows, a symbol is one read for each batch, and memory holds no more than a batch. A wide Parquet file is streamed once
for each block of its columns. Imported with the first look at a
file: pyarrow takes 0.1 s. Not here: what the columns are (`file_layouts`) and which files there are (`files`).
"""

import csv
import functools
import hashlib
import math
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resources.sources.base import PriceRow, SourceUnavailableError
from resources.sources.file_layouts import NUMBERS, PriceFileError, canonical_name, is_symbol, of_columns

_EPOCH = date(1970, 1, 1)
#: A date may be followed by a time of the day.
_DATE = re.compile(r"([0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})([T ].*)?", re.DOTALL)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: What Arrow raises of a file that is broken; a name in it need not be text.
_DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
_NO_DATE = np.iinfo(np.int32).min
_NOTHING = ["", "null", "NULL", "NaN", "nan", "None", "N/A", "NA"]
_BATCH = 3_200_000  # cells read at a time
_BUFFER = 65_536  # bytes of a compressed column in memory
_FEW = 32_767


class Series(NamedTuple):
    """The prices of one symbol, ascending."""

    days: NDArray[np.int32]
    """Days since 1970."""
    numbers: NDArray[np.float64]
    """Shape (sessions, 7): the numbers of a `PriceRow`, in its order; NaN where there is none."""

    def rows(self) -> list[PriceRow]:
        """Give them as a source does."""
        sessions = self.days.astype("datetime64[D]").tolist()
        return list(map(PriceRow._make, zip(sessions, *(_known(column) for column in self.numbers.T), strict=True)))

    def digest(self) -> str:
        """A mark of the numbers: two series that differ in anything have two."""
        table = np.column_stack([self.days + _EPOCH.toordinal(), self.numbers])
        return hashlib.sha256(np.where(np.isnan(table), np.nan, table).tobytes()).hexdigest()[:16]


class _Scratch:
    """Records on disk that come in batches, each grouped by owner, and are looked up by owner."""

    def __init__(self, dtype: np.dtype[Any], folder: Path | None) -> None:
        self._dtype = dtype
        self._folder = folder or tempfile.gettempdir()
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with this object
        except OSError as error:
            raise SourceUnavailableError(f"{self._folder}: no file can be made there: {error.strerror}") from None
        weakref.finalize(self, self._file.close)
        self._bounds: list[NDArray[np.int64]] = []  # by batch: where the records of each owner begin, and the last end
        self._size = 0

    def append(self, records: NDArray[Any], counts: NDArray[np.int64]) -> None:
        """Add records, so many of each owner, in the order of owners; raises SourceUnavailableError on a full disk."""
        self._bounds.append(self._size + np.concatenate([[0], np.cumsum(counts)]))
        self._size += records.size
        try:
            records.tofile(self._file)
        except OSError:  # of numpy's own wording
            size = f"{self._size * self._dtype.itemsize / 1e6:,.1f} MB"
            problem = f"the numbers of a price file do not fit there ({size} so far); make room and ask again"
            raise SourceUnavailableError(f"{self._folder}: {problem}") from None

    def of(self, owner: int) -> NDArray[Any]:
        """Give the records of an owner, in the order in which they came."""
        size, file = self._dtype.itemsize, self._file.fileno()
        spans = [bounds[owner : owner + 2].tolist() for bounds in self._bounds if owner + 1 < len(bounds)]
        parts = [os.pread(file, (end - start) * size, start * size) for start, end in spans if end > start]
        return np.frombuffer(b"".join(parts), self._dtype)


def survey(path: Path) -> tuple[list[str], date | None]:
    """Say whose prices a file has and its last date, without a look at the prices; raises PriceFileError."""
    table = Table(path, prices=False)
    return table.symbols, table.latest


class Table:
    """One file's prices by symbol; raises PriceFileError when made if the file cannot be read at all.

    What is wrong with a single cell is an error of its symbol alone, raised when that is asked for.
    """

    def __init__(self, path: Path, scratch: Path | None = None, *, prices: bool = True) -> None:
        reader = _Parquet(path) if path.suffix.lower() == ".parquet" else _Csv(path)
        self.layout = reader.layout
        self._problems: dict[str, PriceFileError] = {}
        # Each symbol's place among the owners; those of a long file are found in its rows.
        self._owners = {} if self.layout.symbol else {symbol: i for i, symbol in enumerate(self.layout.series)}
        self._fields = [field for field in NUMBERS if any(field in fields for fields in self.layout.series.values())]
        self._newest = _NO_DATE
        self._scratch: _Scratch | None = None
        if prices:
            record = [("day", "i4"), ("line", "i4"), ("cells", "f8", (len(self._fields),))]
            self._record = np.dtype(record)
            self._scratch = _Scratch(self._record, scratch)
        key = [self.layout.date, *([self.layout.symbol] if self.layout.symbol else [])]
        symbols = list(self.layout.series) if prices else []
        size = max(1, reader.columns // max(1, len(self._fields)))
        try:
            for first in range(0, max(1, len(symbols)), size):
                numbers = [
                    name for symbol in symbols[first : first + size] for name in self.layout.series[symbol].values()
                ]
                line = reader.first_line
                for batch in reader.batches([*key, *numbers]):
                    self._append(batch, line, first, size)
                    line += batch.num_rows
        except _DAMAGED as error:
            raise PriceFileError(path.name, None, None, f"cannot be read: {_said(error)}") from None

    @property
    def symbols(self) -> list[str]:
        """The symbols that have a place in the file."""
        return list(self._owners)

    @property
    def latest(self) -> date | None:
        """The last date in the file."""
        return None if self._newest == _NO_DATE else _EPOCH + timedelta(days=self._newest)

    def series(self, symbol: str, first: date, last: date) -> Series:
        """The prices of a symbol from `first` to `last`; raises PriceFileError for anything wrong in its series."""
        if symbol in self._problems:
            raise self._problems[symbol]
        if self._scratch is None:
            raise ValueError("the prices of this file were not read")
        fields = self.layout.series["" if self.layout.symbol else symbol]
        records = self._scratch.of(self._owners[symbol])
        place = self._fields.index("close" if "close" in fields else "adjusted_close")
        records = records[~np.isnan(records["cells"][:, place])]
        if (np.diff(records["day"]) <= 0).any():
            records = records[np.argsort(records["day"], kind="stable")]
        cells = {field: records["cells"][:, self._fields.index(field)] for field in fields}
        self._check(fields, cells, records)
        days = np.ascontiguousarray(records["day"])
        span = slice(*np.searchsorted(days, [(first - _EPOCH).days, (last - _EPOCH).days + 1]))
        return Series(days[span], _numbers_of_rows({field: values[span] for field, values in cells.items()}))

    def _append(self, batch: pa.RecordBatch, line: int, first: int, size: int) -> None:
        """Keep a batch of so many symbols, from the first on, as the layout has them."""

        def refuse(column: str, rule: str, whose: Callable[[int], Sequence[str]]) -> Callable[[int], None]:
            def at(i: int) -> None:
                told = batch.column(column)[i].as_py()
                for symbol in whose(i):
                    problem = f"{told!r} {rule}" if told is not None else f"nothing there; it {rule}"
                    self._problems.setdefault(symbol, PriceFileError(self.layout.file, line + i, column, problem))

            return at

        everyone = list(self.layout.series)
        whose: Callable[[int], Sequence[str]] = lambda _: everyone  # noqa: E731
        codes = None
        if self.layout.symbol:
            codes = self._codes(batch.column(self.layout.symbol), line)
            names = list(self._owners)
            whose = lambda i: [names[codes[i]]]  # noqa: E731
        day = self.layout.date
        days = _days(batch.column(day), refuse(day, "is not a date such as 2026-11-27", whose))
        self._newest = max(self._newest, int(days.max(initial=_NO_DATE)))
        if self._scratch is None:
            return
        series = everyone[first : first + size]
        records = np.empty((len(series), batch.num_rows), self._record)
        records["day"], records["line"] = days, np.arange(line, line + batch.num_rows)
        for i, symbol in enumerate(series):
            concerned = whose if codes is not None else lambda _, own=[symbol]: own
            for field, column in self.layout.series[symbol].items():
                found = _numbers(batch.column(column), refuse(column, "is not a number", concerned))
                records["cells"][i, :, self._fields.index(field)] = found
        if codes is None:
            self._scratch.append(records, np.repeat([0, batch.num_rows], [first, len(series)]))
        else:
            self._scratch.append(records[0].take(np.argsort(codes, kind="stable")), np.bincount(codes))

    def _codes(self, told: pa.Array, line: int) -> NDArray[Any]:
        """Give the owner of each row of a long file, as its place; new symbols get one."""
        if not pa.types.is_dictionary(told.type):
            told = told.cast(pa.string()).dictionary_encode()
        forms = [_canonical(str(value)) for value in told.dictionary.to_pylist()]
        rows = told.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        used = (np.flatnonzero(np.bincount(rows + 1)) - 1).tolist()
        bad = [i for i in used if i < 0 or (forms[i] not in self._owners and not is_symbol(forms[i]))]
        if bad:
            at = int(np.flatnonzero(np.isin(rows, bad))[0])
            value = told[at].as_py() or ""
            raise PriceFileError(self.layout.file, line + at, self.layout.symbol, f"{value!r} is not a symbol")
        places = np.array([self._owners.get(form, -1) for form in forms], dtype=np.int32)
        for i in used:
            places[i] = self._owners.setdefault(forms[i], len(self._owners))
        # Numbers of 16 bits are sorted in one pass.
        return np.asarray(places[rows], dtype=np.int16 if len(self._owners) < _FEW else np.int32)

    def _check(self, fields: dict[str, str], cells: dict[str, NDArray[Any]], records: NDArray[Any]) -> None:
        for field, values in cells.items():
            lowest = "more than 0" if field not in ("dividend", "volume") else "0 or more"
            wrong = np.isinf(values) | (values < 0) | ((values == 0) & (lowest == "more than 0") & (field != "split"))
            for i in np.flatnonzero(wrong)[:1]:
                problem = f"{values[i]:g} is not a number of {lowest}"
                raise PriceFileError(self.layout.file, int(records["line"][i]), fields[field], problem)
        days = records["day"]
        for i in np.flatnonzero(days[1:] == days[:-1])[:1] + 1:
            problem = f"{_EPOCH + timedelta(days=int(days[i]))} stands there twice for one symbol"
            raise PriceFileError(self.layout.file, int(records["line"][i]), self.layout.date, problem)


def _said(error: Exception) -> str:
    """Give the first sentence of an error, which says what is wrong; what follows may be a screen of the file."""
    return "".join(one if one.isprintable() else "?" for one in str(error).split("\n")[0][:200])


def _numbers_of_rows(cells: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Make the numbers of rows; an adjusted close without events of its own is the close, and scales the others."""
    events = "dividend" in cells or "split" in cells
    if "close" not in cells:
        cells = cells | {"close": cells["adjusted_close"]}
    elif "adjusted_close" in cells and not events:
        scale = cells["adjusted_close"] / cells["close"]
        cells = cells | {f: cells[f] * scale for f in ("open", "high", "low") if f in cells}
        cells["close"] = cells["adjusted_close"]
    numbers = np.full((len(cells["close"]), len(PriceRow._fields) - 1), np.nan)
    for j, field in enumerate(PriceRow._fields[1:]):
        if field in cells:
            numbers[:, j] = cells[field]
    dividend, split = numbers[:, -2], numbers[:, -1]
    dividend[np.isnan(dividend)] = 0.0
    split[np.isnan(split) | (split == 0)] = 1.0
    return numbers


def _known(values: NDArray[np.float64]) -> list[Any]:
    nothing = np.isnan(values)
    if not nothing.any():
        return list(values.tolist())
    known = values.astype(object)
    known[nothing] = None
    return list(known.tolist())


_canonical = functools.lru_cache(maxsize=20_000)(canonical_name)  # each batch of a long file names all of them


# --- columns to numbers


def _numbers(cells: pa.Array, refuse: Callable[[int], None]) -> NDArray[np.float64]:
    """Make numbers, NaN of what is empty; `refuse` is told the place of what is no number."""
    if not pa.types.is_boolean(cells.type):  # which Arrow takes for 0 and 1
        with suppress(pa.ArrowException):
            return np.asarray(pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    numbers = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells.to_pylist()):
        try:
            numbers[i] = math.nan if cell is None or str(cell).strip() in _NOTHING else _number(cell)
        except (TypeError, ValueError):
            refuse(i)
    return numbers


def _number(cell: Any) -> float:
    # Python itself reads 1_000 and digits of any script.
    if isinstance(cell, bool) or (isinstance(cell, str) and not _NUMBER.fullmatch(cell.strip())):
        raise ValueError
    return float(cell)


def _days(cells: pa.Array, refuse: Callable[[int], None]) -> NDArray[np.int32]:
    """Make days since 1970; `refuse` is told the place of what is no date."""
    with suppress(pa.ArrowException):
        days = _as_dates(cells)
        if not days.null_count:
            return np.asarray(days.cast(pa.int32()).to_numpy(zero_copy_only=False))
    found = np.full(len(cells), _NO_DATE, dtype=np.int32)
    for i, cell in enumerate(cells.to_pylist()):
        written = _DATE.fullmatch(str(cell).strip())
        try:
            found[i] = (date.fromisoformat(written[1] if written else "") - _EPOCH).days
        except ValueError:
            refuse(i)
    return found


def _as_dates(cells: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_timestamp(cells.type) and cells.type.tz:
        cells = pc.local_timestamp(cells)  # the day of its own zone: midnight in New York is no day before
    if pa.types.is_integer(cells.type):
        cells = cells.cast(pa.string())
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        long = pc.utf8_length(pc.fill_null(cells, "")).to_numpy(zero_copy_only=False)
        if len(long) and (long == 8).all():
            # Not by strptime, to which the 30th of February is the 2nd of March.
            parts = [pc.utf8_slice_codeunits(cells, start, stop) for start, stop in ((0, 4), (4, 6), (6, 8))]
            cells = pc.binary_join_element_wise(*parts, "-")
        elif (long > 10).any():
            if not pc.all(pc.match_substring_regex(cells, "^.{10}([T ]|$)")).as_py():
                raise pa.ArrowInvalid("a date is followed by something else than a time")
            cells = pc.utf8_slice_codeunits(cells, 0, 10)
    return pc.cast(cells, pa.date32(), safe=False)


# --- the two kinds of files


class _Parquet:
    first_line = 1
    columns = 500  # of a wide file, read at a time: each that is open keeps a page

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
            self.layout = of_columns(path, self._file.schema_arrow.names)
            named = self._file.schema_arrow.field(self.layout.symbol).type if self.layout.symbol else None
            if named and (pa.types.is_string(named) or pa.types.is_large_string(named)):
                # A name for each row would be most of the work.
                self._file = pq.ParquetFile(path, read_dictionary=[self.layout.symbol], buffer_size=_BUFFER)
        except _DAMAGED as error:
            problem = f"is no Parquet file that can be read: {_said(error)}"
            raise PriceFileError(path.name, None, None, problem) from None

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        size = max(1_000, _BATCH // len(columns))
        for group in range(self._file.num_row_groups):  # one at a time: a reader of all keeps all it has read
            yield from self._file.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False)


class _Csv:
    columns = sys.maxsize  # a line is read whole

    def __init__(self, path: Path) -> None:
        self._path = path
        self._invalid: PriceFileError | None = None
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                head = [line for line, _ in zip(file, range(3), strict=False)]
        except UnicodeDecodeError:
            raise PriceFileError(path.name, None, None, "is not UTF-8 text; save it as CSV in UTF-8") from None
        except OSError as error:
            raise PriceFileError(path.name, None, None, f"cannot be read: {error.strerror}") from None
        if not head:
            raise PriceFileError(path.name, None, None, "is empty")
        self._separator = max(",;\t", key=head[0].count)
        try:
            self.names, lines = _header(list(csv.reader(head, delimiter=self._separator)))
        except csv.Error as error:
            raise PriceFileError(path.name, 1, None, f"is no header of CSV: {error}") from None
        self.first_line = lines + 1
        self.layout = of_columns(path, self.names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        reader = pa_csv.open_csv(
            self._path,
            pa_csv.ReadOptions(skip_rows=self.first_line - 1, column_names=self.names, use_threads=False),
            pa_csv.ParseOptions(delimiter=self._separator, invalid_row_handler=self._refuse),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                include_columns=list(columns),
                null_values=_NOTHING,
                strings_can_be_null=True,
            ),
        )
        yield from reader
        if self._invalid:
            raise self._invalid

    def _refuse(self, row: Any) -> str:
        # An error that is raised here would be swallowed: kept for the end of the file.
        problem = f"has {row.actual_columns} columns where the header has {row.expected_columns}"
        self._invalid = self._invalid or PriceFileError(self._path.name, row.number, None, problem)
        return "skip"


def _header(lines: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """The names of the columns, and how many lines they take: yfinance writes field and symbol on two, and a third."""
    first = [cell.strip() for cell in lines[0]]
    if (
        first[0].lower() in ("price", "ticker")
        and len(lines) == 3
        and lines[1][0].strip().lower() in ("price", "ticker")
    ):
        pairs = zip(first[1:], (cell.strip() for cell in lines[1][1:]), strict=False)
        return [lines[2][0].strip() or "Date", *(str(pair) for pair in pairs)], 3
    return first, 1
