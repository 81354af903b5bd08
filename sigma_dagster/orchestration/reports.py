"""The job and the sensor `portfolio_reports`: a portfolio's page is told to Dagster anew when it has new rows.

Not here: how a page is made (`sigma_dagster.analysis.report`), and its asset (`assets.portfolio_report`).
"""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PRIORITY_TAG

from assets import portfolio_report
from assets.shared.look_back import listed
from resources.database import results
from sigma_dagster.runs import claims
from sigma_dagster.runs.request import DEFER_TAG, LAUNCHED_BY_REPORTS, LAUNCHED_BY_TAG, QUIET
from sigma_dagster.services import Services

NAME = "portfolio_reports"
INTERVAL_SECONDS = 5
#: One run makes so many pages: for so long it holds its slot when there is something to compute again.
_AT_ONCE = 20
#: There a run pays no imports, and may be short: each page takes a second.
_AT_ONCE_ON_WORKERS = 4
_NAMED = 3
#: From the end of the symbols' runs to the request of the portfolios' it takes a tick of the other sensor.
_PAUSE = timedelta(seconds=10)
#: After a start no pages are made at first: what computes goes before.
_AT_FIRST = timedelta(seconds=30)


def job() -> UnresolvedAssetJobDefinition:
    """Make the job."""
    return dg.define_asset_job(
        NAME,
        selection=[portfolio_report.NAME],
        executor_def=dg.in_process_executor,
        description="Tell Dagster of the pages of portfolios.",
    )


def sensor(services: Services, of_reports: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Make the sensor."""
    began = datetime.now(UTC)

    @dg.sensor(
        name=NAME,
        job=of_reports,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for portfolios whose newest row is new, one at a time, when nothing is computed.",
    )
    def portfolio_reports(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC)
        if now - began < _AT_FIRST:
            return dg.SensorResult(skip_reason="Waits: it has only just been started", cursor=context.cursor)
        return evaluate(context.instance, services, context.cursor, now)

    return portfolio_reports


def evaluate(instance: dg.DagsterInstance, services: Services, cursor: str | None, now: datetime) -> dg.SensorResult:
    """Request a run for portfolios whose newest row is another than when a run was requested last.

    Not while rows are computed: pages would take the place of a run that computes some, and be out of date after it.
    """
    mine = dg.RunsFilter(job_name=NAME, statuses=NOT_FINISHED_STATUSES)
    if _is_computing(instance, services, now) or instance.get_runs_count(mine):
        return dg.SensorResult(skip_reason="Waits for the runs in progress", cursor=cursor)
    with services.database.read() as connection:
        newest = results.newest_rows(connection)
    told: dict[str, str] = json.loads(cursor or "{}")
    most = _AT_ONCE_ON_WORKERS if services.settings.to_workers else _AT_ONCE
    due = [name for name, row in newest.items() if told.get(name) != row][:most]
    if not due:
        return dg.SensorResult(skip_reason="No portfolio has new rows", cursor=cursor)
    kept = {name: row for name, row in told.items() if name in newest}
    request = dg.RunRequest(
        partition_key=due[0],
        run_config={"ops": {portfolio_report.NAME: {"config": {"portfolios": due}}}, **QUIET},
        tags={
            DEFER_TAG: "true",
            "portfolio": listed(due, _NAMED),
            LAUNCHED_BY_TAG: LAUNCHED_BY_REPORTS,
            PRIORITY_TAG: "-1",  # after whatever computes rows
        },
    )
    return dg.SensorResult(run_requests=[request], cursor=json.dumps({**kept, **{name: newest[name] for name in due}}))


def _is_computing(instance: dg.DagsterInstance, services: Services, now: datetime) -> bool:
    """Say whether a run computes rows, or ended so lately that the one which follows it may not be asked for yet."""
    if claims.in_progress(instance, services):
        return True
    lately = instance.get_runs(dg.RunsFilter(updated_after=now - _PAUSE))
    return any(claims.block_of(run, instance) for run in lately)
