"""`dagster dev` with the guard before its web server. Run as a module, by `webserver.serve`.

`dagster dev` starts the web server as `python -m dagster_webserver`; here the same is started by way of this module,
which puts the guard and our pages before the application. When it ends, it starts no other code server. Not here: what
is refused (`guard`).
"""

import os
import sys
from importlib import import_module
from typing import Any

from sigma_dagster.analysis.report.reporter import StoredReporter
from sigma_dagster.orchestration.guard import Guard
from sigma_dagster.orchestration.pages import Pages
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings

_MODULE = "sigma_dagster.orchestration.dev"
_SERVE = "serve"


def main() -> None:
    """Run `dagster` with the arguments; with `serve` as the first, its web server."""
    if sys.argv[1] == _SERVE:
        del sys.argv[1]
        _serve()
    else:
        _develop()


def _develop() -> None:
    dev: Any = import_module("dagster._cli.dev")
    start = dev.open_ipc_subprocess

    def start_guarded(parts: list[str], **more: Any) -> Any:
        if parts[1:3] == ["-m", "dagster_webserver"]:
            parts = [parts[0], "-m", _MODULE, _SERVE, *parts[3:]]
        return start(parts, **more)

    class Manager(dev.ProxyServerManager):  # type: ignore[misc]
        """It restarts a code server that has ended; none once all of them were asked to end."""

        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            managers.append(self)

    managers: list[Any] = []
    send = dev.send_ipc_shutdown_message

    def send_last(pipe: int) -> None:
        for manager in managers:
            manager._ProxyServerManager__shutdown_event.set()
        send(pipe)

    dev.open_ipc_subprocess = start_guarded
    dev.ProxyServerManager = Manager
    dev.send_ipc_shutdown_message = send_last
    import_module("dagster._cli").main()


def _serve() -> None:
    cli: Any = import_module("dagster_webserver.cli")
    services = Services.of(Settings.from_environment(os.environ))
    pages = StoredReporter(services)
    make = cli.create_app_from_workspace_process_context

    def make_guarded(*arguments: Any, **more: Any) -> Guard:
        return Guard(Pages(make(*arguments, **more), pages.page), services.settings.ui_hosts)

    cli.create_app_from_workspace_process_context = make_guarded
    cli.main()


if __name__ == "__main__":
    main()
