"""Everything that Dagster shows and runs, put together from the parts of the environment."""

import gc
from datetime import UTC, date, datetime
from importlib import import_module

import dagster as dg
from dagster._utils.warnings import disable_dagster_warnings

from assets import checks, onboardings, partitions, portfolio_report, positions
from assets.catalogue import ASSETS
from assets.shared.definition import Frame
from resources.database.engine import Database
from resources.database.prices import Reader
from sigma_dagster.orchestration import alerts, reports
from sigma_dagster.orchestration.jobs import build_jobs
from sigma_dagster.orchestration.schedules import build_schedules
from sigma_dagster.orchestration.sensors import new_portfolio
from sigma_dagster.runs import claims, liveness
from sigma_dagster.services import Services

# What was imported until here, half a million objects, lives as long as the process: collecting garbage among it took
# a tenth of a new session's time.
gc.freeze()

#: The first day of partitions, and the last, if the source has one.
Span = tuple[date, date | None]


def span(services: Services) -> Span:
    """Give the days of which there are partitions."""
    return services.first_date(services.as_of(None, datetime.now(UTC))), services.source.latest_session()


def build_defs(services: Services, reader: Reader | dg.ResourceDefinition | None = None) -> dg.Definitions:
    """Make fresh definitions over the parts that the environment names; tests bring their own parts.

    One reader of prices serves all runs, unless a resource makes one for each.
    """
    # Dagster calls backfill policies and multi-partition mappings beta: nothing a user of ours can act upon.
    with disable_dagster_warnings():
        jobs, reports_job = build_jobs(), reports.job()
        return dg.Definitions(
            assets=_assets(services),
            asset_checks=checks.build_checks(live=services.source.latest_session() is None),
            jobs=[*jobs, reports_job],
            sensors=[new_portfolio(services, jobs), reports.sensor(services, reports_job), *_alerts(services)],
            schedules=build_schedules(services),
            resources={
                "database": _database(services),
                "price_reader": reader or Reader(),
                "price_source": services.source,
                "factor_model": services.model,
                "clock": services.clock,
                "reporter": _reporter(services),
            },
            executor=dg.in_process_executor,
        )


def _database(services: Services) -> dg.ResourceDefinition:
    """Give the runs their database, and show from then on that this process executes them (`liveness`)."""

    @dg.resource(description="The database of prices, results and portfolios.")
    def database(context: dg.InitResourceContext) -> Database:
        run, instance = context.run, context.instance
        # The command line looks after its runs itself.
        if run is not None and instance is not None and run.run_id not in liveness.own():
            claims.begin(instance, services, run.run_id)
            claims.name_partitions(instance, run, services.as_of(None, services.clock.now()))
        return services.database

    return database


def _alerts(services: Services) -> list[dg.SensorDefinition]:
    wanted = services.settings.alerts
    return [alerts.sensor(wanted)] if wanted.wanted else []


def _reporter(services: Services) -> dg.ResourceDefinition:
    @dg.resource(description="Makes the pages of portfolios.")
    def reporter() -> portfolio_report.Reporter:
        # Half a second of imports that only this asset's runs need.
        from sigma_dagster.analysis.report.reporter import StoredReporter

        return StoredReporter(services)

    return reporter


def _assets(services: Services) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    first, last = span(services)
    frame = Frame(partitions.by_dimension(partitions.date_partitions(first, last)), first, live=last is None)
    made = [import_module(f"assets.{asset.name}").asset(frame) for asset in ASSETS]
    return [positions.asset, *made, portfolio_report.asset(), onboardings.asset]
