"""The asset `portfolio_factor_exposures`: how each portfolio moves with each factor, and where its risk comes from."""

from functools import partial
from typing import Any

import dagster as dg
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics import regression
from assets.numerics.risk import NO_SPLIT_UNIVARIATE, RiskSplit
from assets.shared import factor_risk, portfolio_rows, valuation
from assets.shared.definition import Frame, table_asset
from assets.shared.factor_risk import Windows
from assets.shared.portfolio_rows import PortfolioResult
from assets.shared.run_block import BlockConfig, onboarding_numbers
from assets.shared.valuation import Valuation
from resources.database import results
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
        # A book without public symbols may be the first that anybody computes with the model.
        with database.write() as connection:
            results.register_model(connection, factor_model.key, factor_model.definition, factor_model.proxies)
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
        compute=partial(_compute, Windows(model)),
    )


def _compute(windows: Windows, connection: Connection, loaded: Valuation) -> Columns:
    model = windows.model
    own = valuation.load_exposures(connection, loaded, model.key, model.factor_names)
    found = factor_risk.measure(loaded, own, windows)
    columns: dict[str, Any] = {"model": [model.key] * len(loaded.sessions)}
    for k, name in enumerate(model.factor_names):
        columns[f"exposure_{name}"] = found.exposures.exposure[:, k]
        columns[f"se_{name}"] = found.standard_errors[:, k]
    for name in ("weight_basis", "entry_share", "stale_share", "gross", "net", "denominator"):
        columns[name] = getattr(loaded.weights, name)
    for name in ("market_total", "weight_coverage", "reason"):
        columns[name] = getattr(found.exposures, name)
    columns["quality"] = regression.QUALITY_LABELS[found.exposures.quality]
    if found.split is None and not loaded.public:
        return columns
    if found.split is None:
        # The exposures are there; only what they cannot be added up to is missing, and this says why.
        return {**columns, "reason": [why or NO_SPLIT_UNIVARIATE for why in columns["reason"]]}
    return {**columns, **_split_columns(model, found.split)}


def _split_columns(model: FactorModel, split: RiskSplit) -> Columns:
    columns: dict[str, Any] = {f"share_{name}": split.now.by_factor[:, k] for k, name in enumerate(model.factor_names)}
    return {
        **columns,
        "share_specific": split.now.specific,
        "split_vol": split.now.vol,
        "split_vol_equal_weighted": split.equal_weighted.vol,
        "r_squared": split.r_squared,
        "diversifiable_share": split.diversifiable_share,
        "split_ratio": split.split_ratio,
    }
