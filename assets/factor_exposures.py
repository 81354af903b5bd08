"""The asset `factor_exposures`: how each symbol moves with each factor of the model (betas)."""

from functools import partial

import dagster as dg

from assets.factor_models import FactorModel
from assets.shared import symbol_rows
from assets.shared.definition import Frame, table_asset
from assets.shared.fit_columns import fit_columns
from assets.shared.run_block import BlockConfig
from assets.shared.symbol_rows import SymbolResult
from resources.database import results
from resources.database.engine import Database
from resources.database.prices import Reader
from resources.database.tables import factor_exposure


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset."""

    @table_asset(
        "factor_exposures",
        frame,
        description=(
            "One row is the regression of one symbol's returns on the factors of the model, over the 252 sessions up "
            "to a session: betas, standard errors, fit and quality, or the reason why there is none. Computed once "
            "for all portfolios; a corrected price deletes the rows it made wrong."
        ),
    )
    def factor_exposures(
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        price_reader: dg.ResourceParam[Reader],
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.MaterializeResult[None]:
        with database.write() as connection:
            results.register_model(connection, factor_model.key, factor_model.definition, factor_model.proxies)
        return symbol_rows.materialize(
            context, config, database, price_reader, result(factor_model, replace=config.force)
        )

    return factor_exposures


def result(model: FactorModel, *, replace: bool) -> SymbolResult:
    """Say how rows of `factor_exposure` come about."""
    return SymbolResult(
        table=factor_exposure,
        row="factor exposure",
        rows="factor exposures",
        existing="factor betas",
        cached="betas",
        fixed={"model": model.key},
        shown=("beta_market", "r_squared", "n_obs", "quality", "reason"),
        inputs=model.proxies,
        compute=partial(fit_columns, model),
        store=partial(results.store_exposures, replace=replace),
    )
