"""Bringing a portfolio in: store it, compute what it lacks, report what that took and the risk."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from assets.shared.look_back import listed
from resources.database import portfolios
from resources.database.portfolios import Lot
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration.compute import Say, compute
from sigma_dagster.planning.planner import Force
from sigma_dagster.planning.work import Tally
from sigma_dagster.portfolio import risk
from sigma_dagster.portfolio.risk import Risk
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
    equity: float | None,
    as_of: date,
    *,
    force: Force = Force(),
    say: Say,
    started: float,
) -> Onboarding:
    """Store the portfolio and compute what it lacks; `started` is when the command began (time.perf_counter).

    Raises BlockFailedError; the portfolio and whatever was computed before stay.
    """
    with services.database.write() as connection:
        stored = portfolios.store(connection, name, lots, equity, as_of)
    say(f"{'Stored' if stored else 'Known'}: portfolio {name}, {len(lots)} positions")
    tally = compute(services, [name], as_of, force=force, say=say)
    with services.database.read() as connection:
        found = risk.read(connection, name, services.model, as_of)
    if found is None and tally.waiting:
        raise BlockFailedError(
            f"portfolio {name} is stored; its risk waits for prices of {listed(list(tally.waiting))}: "
            "ask again later with sigma refresh"
        )
    if found is None:
        raise BlockFailedError(f"portfolio {name} was replaced or deleted while it was computed: onboard it again")
    return Onboarding(name, as_of, len(lots), tally, time.perf_counter() - started, found)
