"""Reading a holdings file: bytes from a user in, lots or a list of everything wrong with them out.

Here belong the format, its rules and their wording. Not here: storing a portfolio (`resources.database`), printing
errors (`sigma_dagster.cli`), and what a position is worth. No pandas: the command line reads its help from here.
"""

import csv
import difflib
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from resources.database.portfolios import Lot
from resources.sources.base import PriceSource
from resources.symbols import SYMBOL, canonical

MAX_BYTES = 10 * 1024 * 1024
MAX_ROWS = 100_000
ERRORS_SHOWN = 20
VALUE_SHOWN = 40

REQUIRED = ("symbol", "quantity", "entry_price", "entry_date")
OPTIONAL = ("exit_date", "asset_class")
#: Columns whose values have a form: numbers and dates.
_FORMED = frozenset({"quantity", "entry_price", "entry_date", "exit_date"})
_ROWS_NAMED = 10
#: How like each other two symbols are (0 to 1) of which one may be meant by the other: AAPL and APPL, MSFT and MSTF.
_LIKENESS = 0.7
#: What separates columns in other files, and what a message calls it.
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}

HOLDINGS_HELP = """\
A holdings file is a CSV file with one lot a line:

    symbol,quantity,entry_price,entry_date,exit_date,asset_class
    AAPL,120,86.605,2020-06-10,,
    MSFT,-40,253.131,2021-04-20,2022-03-01,
    LOFT-7,1,250000,2021-01-15,,private

  symbol       a letter or digit, then up to 14 letters, digits, '.' or '-'
  quantity     shares; negative for a short position, never 0
  entry_price  US dollars a share, in shares of today (splits applied);
               0: not known, the market value alone counts
  entry_date   YYYY-MM-DD, not after the as-of session; on a day without
               trading the lot counts from the next session
  exit_date    optional: not before entry_date, not after the as-of session;
               on the same day, the lot holds nothing
  asset_class  optional: public (the default), or private, which has no
               market price and keeps its entry price

Columns may stand in any order, and 'Entry Date' is as good as 'entry_date'.
Other columns are ignored, blank lines and lines that begin with # skipped.
Numbers are plain decimals (1234.5). A symbol may have several lots. UTF-8,
at most 10 MB and 100,000 lots. If anything is wrong, nothing is stored.
"""

_NUMBER = re.compile(r"[+-]?([0-9]{1,12}(\.[0-9]{0,20})?|\.[0-9]{1,20})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PORTFOLIO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
# What a text editor counts as a line end. str.splitlines knows more of them, and would number lines differently.
_LINE_END = re.compile(r"\r\n|\r|\n")
_NUMERIC_LOOK = re.compile(r"[+-]?[0-9][0-9.-]*")


_NOT_IN = "is not in"

#: For whoever has only the sample, and holds something else.
_SOURCES = """\
For prices of any US stock, type one of these, and the command again:
  no key          make install-yahoo && export SIGMA_PRICE_SOURCES=yahoo
  a free key      export SIGMA_PRICE_SOURCES=tiingo SIGMA_TIINGO_KEY=YOUR_KEY
  Alpha Vantage   export SIGMA_PRICE_SOURCES=alpha_vantage ALPHAVANTAGE_API_KEY=YOUR_KEY
  your own files  export SIGMA_PRICE_SOURCES=files SIGMA_PRICE_FILES=FOLDER"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a holdings file says."""

    lots: tuple[Lot, ...]
    """In the order of the file, at least one."""
    ignored_columns: tuple[str, ...]
    """Columns with a name that the format does not know, as the file spells them."""
    notes: tuple[str, ...] = ()
    """What a reader should know of lots that are accepted and count for little, in sentences."""


class RowError(NamedTuple):
    """One thing that is wrong in a holdings file; as text, a sentence that says where, what and why."""

    row: int
    """The line of the file, from 1 as in a text editor; 0 for the file as a whole."""
    column: str
    value: str
    """What stands there, cut after 40 characters; empty if nothing does."""
    rule: str
    """The rule it breaks, worded to follow the value: `is not ...`."""

    def __str__(self) -> str:
        where = f"row {self.row}, {self.column}" if self.row else self.column
        # repr also keeps control characters of the file away from the terminal.
        value = self.value if _NUMERIC_LOOK.fullmatch(self.value) else repr(self.value)
        return f"{where}: {value} {self.rule}" if self.value else f"{where}: {self.rule}"


class HoldingsError(ValueError):
    """A holdings file, or the name for its portfolio, that is refused: with everything that is wrong, in file order."""

    def __init__(self, errors: Sequence[RowError], advice: str = "") -> None:
        super().__init__(errors)
        self.errors = tuple(errors)
        self.advice = advice  # what helps against some of them, for the end of the message

    def __str__(self) -> str:
        # What is wrong with the form of a column is wrong in each row: it is said once.
        groups: dict[object, list[RowError]] = {}
        for error in self.errors:
            formed = error.column in _FORMED and error.row
            groups.setdefault((error.column, error.rule) if formed else error, []).append(error)
        shown = list(groups.values())[:ERRORS_SHOWN]
        lines = [f"{first}{_also(others)}" for first, *others in shown]
        if more := len(self.errors) - sum(map(len, shown)):
            lines.append(f"... and {more:,} more")
        return "\n".join(filter(None, [*lines, self.advice]))


def _also(errors: Sequence[RowError]) -> str:
    rows = [f"{error.row}" for error in errors]
    if not rows:
        return ""
    more = f" and {len(rows) - _ROWS_NAMED:,} more" if len(rows) > _ROWS_NAMED else ""
    return f" (so in row{'s' if len(rows) > 1 else ''} {', '.join(rows[:_ROWS_NAMED])}{more})"


def portfolio_name(name: str | None, path: str | Path) -> str:
    """The name of the portfolio in the holdings file `path`: `name` if given, else the file's name without its suffix.

    Raises:
        HoldingsError: the name cannot be a partition key.
    """
    chosen = (Path(path).stem if name is None else name).strip()
    if not _PORTFOLIO_NAME.fullmatch(chosen):
        rule = (
            "is not a portfolio name: a letter or digit, then up to 63 letters, digits, blanks, '.', '_' or '-'; "
            "give one with --name"
        )
        raise HoldingsError([_row_error(0, "name", chosen, rule)])
    return chosen


def read_holdings(path: str | Path, *, as_of: date, source: PriceSource) -> Holdings:
    """Read and check the holdings file `path` (see HOLDINGS_HELP for the format).

    Dates may not be after the session `as_of`, and public symbols must be known to `source` if it can list its own.

    Raises:
        HoldingsError: the file cannot be read or breaks a rule; it carries every error found.
    """
    lines = _content_lines(_text(path))
    header_line, header = next(lines, (0, ""))
    if not header:
        raise _file_error(path, f"is empty; its first line names the columns, such as {','.join(REQUIRED)}")
    names = [cell.strip() for cell in _cells(header_line, header)]
    columns = _columns(header_line, names)
    checks = _checks(as_of, source)
    lots: list[Lot] = []
    rows: list[int] = []
    errors: list[RowError] = []
    for count, (line, text) in enumerate(lines, start=1):
        if count > MAX_ROWS:
            errors += _file_error(path, f"has more than {MAX_ROWS:,} lots; split it into portfolios").errors
            break
        try:
            cells = _cells(line, text, expected=len(names))
            lots.append(_lot(line, {column: cells[at] for column, at in columns.items()}, checks))
            rows.append(line)
        except HoldingsError as error:
            errors += error.errors
    if errors:
        unknown = any(error.column == "symbol" and _NOT_IN in error.rule for error in errors)
        raise HoldingsError(errors, _SOURCES if unknown and source.name == "sample" else "")
    if not lots:
        raise _file_error(path, "has a header but no lots; add a line for each")
    used = set(columns.values())
    ignored = tuple(name for at, name in enumerate(names) if name and at not in used)
    return Holdings(tuple(lots), ignored, tuple(_notes(rows, lots)))


def _notes(rows: Sequence[int], lots: Sequence[Lot]) -> Iterator[str]:
    kinds: dict[str, Callable[[Lot], bool]] = {
        "Closed on the day they were opened, so that they hold nothing": lambda lot: lot.exit_date == lot.entry_date,
        "Without an entry price (0), so that their market value alone counts": lambda lot: (
            not lot.entry_price and lot.asset_class == "public"
        ),
        "Private and without an entry price (0), so that they have no value": lambda lot: (
            not lot.entry_price and lot.asset_class == "private"
        ),
    }
    for what, holds in kinds.items():
        found = [f"row {row} {lot.symbol}" for row, lot in zip(rows, lots, strict=True) if holds(lot)]
        if found:
            more = f" and {len(found) - _ROWS_NAMED:,} more" if len(found) > _ROWS_NAMED else ""
            yield f"{what}: {', '.join(found[:_ROWS_NAMED])}{more}"


# --- the file


def _text(path: str | Path) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _file_error(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise _file_error(path, "is larger than 10 MB; split it into portfolios")
    if b"\0" in data:
        raise _file_error(
            path, "is not a text file (it has NUL bytes, as Excel and UTF-16 files do); save it as CSV UTF-8"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(_LINE_END.split(data[: error.start].decode("utf-8-sig")))
        rule = "is a byte that is not UTF-8; save the file as CSV UTF-8"
        raise HoldingsError([_row_error(line, "file", f"0x{data[error.start]:02x}", rule)]) from error


def _content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without the blank ones (spreadsheets write them as `,,,` or `"",""`) and the comments."""
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if line.replace(",", "").replace('"', "").strip() and not line.lstrip().startswith("#"):
            yield number, line


def _cells(line: int, text: str, expected: int | None = None) -> list[str]:
    # Each line is read by itself, so that an open quote costs its own line and not the rest of the file.
    try:
        (cells,) = csv.reader([text], strict=True, skipinitialspace=True)
    except csv.Error as error:
        rule = f'is not a line of CSV ({error}); quote a value as "a, b" and close the quote on the same line'
        raise HoldingsError([_row_error(line, "line", text, rule)]) from error
    if expected is not None and len(cells) != expected:
        rule = f"values, but the header names {expected} columns; write one value a column, and numbers without commas"
        raise HoldingsError([_row_error(line, "line", str(len(cells)), rule)])
    return cells


def _columns(line: int, names: Sequence[str]) -> dict[str, int]:
    """Where each column of the format stands in the header."""
    known = {column.replace("_", ""): column for column in REQUIRED + OPTIONAL}
    plain = [re.sub(r"[\s_]", "", name).lower() for name in names]
    spelled = dict(zip(plain, names, strict=True))
    errors = [
        _row_error(line, known.get(name, "header"), spelled[name], "stands more than once in the header; keep one")
        for name, count in Counter(plain).items()
        if name and count > 1
    ]
    positions = {known[name]: at for at, name in enumerate(plain) if name in known}
    lacking = [column for column in REQUIRED if column not in positions]
    if lacking and (separator := _other_separator(names)):
        rule = f"separates its columns by {separator}; separate them by commas, and write numbers as 1234.5"
        raise HoldingsError([_row_error(line, "header", ", ".join(names), rule)])
    found = f" (found: {_cut(', '.join(names), 2 * VALUE_SHOWN)!r}; rename what is meant by it)"
    for column in lacking:
        errors.append(_row_error(line, column, "", f"is missing in the header{found}"))
        found = ""  # said once
    if errors:
        raise HoldingsError(errors)
    return positions


def _other_separator(names: Sequence[str]) -> str | None:
    """What separates the columns of a header that the commas leave whole, in the words of a message."""
    return next((words for sign, words in _SEPARATORS.items() if any(sign in name for name in names)), None)


# --- the values


class _RuleError(ValueError):
    """A value that breaks the rule in the message."""


@dataclass(frozen=True)
class _Checks:
    """What the values of this file are held against."""

    readers: Mapping[str, Callable[[str], object]]
    """How the text of a column becomes its value; raises _RuleError."""
    known_symbols: frozenset[str] | None
    unknown_symbol: Callable[[str], str]
    """The rule that a symbol breaks which the source does not have."""


def _checks(as_of: date, source: PriceSource) -> _Checks:
    described = f"the last session of {source.title}" if as_of == source.latest_session() else "the as-of session"
    limit = f"is after {as_of}, {described}"

    def entry_date(text: str) -> date:
        day = _day(text)
        if day > as_of:
            raise _RuleError(limit)
        return day

    def exit_date(text: str) -> date | None:
        return entry_date(text) if text else None

    known = source.symbols()
    return _Checks(
        readers={
            "symbol": _symbol,
            "quantity": _quantity,
            "entry_price": _price,
            "entry_date": entry_date,
            "exit_date": exit_date,
            "asset_class": _asset_class,
        },
        known_symbols=None if known is None else frozenset(known),
        unknown_symbol=_unknown_symbol(source, sorted(known or ())),
    )


def _unknown_symbol(source: PriceSource, known: Sequence[str]) -> Callable[[str], str]:
    # The search takes a millisecond for each hundred symbols of the source: not for thousands of unknown ones.
    guesses = itertools.count()
    way_out = 'hold it as asset_class private, or see README, "Your own holdings", for prices of your own'

    @functools.cache
    def rule(symbol: str) -> str:
        near = difflib.get_close_matches(symbol, known, 1, _LIKENESS) if next(guesses) < ERRORS_SHOWN else []
        meant = f": did you mean {near[0]}? Else" if near else f" ({source.coverage}):"
        return f"{_NOT_IN} {source.title}{meant} {way_out}"

    return rule


def _lot(line: int, cells: Mapping[str, str], checks: _Checks) -> Lot:
    values: dict[str, Any] = {}
    errors = []
    for column, read in checks.readers.items():
        text = cells.get(column, "").strip()
        try:
            values[column] = read(text)
        except _RuleError as broken:
            errors.append(_row_error(line, column, text, str(broken)))
    for column, rule in _broken_between(values, checks):
        errors.append(_row_error(line, column, cells[column].strip(), rule))
    if errors:
        raise HoldingsError(errors)
    return Lot(**values)


def _broken_between(values: Mapping[str, Any], checks: _Checks) -> Iterator[tuple[str, str]]:
    """Rules about two columns, of which each is right by itself."""
    symbol, entry, leave = (values.get(column) for column in ("symbol", "entry_date", "exit_date"))
    listed = symbol is None or checks.known_symbols is None or symbol in checks.known_symbols
    if not listed and values.get("asset_class") == "public":
        yield "symbol", checks.unknown_symbol(values["symbol"])
    if entry and leave and leave < entry:
        yield "exit_date", f"is before the entry date, {entry}"


def _symbol(text: str) -> str:
    # Not upper-cased outside of ASCII: a few letters become ASCII ones then.
    symbol = canonical(text) if text.isascii() else text
    if not SYMBOL.fullmatch(symbol):
        raise _RuleError(
            _or_empty(text, "is not a symbol: a letter or digit, then up to 14 letters, digits, '.' or '-'")
        )
    return symbol


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        rule = (
            "is not a plain decimal such as 1234.5: no thousands separator, currency sign or exponent, "
            "at most 12 digits before the point and 20 after it"
        )
        raise _RuleError(_or_empty(text, rule))
    return float(text)


def _quantity(text: str) -> float:
    if not (number := _number(text)):
        raise _RuleError("is no position; the quantity is in shares, negative for a short position")
    return number


def _price(text: str) -> float:
    if (number := _number(text)) < 0:
        raise _RuleError("is below 0; the price is in US dollars a share, and the sign belongs to the quantity")
    return number


def _day(text: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # the form of a date, and no such day
    raise _RuleError(_or_empty(text, "is not a date YYYY-MM-DD, such as 2021-06-30"))


def _asset_class(text: str) -> str:
    if (name := text.lower() or "public") not in ("public", "private"):
        raise _RuleError("is not an asset class; write public or private, or nothing for public")
    return name


# --- errors


def _or_empty(text: str, rule: str) -> str:
    return rule if text else "is empty; every lot needs one"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def _row_error(row: int, column: str, value: str, rule: str) -> RowError:
    return RowError(row, column, _cut(value, VALUE_SHOWN), rule)


def _file_error(path: str | Path, rule: str) -> HoldingsError:
    return HoldingsError([RowError(0, "file", str(path), rule)])
