"""The commands about symbols: what is stored of them, asking again for their prices, another name."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from resources.database import quota, symbols
from resources.sources.chain import members
from resources.symbols import SYMBOL, canonical
from sigma_dagster.cli import render_symbols
from sigma_dagster.cli.app import AsJson, InputError, app, as_of_session, make_services
from sigma_dagster.cli.output import out, print_result, say
from sigma_dagster.services import Services

group = typer.Typer(help="Say what is stored of each symbol, and what is not there yet.", no_args_is_help=False)
app.add_typer(group, name="symbols")


def _symbol(text: str) -> str:
    name = canonical(text)
    if not SYMBOL.fullmatch(name):
        raise typer.BadParameter(f"{text!r} is not a symbol")
    return name


Symbol = Annotated[str, typer.Argument(parser=_symbol, metavar="SYMBOL")]


@group.callback(invoke_without_command=True)
def _symbols(
    context: typer.Context,
    known: Annotated[bool, typer.Option("--known", help="List the symbols that the price source has.")] = False,
    forget: Annotated[
        str | None,
        typer.Option("--forget", parser=_symbol, metavar="SYMBOL", help="Take a partition key away that nobody needs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand:
        return
    services = make_services()
    if forget:
        _forget(services, forget)
    elif known:
        source = services.source
        print_result(as_json, lambda: render_symbols.known_json(source), lambda: render_symbols.known(out, source))
    else:
        with services.database.read() as connection:
            stored = symbols.coverage(connection)
            spent = quota.spent(connection, _members(services), datetime.now(UTC))
        print_result(
            as_json,
            lambda: render_symbols.coverage_json(services.source, stored, spent),
            lambda: render_symbols.coverage(out, services.source, stored, spent),
        )


def _forget(services: Services, name: str) -> None:
    from sigma_dagster.orchestration.instance import open_instance
    from sigma_dagster.runs import keys

    with open_instance(services.settings) as instance:
        try:
            found = keys.forget(instance, services, name)
        except keys.KeyInUseError as error:
            raise InputError(str(error)) from None
    out.print(f"Forgotten: {name}" if found else f"There is no partition key {name}")


@group.command("rename")
def _rename(
    old: Annotated[str, typer.Argument(parser=_symbol, metavar="OLD")],
    new: Annotated[str, typer.Argument(parser=_symbol, metavar="NEW")],
) -> None:
    """Give a symbol that trades under another name its new one; history, lots and results stay."""
    services = make_services()
    with services.database.read() as connection:
        symbols.check_rename(connection, old, new)
    from sigma_dagster.orchestration.build import build_defs
    from sigma_dagster.orchestration.instance import open_instance
    from sigma_dagster.runs import keys

    with open_instance(services.settings) as instance:
        keys.rename(instance, build_defs(services).resolve_asset_graph(), services, old, new)
    out.print(f"Renamed: {old} is {new} from now on, with its prices, lots and results. Write {new} in holdings files.")


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(parser=_symbol, metavar="SYMBOL...")],
    source: Annotated[
        str, typer.Option("--from", metavar="SOURCE", help="Ask this source of SIGMA_PRICE_SOURCES, now and later.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask again for all prices that are stored of some symbols, and compute what they change."""
    services = make_services(computes=True)
    names = list(dict.fromkeys(names))
    _refuse_fetch(services, names, source)
    session = as_of_session(services, None)
    from sigma_dagster.orchestration.compute import compute

    again = services.blocks_again(names, session, source)
    tally = compute(services, None, session, again=again, say=say)
    print_result(
        as_json,
        lambda: render_symbols.fetch_json(session, names, tally),
        lambda: render_symbols.fetch(out, names, tally),
    )


def _members(services: Services) -> list[str]:
    return [member.name for member in members(services.source)]


def _refuse_fetch(services: Services, names: list[str], source: str) -> None:
    named = _members(services)
    if source and source not in named:
        known = ", ".join(named)
        raise InputError(f"--from {source}: it is not in SIGMA_PRICE_SOURCES, which names {known}; add it there first")
    with services.database.read() as connection:
        known_symbols = symbols.known(connection, names)
    if lacking := [name for name in names if name not in known_symbols]:
        raise InputError(
            f"nothing is stored of {', '.join(lacking)}: prices are fetched for what a portfolio holds "
            "(sigma onboard FILE); sigma symbols lists what is stored"
        )
