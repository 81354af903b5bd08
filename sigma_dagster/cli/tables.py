"""How the command line writes tables and numbers; what stands in them is the business of its siblings."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

#: What stands for a number that is not known; 0 is a number.
UNKNOWN = "-"


def table(first: str, *others: str) -> Table:
    """Make a plain table: the first column stands left, the others right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column(first, no_wrap=True)
    for other in others:
        made.add_column(other, justify="right", no_wrap=True)
    return made


def print_rows(out: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table, and a blank line after it."""
    made = table(*header)
    for row in rows:
        made.add_row(*row)
    out.print(made)
    out.print()


def number(value: float | None, digits: int = 3) -> str:
    """Write a number."""
    return UNKNOWN if value is None else f"{value:z.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share."""
    return UNKNOWN if value is None else f"{value:z.{digits}%}"


def dollars(value: float | None) -> str:
    """Write an amount in US dollars."""
    return UNKNOWN if value is None else f"{'-' if value < 0 else ''}${abs(value):,.0f}"


def words(name: str | None) -> str:
    """Write a name of ours for people."""
    return UNKNOWN if name is None else name.replace("_", " ")
