"""The asset `portfolio_factor_exposures`: how each portfolio moves with each factor, and where its risk comes from."""

from functools import partial

import dagster as dg

from assets.factor_models import FactorModel
from assets.shared import factor_risk, portfolio_rows
from assets.shared.definition import Frame, table_asset
from assets.shared.factor_risk import Windows
from assets.shared.portfolio_columns import exposure_columns, joined
from assets.shared.portfolio_rows import PortfolioResult
from assets.shared.run_block import BlockConfig, onboarding_numbers
from assets.shared.valuation import Books
from resources.database import results
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.prices import Reader
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
        price_reader: dg.ResourceParam[Reader],
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.MaterializeResult[None]:
        # A book without public symbols may be the first that anybody computes with the model.
        with database.write() as connection:
            results.register_model(connection, factor_model.key, factor_model.definition, factor_model.proxies)
        return portfolio_rows.materialize(
            context, config, database, price_reader, result(factor_model), onboarding_numbers(context)
        )

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


def _compute(windows: Windows, books: Books) -> Columns:
    model = windows.model
    stored = books.exposures(model.key, model.factor_names)
    return joined(
        [exposure_columns(model, book, factor_risk.measure(book, stored.of(book), windows)) for book in books]
    )
