"""The command line's entry point: the commands together, and how one that fails ends (`failures`)."""

import logging
import os
import sys
from typing import NoReturn

from sigma_dagster.cli import computing, exploring, failures, quick, reading, symbols
from sigma_dagster.cli.app import app
from sigma_dagster.cli.output import err, print_json
from sigma_dagster.portfolio.holdings import HoldingsError

__all__ = ["app", "computing", "exploring", "main", "reading", "symbols"]


def main() -> None:
    """Run the command line; every foreseeable error ends in a message and its exit status."""
    # What libraries log (a connection tried again, for one) is not for the terminal: messages are ours.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        quick.command(app)()
    except BrokenPipeError:
        _leave_quietly()
    except Exception as error:
        explained = failures.explain(error)
        if explained is None:
            raise
        if isinstance(error, HoldingsError) and "--json" in sys.argv:
            print_json({"errors": [row._asdict() for row in error.errors]})
        _fail(*explained)


def _fail(status: int, message: str) -> NoReturn:
    err.print(message)
    raise SystemExit(status)


def _leave_quietly() -> NoReturn:
    """End without a word when nobody reads on, as in `| head -1`."""
    # Else the interpreter complains when it flushes what nobody takes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)
