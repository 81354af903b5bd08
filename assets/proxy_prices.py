"""The asset `proxy_prices`: the prices of the factor model's proxies, which every regression of a session rests on.

Bought like those of held symbols (`assets.daily_prices`), into the same table; a symbol that is both is fetched once.
"""

import dagster as dg

from assets.daily_prices import POOL, Buyer, freshness, materialize
from assets.factor_models import FactorModel
from assets.shared.definition import Frame, table_asset
from assets.shared.run_block import BlockConfig
from resources.clock import Clock
from resources.database import results
from resources.database.engine import Database
from resources.sources.base import PriceSource


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset; sessions before the first partition are stored as look-back and are no partitions."""

    @table_asset(
        "proxy_prices",
        frame,
        pool=POOL,
        freshness_policy=freshness(frame),
        description=(
            "One row is the closing price of one factor proxy on one session, or the knowledge that the source has "
            "none. The returns of the factors are made from them; proxies have betas and volatility only if they are "
            "held as well."
        ),
    )
    def proxy_prices(
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        price_source: dg.ResourceParam[PriceSource],
        factor_model: dg.ResourceParam[FactorModel],
        clock: dg.ResourceParam[Clock],
    ) -> dg.MaterializeResult[None]:
        with database.write() as connection:
            results.register_model(connection, factor_model.key, factor_model.definition, factor_model.proxies)
        return materialize(context, config, frame, Buyer(database, price_source, clock, factor_model.proxies))

    return proxy_prices
