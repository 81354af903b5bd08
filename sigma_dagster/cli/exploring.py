"""The commands that ask what if, what changed, what could happen, and how a number came to where it is.

They store nothing; only `--compute` and `--fetch` let the price source be asked.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from assets.shared.look_back import MissingInputsError
from resources.database import portfolios
from resources.database.portfolios import KEEP, Portfolio
from resources.symbols import SYMBOL, canonical
from sigma_dagster.analysis import attribution, risk, scenarios, whatif
from sigma_dagster.analysis import history as histories
from sigma_dagster.analysis import stress as stresses
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.analysis.scenarios import Scenario
from sigma_dagster.analysis.whatif import Question
from sigma_dagster.cli import render, render_exploring
from sigma_dagster.cli.app import (
    AsJson,
    AsOf,
    InputError,
    Name,
    app,
    make_services,
    read_date,
    stored_portfolios,
)
from sigma_dagster.cli.computing import read_file
from sigma_dagster.cli.output import out, print_json, print_result, say
from sigma_dagster.cli.reading import why_nothing
from sigma_dagster.planning.planner import WorkPlan
from sigma_dagster.services import Services

#: More shares than this are a slip of the pen.
_MOST_SHARES = 1e12


@dataclass(frozen=True)
class _Trade:
    symbol: str
    quantity: float


def _symbol(text: str) -> str:
    if not SYMBOL.fullmatch(canonical(text)):
        raise typer.BadParameter(f"{text!r} is not a symbol: a letter or digit, then up to 14 letters, digits, . or -")
    return canonical(text)


def _trade(text: str) -> _Trade:
    name, _, shares = text.partition("=")
    try:
        quantity = float(shares) if shares.isascii() and "_" not in shares else 0.0
    except ValueError:
        quantity = 0.0
    if not 0 < abs(quantity) <= _MOST_SHARES:
        raise typer.BadParameter(f"{text!r} is no trade: SYMBOL=SHARES, such as NVDA=+50 to buy or KO=-20 to sell")
    return _Trade(_symbol(name), quantity)


Stored = Annotated[str, typer.Argument(metavar="NAME", help="A stored portfolio.")]


@app.command("whatif")
def what_if(
    book: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A stored portfolio, or a holdings file.")],
    trade: Annotated[
        list[_Trade] | None,
        typer.Option("--trade", parser=_trade, metavar="SYMBOL=SHARES", help="Buy (+50) or sell (-20); repeatable."),
    ] = None,
    close: Annotated[
        list[str] | None,
        typer.Option("--close", parser=_symbol, metavar="SYMBOL", help="Close a position; repeatable."),
    ] = None,
    hedge: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="Add the trade that brings this exposure to zero.")
    ] = None,
    name: Name = None,
    compute: Annotated[bool, typer.Option("--compute", help="Compute symbols that nobody has computed yet.")] = False,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show a portfolio's risk before and after some trades, or as a holdings file would make it; stores nothing."""
    services = make_services(computes=compute)
    asked = _question(services, book, trade or [], close or [], hedge, name, as_of or services.settings.as_of)
    try:
        found, notes = whatif.answer(services, asked)
    except MissingInputsError:
        todo = services.plan([], asked.session, watched=asked.symbols)
        if not todo.blocks:
            raise
        if not compute:
            _price(services, asked, todo, as_json=as_json)
            return
        from sigma_dagster.orchestration.compute import compute as run

        run(services, [], asked.session, watched=asked.symbols, say=say)
        found, notes = whatif.answer(services, asked)
    for note in notes:
        say(note)
    print_result(as_json, found.to_json, lambda: render_exploring.what_if(out, found))


def _question(
    services: Services,
    book: str,
    trades: list[_Trade],
    closed: list[str],
    hedge: str | None,
    name: str | None,
    as_of: date | None,
) -> Question:
    with services.database.read() as connection:
        stored = next(iter(portfolios.load(connection, [book.strip()])), None)
    if stored is None and Path(book).exists():
        if trades or closed:
            raise InputError("--trade and --close are for a stored portfolio: write them into the file")
        return _question_of_file(services, Path(book), name, hedge, as_of)
    if stored is None:
        stored_portfolios(services, [book.strip()])  # says which there are
        raise InputError(f"portfolio {book.strip()!r} was stored just now: ask again")
    if not (trades or closed or hedge):
        raise InputError("nothing to think of: give --trade SYMBOL=SHARES, --close SYMBOL or --hedge FACTOR")
    wanted: dict[str, float] = {}
    for one in trades:
        wanted[one.symbol] = wanted.get(one.symbol, 0.0) + one.quantity
    wanted = {symbol: quantity for symbol, quantity in wanted.items() if quantity}
    return Question(stored, stored, _risk(services, stored, as_of).as_of, wanted, closed, hedge)


def _question_of_file(
    services: Services, file: Path, name: str | None, hedge: str | None, as_of: date | None
) -> Question:

    session, holdings, chosen = read_file(services, file, name, as_of)
    with services.database.read() as connection:
        stored = next(iter(portfolios.load(connection, [chosen])), None)
        book = portfolios.as_stored(connection, chosen, holdings.lots, KEEP, session)
        before = stored and risk.read(connection, stored, services.model, session)
        newest = before.as_of if before else whatif.newest_session(connection, services.model, session)
    return Question(stored, book, newest or session, {}, (), hedge)


def _price(services: Services, asked: Question, todo: WorkPlan, *, as_json: bool) -> None:
    """Say what the symbols would cost that nobody has computed."""
    costs = services.costs(todo)
    before = asked.stored and _risk(services, asked.stored, asked.session)
    if as_json:
        both = {"before": before and before.to_json(), "after": None}
        print_json({**both, "plan": render.plan_json(todo, costs)})
        return
    render.plan(out, todo, costs)
    out.print("Not computed yet: --compute does so, and shows the risk then; the symbols' rows are kept for all.")


def _risk(services: Services, one: Portfolio, as_of: date | None) -> Risk:
    with services.database.read() as connection:
        found = risk.read(connection, one, services.model, as_of)
    if found is None:
        raise InputError(why_nothing(services, one, as_of))
    return found


@app.command()
def explain(
    name: Stored,
    first: Annotated[
        date | None,
        typer.Option("--from", parser=read_date, metavar="YYYY-MM-DD", help="Default: 21 sessions before the other."),
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=read_date, metavar="YYYY-MM-DD", help="Default: the newest session.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say why a portfolio's forecast variance changed: trades, prices, betas, factors, specific risk."""
    services = make_services()
    (one,) = stored_portfolios(services, [name.strip()])
    with services.database.read() as connection:
        found = attribution.explain(connection, one, services.model, first, last or services.settings.as_of)
    print_result(as_json, found.to_json, lambda: render_exploring.change(out, found))


@app.command()
def stress(
    name: Stored,
    scenarios_file: Annotated[
        str | None,
        typer.Option("--scenarios", metavar="FILE", help="A TOML file with scenarios; default: SIGMA_STRESS."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="SCENARIO", help="This scenario alone; repeatable.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Ask the price source for prices of the windows that are not stored.")
    ] = False,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Say what a portfolio would make in some scenarios: moves of factors, and windows of the past."""
    services = make_services(computes=fetch)
    (one,) = stored_portfolios(services, [name.strip()])
    chosen = _chosen(scenarios.scenarios(scenarios_file or services.settings.stress), only or [])
    session = _risk(services, one, as_of or services.settings.as_of).as_of
    if fetch:
        from sigma_dagster.analysis import window_prices

        window_prices.fetch(services, one, session, chosen, say)
    with services.database.read() as connection:
        found = stresses.stress(connection, one, services.model, session, chosen)
    print_result(as_json, found.to_json, lambda: render_exploring.stress(out, found))


def _chosen(known: list[Scenario], only: list[str]) -> list[Scenario]:
    names = [one.name for one in known]
    if unknown := [name for name in only if name not in names]:
        raise InputError(f"--only {unknown[0]}: no such scenario; known: {', '.join(names)}")
    return [one for one in known if not only or one.name in only]


@app.command()
def history(
    name: Stored,
    metric: Annotated[str, typer.Option(help="A number of sigma show, or exposure_FACTOR.")] = "realized_vol_21d",
    as_of: AsOf = None,
    table: Annotated[bool, typer.Option("--table", help="Print every session.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: session and value.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one number of a portfolio over its sessions."""
    if as_csv and as_json:
        raise typer.BadParameter("give --csv or --json, not both")
    services = make_services()
    (one,) = stored_portfolios(services, [name.strip()])
    with services.database.read() as connection:
        found = histories.read(connection, one, services.model, metric, as_of or services.settings.as_of)
    if not found.values:
        raise InputError(why_nothing(services, one, as_of))
    if as_csv:
        render_exploring.history_csv(out, found)
        return
    print_result(as_json, found.to_json, lambda: render_exploring.history(out, found, every=table))
