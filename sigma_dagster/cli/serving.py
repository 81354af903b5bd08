"""Commands that start the parts of an installation on several machines (docs/workers.md); `sigma dev` is for one."""

from typing import Annotated

import typer

from sigma_dagster.cli.app import app, make_services


@app.command()
def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Runs that it executes at once.")] = 1,
) -> None:
    """Execute runs that the daemon sends over SIGMA_BROKER_URL, on this machine."""
    services = make_services(computes=True)
    from sigma_dagster.orchestration import processes

    processes.work(services, concurrency)


@app.command()
def daemon() -> None:
    """Run Dagster's daemon alone: one for all machines."""
    services = make_services(computes=True)
    from sigma_dagster.orchestration import processes

    processes.daemon(services)


@app.command()
def webserver(
    host: Annotated[str, typer.Option(help="The address to listen on; another than the loopback: behind a proxy.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
) -> None:
    """Run the Dagster UI alone."""
    services = make_services(computes=True)
    from sigma_dagster.orchestration import processes

    processes.web(services, host, port)
