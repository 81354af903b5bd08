"""Whether the process that runs a block still lives, for runs that the command line executes itself.

Dagster watches over the runs that its daemon starts; nobody watches over these.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

#: Names the host whose command line executes the run.
HOST_TAG = "sigma/host"


def host_tags() -> dict[str, str]:
    """Give the tags of a run that this process executes."""
    return {HOST_TAG: socket.gethostname()}


@contextmanager
def alive(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Show other processes that the run is being executed; the operating system ends that with the process."""
    path = _lock_path(instance, run_id)
    path.parent.mkdir(exist_ok=True)
    with FileLock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def lives(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Say whether an unfinished run is still executed; if its process has ended, the run is marked as failed."""
    if run.tags.get(HOST_TAG) != socket.gethostname():
        return True  # Dagster's daemon, or the command line of that host, looks after it
    path = _lock_path(instance, run.run_id)
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    now = instance.get_run_by_id(run.run_id)
    if now and not now.is_finished:
        instance.report_run_failed(now, "The process that executed this run has ended.")
    return False


def _lock_path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / "running" / f"{run_id}.lock"
