"""The commands about stored portfolios: write one as a holdings file, give it another name, delete it."""

import csv
import sys
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

from resources.database import portfolios
from resources.database.portfolios import Lot, Portfolio
from sigma_dagster.cli.app import InputError, app, as_of_session, make_services, stored_portfolios
from sigma_dagster.cli.output import ClosedOutputError, out
from sigma_dagster.portfolio.holdings import portfolio_name
from sigma_dagster.services import Services

StoredName = Annotated[str, typer.Argument(metavar="NAME", help="A stored portfolio.")]
_COLUMNS = ("symbol", "quantity", "entry_price", "entry_date", "exit_date", "asset_class")


def _stored(services: Services, name: str) -> Portfolio:
    (one,) = stored_portfolios(services, [name.strip()])
    return one


@app.command()
def export(
    name: StoredName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there, not to standard output.")
    ] = None,
) -> None:
    """Write a portfolio as a holdings file, in shares of the newest session: edit it, and onboard it again."""
    services = make_services()
    one = _stored(services, name)
    with services.database.read() as connection:
        lots = portfolios.in_shares_of(connection, one, max(one.shares_as_of, as_of_session(services, None)))
    text = _csv(lots)
    if output:
        output.write_text(text, encoding="utf-8")
        out.print(f"Written: {output}")
    elif sys.stdout is None:
        raise ClosedOutputError
    else:
        sys.stdout.write(text)


def _csv(lots: list[Lot]) -> str:
    # No cell is a formula to a spreadsheet: a symbol begins with a letter or digit, all else is a number or a date.
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for lot in lots:
        kind = "" if lot.asset_class == "public" else lot.asset_class
        writer.writerow(
            [lot.symbol, _plain(lot.quantity), _plain(lot.entry_price), lot.entry_date, lot.exit_date, kind]
        )
    return text.getvalue()


def _plain(number: float) -> str:
    """Write a number so that reading gives the same one, without an exponent."""
    text = repr(number)
    return f"{number:.20f}".rstrip("0") if "e" in text else text.removesuffix(".0")


@app.command()
def rename(
    name: StoredName, new: Annotated[str, typer.Argument(metavar="NEW", help="A name that no portfolio has.")]
) -> None:
    """Give a portfolio another name; its lots and results stay."""
    services = make_services()
    one, chosen = _stored(services, name), portfolio_name(new, "")
    with services.database.read() as connection:
        if chosen in portfolios.names(connection):
            raise InputError(f"portfolio {chosen!r} is stored already: choose another name, or sigma remove it first")
    from sigma_dagster.orchestration.build import build_defs
    from sigma_dagster.orchestration.instance import open_instance
    from sigma_dagster.runs import keys

    with open_instance(services.settings) as instance:
        graph = build_defs(services).resolve_asset_graph()
        keys.rename_portfolio(instance, graph, services, one.name, chosen)
    out.print(f"Renamed: portfolio {one.name} is {chosen} from now on")


@app.command()
def remove(name: StoredName) -> None:
    """Delete a portfolio and its rows; what its symbols have stays, for others and for later."""
    services = make_services()
    one = _stored(services, name)
    from sigma_dagster.orchestration.build import build_defs
    from sigma_dagster.orchestration.instance import open_instance
    from sigma_dagster.runs import keys

    with open_instance(services.settings) as instance:
        keys.remove_portfolio(instance, build_defs(services).resolve_asset_graph(), services, one.name)
    out.print(f"Removed: portfolio {one.name}; prices and results of its symbols stay")
