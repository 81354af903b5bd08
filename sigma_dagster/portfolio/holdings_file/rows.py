"""What each row of a table is: a lot, cash, or nothing that risk can be computed of, with the reason.

Where the table stands is known here (`table`), and what a cell says (`values`); which assumptions are made for what a
broker does not say, too. Not here: which prices are stored.
"""

import difflib
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from resources.database.portfolios import Lot
from resources.sources.base import PriceSource
from resources.symbols import SYMBOL, canonical
from sigma_dagster.portfolio.holdings_file import values
from sigma_dagster.portfolio.holdings_file.errors import ERRORS_SHOWN, HoldingsError, RowError, row_error
from sigma_dagster.portfolio.holdings_file.table import LeftOut, Line, Table, normal
from sigma_dagster.portfolio.holdings_file.values import Form, RuleError

NOT_IN = "is not in"
LAST_OF = "the last session of"
#: How like each other two symbols are (0 to 1) of which one may be meant by the other: AAPL and APPL, MSFT and MSTF.
_LIKENESS = 0.7
_LOT = "lot"
_CASH_SYMBOL = "CASH"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Rules:
    """What the rows of a file are held against."""

    form: Form
    as_of: date
    entry_date: date  # where the file names none
    limit: str  # the rule that a later date than `as_of` breaks
    known_symbols: frozenset[str] | None
    unknown_symbol: Callable[[str], str]  # the rule that a symbol breaks which the source does not have
    plain: bool = False
    class_column: bool = True  # the column of classes says the class


@dataclass
class Read:
    """The lots of a table, and what else its rows are."""

    lots: list[Lot] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # the line of each lot
    assumed: list[frozenset[str]] = field(default_factory=list)  # columns of each lot that the file does not say
    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


class _LeftOutError(Exception):
    """A row is no lot; the message is the reason."""


def rules(table: Table, source: PriceSource, as_of: date, *, entry_date: date | None, dates: str | None) -> Rules:
    """Make the rules of a table: how its numbers and dates are written, and what the price source has.

    Raises HoldingsError for dates that fit two forms.
    """
    known = source.symbols()
    described = f"{LAST_OF} {source.title}" if as_of == source.latest_session() else "the as-of session"
    classes = {normal(line.texts.get("asset_class", "")) for line in table.lines}
    of_account = "asset_class" in table.columns and normal(table.names[table.columns["asset_class"]]) == "type"
    return Rules(
        form=Form(_decimals(table), dates or _dates(table)),
        as_of=as_of,
        entry_date=entry_date or as_of,
        limit=f"is after {as_of}, {described}",
        known_symbols=None if known is None else frozenset(known),
        unknown_symbol=_unknown_symbol(source, sorted(known or ())),
        plain=table.plain,
        class_column=not (of_account and classes <= values.ACCOUNT_TYPES),
    )


def _decimals(table: Table) -> str:
    numbers = ("quantity", "entry_price", "total_cost", "value")
    texts = (line.texts.get(column, "") for line in table.lines for column in numbers)
    return values.decimal_sign(texts, table.sheet.separator)


def _dates(table: Table) -> str:
    said = {
        text: (line.row, column)
        for line in table.lines
        for column in ("entry_date", "exit_date")
        if (text := line.texts.get(column))
    }
    form = values.date_form(said)
    if form is None:
        text, (row, column) = next(iter(said.items()))
        rule = "may be month/day or day/month, as may all dates of the file: say which by --dates mdy or --dates dmy"
        raise HoldingsError([row_error(row, column, text, rule)])
    return form


def _unknown_symbol(source: PriceSource, known: Sequence[str]) -> Callable[[str], str]:
    # The search takes a millisecond for each hundred symbols of the source: not for thousands of unknown ones.
    guesses = itertools.count()
    way_out = 'hold it as asset_class private, or see README, "Your own prices"'

    @functools.cache
    def rule(symbol: str) -> str:
        near = difflib.get_close_matches(symbol, known, 1, _LIKENESS) if next(guesses) < ERRORS_SHOWN else []
        meant = f": did you mean {near[0]}? Else" if near else f" ({source.coverage}):"
        return f"{NOT_IN} {source.title}{meant} {way_out}"

    return rule


def read(table: Table, rules: Rules) -> Read:
    """Say of every row of the table what it is."""
    found = Read()
    with_lots = {line.texts["symbol"] for line in table.lines if normal(line.texts.get("detail", "")) == _LOT}
    for line in table.lines:
        row = _Row(line, rules)
        try:
            lot = row.lot(with_lots)
            found.lots.append(lot)
            found.rows.append(line.row)
            found.assumed.append(frozenset(row.assumed))
        except _LeftOutError as reason:
            found.left_out.append(LeftOut(line.row, line.texts["symbol"], str(reason)))
        except HoldingsError as error:
            found.errors += error.errors
    return found


class _Row:
    """Makes a lot of one row; what is wrong with it is collected."""

    def __init__(self, line: Line, rules: Rules) -> None:
        self.line, self.rules = line, rules
        self.assumed: set[str] = set()
        self.errors: list[RowError] = []

    def text(self, column: str) -> str:
        """Give what stands in the column; nothing if a broker writes that it does not know."""
        text = self.line.texts.get(column, "")
        return "" if not self.rules.plain and values.is_missing(text) else text

    def lot(self, with_lots: set[str]) -> Lot:
        """Give the lot of the row.

        Raises _LeftOutError if it is none, HoldingsError with all that is wrong with it.
        """
        name, detail = self.text("symbol"), normal(self.text("detail"))
        if detail and detail != _LOT and self.line.texts["symbol"] in with_lots:
            raise _LeftOutError("the sum of its lots, which stand in rows of their own")
        if not self.rules.plain and not name and not self.text("quantity"):
            raise _LeftOutError("a text")
        kind = self._class(name)
        self._check_currency()
        made = self._cash(name) if kind == "cash" and not self.rules.plain else self._position(name, kind)
        if self.errors:
            raise HoldingsError(self.errors)
        return made

    def _class(self, name: str) -> str:
        """Give the class of the row: public, private, cash; an option is none of these, whatever the file says."""
        text = self.text("asset_class") if self.rules.class_column else ""
        kind = self._read("asset_class", lambda text: values.asset_class(text, normal), text) or "public"
        if kind == "public" and values.is_option(name):
            kind = "an option"
        if not self.rules.plain and not text and self._is_cash(name):
            kind = "cash"
        if not self.rules.plain and not text and values.is_cusip(name) and not self._is_known(name):
            kind = "a security without a ticker (a CUSIP number), such as a bond"
        if kind not in ("public", "private", "cash"):
            raise _LeftOutError(f"{kind}: excluded, risk is not computed of it")
        return kind

    def _is_cash(self, name: str) -> bool:
        """Whether a row that no class is given of is cash: CASH and USD are tickers too, but have a cost then."""
        cost = self.text("entry_price") or self.text("total_cost")
        by_name = values.is_cash_name(normal(name)) and not cost
        return (by_name or values.is_money_market(name)) and not self._is_known(name)

    def _is_known(self, name: str) -> bool:
        return self.rules.known_symbols is not None and canonical(name) in self.rules.known_symbols

    def _check_currency(self) -> None:
        text = self.text("currency")
        if text and text.upper() != "USD":
            rule = "is not US dollars: portfolios are in US dollars; leave these rows out of the file"
            self.errors.append(row_error(self.line.row, "currency", text, rule))

    def _cash(self, name: str) -> Lot:
        """Give the amount as a lot of so many dollars at 1."""
        column = "value" if self.text("value") else "quantity"
        amount = self._read(column, self._number, self.text(column))
        if amount == 0:
            raise _LeftOutError("no cash")
        day = self._read("entry_date", self._entry_date, self.text("entry_date"))
        own = canonical(name.rstrip("*"))
        named = own if SYMBOL.fullmatch(own) else _CASH_SYMBOL
        return Lot(named, amount or 0.0, 1.0, day or self.rules.as_of, None, "cash")

    def _position(self, name: str, kind: str) -> Lot:
        symbol = self._read("symbol", values.symbol, name)
        shares = self._read("quantity", lambda text: values.quantity(self._number(text)), self.text("quantity"))
        cost = self._cost(shares) if kind != "cash" or self.text("entry_price") else 1.0
        entry = self._read("entry_date", self._entry_date, self.text("entry_date"))
        leave = self._read("exit_date", self._exit_date, self.text("exit_date"))
        if kind == "public" and symbol and not (self.rules.known_symbols is None or self._is_known(symbol)):
            self._error("symbol", name, self.rules.unknown_symbol(symbol))
        if entry and leave and leave < entry:
            self._error("exit_date", self.text("exit_date"), f"is before the entry date, {entry}")
        return Lot(symbol or "", shares or 0.0, cost or 0.0, entry or self.rules.as_of, leave, kind)

    def _cost(self, shares: float | None) -> float | None:
        """Give the cost a share: as it stands there, else of the total."""
        each, total = self.text("entry_price"), self.text("total_cost")
        if not self.rules.plain and not each and not total:
            self.assumed.add("entry_price")
            return 0.0
        if each or self.rules.plain:
            return self._read("entry_price", lambda text: values.price(self._number(text)), each)
        amount = self._read("total_cost", self._number, total)
        if amount is None or not shares:
            return None
        # What was got for a short position: brokers give it either sign.
        cost = abs(amount / shares) if shares < 0 else amount / shares
        return self._read("total_cost", lambda _: values.price(cost), total)

    def _entry_date(self, text: str) -> date:
        if not text and not self.rules.plain:
            self.assumed.add("entry_date")
            return self.rules.entry_date
        day = values.day(text, self.rules.form.dates)
        if day > self.rules.as_of:
            raise RuleError(self.rules.limit)
        return day

    def _exit_date(self, text: str) -> date | None:
        return self._entry_date(text) if text else None

    def _number(self, text: str) -> float:
        return values.number(text, self.rules.form.decimals)

    def _read(self, column: str, read: Callable[[str], _T], text: str) -> _T | None:
        """Read a value; None with an error if it breaks a rule."""
        try:
            return read(text)
        except RuleError as broken:
            self._error(column, text, str(broken))
            return None

    def _error(self, column: str, text: str, rule: str) -> None:
        self.errors.append(row_error(self.line.row, column, text, rule))
