"""Everything that Dagster shows and runs, put together from the parts of the environment."""

import dagster as dg
from dagster._utils.warnings import disable_dagster_warnings

from assets import (
    checks,
    daily_prices,
    factor_exposures,
    partitions,
    portfolio_factor_exposures,
    portfolio_volatility,
    positions,
    symbol_volatility,
)
from sigma_dagster.environment import Environment
from sigma_dagster.jobs import build_jobs
from sigma_dagster.schedules import build_schedules
from sigma_dagster.sensors import new_portfolio


def build_defs(env: Environment) -> dg.Definitions:
    """Make fresh definitions over the parts that the environment names; tests bring their own parts."""
    # Dagster calls backfill policies and multi-partition mappings beta: nothing a user of ours can act upon.
    with disable_dagster_warnings():
        jobs = build_jobs()
        return dg.Definitions(
            assets=_assets(env),
            asset_checks=checks.build_checks(),
            jobs=jobs,
            sensors=[new_portfolio(env, jobs)],
            schedules=build_schedules(env),
            resources={"database": env.database, "price_source": env.source, "factor_model": env.model},
            executor=dg.in_process_executor,
        )


def _assets(env: Environment) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    dates = partitions.date_partitions(env.settings.start_date, env.source.latest_session())
    by_symbol = partitions.symbol_date_partitions(dates)
    by_portfolio = partitions.portfolio_date_partitions(dates)
    return [
        positions.asset,
        daily_prices.asset(by_symbol, env.settings.start_date, live=env.source.latest_session() is None),
        factor_exposures.asset(by_symbol),
        symbol_volatility.asset(by_symbol),
        portfolio_factor_exposures.asset(by_portfolio),
        portfolio_volatility.asset(by_portfolio),
    ]
