"""The commands that read what is stored. They work on a home that cannot be written, and without Dagster."""

import os
import webbrowser
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from resources.database.portfolios import Portfolio
from sigma_dagster.analysis import risk
from sigma_dagster.cli import render_risk
from sigma_dagster.cli.app import AsJson, AsOf, InputError, app, make_services, stored_portfolios
from sigma_dagster.cli.output import out, print_result, say
from sigma_dagster.services import Services


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A stored portfolio.")], as_of: AsOf = None, as_json: AsJson = False
) -> None:
    """Show a portfolio's risk: factor exposures, volatility, value at risk, and where it comes from."""
    services = make_services()
    (one,) = stored_portfolios(services, [name.strip()])
    with services.database.read() as connection:
        found = risk.read(connection, one, services.model, as_of or services.settings.as_of)
    if found is None:
        raise InputError(why_nothing(services, one, as_of))
    print_result(as_json, found.to_json, lambda: render_risk.risk(out, found))


def why_nothing(services: Services, one: Portfolio, as_of: date | None) -> str:
    """Say that nothing is computed of a portfolio, and who does so or what would."""
    until = f" up to {as_of}" if as_of else ""
    nothing = f"nothing is computed of portfolio {one.name}{until} with the factor model {services.model.name}"
    if run := _computing(services, one):
        return f"{nothing} yet: run {run[:8]} computes it now; ask again when it is done"
    command = "sigma refresh" + (f" --as-of {as_of}" if as_of else "")
    return f"{nothing}: {command} computes it, and so does the sensor of a running make dev"


def _computing(services: Services, one: Portfolio) -> str | None:
    """Give the id of a run in progress that computes the portfolio or its symbols."""
    home = services.settings.dagster_home
    if not os.access(home, os.W_OK):  # there is no instance yet, or none that could be asked
        return None
    from sigma_dagster.portfolio import progress

    return progress.computing(services, one)


@app.command()
def diagnose(
    symbol: Annotated[str, typer.Argument(help="A symbol whose prices are stored.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Examine a symbol's factor regression with statsmodels: what its betas are worth."""
    services = make_services()
    from sigma_dagster.analysis import diagnosis
    from sigma_dagster.cli import render_diagnosis

    with services.database.read() as connection:
        found = diagnosis.diagnose(connection, symbol.strip().upper(), services.model, as_of or services.settings.as_of)
    print_result(as_json, found.to_json, lambda: render_diagnosis.diagnosis(out, found))


@app.command("portfolios")
def list_portfolios(as_json: AsJson = False) -> None:
    """List the stored portfolios."""
    found = stored_portfolios(make_services(), None)
    from sigma_dagster.cli import render

    print_result(as_json, lambda: render.portfolios_json(found), lambda: render.portfolios(out, found))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A stored portfolio.")],
    as_of: AsOf = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it; default: NAME-SESSION.html, here."),
    ] = None,
    show_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a portfolio's risk as one HTML page that works offline and prints well."""
    services = make_services()
    (one,) = stored_portfolios(services, [name.strip()])
    from sigma_dagster.analysis.report import facts, page
    from sigma_dagster.analysis.scenarios import scenarios

    with services.database.read() as connection:
        chosen = scenarios(services.settings.stress)
        found = facts.read(connection, one, services.model, as_of or services.settings.as_of, chosen=chosen)
    if found is None:
        raise InputError(why_nothing(services, one, as_of))
    target = output or Path(f"{one.name}-{found.risk.as_of}.html")
    try:
        target.write_text(page.render(found), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{target}: the page cannot be written ({error.strerror}); give another file with -o"
        ) from None
    out.print(str(target))
    if show_it and not webbrowser.open(target.resolve().as_uri()):
        say("No browser could be opened")
