"""The job and the sensor `portfolio_reports`: a portfolio's page is told to Dagster anew when it has new rows.

Not here: how a page is made (`sigma_dagster.analysis.report`), and its asset (`assets.portfolio_report`).
"""

import json

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import PRIORITY_TAG

from assets import portfolio_report
from assets.shared.look_back import listed
from resources.database import results
from sigma_dagster.runs.request import DEFER_TAG, LAUNCHED_BY_REPORTS, LAUNCHED_BY_TAG, QUIET
from sigma_dagster.services import Services

NAME = "portfolio_reports"
INTERVAL_SECONDS = 30
#: One run makes so many pages, in about a quarter of a second each.
_AT_ONCE = 100
_NAMED = 3


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

    @dg.sensor(
        name=NAME,
        job=of_reports,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests one run for all portfolios whose newest row is new.",
    )
    def portfolio_reports(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return evaluate(services, context.cursor)

    return portfolio_reports


def evaluate(services: Services, cursor: str | None) -> dg.SensorResult:
    """Request a run for the portfolios whose newest row is another than when a run was requested last."""
    with services.database.read() as connection:
        newest = results.newest_rows(connection)
    told: dict[str, str] = json.loads(cursor or "{}")
    due = [name for name, row in newest.items() if told.get(name) != row][:_AT_ONCE]
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
