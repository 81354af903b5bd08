"""What a worker executes: the Celery application of `runs.launcher`, for `celery -A` (`processes.work`).

Imported once a worker, and with it all that a run needs: each process of the worker has it from the start. A worker
keeps the code that it imported.
"""

import os
import sys
from typing import Any

import dagster as dg
from celery.signals import worker_ready
from dagster_celery.tasks import create_execute_job_task

from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings


def _say(sender: Any, **_: Any) -> None:
    ending = "SIGTERM ends it after the runs it has, Ctrl-C hands them to others"
    print(f"Worker {sender.hostname} is ready; {ending}", file=sys.stderr, flush=True)  # noqa: T201


def _make() -> Any:
    # Processes are forked from this one: no connection of it may be open then.
    with dg.DagsterInstance.get() as instance:
        launcher: Any = instance.run_launcher
    create_execute_job_task(launcher.celery)
    services = Services.of(Settings.from_environment(os.environ))
    build_defs(services)  # imports the modules of the assets
    services.database.engine.dispose()
    return launcher.celery


worker_ready.connect(_say)
app = _make()
