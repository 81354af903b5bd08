"""One number of a portfolio over its stored sessions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Float

from assets.factor_models import FactorModel
from resources.database.portfolios import Portfolio
from resources.database.tables import portfolio_factor_exposure, portfolio_volatility

_COLUMNS = {
    column.name: column
    for table in (portfolio_volatility, portfolio_factor_exposure)
    for column in table.c
    if isinstance(column.type, Float)
}


class MetricError(ValueError):
    """A metric that there is not; the message lists those that there are."""

    def __init__(self, metric: str, known: Sequence[str]) -> None:
        super().__init__(f"metric {metric!r} is none of {', '.join(known)}")
        self.metric = metric
        self.known = known


@dataclass(frozen=True)
class History:
    """A metric by session, ascending; None is not known."""

    portfolio: str
    metric: str
    values: tuple[tuple[date, float | None], ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        rows = [{"session": day.isoformat(), "value": value} for day, value in self.values]
        return {"portfolio": self.portfolio, "metric": self.metric, "history": rows}


def metrics(model: FactorModel) -> list[str]:
    """Name the metrics: the numbers of both portfolio tables, by factor those of the model's."""
    prefixes = ("exposure_", "se_", "share_")
    of_factors = {f"{prefix}{factor}" for prefix in prefixes for factor in model.factor_names} | {"share_specific"}
    return [name for name in _COLUMNS if not name.startswith(prefixes) or name in of_factors]


def read(connection: Connection, one: Portfolio, model: FactorModel, metric: str, up_to: date | None = None) -> History:
    """Read a metric of a stored portfolio, up to a date; raises MetricError."""
    known = metrics(model)
    if metric not in known:
        raise MetricError(metric, known)
    column = _COLUMNS[metric]
    table = column.table
    query = sa.select(table.c.session, column).where(table.c.portfolio_id == one.id).order_by(table.c.session)
    if "model" in table.c:
        query = query.where(table.c.model == model.key)
    if up_to is not None:
        query = query.where(table.c.session <= up_to)
    return History(one.name, metric, tuple((day, value) for day, value in connection.execute(query)))
