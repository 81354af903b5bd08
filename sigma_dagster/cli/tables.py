"""How the command line writes tables; how numbers are written is the business of `analysis.wording`."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console

from sigma_dagster.cli.output import visible

_GAP = "  "


def print_rows(out: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, and a blank line after it; nothing if there are no rows."""
    if rows:
        print_table(out, header, rows)
        out.print()


def print_table(out: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table: the first column stands left, the others right.

    On a terminal too narrow for it the last columns are left out whole, and named; in a pipe nothing is.
    """
    lines = [[visible(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    shown = _fitting(widths, out.width) if out.is_terminal else len(widths)
    for number, line in enumerate(lines):
        first, *others = (_padded(cell, widths[i], left=not i) for i, cell in enumerate(line[:shown]))
        out.print(_GAP.join([first, *others]).rstrip(), style=None if number else "bold")
    if left_out := ", ".join(filter(None, header[shown:])):
        out.print(f"Left out, for want of width: {left_out}")


def _fitting(widths: Sequence[int], available: int) -> int:
    """How many columns fit, two at least."""
    shown = len(widths)
    while shown > 2 and sum(widths[:shown]) + len(_GAP) * (shown - 1) > available:
        shown -= 1
    return shown


def _padded(cell: str, width: int, *, left: bool) -> str:
    blanks = " " * (width - cell_len(cell))
    return cell + blanks if left else blanks + cell
