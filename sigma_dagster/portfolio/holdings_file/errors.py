"""What is wrong with a holdings file, as data and as sentences for people. The rules stand in the siblings."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ERRORS_SHOWN = 20
VALUE_SHOWN = 40

#: Columns whose values have a form: numbers, dates, the currency.
_FORMED = frozenset({"quantity", "entry_price", "total_cost", "value", "entry_date", "exit_date", "currency"})
_NAMED = 10
_NUMERIC_LOOK = re.compile(r"[+-]?[0-9][0-9.-]*")


class RowError(NamedTuple):
    """One thing that is wrong in a holdings file; as text, a sentence that says where, what and why."""

    row: int
    """The line of the file, from 1 as in a text editor or spreadsheet; 0 for the file as a whole."""
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
    rows = [str(error.row) for error in errors]
    return f" (so in row{'s' if len(rows) > 1 else ''} {some(rows)})" if rows else ""


def some(texts: Sequence[str]) -> str:
    """Write texts for a message: the first ten, and how many more there are."""
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return f"{', '.join(texts[:_NAMED])}{more}"


def row_error(row: int, column: str, value: str, rule: str) -> RowError:
    """Make an error with the value cut to what a message shows."""
    return RowError(row, column, cut(value, VALUE_SHOWN), rule)


def file_error(path: str | Path, rule: str) -> HoldingsError:
    """Make the refusal of a file as a whole."""
    return HoldingsError([RowError(0, "file", str(path), rule)])


def cut(text: str, length: int) -> str:
    """Cut a text to a length."""
    return text if len(text) <= length else f"{text[:length]}..."
