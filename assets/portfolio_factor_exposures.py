"""The asset `portfolio_factor_exposures`: how each portfolio moves with each factor, and where its risk comes from."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics import portfolio, regression
from assets.numerics.risk import NO_SPLIT_UNIVARIATE
from assets.shared import portfolio_rows, valuation
from assets.shared.definition import Frame, table_asset
from assets.shared.portfolio_rows import PortfolioResult
from assets.shared.run_block import BlockConfig, onboarding_numbers
from assets.shared.valuation import SymbolExposures, Valuation
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.tables import portfolio_factor_exposure


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset."""

    @table_asset(
        "portfolio_factor_exposures",
        frame,
        description=(
            "One row is one portfolio on one session: its exposure to each factor (its symbols' betas, weighted by "
            "value), how much of its value they cover, and how its variance splits. The metadata carry the numbers of "
            "the onboarding that asked for it. Computed when a session or a portfolio is new."
        ),
    )
    def portfolio_factor_exposures(
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.MaterializeResult[None]:
        return portfolio_rows.materialize(context, config, database, result(factor_model), onboarding_numbers(context))

    return portfolio_factor_exposures


def result(model: FactorModel) -> PortfolioResult:
    """Say how rows of `portfolio_factor_exposure` come about."""
    return PortfolioResult(
        table=portfolio_factor_exposure,
        row="portfolio factor exposure",
        fixed={"model": model.key},
        shown=("market_total", "exposure_market", "weight_coverage", "split_ratio", "quality", "reason"),
        inputs=model.proxies,
        compute=partial(_compute, model),
    )


def _compute(model: FactorModel, connection: Connection, loaded: Valuation) -> Columns:
    weights = loaded.weights
    own = valuation.load_exposures(connection, loaded, model.key, model.factor_names)
    exposures = portfolio.expose(weights, own.beta, own.se, own.market_total, own.quality)
    columns: dict[str, Any] = {"model": [model.key] * len(loaded.sessions)}
    for k, name in enumerate(model.factor_names):
        columns[f"exposure_{name}"] = exposures.exposure[:, k]
        columns[f"se_{name}"] = exposures.se[:, k]
    for name in ("weight_basis", "entry_share", "stale_share", "gross", "net", "denominator"):
        columns[name] = getattr(weights, name)
    for name in ("market_total", "weight_coverage", "reason"):
        columns[name] = getattr(exposures, name)
    columns["quality"] = regression.QUALITY_LABELS[exposures.quality]
    return {**columns, **_split_columns(model, loaded, own, columns["reason"])}


def _split_columns(
    model: FactorModel, loaded: Valuation, own: SymbolExposures, reason: Sequence[str | None]
) -> Columns:
    split = valuation.split_risk(loaded, own, model, loaded.panel)
    if split is None:
        # The exposures are there; only what they cannot be added up to is missing, and this says why.
        return {"reason": [why or NO_SPLIT_UNIVARIATE for why in reason]}
    columns: dict[str, Any] = {
        "share_specific": split.specific,
        "r_squared": 1 - split.specific,
        "split_vol": split.split_vol,
        "split_ratio": split.split_ratio,
    }
    for k, name in enumerate(model.factor_names):
        columns[f"share_{name}"] = split.by_factor[:, k]
    return columns
