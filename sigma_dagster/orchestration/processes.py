"""Starting the parts of an installation one by one, as on several machines: daemon, web server, workers.

Each takes the place of this process. On one machine `webserver.serve` starts the first two together.
"""

import os
import socket
import sys
from typing import NoReturn

from sigma_dagster.errors import WorkersError
from sigma_dagster.orchestration import foreground
from sigma_dagster.orchestration.instance import open_instance, prepare
from sigma_dagster.orchestration.webserver import QUIET, begin_retries_now
from sigma_dagster.services import Services
from sigma_dagster.settings import BROKER_URL, PROJECT

_WORKSPACE = ("-w", "workspace.yaml")


def daemon(services: Services) -> NoReturn:
    """Run Dagster's daemon: sensor, schedules, queue, monitoring. One for an installation."""
    with open_instance(services.settings) as instance:
        begin_retries_now(instance)
    arguments = ["-m", "dagster._daemon", "run", *_WORKSPACE, "--log-level", "warning"]
    foreground.become(arguments, _variables(services))


def web(services: Services, host: str, port: int) -> NoReturn:
    """Run the web server, guarded (`guard`)."""
    options = ["-h", host, "-p", str(port), "--log-level", "warning", "--code-server-log-level", "warning"]
    foreground.become(["-m", "sigma_dagster.orchestration.dev", "serve", *_WORKSPACE, *options], _variables(services))


def work(services: Services, concurrency: int) -> NoReturn:
    """Run a worker that executes so many runs at once, each in a process of its own; raises WorkersError."""
    if not services.settings.to_workers:
        raise WorkersError(f"{BROKER_URL} is not set: a worker takes its runs from a broker, redis://host:6379/0")
    name = f"sigma-{os.getpid()}@{socket.gethostname()}"  # several on one host need a name each
    options = ["-n", name, "-Q", "dagster", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
    alone = ["--without-gossip", "--without-mingle"]
    arguments = ["-m", "celery", "-q", "-A", "sigma_dagster.orchestration.worker", "worker", *options, *alone]
    # Celery ends its processes itself, each by its own signal.
    os.execve(sys.executable, [sys.executable, *arguments], _variables(services))  # noqa: S606 - no shell is wanted


def _variables(services: Services) -> dict[str, str]:
    """Give the environment of the processes, which start in the project's folder.

    Both databases are opened first: what is wrong with one is told here, in one line.
    """
    with services.database.read(), open_instance(services.settings):
        pass
    os.chdir(PROJECT)
    return {
        **os.environ,
        "DAGSTER_HOME": str(prepare(services.settings)),
        "SIGMA_HOME": str(services.settings.home),
        "PYTHONWARNINGS": QUIET,
    }
