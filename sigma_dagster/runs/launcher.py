"""Starting runs on workers: Dagster's Celery launcher, and what it lacks. Dagster makes it where dagster.yaml names it.

A run's messages name it and hold no more. Whether it lives is for `liveness` to say, as for every run: the launcher's
own result backend says STARTED for ever of a worker that died. Not here: the worker (`orchestration.worker`).
"""

import os
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from resources.secret_files import read_url
from sigma_dagster.runs import claims, liveness
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings

_SECONDS_TO_DIE = 3
_NO_BROKER = "The broker does not answer, so the run goes on: end it again when the broker is back."


class WorkerLauncher(CeleryRunLauncher):
    """Sends each run to whichever worker is free."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Make it; the broker, which is the result backend too, is an address or the path of a file that holds it."""
        address = read_url(config_value["broker"])
        return super().from_config_value(inst_data, {**config_value, "broker": address, "backend": address})

    @cached_property
    def _services(self) -> Services:
        return Services.of(Settings.from_environment(os.environ))

    @property
    def supports_resume_run(self) -> bool:
        """Say no: a run that failed is retried as another, which computes what is still missing."""
        return False

    def terminate(self, run_id: str) -> bool:
        """End a run as canceled, its process by SIGKILL: in a call of the database it would hear no other signal.

        A kill loses nothing: `heal` records what the run had stored. Where the worker does not answer, the run stays
        CANCELING until its lock is gone. Without the broker no worker can be asked, and the run goes on.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        # A run that is being sent to the workers has no task yet; its process finds it canceled, and does not begin.
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task and not self._has_broker():
            self._instance.report_engine_event(_NO_BROKER, run, cls=type(self))
            return False
        self._instance.report_run_canceling(run)
        if task:
            self.celery.control.revoke(task, terminate=True, signal="SIGKILL")
        end = time.monotonic() + _SECONDS_TO_DIE
        while liveness.is_alive(self._services, run_id) and time.monotonic() < end:
            time.sleep(claims.POLL_SECONDS)
        if not liveness.is_alive(self._services, run_id):
            claims.cancel(self._instance, run_id)
        return True

    def _has_broker(self) -> bool:
        try:
            with self.celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
        except OperationalError:
            return False
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether the run's process lives, on whatever host."""
        record = self._instance.get_run_record_by_id(run.run_id)
        if record and not record.dagster_run.is_finished and claims.is_dead(self._services, record):
            return CheckRunHealthResult(WorkerStatus.FAILED, claims.ENDED)
        return CheckRunHealthResult(WorkerStatus.RUNNING)
