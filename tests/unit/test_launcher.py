"""Ending runs that workers execute, where the broker is away; with a broker: test_workers."""

import dagster as dg
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from benchmarks.web import free_port
from sigma_dagster.runs.launcher import WorkerLauncher
from tests.support.home import Home


def test_a_run_that_cannot_be_ended_goes_on_and_says_why(home: Home) -> None:
    """Redis is gone, so no worker can be told: the run is not CANCELING for half a minute, and then CANCELED while its
    process still writes."""
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    tags = {DAGSTER_CELERY_TASK_ID_TAG: "a task"}
    with home.instance() as instance:
        launcher = WorkerLauncher("dagster", broker=nobody, backend=nobody)
        launcher.register_instance(instance)
        run = dg.DagsterRun("symbol_block", status=dg.DagsterRunStatus.STARTED, tags=tags)
        instance.add_run(run)
        assert not launcher.terminate(run.run_id)
        left = instance.get_run_by_id(run.run_id)
        assert left
        assert left.status == dg.DagsterRunStatus.STARTED
        (event,) = instance.all_logs(run.run_id)
    assert event.message.endswith("so the run goes on: end it again when the broker is back.")
