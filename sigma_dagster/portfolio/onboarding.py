"""Bringing a portfolio in: store it, compute what it lacks, report what that took and the risk."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection

from assets.shared.look_back import listed
from resources.database import portfolios
from resources.database.portfolios import Equity, Lot, Portfolio
from sigma_dagster.analysis import risk
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration.compute import Say, compute
from sigma_dagster.planning.planner import Force
from sigma_dagster.planning.work import Tally
from sigma_dagster.portfolio import assumptions, entry_prices
from sigma_dagster.services import Services


@dataclass(frozen=True)
class Onboarding:
    """The report of one onboarding."""

    portfolio: str
    as_of: date
    positions: int
    tally: Tally
    seconds: float  # all of it
    risk: Risk

    def to_json(self) -> dict[str, Any]:
        """Give the report under its fixed names."""
        tally, found = self.tally, self.risk
        stages = {name: round(value, 6) for name, value in tally.seconds.items()}
        rest = self.seconds - sum(tally.seconds.values())
        return {
            "portfolio": self.portfolio,
            "as_of": self.as_of.isoformat(),
            "positions": self.positions,
            "symbols": {"held": tally.held, "computed": tally.computed, "cached": tally.cached},
            **tally.numbers(),
            "seconds": {"total": round(self.seconds, 6), **stages, "orchestrate": round(rest, 6)},
            "risk": {
                "weight_basis": found.weight_basis,
                "exposures": found.exposures,
                "realized_vol_21d": found.realized_vol_21d,
                "realized_vol_63d": found.realized_vol_63d,
            },
        }


def onboard(
    services: Services,
    name: str,
    lots: Sequence[Lot],
    equity: Equity,
    as_of: date,
    *,
    force: Force = Force(),
    unpriced: Sequence[Lot] = (),
    say: Say,
    started: float,
) -> Onboarding:
    """Store the portfolio and compute what it lacks; `started` is when the command began (time.perf_counter).

    The lots that are `unpriced` get the close of their entry session as their entry price, once it is known.

    Raises BlockFailedError, also if another command replaced the portfolio meanwhile; what was computed stays.
    """
    with services.database.write() as connection:
        services.fix_first_date(connection, as_of)
        stored = portfolios.store(connection, name, lots, equity, as_of)
    count = "1 lot" if len(lots) == 1 else f"{len(lots):,} lots"
    say(f"{'Stored' if stored.new else 'Known'}: portfolio {name}, {count}")
    tally = compute(services, [name], as_of, force=force, say=say)
    if unpriced:
        with services.database.write() as connection:
            closes = assumptions.closes(connection, unpriced, as_of)
            portfolios.set_entry_prices(connection, stored.portfolio, closes)
    with services.database.read() as connection:
        found = _read_own(connection, services, stored.portfolio, as_of, tally.waiting)
        for misfit in entry_prices.misfits(connection, stored.portfolio):
            say(str(misfit))
    return Onboarding(name, as_of, len(lots), tally, time.perf_counter() - started, found)


def _read_own(
    connection: Connection, services: Services, own: Portfolio, as_of: date, waiting: Mapping[str, str]
) -> Risk:
    """Read the risk of the very portfolio that was stored; raises BlockFailedError if it is no longer there."""
    now = portfolios.load(connection, [own.name])
    if [one.id for one in now] != [own.id]:
        what = "replaced by other lots" if now else "deleted"
        raise BlockFailedError(f"portfolio {own.name} was {what} while it was computed: onboard it again")
    found = risk.read(connection, own, services.model, as_of)
    if found is None and waiting:
        raise BlockFailedError(
            f"portfolio {own.name} is stored; its risk waits for prices of {listed(list(waiting))}: "
            "ask again later with sigma refresh"
        )
    if found is None:
        raise BlockFailedError(f"rows of portfolio {own.name} were deleted while it was computed: onboard it again")
    return found
