"""What the command line prints of work and portfolios: tables for people, and data under the fixed names of the JSON.

Risk is the business of `render_risk`.
"""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from rich.console import Console

from resources.database.portfolios import Portfolio
from sigma_dagster.cli.render_risk import headline, summary
from sigma_dagster.cli.tables import table
from sigma_dagster.planning.planner import WorkPlan

if TYPE_CHECKING:
    from sigma_dagster.planning.work import Tally
    from sigma_dagster.portfolio.onboarding import Onboarding


def onboarding(out: Console, done: "Onboarding") -> None:
    """Print what an onboarding did, and the risk."""
    made = table("", done.portfolio)
    for label, value in _work(done):
        made.add_row(label, value)
    out.print(made)
    out.print()
    summary(out, done.risk)
    out.print(f"Its positions: sigma show {done.portfolio}", markup=False)


def _work(done: "Onboarding") -> list[tuple[str, str]]:
    data = done.to_json()
    symbols = data["symbols"]
    return [
        ("positions", f"{data['positions']:,}"),
        ("symbols computed", f"{symbols['computed']:,}"),
        ("symbols cached", f"{symbols['cached']:,}"),
        ("provider calls", f"{data['api_calls']:,}"),
        ("provider calls saved", f"{data['api_calls_saved']:,}"),
        ("regressions run", f"{data['regressions_run']:,}"),
        ("records skipped (cached)", f"{data['records_skipped_cached']:,}"),
        ("seconds", f"{data['seconds']['total']:.1f}"),
    ]


def refresh(out: Console, as_of: date, tally: "Tally") -> None:
    """Print what a refresh did."""
    numbers = tally.numbers()
    out.print(
        f"Up to date as of {as_of}: {tally.held:,} symbols, {numbers['api_calls']:,} provider calls, "
        f"{numbers['regressions_run']:,} regressions run, {numbers['records_skipped_cached']:,} records cached."
    )


def refresh_json(as_of: date, tally: "Tally") -> dict[str, Any]:
    """Give what a refresh did as data."""
    return {"as_of": as_of.isoformat(), **tally.metadata()}


def plan(out: Console, todo: WorkPlan) -> None:
    """Print what is missing."""
    if not todo.blocks:
        out.print(f"Nothing is missing as of {todo.as_of}.")
        return
    made = table(f"missing as of {todo.as_of}", "symbols", "rows")
    made.add_row("daily prices", f"{len(todo.fetch):,}", f"{sum(todo.fetch.values()):,}")
    for label, wanted in (("factor exposures", todo.exposures), ("symbol volatility", todo.volatility)):
        made.add_row(label, f"{len(wanted.missing_keys):,}", f"{wanted.rows:,}")
    for name, rows in todo.portfolio_rows.items():
        made.add_row(f"portfolio {name}", "", f"{rows:,}")
    out.print(made)
    fetch = ", ".join(list(todo.fetch)[:12]) + (" ..." if len(todo.fetch) > 12 else "")
    cost = f"{todo.api_calls:,} provider calls" + (f" ({fetch})" if fetch else "")
    out.print(f"It would cost {cost}, in {len(todo.blocks)} runs. Nothing was changed.", markup=False)


def plan_json(todo: WorkPlan) -> dict[str, Any]:
    """Give a plan as data."""
    return {
        "as_of": todo.as_of.isoformat(),
        "fetch": [{"symbol": symbol, "sessions": count} for symbol, count in todo.fetch.items()],
        "api_calls": todo.api_calls,
        "exposures": {"symbols": len(todo.exposures.missing_keys), "rows": todo.exposures.rows},
        "volatility": {"symbols": len(todo.volatility.missing_keys), "rows": todo.volatility.rows},
        "portfolios": todo.portfolio_rows,
        "runs": len(todo.blocks),
    }


def portfolios(out: Console, found: Sequence[Portfolio]) -> None:
    """Print the stored portfolios."""
    if not found:
        out.print("No portfolio is stored yet: sigma onboard FILE")
        return
    made = table("portfolio", "positions", "symbols", "first entry", "imported as of")
    for one in found:
        symbols = {lot.symbol for lot in one.lots}
        first = one.first_entry
        made.add_row(one.name, f"{len(one.lots):,}", f"{len(symbols):,}", f"{first}", f"{one.basis}")
    out.print(made)


def portfolios_json(found: Sequence[Portfolio]) -> dict[str, Any]:
    """Give the stored portfolios as data."""
    return {
        "portfolios": [
            {
                "portfolio": one.name,
                "positions": len(one.lots),
                "symbols": len({lot.symbol for lot in one.lots}),
                "first_entry": one.first_entry.isoformat(),
                "equity": one.equity,
            }
            for one in found
        ]
    }


def demo(out: Console, core: "Onboarding", growth: "Onboarding") -> None:
    """Print the two example portfolios side by side, beside what sharing nothing would cost for the second."""
    held, alone = growth.tally.held, growth.tally.requested
    saved = 1 - growth.tally.regressions_run / alone
    naive = ["15", f"{held}", "0", f"{held}", "0", f"{alone:,} ({saved:.0%} fewer here)", "0", ""]
    naive[0] = f"{growth.positions}"
    made = table("", core.portfolio, growth.portfolio, "growth if nothing were shared")
    for (label, first), (_, second), third in zip(_work(core), _work(growth), naive, strict=True):
        made.add_row(label, first, second, third)
    out.print(made)
    out.print()
    made = table(f"risk as of {growth.as_of}", core.portfolio, growth.portfolio)
    for (label, first), (_, second) in zip(headline(core.risk), headline(growth.risk), strict=True):
        made.add_row(label, first, second)
    out.print(made)
    out.print(
        "\nNext: .venv/bin/sigma show growth | .venv/bin/sigma plan my.csv | make dev (the Dagster UI)", markup=False
    )
