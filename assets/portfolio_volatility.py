"""The asset `portfolio_volatility`: how much each portfolio moves with its weights of the day, and may lose in one."""

from typing import Any

import dagster as dg
import numpy as np
from sqlalchemy import Connection

from assets.numerics import volatility
from assets.numerics.value_at_risk import LOSSES, value_at_risk
from assets.shared import portfolio_rows
from assets.shared.definition import Frame, table_asset
from assets.shared.portfolio_rows import PortfolioResult
from assets.shared.run_block import BlockConfig
from assets.shared.valuation import Valuation
from assets.shared.volatility_columns import volatility_columns
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.tables import portfolio_volatility as table


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset."""

    @table_asset(
        "portfolio_volatility",
        frame,
        description=(
            "One row is one portfolio on one session: volatility and value at risk of the returns that its weights of "
            "that session would have had. Computed when a session or a portfolio is new."
        ),
    )
    def portfolio_volatility(
        context: dg.AssetExecutionContext, config: BlockConfig, database: dg.ResourceParam[Database]
    ) -> dg.MaterializeResult[None]:
        return portfolio_rows.materialize(context, config, database, RESULT)

    return portfolio_volatility


def _compute(_connection: Connection, loaded: Valuation) -> Columns:
    # A series a session: each has its own weights, so each is as of its last return.
    last = [len(loaded.series.returns) - 1]
    found = volatility.volatility(loaded.series.returns, last)
    at_risk = value_at_risk(loaded.series.returns, found.forecast_vol_21d[0])
    columns: dict[str, Any] = volatility_columns(found)
    for name in LOSSES:
        columns[name] = getattr(at_risk, name)
    columns["return_1d"] = loaded.returns_1d()
    columns["return_coverage"] = loaded.series.return_coverage
    columns["low_coverage"] = loaded.series.low_coverage(np.ones(len(loaded.sessions))).astype(int)
    reasons = zip(loaded.weights.reason, columns["reason"], at_risk.reason, strict=True)
    columns["reason"] = [why or "; ".join(filter(None, missing)) or None for why, *missing in reasons]
    return columns


RESULT = PortfolioResult(
    table=table,
    row="portfolio volatility",
    fixed={},
    shown=("realized_vol_21d", "forecast_vol_21d", "var_95_1d", "reason"),
    inputs=(),
    compute=_compute,
)
