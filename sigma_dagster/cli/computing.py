"""The commands that store portfolios, plan and compute. Dagster is imported only where one runs: it takes a second."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from resources.database import portfolios
from resources.database.portfolios import KEEP
from sigma_dagster.analysis.wording import counted
from sigma_dagster.cli import render, render_holdings
from sigma_dagster.cli.app import (
    AsJson,
    AsOf,
    Dates,
    EntryDate,
    EquityText,
    HoldingsFile,
    InputError,
    Map,
    Name,
    app,
    as_of_session,
    make_services,
    read_equity,
    stored_portfolios,
)
from sigma_dagster.cli.output import out, print_result, say
from sigma_dagster.planning.planner import Force
from sigma_dagster.portfolio import assumptions, entry_prices
from sigma_dagster.portfolio.holdings import (
    AS_IT_SAYS,
    HOLDINGS_HELP,
    Holdings,
    LeftOut,
    Reading,
    portfolio_name,
    read_holdings,
)
from sigma_dagster.portfolio.holdings_file.errors import cut, some
from sigma_dagster.portfolio.holdings_file.table import parse_map
from sigma_dagster.services import Services
from sigma_dagster.settings import PROJECT, Settings

_TEXT_SHOWN = 30


@app.command(
    help=f"Store a portfolio from a holdings file and compute what nobody has computed yet.\n\n{HOLDINGS_HELP}"
)
def onboard(
    file: HoldingsFile,
    name: Name = None,
    equity: EquityText = None,
    as_of: AsOf = None,
    mapped: Map = None,
    dates: Dates = None,
    entry_date: EntryDate = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is read of the file; store nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compute again what exists; stored prices stay.")] = False,
    force_prices: Annotated[
        bool, typer.Option("--force-prices", help="Fetch the prices of its symbols and of the factors again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store a portfolio and compute what it lacks."""
    started = time.perf_counter()
    shares_of, reading = read_equity(equity), _read_options(mapped, dates, entry_date)
    services = make_services(computes=True)
    session, holdings, chosen = read_file(services, file, name, as_of, reading)
    if dry_run:
        print_result(
            as_json,
            lambda: render_holdings.holdings_json(chosen, session, holdings),
            lambda: render_holdings.holdings(out, chosen, session, holdings),
        )
        return
    from sigma_dagster.portfolio import onboarding

    done = onboarding.onboard(
        services,
        chosen,
        holdings.lots,
        shares_of,
        session,
        force=Force(prices=force_prices, symbol_results=force, portfolio_results=force),
        unpriced=assumptions.unpriced(holdings),
        say=say,
        started=started,
    )
    print_result(as_json, done.to_json, lambda: render.onboarding(out, done))


@app.command()
def add(
    file: HoldingsFile,
    name: Name = None,
    equity: EquityText = None,
    as_of: AsOf = None,
    mapped: Map = None,
    dates: Dates = None,
    entry_date: EntryDate = None,
) -> None:
    """Store a portfolio and leave the computing to the sensor (make dev) or to sigma refresh."""
    shares_of, reading = read_equity(equity), _read_options(mapped, dates, entry_date)
    services = make_services(computes=True)
    session, holdings, chosen = read_file(services, file, name, as_of, reading)
    with services.database.write() as connection:
        services.fix_first_date(connection, session)
        stored = portfolios.store(connection, chosen, holdings.lots, shares_of, session)
    out.print(
        f"{'Stored' if stored.new else 'Stored before'}: portfolio {chosen}, {counted(len(holdings.lots), 'lot')}. "
        "The sensor of make dev computes what it lacks; without it: sigma refresh"
    )
    if unpriced := assumptions.unpriced(holdings):
        names = some([lot.symbol for lot in unpriced])
        say(f"Not known before prices are there: the cost of {names}. Import the file again then; no risk rests on it")
    with services.database.read() as connection:
        for misfit in entry_prices.misfits(connection, stored.portfolio):
            say(str(misfit))


@app.command()
def refresh(as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Compute whatever the stored portfolios lack, a new session included."""
    services = make_services(computes=True)
    session = as_of_session(services, as_of)
    from sigma_dagster.orchestration.compute import compute

    tally = compute(services, None, session, say=say)
    print_result(as_json, lambda: render.refresh_json(session, tally), lambda: render.refresh(out, session, tally))


@app.command()
def plan(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Plan for onboarding this file.")] = None,
    name: Name = None,
    equity: EquityText = None,
    portfolio: Annotated[str | None, typer.Option(help="Plan for this stored portfolio only.")] = None,
    as_of: AsOf = None,
    mapped: Map = None,
    dates: Dates = None,
    entry_date: EntryDate = None,
    as_json: AsJson = False,
) -> None:
    """Say what is missing and what it would cost; changes nothing."""
    if file and portfolio:
        raise typer.BadParameter("give a holdings file or --portfolio, not both")
    shares_of, reading = read_equity(equity), _read_options(mapped, dates, entry_date)
    if not file and (name or shares_of is not KEEP):
        raise typer.BadParameter("--name and --equity say how a holdings file would be onboarded: give one")
    services = make_services(computes=True)
    if file:
        session, holdings, chosen = read_file(services, file, name, as_of, reading)
        with services.database.read() as connection:
            wanted = [portfolios.as_stored(connection, chosen, holdings.lots, shares_of, session)]
    else:
        session = as_of_session(services, as_of)
        wanted = stored_portfolios(services, [portfolio] if portfolio else None)
    todo = services.plan(wanted, session)
    costs = services.costs(todo)
    print_result(as_json, lambda: render.plan_json(todo, costs), lambda: render.plan(out, todo, costs))


@app.command()
def repair() -> None:
    """Repair Dagster's files in SIGMA_HOME after two first commands at the same time, as earlier releases left them."""
    settings = Settings.from_environment(os.environ)
    from sigma_dagster.orchestration import instance

    found = instance.repair(settings)
    out.print(f"Repaired: {', '.join(map(str, found))}" if found else "Nothing to repair")


@app.command(hidden=True)
def demo() -> None:
    """Onboard the two example portfolios and compare."""
    services = make_services(computes=True)
    from sigma_dagster.portfolio import onboarding

    reports = []
    for file in ("core.csv", "growth.csv"):
        started = time.perf_counter()
        session, holdings, chosen = read_file(services, PROJECT / "examples" / file, None, None)
        reports.append(onboarding.onboard(services, chosen, holdings.lots, KEEP, session, say=say, started=started))
    render.demo(out, *reports)


@app.command(hidden=True)
def dev(port: Annotated[int, typer.Option(min=1, max=65535)] = 3000) -> None:
    """Start the Dagster UI and daemon on this machine's loopback."""
    services = make_services(computes=True)
    from sigma_dagster.orchestration import webserver

    webserver.serve(services, port)


def _read_options(mapped: str | None, dates: str | None, entry_date: date | None) -> Reading:
    """Read the options that say how a holdings file is to be read; raises typer.BadParameter."""
    if dates not in (None, "mdy", "dmy"):
        raise typer.BadParameter(f"--dates {dates!r} is neither mdy nor dmy")
    try:
        return Reading(parse_map(mapped) if mapped else {}, dates, entry_date)
    except ValueError as error:
        raise typer.BadParameter(f"--map: {error}") from None


def read_file(
    services: Services, file: Path, name: str | None, as_of: date | None, reading: Reading = AS_IT_SAYS
) -> tuple[date, Holdings, str]:
    """Read a holdings file: the as-of session, its lots, and the name of its portfolio."""
    session = as_of_session(services, as_of)
    services.sessions(session)  # a date that cannot be computed is refused before anything is stored
    chosen = portfolio_name(name, file)
    if reading.entry_date and reading.entry_date > session:
        raise InputError(f"--entry-date {reading.entry_date} is after {session}, the as-of session")
    holdings = read_holdings(file, as_of=session, source=services.source, reading=reading)
    with services.database.read() as connection:
        holdings = assumptions.settled(connection, chosen, holdings, session)
    if holdings.ignored_columns:
        say(f"Ignored columns: {', '.join(holdings.ignored_columns)}")
    for note in (*holdings.notes, *_left_out(holdings.left_out)):
        say(note)
    return session, holdings, chosen


def _left_out(rows: Sequence[LeftOut]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for row, text, reason in rows:
        by_reason.setdefault(reason, []).append(f"row {row} {cut(text, _TEXT_SHOWN)!r}")
    for reason, named in by_reason.items():
        yield f"Left out, {reason}: {some(named)}"
