"""The commands of whoever keeps a home: its databases, what is wrong or missing, what is old.

They import what they need when they run: most of it imports Dagster.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sigma_dagster.analysis.wording import counted
from sigma_dagster.cli import render_operations as render
from sigma_dagster.cli.app import AsJson, app, as_of_session, make_services
from sigma_dagster.cli.output import out, print_result
from sigma_dagster.settings import Settings

group = typer.Typer(help="Upgrade, check, back up and restore the databases.", no_args_is_help=True)
app.add_typer(group, name="db")

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A tar file with both databases.")]


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


@group.command()
def upgrade() -> None:
    """Bring databases of an older release to this one; sigma db backup FILE first keeps a copy of them."""
    from sigma_dagster.operations.upgrade import upgrade

    render.upgraded(out, upgrade(_settings()))


@group.command()
def check(as_json: AsJson = False) -> None:
    """Look for damage, broken references, orphans, and rows that Dagster's records do not agree with."""
    services = make_services()
    from sigma_dagster.operations.check import check

    looks = list(check(services))
    print_result(as_json, lambda: render.looks_json(looks), lambda: render.looks(out, looks))
    if any(look.fault for look in looks):
        raise typer.Exit(1)


@group.command()
def backup(file: _File) -> None:
    """Write both databases to one file, while others go on working; it is not there yet."""
    from sigma_dagster.operations.backup import backup

    manifest = backup(_settings(), file)
    size = sum(member["bytes"] for part in ("domain", "dagster") for member in manifest[part]["members"].values())
    out.print(
        f"Written: {file}, {size / 1e6:,.1f} MB. It holds all portfolios and no key; keep it as private as SIGMA_HOME"
    )


@group.command()
def restore(
    file: _File,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is stored, for good.")] = False,
) -> None:
    """Put the databases of a backup in their place, whole or not at all; end make dev first."""
    from sigma_dagster.operations.restore import restore

    manifest = restore(_settings(), file, replace=replace)
    out.print(f"Restored: the databases as of {manifest['made_at']}. What is missing since then: sigma plan")


@app.command()
def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, max=10_000, metavar="SESSIONS", help="So many stay.")],
) -> None:
    """Drop old sessions: rows, Dagster's records of them, and the disk of both."""
    services = make_services()
    session = as_of_session(services, None)
    from sigma_dagster.operations.prune import prune

    done = prune(services, keep, session)
    freed = f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB now"
    if not done.rows + done.records:
        out.print(f"Nothing to drop: the first session is {done.first}; {freed}")
        return
    what = f"{counted(done.rows, 'row')}, {counted(done.records, 'record')} and {counted(done.runs, 'run')} of Dagster"
    out.print(
        f"Dropped: sessions before {done.first}: {what}; {freed}. A running make dev shows it when it is restarted"
    )


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what is missing, waits or failed, what is left of quotas, and when schedules and daemon last worked."""
    services = make_services()
    from sigma_dagster.operations.status import status

    found = status(services, datetime.now(UTC))
    print_result(as_json, lambda: found, lambda: render.status(out, found))
