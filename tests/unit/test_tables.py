"""Printed tables: whole columns, whatever the width; and no character of a text that a terminal would obey."""

from io import StringIO

import pytest

from sigma_dagster.analysis.wording import counted
from sigma_dagster.cli.output import Terminal, visible
from sigma_dagster.cli.tables import print_table

HEADER = ("portfolio", "lots", "first entry", "imported as of")
ROWS = [("core", "10", "2021-01-04", "2022-12-28"), ("x" * 64, "1,234", "2020-06-10", "2022-12-28")]


def printed(width: int, rows: list[tuple[str, ...]] = ROWS, *, terminal: bool = True) -> list[str]:
    out = StringIO()
    print_table(Terminal(file=out, width=width, force_terminal=terminal, color_system=None), HEADER, rows)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 90, 100, 120])
def test_a_narrow_terminal_loses_whole_columns(width: int) -> None:
    """D4: what is shown of a row is shown to its last digit, and the columns that are not are named."""
    short = [("core", "10", "2021-01-04", "2022-12-28")]
    lines = printed(width, short)
    assert all(len(text) <= width for text in lines[:2])
    shown = lines[1].split()
    assert shown == list(short[0][: len(shown)])
    left_out = ", ".join(HEADER[len(shown) :])
    assert lines[2:] == ([f"Left out, for want of width: {left_out}"] if left_out else [])


def test_a_pipe_gets_every_column_however_long_a_name_is() -> None:
    """G4: `sigma portfolios | cat` with a 64-character name keeps names, counts and dates."""
    assert [text.split() for text in printed(80, terminal=False)[1:]] == [list(row) for row in ROWS]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e4\u03a9\u65e5 and [bold]", "plain, \u00e4\u03a9\u65e5 and [bold]"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("a\u202egnp.exe\u2066", "a\\u202egnp.exe\\u2066"),
        ("a\x9b31m\x7f\u2028\ufeff", "a\\x9b31m\\x7f\\u2028\\ufeff"),
        ("bad\udce4byte", "bad\\udce4byte"),
        ("two\nlines\tof ours", "two\nlines\tof ours"),
    ],
)
def test_control_and_format_characters_are_shown(text: str, shown: str) -> None:
    """F5: escapes and bidirectional marks of a file or a key do nothing to the terminal, in messages and in tables."""
    assert visible(text) == shown
    out = StringIO()
    terminal = Terminal(file=out, width=500)
    terminal.print(text)
    assert out.getvalue() == f"{shown.expandtabs()}\n"
    assert "\x1b" not in "".join(printed(200, [(text, "1", "2", "3")], terminal=False))


def test_one_is_not_many() -> None:
    """D4: `1 run`, `2 runs`."""
    assert [counted(n, "run") for n in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
