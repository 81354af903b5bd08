"""The schedules: they alone buy new sessions. Both ask the planner; the sensor does what follows from them."""

from collections.abc import Sequence
from datetime import date

import dagster as dg

from resources import calendar
from resources.database import portfolios
from resources.sources.base import PriceSource
from sigma_dagster.orchestration.sensors import due_blocks, request_blocks
from sigma_dagster.runs.request import job_name
from sigma_dagster.services import Services

Ticks = list[dg.RunRequest] | dg.SkipReason

#: A quarter of an hour after the session counts as complete (`calendar.CUT_OFF`), half-days too.
AFTER_CLOSE = "15 17 * * 1-5"
OFF_PEAK = "30 3 * * 1-5"


def build_schedules(services: Services) -> list[dg.ScheduleDefinition]:
    """Make the schedules; they are off until switched on."""

    @dg.schedule(
        name="daily_refresh",
        cron_schedule=AFTER_CLOSE,
        execution_timezone=calendar.NEW_YORK.key,
        job_name=job_name("symbol"),
        description="Buys the session that just ended for all held symbols and the factors, and computes it.",
    )
    def daily_refresh(context: dg.ScheduleEvaluationContext) -> Ticks:
        return _evaluate(services, context, [], "")

    @dg.schedule(
        name="preload",
        cron_schedule=OFF_PEAK,
        execution_timezone=calendar.NEW_YORK.key,
        job_name=job_name("symbol"),
        description="Computes the symbols of SIGMA_PRELOAD_SYMBOLS before anybody holds them.",
    )
    def preload(context: dg.ScheduleEvaluationContext) -> Ticks:
        watched, unknown = services.watched_symbols()
        remark = f"; not in {services.source.title}: {', '.join(unknown)}" if unknown else ""
        return _evaluate(services, context, watched, remark)

    return [daily_refresh, preload]


def _evaluate(services: Services, context: dg.ScheduleEvaluationContext, watched: Sequence[str], remark: str) -> Ticks:
    now = context.scheduled_execution_time
    as_of = services.as_of(None, now)
    with services.database.read() as connection:
        stored = portfolios.load(connection)
    todo = services.plan(stored, as_of, watched=watched, completed=as_of, now=now)
    blocks = [block for block in due_blocks(todo) if block.dimension == "symbol"]
    if not blocks:
        return dg.SkipReason(f"Nothing is missing as of {as_of}{_end_of(services.source, as_of)}{remark}")
    verdict = request_blocks(context.instance, blocks, {}, now)
    if not verdict.requests:
        return dg.SkipReason("; ".join(verdict.skipped) + remark)
    if remark:
        context.log.warning(remark.removeprefix("; "))
    # Dagster takes several requests of one tick only with a key each.
    return [request.with_replaced_attrs(run_key=f"{now} {i}") for i, request in enumerate(verdict.requests)]


def _end_of(source: PriceSource, as_of: date) -> str:
    return f", the last session of {source.title}" if source.latest_session() == as_of else ""
