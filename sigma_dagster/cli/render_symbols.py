"""What the command line prints of symbols and their prices."""

import textwrap
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

from resources.database.quota import Spent
from resources.database.symbols import Coverage
from resources.sources.base import PriceSource
from sigma_dagster.analysis.wording import UNKNOWN, counted
from sigma_dagster.cli.tables import print_table

if TYPE_CHECKING:
    from sigma_dagster.planning.work import Tally


def known(out: Console, source: PriceSource) -> None:
    """Print the symbols of a price source, some to a line."""
    names = source.symbols()
    if names is None:
        out.print(f"{source.title} cannot list its symbols: sigma plan FILE says what those of a file would cost")
        return
    out.print(f"{source.title}: {counted(len(names), 'symbol')}")
    for line in textwrap.wrap(" ".join(sorted(names)), min(out.width, 100), break_on_hyphens=False):
        out.print(line)


def known_json(source: PriceSource) -> dict[str, Any]:
    """Give the symbols of a price source as data."""
    names = source.symbols()
    return {"source": source.name, "symbols": None if names is None else sorted(names)}


def coverage(out: Console, source: PriceSource, stored: Sequence[Coverage], spent: Sequence[Spent]) -> None:
    """Print what is stored of each symbol and what was asked of each source; of none, what the source has."""
    if not stored:
        out.print("No price is stored yet: sigma onboard FILE")
        known(out, source)
    else:
        header = ("symbol", "first", "last", "source", "status", "last fetch (UTC)", "not there yet")
        print_table(out, header, [_line(one) for one in stored])
    for one in spent:
        until = f"; no more before {_minute(one.closed_until)} UTC" if one.closed_until else ""
        out.print(f"Asked of {one.source} in the last 24 hours: {counted(one.calls, 'request')}{until}")


def _line(one: Coverage) -> tuple[str, ...]:
    found, pending = one.known, one.pending
    status = found.status if found.reason is None else f"{found.status}: {found.reason}"
    lacks = "" if pending is None else f"{pending.outcome}: {pending.reason}"
    ends = (UNKNOWN if day is None else day.isoformat() for day in (found.first_session, found.last_session))
    return (found.symbol, *ends, found.source, status, _minute(one.fetched_at), lacks)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def coverage_json(source: PriceSource, stored: Sequence[Coverage], spent: Sequence[Spent]) -> dict[str, Any]:
    """Give the same as data."""
    return {
        "source": source.name,
        "symbols": [
            {
                "symbol": one.known.symbol,
                "first": _iso(one.known.first_session),
                "last": _iso(one.known.last_session),
                "source": one.known.source,
                "status": one.known.status,
                "reason": one.known.reason,
                "revision": one.known.revision,
                "fetched_at": one.fetched_at.isoformat(),
                "pending": one.pending and one.pending.outcome,
                "pending_reason": one.pending and one.pending.reason,
                "retry_at": one.pending and one.pending.retry_at.isoformat(),
            }
            for one in stored
        ],
        "calls_today": [
            {"source": one.source, "calls": one.calls, "closed_until": _iso(one.closed_until)} for one in spent
        ],
    }


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def fetch(out: Console, names: Sequence[str], tally: "Tally") -> None:
    """Print what asking again did."""
    numbers = tally.numbers()
    out.print(
        f"Asked again for {counted(len(names), 'symbol')}, with {counted(numbers['api_calls'], 'provider call')}: "
        f"{counted(tally.corrected, 'stored price')} changed, {counted(numbers['regressions_run'], 'regression')} run."
    )


def fetch_json(as_of: date, names: Sequence[str], tally: "Tally") -> dict[str, Any]:
    """Give the same as data."""
    asked = {"symbols_asked": list(names), "prices_corrected": tally.corrected}
    return {"as_of": as_of.isoformat(), **asked, **tally.metadata()}
