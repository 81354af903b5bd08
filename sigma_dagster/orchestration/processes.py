"""Starting the parts of an installation one by one, as on several machines: daemon, web server, workers.

Each replaces this process. On one machine `webserver.serve` starts the first two together.
"""

import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from sigma_dagster.errors import WorkersError
from sigma_dagster.orchestration.instance import open_instance, prepare
from sigma_dagster.orchestration.webserver import QUIET, begin_retries_now
from sigma_dagster.services import Services
from sigma_dagster.settings import BROKER_URL, PROJECT

_WORKSPACE = ("-w", "workspace.yaml")


def daemon(services: Services) -> NoReturn:
    """Run Dagster's daemon: sensor, schedules, queue, monitoring. One for an installation."""
    with open_instance(services.settings) as instance:
        begin_retries_now(instance)
    _become(services, ["-m", "dagster._daemon", "run", *_WORKSPACE, "--log-level", "warning"])


def web(services: Services, host: str, port: int) -> NoReturn:
    """Run the web server, guarded (`guard`)."""
    options = ["-h", host, "-p", str(port), "--log-level", "warning"]
    _become(services, ["-m", "sigma_dagster.orchestration.dev", "serve", *_WORKSPACE, *options])


def work(services: Services, concurrency: int) -> NoReturn:
    """Run a worker that executes so many runs at once, each in a process of its own; raises WorkersError."""
    if not services.settings.to_workers:
        raise WorkersError(f"{BROKER_URL} is not set: a worker takes its runs from a broker, redis://host:6379/0")
    name = f"sigma-{os.getpid()}@{socket.gethostname()}"  # several on one host need a name each
    options = ["-n", name, "-Q", "dagster", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
    alone = ["--without-gossip", "--without-mingle"]
    _become(services, ["-m", "celery", "-q", "-A", "sigma_dagster.orchestration.worker", "worker", *options, *alone])


def _become(services: Services, arguments: Sequence[str]) -> NoReturn:
    variables = {
        **os.environ,
        "DAGSTER_HOME": str(prepare(services.settings)),
        "SIGMA_HOME": str(services.settings.home),
        "PYTHONWARNINGS": QUIET,
    }
    os.chdir(PROJECT)
    os.execve(sys.executable, [sys.executable, *arguments], variables)  # noqa: S606 - no shell is wanted
