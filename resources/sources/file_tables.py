"""The numbers of a file of prices, CSV or Parquet: read once as a stream, kept on disk, looked up by symbol.

The columns go batch by batch into scratch files that have no name, and are mapped from there: memory holds what is
looked at. Imported with the first look at a file: pyarrow takes 0.1 s. Not here: what the columns are
(`file_layouts`) and which files there are (`files`).
"""

import csv
import functools
import math
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resources.sources.base import PriceRow
from resources.sources.file_layouts import PriceFileError, canonical_name, is_symbol, of_columns

_EPOCH = date(1970, 1, 1)
_NO_DATE = np.iinfo(np.int32).min
_NOTHING = ["", "null", "NULL", "NaN", "nan", "None", "N/A", "NA"]
_BATCH = 1_600_000  # cells read at a time
_IN_MEMORY = 16_000_000  # bytes of one file's numbers
_FEW = 32_767


class Numbers:
    """Rows of numbers that are appended, and then looked up; beyond some megabytes they are not held in memory."""

    def __init__(self, columns: int, dtype: Any, folder: Path | None) -> None:
        self._columns = columns
        self._dtype = np.dtype(dtype)
        self._folder = folder
        self._held: list[NDArray[Any]] = []
        self._file: BinaryIO | None = None
        self.rows = 0

    def append(self, values: NDArray[Any]) -> None:
        """Add rows at the end; `values` has shape (rows, columns)."""
        values = np.ascontiguousarray(values, dtype=self._dtype)
        self.rows += len(values)
        if self._file is None and self.rows * self._columns * self._dtype.itemsize > _IN_MEMORY:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed below
            for earlier in self._held:
                earlier.tofile(self._file)
        if self._file is None:
            self._held.append(values)
        else:
            values.tofile(self._file)

    def array(self) -> NDArray[Any]:
        """Give all rows, shape (rows, columns)."""
        if self._file is None:
            return np.concatenate(self._held) if self._held else np.empty((0, self._columns), self._dtype)
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=(self.rows, self._columns))

    def close(self) -> None:
        """Give the file up; what was given out stays mapped."""
        if self._file:
            self._file.close()


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
        self._first_line = reader.first_line
        self._problems: dict[str, PriceFileError] = {}
        self._symbol_of = {c: symbol for symbol, fields in self.layout.series.items() for c in fields.values()}
        numbers = list(self._symbol_of) if prices else []
        self._place_of = {column: j for j, column in enumerate(numbers)}
        names: dict[str, int] = {}
        key = [self.layout.date, *([self.layout.symbol] if self.layout.symbol else [])]
        with (
            closing(Numbers(1, np.int32, scratch)) as days,
            closing(Numbers(1, np.int32, scratch)) as codes,
            closing(Numbers(len(numbers), np.float64, scratch)) as cells,
        ):
            try:
                for batch in reader.batches([*key, *numbers]):
                    self._append(batch, days, codes, cells, names)
            except pa.ArrowException as error:
                # Its first sentence says what is wrong; what follows may be a screen of the file.
                problem = str(error).split("\n")[0][:200]
                raise PriceFileError(path.name, None, None, f"cannot be read: {problem}") from None
            self._days, self._cells = days.array()[:, 0], cells.array()
            self._places(names, codes)

    @property
    def symbols(self) -> list[str]:
        """The symbols that have a place in the file."""
        return list(self._at)

    @property
    def latest(self) -> date | None:
        """The last date in the file."""
        newest = int(self._days.max()) if self._days.size else _NO_DATE
        return None if newest == _NO_DATE else _EPOCH + timedelta(days=newest)

    def rows(self, symbol: str, first: date, last: date) -> list[PriceRow]:
        """The rows of a symbol from `first` to `last`, ascending; raises PriceFileError for anything wrong in it."""
        if symbol in self._problems:
            raise self._problems[symbol]
        places = self._at[symbol]
        fields = self.layout.series["" if self.layout.symbol else symbol]
        days = self._days[places]
        cells = {field: np.array(self._cells[places, self._place_of[column]]) for field, column in fields.items()}
        lines = np.arange(len(days)) if isinstance(places, slice) else places
        wanted = np.flatnonzero(~np.isnan(cells["close" if "close" in cells else "adjusted_close"]))
        order = wanted[np.argsort(days[wanted], kind="stable")]
        days, lines, cells = days[order], lines[order], {field: values[order] for field, values in cells.items()}
        self._check(fields, cells, days, lines)
        span = slice(bisect_left(days, (first - _EPOCH).days), bisect_right(days, (last - _EPOCH).days))
        return _price_rows(days[span], {field: values[span] for field, values in cells.items()})

    def _append(
        self, batch: pa.RecordBatch, days: Numbers, codes: Numbers, cells: Numbers, names: dict[str, int]
    ) -> None:
        line = self._first_line + days.rows
        owners = self._owners(batch, line, codes, names)

        def refuse(column: str, rule: str, whose: Callable[[int], Sequence[str]]) -> Callable[[int], None]:
            def at(i: int) -> None:
                told = batch.column(column)[i].as_py()
                for symbol in whose(i):
                    problem = f"{told!r} {rule}" if told is not None else f"nothing there; it {rule}"
                    self._problems.setdefault(symbol, PriceFileError(self.layout.file, line + i, column, problem))

            return at

        day = self.layout.date
        days.append(_days(batch.column(day), refuse(day, "is not a date such as 2026-11-27", owners))[:, None])
        block = np.empty((batch.num_rows, len(self._place_of)))
        for column, j in self._place_of.items():
            own = [self._symbol_of[column]]
            whose = owners if self.layout.symbol else lambda _, own=own: own
            block[:, j] = _numbers(batch.column(column), refuse(column, "is not a number", whose))
        cells.append(block)

    def _owners(
        self, batch: pa.RecordBatch, line: int, codes: Numbers, names: dict[str, int]
    ) -> Callable[[int], Sequence[str]]:
        """Say whose a row is: one symbol's in a long file, else those of all the file's symbols."""
        if not self.layout.symbol:
            everyone = list(self.layout.series)
            return lambda _: everyone
        told = batch.column(self.layout.symbol)
        if not pa.types.is_dictionary(told.type):
            told = told.cast(pa.string()).dictionary_encode()
        forms = [_canonical(str(value)) for value in told.dictionary.to_pylist()]
        rows = told.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        bad = [-1, *(i for i, form in enumerate(forms) if form not in names and not is_symbol(form))]
        wrong = np.flatnonzero(np.isin(rows, bad))
        if wrong.size:
            value = told[int(wrong[0])].as_py() or ""
            problem = f"{value!r} is not a symbol"
            raise PriceFileError(self.layout.file, line + int(wrong[0]), self.layout.symbol, problem)
        at = np.array([names.setdefault(form, len(names)) for form in forms], dtype=np.int32)
        codes.append(at[rows][:, None] if rows.size else np.empty((0, 1)))
        return lambda i: [forms[rows[i]]]

    def _places(self, names: dict[str, int], codes: Numbers) -> None:
        """Find the rows of each symbol."""
        everything: slice | NDArray[np.int32] = slice(None)
        self._at: dict[str, slice | NDArray[np.int32]] = dict.fromkeys(self.layout.series, everything)
        if not self.layout.symbol:
            return
        found = codes.array()[:, 0]
        # Numbers of 16 bits are sorted in one pass.
        order = np.argsort(found.astype(np.int16) if len(names) < _FEW else found, kind="stable").astype(np.int32)
        ends = np.concatenate([[0], np.cumsum(np.bincount(found, minlength=len(names)))])
        self._at = {name: order[ends[code] : ends[code + 1]] for name, code in names.items()}

    def _check(
        self, fields: dict[str, str], cells: dict[str, NDArray[Any]], days: NDArray[Any], lines: NDArray[Any]
    ) -> None:
        for field, values in cells.items():
            lowest = "more than 0" if field not in ("dividend", "volume") else "0 or more"
            wrong = np.isinf(values) | (values < 0) | ((values == 0) & (lowest == "more than 0") & (field != "split"))
            for i in np.flatnonzero(wrong)[:1]:
                raise self._problem(lines[i], fields[field], f"{values[i]:g} is not a number of {lowest}")
        for i in np.flatnonzero(days[1:] == days[:-1])[:1] + 1:
            day = _EPOCH + timedelta(days=int(days[i]))
            raise self._problem(lines[i], self.layout.date, f"{day} stands there twice for one symbol")

    def _problem(self, line: int, column: str, problem: str) -> PriceFileError:
        return PriceFileError(self.layout.file, self._first_line + int(line), column, problem)


def _price_rows(days: NDArray[Any], cells: dict[str, NDArray[Any]]) -> list[PriceRow]:
    """Make rows; an adjusted close without events of its own is the close, and the others are scaled to it."""
    events = "dividend" in cells or "split" in cells
    if "close" not in cells:
        cells = cells | {"close": cells["adjusted_close"]}
    elif "adjusted_close" in cells and not events:
        scale = cells["adjusted_close"] / cells["close"]
        cells = cells | {f: cells[f] * scale for f in ("open", "high", "low") if f in cells}
        cells["close"] = cells["adjusted_close"]
    columns = [_known(cells.get(field), len(days)) for field in ("open", "high", "low", "close", "volume")]
    dividend, split = (cells.get(field, np.zeros(len(days))) for field in ("dividend", "split"))
    columns += [np.nan_to_num(dividend).tolist(), np.where(np.nan_to_num(split) == 0, 1.0, split).tolist()]
    sessions = [_EPOCH + timedelta(days=day) for day in days.tolist()]
    return [PriceRow(*row) for row in zip(sessions, *columns, strict=True)]


def _known(values: NDArray[Any] | None, n: int) -> list[Any]:
    if values is None:
        return [None] * n
    return [None if math.isnan(value) else value for value in values.tolist()]


_canonical = functools.lru_cache(maxsize=20_000)(canonical_name)  # each batch of a long file names all of them


# --- columns to numbers


def _numbers(cells: pa.Array, refuse: Callable[[int], None]) -> NDArray[np.float64]:
    """Make numbers, NaN of what is empty; `refuse` is told the place of what is no number."""
    with suppress(pa.ArrowException):
        return np.asarray(pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    numbers = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells.to_pylist()):
        try:
            numbers[i] = math.nan if cell is None or str(cell).strip() in _NOTHING else float(cell)
        except (TypeError, ValueError):
            refuse(i)
    return numbers


def _days(cells: pa.Array, refuse: Callable[[int], None]) -> NDArray[np.int32]:
    """Make days since 1970; `refuse` is told the place of what is no date."""
    with suppress(pa.ArrowException):
        days = _as_dates(cells)
        if not days.null_count:
            return np.asarray(days.cast(pa.int32()).to_numpy(zero_copy_only=False))
    found = np.full(len(cells), _NO_DATE, dtype=np.int32)
    for i, cell in enumerate(cells.to_pylist()):
        text = str(cell).strip()
        try:
            found[i] = (date.fromisoformat(text if len(text) == 8 else text[:10]) - _EPOCH).days
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
            return pc.cast(pc.strptime(cells, "%Y%m%d", "s"), pa.date32())
        cells = pc.utf8_slice_codeunits(cells, 0, 10)
    return pc.cast(cells, pa.date32(), safe=False)


# --- the two kinds of files


class _Parquet:
    first_line = 1

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            problem = str(error).split("\n")[0][:200]
            raise PriceFileError(path.name, None, None, f"is no Parquet file that can be read: {problem}") from None
        self.layout = of_columns(path, self._file.schema_arrow.names)
        if self.layout.symbol:
            # A name for each row would be most of the work.
            self._file = pq.ParquetFile(path, read_dictionary=[self.layout.symbol])

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        size = max(1_000, _BATCH // len(columns))
        yield from self._file.iter_batches(size, columns=list(columns))


class _Csv:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._invalid: PriceFileError | None = None
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                head = [line for line, _ in zip(file, range(3), strict=False)]
        except (OSError, UnicodeDecodeError) as error:
            raise PriceFileError(path.name, None, None, f"cannot be read as text: {type(error).__name__}") from None
        if not head:
            raise PriceFileError(path.name, None, None, "is empty")
        self._separator = max(",;\t", key=head[0].count)
        self.names, lines = _header(list(csv.reader(head, delimiter=self._separator)))
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
