"""What the command line prints of the commands in `operating`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sigma_dagster.analysis.wording import counted

if TYPE_CHECKING:
    from sigma_dagster.operations.check import Look
    from sigma_dagster.operations.upgrade import Upgraded


def upgraded(out: Console, done: Sequence["Upgraded"]) -> None:
    """Print what an upgrade did."""
    for one in done:
        before = one.before or "nothing"
        told = "as it was" if one.before == one.after else f"upgraded from {before}"
        out.print(f"{one.what}: at {one.after}, {told}")


def looks(out: Console, found: Sequence["Look"]) -> None:
    """Print a check, one line a look."""
    for look in found:
        out.print(f"{'FAULT' if look.fault else 'ok   '}  {look.what}: {look.found}")


def looks_json(found: Sequence["Look"]) -> dict[str, Any]:
    """Give the same as data."""
    rows = [{"what": look.what, "found": look.found, "fault": look.fault} for look in found]
    return {"faults": sum(look.fault for look in found), "looks": rows}


def status(out: Console, found: Mapping[str, Any]) -> None:
    """Print a home's state, one line a matter."""
    missing, runs, daemon, oldest = found["missing"], found["runs"], found["daemon"], found["oldest_wait"]
    rows = sum(missing["rows"].values())
    out.print(
        f"Missing as of {found['as_of']}: {counted(rows, 'row')} of {counted(missing['portfolios'], 'portfolio')}"
    )
    out.print(f"Waiting for prices: {counted(found['waiting'], 'symbol')}{_oldest(oldest)}")
    for source, count in found["failures"].items():
        out.print(f"Failures of {source}: {counted(count, 'symbol')}")
    for one in found["quota"]:
        left = "" if one["left"] is None else f", {one['left']:,} left"
        until = f", closed until {one['closed_until']}" if one["closed_until"] else ""
        out.print(f"Quota of {one['source']}: {counted(one['calls_24h'], 'request')} in 24 hours{left}{until}")
    out.print(f"Runs: {runs['in_progress']} in progress, {runs['failed_24h']} failed in 24 hours")
    for one in found["schedules"]:
        failure = f", last failure {one['last_failure']}" if one["last_failure"] else ""
        out.print(f"Schedule {one['name']}: last success {one['last_success'] or 'never'}{failure}")
    out.print(
        f"Daemon: {'alive' if daemon['alive'] else 'not alive'}, last heartbeat {daemon['last_heartbeat'] or 'never'}"
    )


def _oldest(oldest: Mapping[str, Any] | None) -> str:
    return f"; longest {oldest['symbol']} ({oldest['session']}, {oldest['reason']})" if oldest else ""
