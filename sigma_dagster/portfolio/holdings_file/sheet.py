"""From the bytes of a holdings file to numbered rows of text cells: encodings, separators, spreadsheets.

A file may be read in several ways (its separator is not known, a workbook has sheets): each is offered, and the table
is found by `table`. What a cell means is not known here.
"""

import csv
import datetime
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from sigma_dagster.portfolio.holdings_file.errors import HoldingsError, file_error, row_error

MAX_BYTES = 10 * 1024 * 1024
#: A workbook is packed: this much may come out of it.
_MAX_UNPACKED = 100 * 1024 * 1024
_MAX_CELLS_A_ROW = 1_000
#: Of a worksheet, blank ones included: more are cut off, and more lots are refused.
MAX_ROWS = 200_000

SEPARATORS = (",", ";", "\t", "|")
#: What a text editor counts as a line end. str.splitlines knows more of them, and would number lines differently.
_LINE_END = re.compile(r"\r\n|\r|\n")
_WORKBOOK, _OLD_WORKBOOK = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """A row that is no comment; blank ones have no cells."""

    line: int  # from 1
    cells: list[str]  # without blanks around them
    fault: str = ""  # why it is no row of cells, but a text: then the only cell has it


class Sheet(NamedTuple):
    """One way to read the file."""

    rows: Iterable[Row]  # from the first line on; to be read once
    separator: str
    notes: tuple[str, ...]


def sheets(path: str | Path) -> Iterator[Sheet]:
    """Give the ways to read a file, the likeliest first; raises HoldingsError if there is none."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise file_error(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise file_error(path, "is larger than 10 MB; split it into portfolios")
    if data.startswith(_WORKBOOK):
        yield from _workbook(path, data)
        return
    text, notes = _text(path, data)
    lines = _LINE_END.split(text)
    for separator in SEPARATORS:
        yield Sheet(_text_rows(lines, separator), separator, notes)


# --- text


def _text(path: str | Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    if data.startswith(_OLD_WORKBOOK):
        raise file_error(path, "is an Excel file of before 2007 (.xls); save it as .xlsx or as CSV UTF-8")
    try:
        if data.startswith(_UTF_16):
            return data.decode("utf-16"), ()
        if b"\0" in data:
            raise file_error(path, "is not a text file (it has NUL bytes); save it as CSV UTF-8 or as .xlsx")
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        if data.startswith(_UTF_16):
            raise file_error(path, "begins as UTF-16 and is not; save it as CSV UTF-8") from error
    try:
        return data.decode("windows-1252"), ("The file is not UTF-8: it was read as Windows-1252",)
    except UnicodeDecodeError as error:
        line = len(_LINE_END.split(data[: error.start].decode("windows-1252")))
        rule = "is a byte that is neither UTF-8 nor Windows-1252; save the file as CSV UTF-8"
        raise HoldingsError([row_error(line, "file", f"0x{data[error.start]:02x}", rule)]) from error


def _text_rows(lines: list[str], separator: str) -> Iterator[Row]:
    nothing = str.maketrans("", "", f'{separator}"')
    for number, line in enumerate(lines, start=1):
        if not line.translate(nothing).strip():  # spreadsheets write blank lines as `,,,` or `"",""`
            yield Row(number, [])
        elif not line.lstrip().startswith("#"):
            yield _text_row(number, line, separator)


def _text_row(number: int, line: str, separator: str) -> Row:
    # Each line is read by itself, so that an open quote costs its own line and not the rest of the file.
    try:
        (cells,) = csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True)
    except csv.Error as error:
        fault = f'is not a line of CSV ({error}); quote a value as "a, b" and close the quote on the same line'
        return Row(number, [line], fault)
    return Row(number, [cell.strip() for cell in cells])


# --- spreadsheets


def _workbook(path: str | Path, data: bytes) -> Iterator[Sheet]:
    """Give the sheets of an .xlsx file.

    No bomb: what the archive unpacks to is bounded before it is, and defusedxml refuses entities.
    """
    import openpyxl

    unreadable = "is not an Excel file (.xlsx) that can be read"
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            # Python's reader of archives stops at the size that is declared.
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_UNPACKED:
            raise file_error(path, f"unpacks to more than {_MAX_UNPACKED // 2**20} MB; save the sheet as CSV UTF-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that are not read
            book = openpyxl.load_workbook(BytesIO(data), read_only=True, data_only=True, keep_links=False)
            for table in book.worksheets:
                table.reset_dimensions()  # what a file says of its size may be wrong
                rows = list(itertools.islice(_sheet_rows(table), MAX_ROWS))
                yield Sheet(rows, ",", (f"Read from the sheet {table.title!r}",))
    except HoldingsError:
        raise
    except Exception as error:  # the library has no error of its own for a damaged file
        raise file_error(path, f"{unreadable} ({type(error).__name__}); save it as CSV UTF-8") from error


def _sheet_rows(table: Any) -> Iterator[Row]:
    for number, row in enumerate(table.iter_rows(values_only=True, max_col=_MAX_CELLS_A_ROW), start=1):
        cells = [_cell(value) for value in row]
        if not any(cells):
            yield Row(number, [])
        elif not cells[0].startswith("#"):
            yield Row(number, cells)


def _cell(value: object) -> str:
    """Write a spreadsheet's value as text of a CSV file."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    if isinstance(value, float):
        # 15 digits, as a spreadsheet shows; never an exponent.
        text = f"{value:.15g}"
        return text if "e" not in text else f"{value:.15f}".rstrip("0").rstrip(".")
    return str(value).strip()
