"""Where the command line writes: results to standard output, messages and progress to standard error.

The one place that makes what comes from outside harmless for a terminal. Not here: tables and numbers (`tables`), and
which words are written (`render`, `render_risk`, `failures`).
"""

import json
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

#: Control, format (bidirectional marks among them) and surrogate characters, line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class ClosedOutputError(RuntimeError):
    """Standard output is closed, so that a result cannot be given."""

    def __init__(self) -> None:
        super().__init__("standard output is closed: nothing was printed; run the command with an open one")


class Terminal(Console):
    """A console that shows the control characters of a text instead of obeying them; no text is markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make what is printed of a text."""
        return super().render_str(visible(text), **options)


out = Terminal()
err = Terminal(stderr=True)


def visible(text: str) -> str:
    r"""Write control and format characters as escapes such as \x1b, all but line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode()


def say(message: str) -> None:
    """Report progress."""
    err.print(message)


def print_result(as_json: bool, data: Callable[[], Any], table: Callable[[], None]) -> None:
    """Print a command's result: JSON and nothing else, or a table; raises ClosedOutputError."""
    if as_json:
        print_json(data())
    else:
        table()


def print_json(data: Any) -> None:
    """Print JSON; raises ClosedOutputError."""
    if sys.stdout is None:
        raise ClosedOutputError
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")
