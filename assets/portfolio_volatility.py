"""The asset `portfolio_volatility`: how much each portfolio moves with its weights of the day, and may lose in one."""

import dagster as dg

from assets.shared import portfolio_rows
from assets.shared.definition import Frame, table_asset
from assets.shared.portfolio_columns import movement_columns
from assets.shared.portfolio_rows import PortfolioResult
from assets.shared.run_block import BlockConfig
from resources.database.engine import Database
from resources.database.prices import Reader
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
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        price_reader: dg.ResourceParam[Reader],
    ) -> dg.MaterializeResult[None]:
        return portfolio_rows.materialize(context, config, database, price_reader, RESULT)

    return portfolio_volatility


RESULT = PortfolioResult(
    table=table,
    row="portfolio volatility",
    fixed={},
    shown=("realized_vol_21d", "forecast_vol_21d", "var_95_1d", "reason"),
    inputs=(),
    compute=movement_columns,
)
