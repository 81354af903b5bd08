"""The command line's entry point: finding the command that is asked for, and how one that fails ends (`failures`)."""

import logging
import os
import sys
from importlib import import_module
from typing import NoReturn

from sigma_dagster.cli import quick
from sigma_dagster.cli.app import app
from sigma_dagster.cli.output import err, print_json

#: Where each command stands. Only the module of the one that is asked for is imported.
COMMANDS = {
    **dict.fromkeys(("onboard", "add", "refresh", "plan", "repair", "demo", "dev"), "computing"),
    **dict.fromkeys(("show", "report", "diagnose", "portfolios"), "reading"),
    **dict.fromkeys(("whatif", "explain", "stress", "history"), "exploring"),
    **dict.fromkeys(("export", "rename", "remove"), "books"),
    **dict.fromkeys(("symbols", "fetch"), "symbols"),
    **dict.fromkeys(("worker", "daemon", "webserver"), "serving"),
    **dict.fromkeys(("db", "status", "prune"), "operating"),
}


def main() -> None:
    """Run the command line; every foreseeable error ends in a message and its exit status."""
    # What libraries log (a connection tried again, for one) is not for the terminal: messages are ours.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        _import_command("".join(sys.argv[1:2]))
        quick.command(app)()
    except BrokenPipeError:
        _leave_quietly()
    except Exception as error:
        from sigma_dagster.cli import failures  # it imports whatever can fail

        explained = failures.explain(error)
        if explained is None:
            raise
        if "--json" in sys.argv and (rows := failures.as_data(error)):
            print_json({"errors": rows})
        _fail(*explained)


def _import_command(name: str) -> None:
    """Import the command; all of them for any other word, so that help lists them and a typing error finds its like."""
    modules = [COMMANDS[name]] if name in COMMANDS else dict.fromkeys(COMMANDS.values())
    for module in modules:
        import_module(f"sigma_dagster.cli.{module}")


def _fail(status: int, message: str) -> NoReturn:
    err.print(message)
    raise SystemExit(status)


def _leave_quietly() -> NoReturn:
    """End without a word when nobody reads on, as in `| head -1`."""
    # Else the interpreter complains when it flushes what nobody takes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)
