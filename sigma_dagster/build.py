"""Everything that Dagster shows and runs, put together from the parts of the environment."""

from collections.abc import Iterator

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
from resources.database.engine import Database
from sigma_dagster import liveness
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
            asset_checks=checks.build_checks(live=env.source.latest_session() is None),
            jobs=jobs,
            sensors=[new_portfolio(env, jobs)],
            schedules=build_schedules(env),
            resources={
                "database": _database(env),
                "price_source": env.source,
                "factor_model": env.model,
                "clock": env.clock,
            },
            executor=dg.in_process_executor,
        )


def _database(env: Environment) -> dg.ResourceDefinition:
    """Give the runs their database; while one has it, the run counts as being executed (`liveness`)."""

    @dg.resource(description="The database of prices, results and portfolios.")
    def database(context: dg.InitResourceContext) -> Iterator[Database]:
        run, instance = context.run, context.instance
        if run is None or instance is None or liveness.is_own(run.run_id):
            yield env.database  # the command line looks after its runs itself
        else:
            instance.add_run_tags(run.run_id, liveness.host_tags(run.run_id))
            with liveness.alive(env.settings.dagster_home, run.run_id):
                yield env.database

    return database


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
