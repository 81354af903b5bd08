"""The asset `portfolio_volatility`: how much each portfolio moves with its weights of the day, and may lose in one."""

from typing import Any

import dagster as dg
import numpy as np
from sqlalchemy import Connection

from assets import portfolio_results
from assets.block import BlockConfig
from assets.book import Book
from assets.numerics import risk, volatility
from assets.portfolio_factor_exposures import all_symbols
from assets.portfolio_results import Columns, PortfolioResult
from assets.symbol_volatility import number_columns
from resources.database.engine import Database
from resources.database.tables import portfolio_volatility as table


def asset(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """Make the asset."""

    @dg.asset(
        name="portfolio_volatility",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            dg.AssetDep("symbol_volatility", partition_mapping=all_symbols()),
            dg.AssetDep("daily_prices", partition_mapping=all_symbols()),
            "positions",
        ],
        group_name="portfolio_risk",
        kinds={"sql"},
        owners=["team:portfolio-risk"],
        code_version="1",
        description=(
            "One row is one portfolio on one session: volatility and value at risk of the returns that its weights of "
            "that session would have had. Computed when a session or a portfolio is new."
        ),
    )
    def portfolio_volatility(
        context: dg.AssetExecutionContext, config: BlockConfig, database: dg.ResourceParam[Database]
    ) -> dg.MaterializeResult[None]:
        return portfolio_results.materialize(context, config, database, RESULT)

    return portfolio_volatility


def _compute(_connection: Connection, loaded: Book) -> Columns:
    # A series a session: each has its own weights, so each is as of its last return.
    last = [len(loaded.series.returns) - 1]
    found = volatility.volatility(loaded.series.returns, last)
    at_risk = risk.value_at_risk(loaded.series, found.forecast_vol_21d[0])
    columns: dict[str, Any] = number_columns(found)
    for name in ("var_95_1d", "var_99_1d", "var_95_1d_normal", "var_99_1d_normal"):
        columns[name] = getattr(at_risk, name)
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
