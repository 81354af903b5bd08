"""Reading a holdings file: bytes from a user in, lots or a list of everything wrong with them out.

One reader for the plain layout and for what brokers export; its parts are `holdings_file`. Not here: storing a
portfolio (`resources.database`), printing errors (`sigma_dagster.cli`), and what a position is worth. No pandas: the
command line reads its help from here.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from resources.database.portfolios import Lot
from resources.sources.base import PriceSource
from resources.sources.registry import live_sources
from sigma_dagster.portfolio.holdings_file import rows, sheet, table, values
from sigma_dagster.portfolio.holdings_file.errors import HoldingsError, RowError, file_error, row_error, some
from sigma_dagster.portfolio.holdings_file.rows import Read, Rules
from sigma_dagster.portfolio.holdings_file.table import LeftOut, Table

__all__ = [
    "AS_IT_SAYS",
    "HOLDINGS_HELP",
    "Holdings",
    "HoldingsError",
    "LeftOut",
    "Reading",
    "RowError",
    "portfolio_name",
    "read_holdings",
]

MAX_ROWS = 100_000

HOLDINGS_HELP = """\
A holdings file is what a broker exports (positions, as CSV or .xlsx), or a
CSV file with one lot a line:

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
  asset_class  optional: public (the default); private, which has no market
               price and keeps its entry price; or cash, in dollars

Columns may stand in any order, and the names that brokers give them are
known (--map names others). Other columns are ignored, blank lines and lines
that begin with # skipped. A symbol may have several lots. At most 10 MB and
100,000 lots. What a broker's file does not say, a date or a cost, is assumed
and printed; options, bonds and the like are listed and left out. --dry-run
shows what was read. If anything is wrong, nothing is stored.
"""

_PORTFOLIO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a holdings file says."""

    lots: tuple[Lot, ...]
    """In the order of the file, at least one."""
    ignored_columns: tuple[str, ...] = ()
    """Columns with a name that the format does not know, as the file spells them."""
    notes: tuple[str, ...] = ()
    """How the file was read, and what a reader should know of lots that count for little, in sentences."""
    left_out: tuple[LeftOut, ...] = ()
    """The rows that are no lot, in the order of the file."""
    rows: tuple[int, ...] = ()
    """The line of each lot; 0 for one that was held before, of the last import."""
    assumed: tuple[frozenset[str], ...] = ()
    """Of each lot, the columns that the file does not say: dates are assumed, `entry_price` is 0."""


@dataclass(frozen=True)
class Reading:
    """How a file is to be read where it does not say so itself."""

    mapped: Mapping[str, str] = field(default_factory=dict)  # what the file calls a column
    dates: str | None = None  # mdy or dmy
    entry_date: date | None = None  # of lots without one; None: the as-of session


AS_IT_SAYS = Reading()


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
        raise HoldingsError([row_error(0, "name", chosen, rule)])
    return chosen


def read_holdings(path: str | Path, *, as_of: date, source: PriceSource, reading: Reading = AS_IT_SAYS) -> Holdings:
    """Read and check the holdings file `path` (see HOLDINGS_HELP for the format).

    Dates may not be after the session `as_of`, and public symbols must be known to `source` if it can list its own.

    Raises:
        HoldingsError: the file cannot be read or breaks a rule; it carries every error found.
    """
    found = _table(path, reading.mapped)
    rules = rows.rules(found, source, as_of, entry_date=reading.entry_date, dates=reading.dates)
    read = rows.read(found, rules)
    errors = sorted([*found.errors, *read.errors], key=lambda error: error.row)
    if len(found.lines) > MAX_ROWS:
        errors += file_error(path, f"has more than {MAX_ROWS:,} lots; split it into portfolios").errors
    if errors:
        beyond = any(reach in error.rule for error in errors for reach in (rows.NOT_IN, rows.LAST_OF))
        raise HoldingsError(errors, _sources() if beyond and source.name == "sample" else "")
    left_out = tuple(sorted([*found.left_out, *read.left_out]))
    if not read.lots:
        raise file_error(path, _nothing(left_out))
    notes = (*found.sheet.notes, *_form_notes(found, rules), *_notes(read))
    return Holdings(tuple(read.lots), found.ignored, notes, left_out, tuple(read.rows), tuple(read.assumed))


def _table(path: str | Path, mapped: Mapping[str, str]) -> Table:
    """Find the table of lots, whatever separates its columns, in the first sheet that has one."""
    tried = []
    for each in sheet.sheets(path):
        found = table.find(each, mapped, most=MAX_ROWS)
        if found.found:
            return found
        tried.append(found)
    nearest = max(tried, key=lambda one: len(one.columns), default=None)
    if nearest is None or not nearest.names:
        raise file_error(path, f"is empty; its first line names the columns, such as {','.join(table.PLAIN)}")
    lacking = " and ".join(name for name in ("symbol", "quantity") if name not in nearest.columns)
    rule = (
        f"names no column {lacking} (or another word for it, such as Ticker, Shares, Qty), nor does any other line; "
        "say what the file calls them, as in --map symbol=NAME,quantity=NAME"
    )
    raise HoldingsError([row_error(nearest.header, "header", ", ".join(nearest.names), rule)])


def _nothing(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return "has a header but no lots; add a line for each"
    reasons = "; ".join(dict.fromkeys(one.reason for one in left_out))
    return f"has a header but no lots: {len(left_out):,} rows were left out ({reasons})"


def _form_notes(found: Table, rules: Rules) -> Iterator[str]:
    """Say how numbers and dates were read where another way is thinkable."""
    if rules.form.dates != "iso":
        yield f"Dates are read as {values.DATE_FORMS[rules.form.dates]}"
    if found.sheet.separator == ";":
        yield f"Decimals are read after a {'comma' if rules.form.decimals == ',' else 'point'}"


def _sources() -> str:
    """For whoever has only the sample, and holds something else."""
    lines = live_sources() | {"your own files": "export SIGMA_PRICE_SOURCES=files SIGMA_PRICE_FILES=FOLDER"}
    choices = "\n".join(f"  {what:<14}  {line}" for what, line in lines.items())
    return f"For prices of any US stock up to now, type one of these, and the command again:\n{choices}"


def _notes(read: Read) -> Iterator[str]:
    kinds: dict[str, Callable[[Lot], bool]] = {
        "Closed on the day they were opened, so that they hold nothing": lambda lot: lot.exit_date == lot.entry_date,
        "Without an entry price (0), so that their market value alone counts": lambda lot: (
            not lot.entry_price and lot.asset_class == "public"
        ),
        "Private and without an entry price (0), so that they have no value": lambda lot: (
            not lot.entry_price and lot.asset_class == "private"
        ),
    }
    stated = [one for one in zip(read.rows, read.lots, read.assumed, strict=True) if "entry_price" not in one[2]]
    for what, holds in kinds.items():
        if found := [f"row {row} {lot.symbol}" for row, lot, _ in stated if holds(lot)]:
            yield f"{what}: {some(found)}"
