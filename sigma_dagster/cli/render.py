"""What the command line prints of work and portfolios: tables for people, and data under the fixed names of the JSON.

Risk is the business of `render_risk`.
"""

import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from rich.console import Console

from resources.database.portfolios import Portfolio
from resources.sources.base import Estimate
from sigma_dagster.analysis.wording import counted
from sigma_dagster.cli.render_risk import headline, summary
from sigma_dagster.cli.tables import print_rows, print_table
from sigma_dagster.planning.planner import WorkPlan

if TYPE_CHECKING:
    from sigma_dagster.planning.work import Tally
    from sigma_dagster.portfolio.onboarding import Onboarding


def onboarding(out: Console, done: "Onboarding") -> None:
    """Print what an onboarding did, and the risk."""
    print_rows(out, ("", done.portfolio), _work(done))
    summary(out, done.risk)
    out.print(f"Its positions: sigma show {shlex.quote(done.portfolio)}")


def _work(done: "Onboarding") -> list[tuple[str, str]]:
    data = done.to_json()
    symbols = data["symbols"]
    return [
        ("lots", f"{data['positions']:,}"),
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
        f"Up to date as of {as_of}: {counted(tally.held, 'symbol')}, {counted(numbers['api_calls'], 'provider call')}, "
        f"{counted(numbers['regressions_run'], 'regression')} run, "
        f"{counted(numbers['records_skipped_cached'], 'record')} cached."
    )


def refresh_json(as_of: date, tally: "Tally") -> dict[str, Any]:
    """Give what a refresh did as data."""
    return {"as_of": as_of.isoformat(), **tally.metadata()}


def plan(out: Console, todo: WorkPlan, costs: Mapping[str, Estimate]) -> None:
    """Print what is missing, and what each source would be asked for it."""
    if not todo.blocks:
        out.print(f"Nothing is missing as of {todo.as_of}.")
        return
    rows = [("daily prices", f"{len(todo.fetch):,}", f"{sum(todo.fetch.values()):,}")]
    for label, wanted in (("factor exposures", todo.exposures), ("symbol volatility", todo.volatility)):
        rows.append((label, f"{len(wanted.missing_keys):,}", f"{wanted.rows:,}"))
    rows += [(f"portfolio {name}", "", f"{count:,}") for name, count in todo.portfolio_rows.items()]
    print_table(out, (f"missing as of {todo.as_of}", "symbols", "rows"), rows)
    fetch = ", ".join(list(todo.fetch)[:12]) + (" ..." if len(todo.fetch) > 12 else "")
    cost = counted(sum(one.requests for one in costs.values()), "provider call") + (f" ({fetch})" if fetch else "")
    out.print(f"It would cost {cost}, in {counted(len(todo.blocks), 'run')}. Nothing was changed.")
    for source, one in costs.items():
        note = f": {one.note}" if one.note else ""
        out.print(f"{source}: {counted(one.requests, 'request')}, {counted(one.days, 'day')} within its limits{note}")


def plan_json(todo: WorkPlan, costs: Mapping[str, Estimate]) -> dict[str, Any]:
    """Give a plan as data."""
    return {
        "as_of": todo.as_of.isoformat(),
        "fetch": [{"symbol": symbol, "sessions": count} for symbol, count in todo.fetch.items()],
        "api_calls": sum(one.requests for one in costs.values()),
        "sources": [{"source": source, **one._asdict()} for source, one in costs.items()],
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
    rows = [
        (
            one.name,
            f"{len(one.lots):,}",
            f"{len(one.symbols):,}",
            f"{one.first_entry}",
            f"{one.shares_as_of}",
        )
        for one in found
    ]
    print_table(out, ("portfolio", "lots", "symbols", "first entry", "imported as of"), rows)


def portfolios_json(found: Sequence[Portfolio]) -> dict[str, Any]:
    """Give the stored portfolios as data."""
    return {
        "portfolios": [
            {
                "portfolio": one.name,
                "positions": len(one.lots),
                "symbols": len(one.symbols),
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
    regressions = f"{alone:,} ({saved:.0%} fewer here)"
    naive = [f"{growth.positions}", f"{held}", "0", f"{held}", "0", regressions, "0", ""]
    header = ("", core.portfolio, growth.portfolio, "growth if nothing were shared")
    rows = [
        (label, first, second, third)
        for (label, first), (_, second), third in zip(_work(core), _work(growth), naive, strict=True)
    ]
    print_rows(out, header, rows)
    found = zip(headline(core.risk), headline(growth.risk), strict=True)
    print_rows(
        out,
        (f"risk as of {growth.as_of}", core.portfolio, growth.portfolio),
        [(label, first, second) for (label, first), (_, second) in found],
    )
    out.print("Next: .venv/bin/sigma show growth | .venv/bin/sigma plan my.csv | make dev (the Dagster UI)")
