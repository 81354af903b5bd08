"""Everything that Dagster shows and runs, put together from the parts of the environment."""

from collections.abc import Iterator
from importlib import import_module

import dagster as dg
from dagster._utils.warnings import disable_dagster_warnings

from assets import checks, partitions, positions
from assets.catalogue import ASSETS
from assets.shared.definition import Frame
from resources.database.engine import Database
from sigma_dagster.orchestration.jobs import build_jobs
from sigma_dagster.orchestration.schedules import build_schedules
from sigma_dagster.orchestration.sensors import new_portfolio
from sigma_dagster.runs import liveness
from sigma_dagster.services import Services


def build_defs(services: Services) -> dg.Definitions:
    """Make fresh definitions over the parts that the environment names; tests bring their own parts."""
    # Dagster calls backfill policies and multi-partition mappings beta: nothing a user of ours can act upon.
    with disable_dagster_warnings():
        jobs = build_jobs()
        return dg.Definitions(
            assets=_assets(services),
            asset_checks=checks.build_checks(live=services.source.latest_session() is None),
            jobs=jobs,
            sensors=[new_portfolio(services, jobs)],
            schedules=build_schedules(services),
            resources={
                "database": _database(services),
                "price_source": services.source,
                "factor_model": services.model,
                "clock": services.clock,
            },
            executor=dg.in_process_executor,
        )


def _database(services: Services) -> dg.ResourceDefinition:
    """Give the runs their database; while one has it, the run counts as being executed (`liveness`)."""

    @dg.resource(description="The database of prices, results and portfolios.")
    def database(context: dg.InitResourceContext) -> Iterator[Database]:
        run, instance = context.run, context.instance
        if run is None or instance is None or liveness.is_own(run.run_id):
            yield services.database  # the command line looks after its runs itself
        else:
            instance.add_run_tags(run.run_id, liveness.host_tags(run.run_id))
            with liveness.alive(services.settings.dagster_home, run.run_id):
                yield services.database

    return database


def _assets(services: Services) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    last, first = services.source.latest_session(), services.settings.start_date
    frame = Frame(partitions.by_dimension(partitions.date_partitions(first, last)), first, live=last is None)
    return [positions.asset, *(import_module(f"assets.{asset.name}").asset(frame) for asset in ASSETS)]
