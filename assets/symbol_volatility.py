"""The asset `symbol_volatility`: how much each symbol moves, has moved, and is expected to move."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.numerics import volatility
from assets.numerics.returns import simple_returns
from assets.shared import symbol_rows
from assets.shared.definition import Frame, table_asset
from assets.shared.run_block import BlockConfig
from assets.shared.symbol_rows import SymbolResult
from assets.shared.volatility_columns import volatility_columns
from resources.database import results
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.prices import PricePanel, Reader
from resources.database.tables import symbol_volatility as table


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset."""

    @table_asset(
        "symbol_volatility",
        frame,
        description=(
            "One row is the volatility of one symbol as of one session, annualised: realized over 21 and 63 sessions, "
            "exponentially weighted, forecast for the next 21, trend and percentile, or the reason why there is none."
        ),
    )
    def symbol_volatility(
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        price_reader: dg.ResourceParam[Reader],
    ) -> dg.MaterializeResult[None]:
        return symbol_rows.materialize(context, config, database, price_reader, RESULT)

    return symbol_volatility


def _compute(panel: PricePanel, symbols: Sequence[str], targets: Sequence[int]) -> Columns:
    returns = simple_returns(panel.close, panel.dividend, panel.split)
    found = volatility.volatility(returns[:, panel.columns(symbols)], targets)
    columns: dict[str, Any] = {
        "symbol": [symbol for symbol in symbols for _ in targets],
        "session": [panel.sessions[t].isoformat() for t in targets] * len(symbols),
    }
    return {**columns, **volatility_columns(found)}


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
