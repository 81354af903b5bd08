"""The schedules: they alone buy new sessions. Both ask the planner; the sensor does what follows from them."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from resources import calendar
from resources.database import portfolios
from resources.sources.base import PriceSource
from sigma_dagster.orchestration.sensors import request_blocks
from sigma_dagster.runs import claims
from sigma_dagster.runs.request import DEFER_TAG
from sigma_dagster.services import Services

Ticks = list[dg.RunRequest] | dg.SkipReason

#: A quarter of an hour after the session counts as complete (`calendar.CUT_OFF`), half-days too; later that evening and
#: the next morning again, for what was not there yet and for a daemon that did not run.
AFTER_CLOSE = ("15 17 * * 1-5", "15 21 * * 1-5", "15 7 * * 2-6")
OFF_PEAK = "30 3 * * 1-5"

#: Dagster's own job of all assets: a schedule has one job, and ours are one for each kind of key.
EVERY_ASSET = IMPLICIT_ASSET_JOB_NAME


def build_schedules(services: Services) -> list[dg.ScheduleDefinition]:
    """Make the schedules; off until switched on, but that of a source that follows the market."""
    live = services.source.latest_session() is None

    @dg.schedule(
        name="daily_refresh",
        cron_schedule=list(AFTER_CLOSE),
        default_status=dg.DefaultScheduleStatus.RUNNING if live else dg.DefaultScheduleStatus.STOPPED,
        execution_timezone=calendar.NEW_YORK.key,
        job_name=EVERY_ASSET,
        description="Buys the session that just ended for all held symbols and the factors, and computes it.",
    )
    def daily_refresh(context: dg.ScheduleEvaluationContext) -> Ticks:
        return _evaluate(services, context, "daily_refresh", [], "")

    @dg.schedule(
        name="preload",
        cron_schedule=OFF_PEAK,
        execution_timezone=calendar.NEW_YORK.key,
        job_name=EVERY_ASSET,
        description="Computes the symbols of SIGMA_PRELOAD_SYMBOLS before anybody holds them.",
    )
    def preload(context: dg.ScheduleEvaluationContext) -> Ticks:
        watched, unknown = services.watched_symbols()
        remark = f"; not in {services.source.title}: {', '.join(unknown)}" if unknown else ""
        return _evaluate(services, context, "preload", watched, remark)

    return [daily_refresh, preload]


def _evaluate(
    services: Services, context: dg.ScheduleEvaluationContext, name: str, watched: Sequence[str], remark: str
) -> Ticks:
    now = context.scheduled_execution_time
    as_of = services.as_of(None, now)
    with services.database.read() as connection:
        stored = portfolios.load(connection)
    busy = claims.in_progress(context.instance, services)
    todo = services.plan(stored, as_of, watched=watched, completed=as_of, now=now)
    # All at once: the pool of the price source lets them run one after the other, proxies first.
    blocks = [block for block in todo.blocks if block.dimension != "portfolio"]
    if not blocks:
        return dg.SkipReason(f"Nothing is missing as of {as_of}{_end_of(services.source, as_of)}{remark}")
    with services.database.write() as connection:
        services.fix_first_date(connection, as_of)
    verdict = request_blocks(context.instance, busy, blocks, now, onboarding={}, launched_by=f"schedule {name}")
    if not verdict.requests:
        return dg.SkipReason("; ".join(verdict.skipped) + remark)
    if remark:
        context.log.warning(remark.removeprefix("; "))
    # Dagster takes several requests of one tick only with a key each.
    return [
        request.with_replaced_attrs(
            run_key=f"{now} {i}", job_name=EVERY_ASSET, tags={**request.tags, DEFER_TAG: "true"}
        )
        for i, request in enumerate(verdict.requests)
    ]


def _end_of(source: PriceSource, as_of: date) -> str:
    return f", the last session of {source.title}" if source.latest_session() == as_of else ""
