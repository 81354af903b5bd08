"""The asset `factor_exposures`: how each symbol moves with each factor of the model (betas)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg
import numpy as np

from assets.factor_models import FactorModel
from assets.numerics import regression
from assets.numerics.arrays import BoolArray
from assets.numerics.returns import outliers, simple_returns
from assets.shared import symbol_rows
from assets.shared.definition import Frame, table_asset
from assets.shared.run_block import BlockConfig
from assets.shared.symbol_rows import SymbolResult
from resources.database import results
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.prices import PricePanel
from resources.database.tables import FACTORS, factor_exposure


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
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.MaterializeResult[None]:
        with database.write() as connection:
            results.register_model(connection, factor_model.key, factor_model.definition, factor_model.proxies)
        return symbol_rows.materialize(context, config, database, result(factor_model, replace=config.force))

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
        compute=partial(_compute, model),
        store=partial(results.store_exposures, replace=replace),
    )


def _compute(model: FactorModel, panel: PricePanel, symbols: Sequence[str], targets: Sequence[int]) -> Columns:
    returns = simple_returns(panel.close, panel.dividend, panel.split)
    doubted = outliers(returns, panel.split)
    of_factors: BoolArray = np.any(doubted[:, panel.columns(model.proxies)], axis=1, keepdims=True)
    fits = regression.fit(
        returns[:, panel.columns(symbols)],
        model.factor_returns(returns, panel.symbols),
        targets,
        factor_names=model.factor_names,
        method=model.method,
        window=model.window,
        min_obs=model.min_obs,
        outliers=doubted[:, panel.columns(symbols)] | of_factors,
    )
    columns: dict[str, Any] = {
        "symbol": [symbol for symbol in symbols for _ in targets],
        "session": [panel.sessions[t].isoformat() for t in targets] * len(symbols),
        "model": [model.key] * (len(symbols) * len(targets)),
    }
    for name in FACTORS:
        if name in model.factor_names:
            k = model.factor_names.index(name)
            columns[f"beta_{name}"] = fits.beta[:, :, k].T.ravel()
            columns[f"se_{name}"] = fits.se[:, :, k].T.ravel()
    for name in ("market_total", "r_squared", "residual_vol", "n_obs", "reason"):
        columns[name] = getattr(fits, name).T.ravel()
    columns["condition"] = fits.condition.tolist() * len(symbols)
    columns["max_vif"] = fits.max_vif.tolist() * len(symbols)
    columns["quality"] = regression.QUALITY_LABELS[fits.quality].T.ravel()
    return columns
