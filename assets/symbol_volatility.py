"""The asset `symbol_volatility`: how much each symbol moves, has moved, and is expected to move."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import numpy as np

from assets import symbol_results
from assets.block import BlockConfig
from assets.numerics import volatility
from assets.numerics.constants import FORECAST_MODEL
from assets.numerics.returns import simple_returns
from assets.symbol_results import Columns, SymbolResult
from resources.database import results
from resources.database.engine import Database
from resources.database.prices import PricePanel
from resources.database.tables import symbol_volatility as table


def asset(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """Make the asset."""

    @dg.asset(
        name="symbol_volatility",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=["daily_prices"],
        group_name="symbol_risk",
        kinds={"sql"},
        owners=["team:risk"],
        code_version="1",
        description=(
            "One row is the volatility of one symbol as of one session, annualised: realized over 21 and 63 sessions, "
            "exponentially weighted, forecast for the next 21, trend and percentile, or the reason why there is none."
        ),
    )
    def symbol_volatility(
        context: dg.AssetExecutionContext, config: BlockConfig, database: dg.ResourceParam[Database]
    ) -> dg.MaterializeResult[None]:
        return symbol_results.materialize(context, config, database, RESULT)

    return symbol_volatility


def number_columns(found: volatility.Volatility) -> dict[str, Any]:
    """Give volatility, shape (sessions, series), as table columns in series-major order."""
    names = ("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d", "vol_trend", "vol_trend_p")
    columns = {name: getattr(found, name).T.ravel() for name in (*names, "vol_percentile", "n_obs", "reason")}
    model = [FORECAST_MODEL if known else None for known in np.isfinite(columns["forecast_vol_21d"])]
    return {**columns, "forecast_model": model}


def _compute(panel: PricePanel, symbols: Sequence[str], targets: Sequence[int]) -> Columns:
    returns = simple_returns(panel.close, panel.dividend, panel.split)
    found = volatility.volatility(returns[:, panel.columns(symbols)], targets)
    columns: dict[str, Any] = {
        "symbol": [symbol for symbol in symbols for _ in targets],
        "session": [panel.sessions[t].isoformat() for t in targets] * len(symbols),
    }
    return {**columns, **number_columns(found)}


RESULT = SymbolResult(
    table=table,
    row="volatility",
    rows="volatility",
    existing="volatility",
    cached="volatility",
    fixed={},
    shown=("realized_vol_21d", "forecast_vol_21d", "reason"),
    inputs=(),
    compute=_compute,
    store=results.store_volatility,
)
