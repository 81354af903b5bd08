"""Reading a portfolio's risk numbers, as `sigma show` and `sigma onboard` print them."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from resources.database.tables import portfolio, portfolio_factor_exposure, portfolio_volatility


@dataclass(frozen=True)
class Risk:
    """The risk of one portfolio as of one session; volatilities are annualised decimals, None is not known."""

    as_of: date
    weight_basis: str | None
    weight_coverage: float | None
    exposures: dict[str, float | None]
    realized_vol_21d: float | None
    realized_vol_63d: float | None
    reason: str | None  # why numbers are not known


def read(connection: Connection, name: str, model: FactorModel, up_to: date | None = None) -> Risk | None:
    """Read the newest risk of a portfolio, of a session up to the date; None if nothing was computed."""
    exposure, volatility = portfolio_factor_exposure, portfolio_volatility
    query = (
        sa.select(exposure, volatility)
        .join_from(exposure, portfolio)
        .join(
            volatility,
            (volatility.c.portfolio_id == exposure.c.portfolio_id) & (volatility.c.session == exposure.c.session),
        )
        .where(portfolio.c.name == name, exposure.c.model == model.key)
        .order_by(exposure.c.session.desc())
        .limit(1)
    )
    if up_to is not None:
        query = query.where(exposure.c.session <= up_to)
    row: Any = connection.execute(query).first()
    if row is None:
        return None
    reasons = [text for text in (row._mapping[exposure.c.reason], row._mapping[volatility.c.reason]) if text]
    return Risk(
        as_of=row._mapping[exposure.c.session],
        weight_basis=row._mapping[exposure.c.weight_basis],
        weight_coverage=row._mapping[exposure.c.weight_coverage],
        exposures={factor: row._mapping[exposure.c[f"exposure_{factor}"]] for factor in model.factor_names},
        realized_vol_21d=row._mapping[volatility.c.realized_vol_21d],
        realized_vol_63d=row._mapping[volatility.c.realized_vol_63d],
        reason="; ".join(reasons) or None,
    )
