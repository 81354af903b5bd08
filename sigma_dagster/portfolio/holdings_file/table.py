"""Where in a sheet the lots stand: the header and its columns, the sections of a statement, the end of the table.

One table of aliases serves all brokers; a new one is a word more there. What a row of the table is: `rows`.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from sigma_dagster.portfolio.holdings_file.errors import VALUE_SHOWN, HoldingsError, RowError, cut, row_error
from sigma_dagster.portfolio.holdings_file.sheet import Row, Sheet

#: What a broker may call a column; case, blanks and punctuation do not count. Where a file has several, the first wins.
ALIASES: Mapping[str, Sequence[str]] = {
    "symbol": ("symbol", "ticker"),
    "quantity": ("quantity", "qty", "qtyquantity", "shares"),
    "entry_price": (
        *("entryprice", "entrypricepershare", "averagecostbasis", "costprice", "costbasisprice", "openprice"),
        *("averagecost", "averageprice", "pricepaid"),
    ),
    "total_cost": ("totalcost", "costbasis", "costbasistotal", "costbasismoney"),
    "entry_date": ("entrydate", "dateacquired", "open", "opendatetime"),
    "exit_date": ("exitdate",),
    "asset_class": (*("assetclass", "investmentclass", "assettype", "securitytype", "assetcategory", "type"),),
    "currency": ("currency", "currencyprimary"),
    "value": (*("value", "currentvalue", "marketvalue", "mktvalmarketvalue", "totalvalue", "positionvalue", "equity"),),
    "detail": ("datadiscriminator", "levelofdetail"),
}
#: What `--map` may call them besides.
_MAPPED_AS = {"class": "asset_class", "cost": "total_cost"}

#: The plain layout names all of these in these words. It says everything: what is blank there is a mistake.
PLAIN = ("symbol", "quantity", "entry_price", "entry_date")
#: A header further down is not looked for.
_HEADER_WITHIN = 20_000
_SECTION = "openpositions"
_ALL_CURRENCIES = "basecurrencysummary"
_TOTAL = re.compile(r"(account|grand|portfolio|sub)?totals?(for.*)?")
_LONGEST_SYMBOL = 15


class LeftOut(NamedTuple):
    """A row that is no lot, and why."""

    row: int
    text: str
    reason: str


class Line(NamedTuple):
    """A row of the table."""

    row: int
    texts: dict[str, str]  # by column


@dataclass
class Table:
    """What a sheet says: the rows of its table, and all others with the reason why they are none."""

    sheet: Sheet
    found: bool = False  # there is a header; without one, the next three are of the line most like one
    header: int = 0  # the line of the first header
    names: Sequence[str] = ()  # its columns, as the file spells them
    columns: Mapping[str, int] = field(default_factory=dict)
    plain: bool = False
    lines: list[Line] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The columns that have a name and no meaning here."""
        used = set(self.columns.values())
        skipped = 2 if _is_section_header(self.names) else 0
        return tuple(name for at, name in enumerate(self.names) if name and at not in used and at >= skipped)


def parse_map(text: str) -> dict[str, str]:
    """Read the option `--map symbol=Ticker,quantity=Stk` as what the file calls each column; raises ValueError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        column, _, name = (word.strip() for word in part.partition("="))
        column = _MAPPED_AS.get(column.lower(), column.lower())
        if column not in ALIASES or not normal(name):
            known = ", ".join([*ALIASES, *_MAPPED_AS])
            raise ValueError(f"{part.strip()!r} is not COLUMN=NAME, with COLUMN one of {known}")
        found[column] = name
    return found


@functools.lru_cache(maxsize=4096)
def normal(name: str) -> str:
    """Give a name without case, blanks and punctuation."""
    return re.sub(r"[\W_]", "", name).lower()


def find(sheet: Sheet, mapped: Mapping[str, str], *, most: int) -> Table:
    """Find the table of a sheet, if it has one, and read its rows, at most one more than `most`.

    Raises HoldingsError for a header that names a column twice, or not one that is mapped.
    """
    table, rows = Table(sheet), iter(sheet.rows)
    before = _find_header(table, rows, mapped)
    if not table.found:
        return table
    if _is_section_header(table.names):
        _read_sections(table, chain(before, rows), mapped, most)
    else:
        table.left_out += [_left_out(row, "before the header") for row in before]
        _Reading(table, mapped, most).read(rows)
    return table


def _find_header(table: Table, rows: Iterator[Row], mapped: Mapping[str, str]) -> list[Row]:
    """Find the header, if there is one; gives the rows before it."""
    before = []
    for row in islice(rows, _HEADER_WITHIN):
        if not row.cells:
            continue
        columns = {} if row.fault else _columns(row.cells, mapped)
        if len(columns) > len(table.columns) or not table.names:
            table.header, table.names, table.columns = row.line, row.cells, columns
        if {"symbol", "quantity"} <= columns.keys():
            _check_header(row, columns, mapped)
            table.header, table.names, table.columns = row.line, row.cells, columns
            table.found, table.plain = True, _is_plain(row.cells, columns)
            break
        before.append(row)
    return before


def _is_plain(names: Sequence[str], columns: Mapping[str, int]) -> bool:
    return all(name in columns and normal(names[columns[name]]) == normal(name) for name in PLAIN)


def _columns(names: Sequence[str], mapped: Mapping[str, str]) -> dict[str, int]:
    """Say where each column of ours stands, among the names of a header."""
    if _is_section_header(names) and normal(names[0]) != _SECTION:
        return {}
    at: dict[str, int] = {}
    for i, name in enumerate(names):
        at.setdefault(normal(name), i)
    aliases = {**ALIASES, **{column: (normal(name), *ALIASES[column]) for column, name in mapped.items()}}
    found = ((column, next((at[name] for name in words if name in at), None)) for column, words in aliases.items())
    return {column: i for column, i in found if i is not None}


def _check_header(row: Row, columns: Mapping[str, int], mapped: Mapping[str, str]) -> None:
    plain = [normal(name) for name in row.cells]
    errors = [
        row_error(row.line, column, row.cells[at], "stands more than once in the header; keep one")
        for column, at in columns.items()
        if column not in ("value", "total_cost", "detail") and plain.count(plain[at]) > 1
    ]
    errors += [
        row_error(row.line, column, name, f"is no column of the header (found: {shown_names(row.cells)})")
        for column, name in mapped.items()
        if normal(name) not in plain
    ]
    if errors:
        raise HoldingsError(errors)


def shown_names(names: Sequence[str]) -> str:
    """Write the names of a header for a message."""
    return repr(cut(", ".join(names), 4 * VALUE_SHOWN))


def _left_out(row: Row, reason: str) -> LeftOut:
    return LeftOut(row.line, cut(", ".join(filter(None, row.cells)), 2 * VALUE_SHOWN), reason)


# --- a table in a file


@dataclass
class _Reading:
    """Reads the rows below a header: to the next blank line, total or other header, unless rows of it go on there."""

    table: Table
    mapped: Mapping[str, str]
    most: int
    ended: str = ""  # why the rows are none of the table any more
    gap: bool = False  # the line before was blank

    def read(self, rows: Iterator[Row]) -> None:
        """Add the rows to the table, or to what is left out of it."""
        for row in rows:
            if not row.cells:
                self.gap = True
                continue
            header = self._header(row)
            if reason := self._reason(row, header):
                self.table.left_out.append(_left_out(row, reason))
            elif row.fault:
                self.table.errors.append(row_error(row.line, "line", row.cells[0], row.fault))
            elif not header:
                _add(self.table, row, self.table.names, self.table.columns, self.most)
            self.gap = False
            if len(self.table.lines) > self.most:
                break

    def _header(self, row: Row) -> Sequence[str]:
        """Give the names of a row that is a header; none of them has a number where the quantity stands."""
        may_be = not self.table.plain and not any(map(str.isdigit, _at(row, self.table.columns["quantity"])))
        return row.cells if may_be and {"symbol", "quantity"} <= _columns(row.cells, self.mapped).keys() else ()

    def _reason(self, row: Row, header: Sequence[str]) -> str:
        """Say why a row is none of the table; empty if it is one, or the header again."""
        if self.table.plain:
            return ""
        if header:
            again = list(map(normal, header)) == list(map(normal, self.table.names))
            self.ended = "" if again else "of another table"
        elif self.ended:
            pass
        elif _is_total(row, self.table.columns):
            self.ended = "after the end of the table"
            return "a total"
        elif self.gap and not _is_full(row, self.table.columns):
            self.ended = "after the end of the table"
        elif _first(row, self.table.columns).startswith("pending"):
            return "pending activity: not settled yet"
        elif _is_text(row):
            return "a text"
        return self.ended


def _is_total(row: Row, columns: Mapping[str, int]) -> bool:
    return bool(_TOTAL.fullmatch(_first(row, columns))) and not _at(row, columns["quantity"]).strip("-")


def _first(row: Row, columns: Mapping[str, int]) -> str:
    """Give the word that says what the row is: where the symbol stands, else the first one."""
    return normal(_at(row, columns["symbol"]) or next(filter(None, row.cells)))


def _is_full(row: Row, columns: Mapping[str, int]) -> bool:
    return bool(_at(row, columns["symbol"]) and _at(row, columns["quantity"])) and not row.fault


def _is_text(row: Row) -> bool:
    """Whether a row is a single cell that no symbol looks like."""
    filled = [cell for cell in row.cells if cell]
    return len(filled) == 1 and (" " in filled[0] or len(filled[0]) > _LONGEST_SYMBOL)


def _at(row: Row, i: int) -> str:
    return row.cells[i] if i < len(row.cells) else ""


def _add(table: Table, row: Row, names: Sequence[str], columns: Mapping[str, int], most: int) -> None:
    """Add a row of the table, or what is wrong with its cells."""
    expected, found = len(names), len(row.cells)
    if found != expected if table.plain else any(row.cells[expected:]):
        rule = f"values, but the header names {expected} columns; write one value a column, and quote one with a comma"
        table.errors.append(row_error(row.line, "line", str(found), rule))
    elif len(table.lines) <= most:
        table.lines.append(Line(row.line, {column: _at(row, i) for column, i in columns.items()}))


# --- the sections of a statement


def _is_section_header(names: Sequence[str]) -> bool:
    """Whether a row begins with the section of a statement, and that it is the header of it."""
    return len(names) > 2 and normal(names[1]) == "header"


def _read_sections(table: Table, rows: Iterable[Row], mapped: Mapping[str, str], most: int) -> None:
    """Read the open positions, whose header may change on the way, and the cash; pass over the other sections."""
    columns, names, cash = table.columns, table.names, _CashReport()
    for row in rows:
        if not row.cells:
            continue
        section, kind = row.cells[0], normal(_at(row, 1))
        if not row.fault and cash.takes(row):
            continue
        if normal(section) != _SECTION or row.fault:
            table.left_out.append(_left_out(row, f"of another section ({cut(section, VALUE_SHOWN)})"))
        elif kind == "header" and {"symbol", "quantity"} <= (again := _columns(row.cells, mapped)).keys():
            columns, names = again, row.cells
        elif kind == "data" and len(table.lines) <= most:
            _add(table, row, names, columns, most)
        else:
            table.left_out.append(_left_out(row, "a total"))
    table.lines[:0] = cash.lines(table)


class _CashReport:
    """The cash of a statement: its section names what was there at the end, in each currency and in all of them."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._ending: list[Row] = []
        self._base = ""  # the currency of the account

    def takes(self, row: Row) -> bool:
        """Keep a row of cash at the end; say whether it is one. Others may say what its columns and amounts mean."""
        section, kind, label = (normal(_at(row, i)) for i in range(3))
        if (section, label) == ("accountinformation", "basecurrency"):
            self._base = _at(row, 3)
        if section != "cashreport":
            return False
        if kind == "header":
            self._names = list(map(normal, row.cells))
        is_ending = {"currency", "total"} <= set(self._names) and label == "endingcash"
        if is_ending:
            self._ending.append(row)
        return is_ending

    def lines(self, table: Table) -> Iterator[Line]:
        """Give the cash as rows of the table, by currency where the file has it so; else all of it."""
        own = [row for row in self._ending if self._currency(row) != _ALL_CURRENCIES]
        for row in self._ending:
            currency = self._currency(row)
            if own and currency == _ALL_CURRENCIES:
                table.left_out.append(_left_out(row, "the sum of the cash in each currency, in rows of its own"))
                continue
            amount = _at(row, self._names.index("total"))
            texts = {"value": amount, "currency": self._base if currency == _ALL_CURRENCIES else currency}
            yield Line(row.line, {"symbol": "CASH", "quantity": "", "asset_class": "Cash", **texts})

    def _currency(self, row: Row) -> str:
        text = _at(row, self._names.index("currency"))
        return _ALL_CURRENCIES if normal(text) == _ALL_CURRENCIES else text
