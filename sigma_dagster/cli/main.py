"""The command line: options, exit statuses and where output goes. What is printed stands in `render`.

Exit status 0: done. 1: something outside failed (source, database). 2: the input is wrong. 130, 143: interrupted
(`entry`). Dagster is imported only by the commands that run it: it takes a second.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from assets.model_file import ModelFileError
from assets.shared.look_back import MissingInputsError
from resources.calendar import CalendarError
from resources.database import portfolios
from resources.database.portfolios import Portfolio
from resources.sources.base import SourceError, SourceSettingError
from sigma_dagster.cli import render, render_risk
from sigma_dagster.errors import BlockFailedError, BrokenHomeError, PortTakenError
from sigma_dagster.planning import planner
from sigma_dagster.planning.planner import Force, NothingToPlanError
from sigma_dagster.portfolio import risk
from sigma_dagster.portfolio.holdings import HOLDINGS_HELP, Holdings, HoldingsError, portfolio_name, read_holdings
from sigma_dagster.services import AsOfError, Services
from sigma_dagster.settings import PROJECT, Settings, SettingsError, parse_date

app = typer.Typer(
    name="sigma",
    help="Portfolio risk that computes each symbol and session once, and shares it between portfolios.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


class InputError(ValueError):
    """The input is wrong in a way that no other error names."""


def _date(text: str) -> date:
    try:
        return parse_date(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number of dollars")
    return value


Equity = Annotated[
    float | None,
    typer.Option(callback=_positive, help="Dollars that weights are shares of; default: the sum of all positions."),
]
HoldingsFile = Annotated[Path, typer.Argument(metavar="FILE", help="A holdings file (CSV).")]
AsOf = Annotated[
    date | None,
    typer.Option("--as-of", parser=_date, metavar="YYYY-MM-DD", help="Session to compute up to; default: the newest."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output and nothing else there.")]


@app.command(
    help=f"Store a portfolio from a holdings file and compute what nobody has computed yet.\n\n{HOLDINGS_HELP}"
)
def onboard(
    file: HoldingsFile,
    name: Annotated[str | None, typer.Option(help="Portfolio name; default: the file's name without ending.")] = None,
    equity: Equity = None,
    as_of: AsOf = None,
    force: Annotated[bool, typer.Option("--force", help="Compute again what exists; stored prices stay.")] = False,
    force_prices: Annotated[
        bool, typer.Option("--force-prices", help="Fetch the prices of its symbols and of the factors again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store a portfolio and compute what it lacks."""
    started = time.perf_counter()
    services = _environment(computes=True)
    session, holdings, chosen = _read(services, file, name, as_of)
    from sigma_dagster.portfolio import onboarding

    done = onboarding.onboard(
        services,
        chosen,
        holdings.lots,
        equity,
        session,
        force=Force(prices=force_prices, symbol_results=force, portfolio_results=force),
        say=_say,
        started=started,
    )
    _print(as_json, done.to_json, lambda: render.onboarding(out, done))


@app.command()
def add(
    file: HoldingsFile,
    name: Annotated[str | None, typer.Option(help="Portfolio name; default: the file's name without ending.")] = None,
    equity: Equity = None,
    as_of: AsOf = None,
) -> None:
    """Store a portfolio and leave the computing to the sensor (make dev) or to sigma refresh."""
    services = _environment(computes=True)
    session, holdings, chosen = _read(services, file, name, as_of)
    with services.database.write() as connection:
        stored = portfolios.store(connection, chosen, holdings.lots, equity, session)
    what = f"portfolio {chosen}, {len(holdings.lots)} positions"
    out.print(
        f"{'Stored' if stored else 'Stored before'}: {what}. The sensor of make dev computes what it lacks; "
        "without it: sigma refresh",
        markup=False,
    )


@app.command()
def refresh(as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Compute whatever the stored portfolios lack, a new session included."""
    services = _environment(computes=True)
    session = services.as_of(as_of, datetime.now(UTC))
    from sigma_dagster.orchestration.compute import compute

    tally = compute(services, None, session, say=_say)
    _print(as_json, lambda: render.refresh_json(session, tally), lambda: render.refresh(out, session, tally))


@app.command()
def plan(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Plan for onboarding this file.")] = None,
    portfolio: Annotated[str | None, typer.Option(help="Plan for this stored portfolio only.")] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Say what is missing and what it would cost; changes nothing."""
    if file and portfolio:
        raise typer.BadParameter("give a holdings file or --portfolio, not both")
    services = _environment(computes=True)
    if file:
        session, holdings, chosen = _read(services, file, None, as_of)
        with services.database.read() as connection:
            wanted = [portfolios.as_stored(connection, chosen, holdings.lots, None, session)]
    else:
        session = services.as_of(as_of, datetime.now(UTC))
        wanted = _stored(services, [portfolio] if portfolio else None)
    with services.database.read() as connection:
        todo = planner.plan(connection, wanted, model=services.model, sessions=services.sessions(session))
    _print(as_json, lambda: render.plan_json(todo), lambda: render.plan(out, todo))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A stored portfolio.")], as_of: AsOf = None, as_json: AsJson = False
) -> None:
    """Show a portfolio's risk: factor exposures, volatility, value at risk, and where it comes from."""
    services = _environment()
    _stored(services, [name])
    with services.database.read() as connection:
        found = risk.read(connection, name, services.model, as_of or services.settings.as_of)
    if found is None:
        until = f" up to {as_of}" if as_of else ""
        raise InputError(
            f"nothing is computed of portfolio {name}{until} with the factor model {services.model.name}: "
            "run sigma onboard with its holdings file"
        )
    _print(as_json, found.to_json, lambda: render_risk.risk(out, found))


@app.command()
def diagnose(
    symbol: Annotated[str, typer.Argument(help="A symbol whose prices are stored.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Examine a symbol's factor regression with statsmodels: what its betas are worth."""
    services = _environment()
    from sigma_dagster.cli import render_diagnosis
    from sigma_dagster.portfolio import diagnosis

    with services.database.read() as connection:
        found = diagnosis.diagnose(connection, symbol.strip().upper(), services.model, as_of or services.settings.as_of)
    _print(as_json, found.to_json, lambda: render_diagnosis.diagnosis(out, found))


@app.command("portfolios")
def list_portfolios(as_json: AsJson = False) -> None:
    """List the stored portfolios."""
    found = _stored(_environment(), None)
    _print(as_json, lambda: render.portfolios_json(found), lambda: render.portfolios(out, found))


@app.command()
def repair() -> None:
    """Repair Dagster's files in SIGMA_HOME after two first commands at the same time, as earlier releases left them."""
    settings = Settings.from_environment(os.environ)
    from sigma_dagster.orchestration import instance

    found = instance.repair(settings)
    out.print(f"Repaired: {', '.join(map(str, found))}" if found else "Nothing to repair", markup=False)


@app.command(hidden=True)
def demo() -> None:
    """Onboard the two example portfolios and compare."""
    services = _environment(computes=True)
    from sigma_dagster.portfolio import onboarding

    reports = []
    for file in ("core.csv", "growth.csv"):
        started = time.perf_counter()
        session, holdings, chosen = _read(services, PROJECT / "examples" / file, None, None)
        reports.append(onboarding.onboard(services, chosen, holdings.lots, None, session, say=_say, started=started))
    render.demo(out, *reports)


@app.command(hidden=True)
def dev(port: Annotated[int, typer.Option(min=1, max=65535)] = 3000) -> None:
    """Start the Dagster UI and daemon on this machine's loopback."""
    services = _environment(computes=True)
    from sigma_dagster.orchestration import webserver

    webserver.serve(services, port)


def _environment(*, computes: bool = False) -> Services:
    services = Services.of(Settings.from_environment(os.environ))
    if computes:
        services.check_proxies()
    return services


def _read(services: Services, file: Path, name: str | None, as_of: date | None) -> tuple[date, Holdings, str]:
    session = services.as_of(as_of, datetime.now(UTC))
    services.sessions(session)  # a date that cannot be computed is refused before anything is stored
    chosen = portfolio_name(name, file)
    holdings = read_holdings(file, as_of=session, source=services.source)
    if holdings.ignored_columns:
        _say(f"Ignored columns: {', '.join(holdings.ignored_columns)}")
    return session, holdings, chosen


def _stored(services: Services, names: list[str] | None) -> list[Portfolio]:
    with services.database.read() as connection:
        found = portfolios.load(connection, names)
        if names and not found:
            known = ", ".join(portfolios.names(connection)) or "none yet: sigma onboard FILE"
            raise InputError(f"portfolio {names[0]!r} is not stored; known: {known}")
    return found


def _say(message: str) -> None:
    err.print(message, markup=False)


def _print(as_json: bool, data: Callable[[], Any], table: Callable[[], None]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(data(), indent=2, allow_nan=False) + "\n")
    else:
        table()


def _fail(status: int, message: str) -> NoReturn:
    err.print(message, markup=False)
    raise SystemExit(status)


#: Errors that the user's input causes; each says what to do.
_WRONG_INPUT = (
    InputError,
    SettingsError,
    ModelFileError,
    AsOfError,
    NothingToPlanError,
    SourceSettingError,
    CalendarError,
    MissingInputsError,
)


def main() -> None:
    """Run the command line; every foreseeable error ends in a message and its exit status."""
    try:
        app()
    except HoldingsError as error:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"errors": [row._asdict() for row in error.errors]}, indent=2) + "\n")
        _fail(2, str(error))
    except _WRONG_INPUT as error:
        _fail(2, str(error))
    except SourceError as error:
        _fail(1, str(error))
    except SQLAlchemyError as error:
        _fail(1, f"database: {str(error).splitlines()[0]}. What was committed before is kept; run the command again")
    except OSError as error:  # SIGMA_HOME cannot be written, the disk is full
        _fail(1, f"{error.filename or 'file system'}: {error.strerror or error}. What was committed before is kept")
    except BlockFailedError as error:
        _fail(1, f"{error}\nWhat was stored is kept; the same command finishes the rest.")
    except (PortTakenError, BrokenHomeError) as error:
        _fail(1, str(error))
