"""Whether the process that executes a run still lives: Dagster's default launcher cannot tell.

A process holds a lock file while it executes a run, which the operating system frees when the process ends, however it
ends. The file of a run that did not end well stays until `reconcile` has looked after the run. No Dagster here: the
command line looks for such files before it imports Dagster.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_HOST_TAG = ".dagster/sigma_executed_by"

#: Runs that this process executes.
_own: set[str] = set()


def host_tags(run_id: str) -> dict[str, str]:
    """Give the tag that names the host which executes the run, and the run: a retry copies its parent's tags."""
    return {_HOST_TAG: f"{socket.gethostname()} {run_id}"}


def is_local(run_id: str, tags: Mapping[str, str]) -> bool:
    """Say whether the run is executed on this host, where `is_alive` can tell."""
    return host_tags(run_id).items() <= tags.items()


def is_own(run_id: str) -> bool:
    """Say whether this process executes the run."""
    return run_id in _own


@contextmanager
def alive(dagster_home: Path, run_id: str) -> Iterator[None]:
    """Show other processes that the run is being executed; leave the file behind if the block raises."""
    path = _path(dagster_home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Locked under another name first: found under its own, it could be locked by who looks for dead runs.
    fresh = path.with_suffix(".new")
    with FileLock(fresh):
        fresh.rename(path)
        _own.add(run_id)
        try:
            yield
        finally:
            _own.discard(run_id)
        path.unlink()


def is_alive(dagster_home: Path, run_id: str) -> bool:
    """Say whether a process executes the run."""
    path = _path(dagster_home, run_id)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def left_behind(dagster_home: Path) -> list[str]:
    """Give the ids of the runs whose process ended without finishing them."""
    files = sorted((dagster_home / "running").glob("*.lock"))
    return [path.stem for path in files if not is_alive(dagster_home, path.stem)]


def forget(dagster_home: Path, run_id: str) -> None:
    """Remove the file of a run that was looked after."""
    _path(dagster_home, run_id).unlink(missing_ok=True)


def _path(dagster_home: Path, run_id: str) -> Path:
    return dagster_home / "running" / f"{run_id}.lock"
