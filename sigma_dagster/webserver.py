"""Starting Dagster's webserver and daemon (`make dev`)."""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from sigma_dagster.environment import Environment
from sigma_dagster.errors import PortTakenError
from sigma_dagster.instance import prepare
from sigma_dagster.settings import PROJECT

HOST = "127.0.0.1"


def serve(env: Environment, port: int) -> NoReturn:
    """Replace this process by `dagster dev`, on the instance that the command line uses.

    Raises PortTakenError.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise PortTakenError(f"port {port} of {HOST} is taken: make dev PORT={port + 1}") from None
    variables = {
        **os.environ,
        "DAGSTER_HOME": str(prepare(env.settings)),
        "SIGMA_HOME": str(env.settings.home),
        # Dagster would rather be started by its newer command, whose package has no wheels for all our machines.
        "PYTHONWARNINGS": "ignore:`dagster dev`,ignore:Function `",
    }
    print(f"Dagster UI: http://{HOST}:{port}  (up in about ten seconds; Ctrl-C ends it)", file=sys.stderr, flush=True)  # noqa: T201
    os.chdir(PROJECT)
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execve(dagster, [dagster, "dev", "-w", "workspace.yaml", "-h", HOST, "-p", str(port)], variables)  # noqa: S606 - no shell is wanted
