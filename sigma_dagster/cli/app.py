"""What the commands have in common: the application they belong to, their options, and what they start from.

Not here: the commands (`computing`, `reading`), what they print (`render`), and how errors end (`failures`).
"""

import os
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from resources.database import portfolios
from resources.database.portfolios import KEEP, Equity, Portfolio
from sigma_dagster.cli.output import out
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings, parse_date

app = typer.Typer(
    name="sigma",
    help="Portfolio risk that computes each symbol and session once, and shares it between portfolios.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: What equity can be: with less, weights and rates are no numbers any more.
_EQUITY = (1.0, 1e15)


class InputError(ValueError):
    """The input is wrong in a way that no other error names."""


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"sigma-dagster {version('sigma-dagster')}")
        raise typer.Exit


@app.callback()
def _sigma(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def read_date(text: str) -> date:
    """Read a date of an option; raises typer.BadParameter."""
    try:
        return parse_date(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None


def read_equity(text: str | None) -> Equity:
    """Read the option --equity: dollars, `none`, or (left out) what is stored; raises typer.BadParameter."""
    if text is None:
        return KEEP
    if text.strip().lower() == "none":
        return None
    smallest, largest = _EQUITY
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not smallest <= value <= largest:
        raise typer.BadParameter(f"{text!r} is neither none nor dollars from {smallest:g} to {largest:g}")
    return value


EquityText = Annotated[
    str | None,
    typer.Option(
        "--equity",
        metavar="DOLLARS|none",
        help="Dollars that weights are shares of; none: the sum of all positions. Left out: as it is stored.",
    ),
]
HoldingsFile = Annotated[Path, typer.Argument(metavar="FILE", help="A holdings file, or a broker's export.")]
Map = Annotated[
    str | None,
    typer.Option("--map", metavar="COLUMN=NAME,...", help="What the file calls a column: symbol=Ticker,quantity=Stk."),
]
Dates = Annotated[str | None, typer.Option("--dates", metavar="mdy|dmy", help="How dates such as 3/4/2021 are meant.")]
EntryDate = Annotated[
    date | None,
    typer.Option(
        "--entry-date", parser=read_date, metavar="YYYY-MM-DD", help="Of lots without one; default: the as-of session."
    ),
]
Name = Annotated[str | None, typer.Option(help="Portfolio name; default: the file's name without ending.")]
AsOf = Annotated[
    date | None,
    typer.Option(
        "--as-of", parser=read_date, metavar="YYYY-MM-DD", help="Session to compute up to; default: the newest."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output and nothing else there.")]


def make_services(*, computes: bool = False) -> Services:
    """Make the parts that the settings ask for; before something is computed, refuse those that cannot."""
    services = Services.of(Settings.from_environment(os.environ))
    if computes:
        services.check_proxies()
    return services


def as_of_session(services: Services, as_of: date | None) -> date:
    """Give the session to compute up to; raises AsOfError."""
    return services.as_of(as_of, datetime.now(UTC))


def stored_portfolios(services: Services, names: list[str] | None) -> list[Portfolio]:
    """Read the named portfolios, None: all; raises InputError if the one that is named is not stored."""
    with services.database.read() as connection:
        found = portfolios.load(connection, names)
        if names and not found:
            known = ", ".join(portfolios.names(connection)) or "none yet: sigma onboard FILE"
            raise InputError(f"portfolio {names[0]!r} is not stored; known: {known}")
    return found
