"""Starting Dagster's webserver and daemon (`make dev`)."""

import os
import socket
import sys
from typing import NoReturn

import dagster as dg
from dagster._daemon.auto_run_reexecution import event_log_consumer

from sigma_dagster.errors import PortTakenError
from sigma_dagster.orchestration import foreground
from sigma_dagster.orchestration.instance import open_instance, prepare
from sigma_dagster.services import Services
from sigma_dagster.settings import PROJECT

HOST = "127.0.0.1"
#: What Dagster's own code warns of, and nobody can act upon.
QUIET = "ignore:Function `,ignore:Task name"


def serve(services: Services, port: int) -> NoReturn:
    """Replace this process by `dagster dev` with a guard, on the instance that the command line uses.

    Raises PortTakenError.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise PortTakenError(f"port {port} of {HOST} is taken: make dev PORT={port + 1}") from None
    with open_instance(services.settings) as instance:
        begin_retries_now(instance)
    variables = {
        **os.environ,
        "DAGSTER_HOME": str(prepare(services.settings)),
        "SIGMA_HOME": str(services.settings.home),
        # Dagster would rather be started by its newer command, whose package has no wheels for all our machines.
        "PYTHONWARNINGS": f"ignore:`dagster dev`,{QUIET}",
    }
    print(f"Dagster UI: http://{HOST}:{port}  (up in about ten seconds; Ctrl-C ends it)", file=sys.stderr, flush=True)  # noqa: T201
    os.chdir(PROJECT)
    # At level info the sensor would write two lines every five seconds; the UI shows each of its ticks.
    options = ["-w", "workspace.yaml", "-h", HOST, "-p", str(port), "--log-level", "warning"]
    foreground.become(["-m", "sigma_dagster.orchestration.dev", "dev", *options], variables)


def begin_retries_now(instance: dg.DagsterInstance) -> None:
    """Retry no run that failed before the daemon first ran: the daemon would do the same, with two warnings."""
    names = {event_log_consumer._create_cursor_key(event) for event in event_log_consumer.DAGSTER_EVENT_TYPES}
    storage = instance.daemon_cursor_storage
    missing = names - storage.get_cursor_values(names).keys()
    newest = instance.event_log_storage.get_maximum_record_id() or 0
    if missing:
        storage.set_cursor_values(dict.fromkeys(missing, str(newest)))
