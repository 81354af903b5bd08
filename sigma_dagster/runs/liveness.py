"""Whether the process that executes a run still lives: Dagster's default launcher cannot tell.

A process holds a lock file for each run it executes, from before the run starts until after its last event; the
operating system frees the lock when the process ends, however it ends. The file stays for `heal`, which looks after
the run. No Dagster here: the command line looks for such files before it imports Dagster.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_HOST_TAG = ".dagster/sigma_executed_by"

#: The locks of this process, by run. A lock that nobody refers to any more would be released.
_held: dict[str, FileLock] = {}


def host_tags(run_id: str) -> dict[str, str]:
    """Give the tag that names the host which executes the run, and the run: a retry copies its parent's tags."""
    return {_HOST_TAG: f"{socket.gethostname()} {run_id}"}


def is_local(run_id: str, tags: Mapping[str, str]) -> bool:
    """Say whether the run is executed on this host, where `is_alive` can tell."""
    return host_tags(run_id).items() <= tags.items()


def names_host(run_id: str, tags: Mapping[str, str]) -> bool:
    """Say whether the run says which host executes it."""
    return tags.get(_HOST_TAG, "").endswith(f" {run_id}")


def own() -> list[str]:
    """Give the runs whose lock this process holds."""
    return list(_held)


def hold(dagster_home: Path, run_id: str) -> None:
    """Show other processes that this one executes the run, until it ends or releases the run."""
    path = _path(dagster_home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Locked under another name first: found under its own, it could be locked by who looks for dead runs.
    fresh = path.with_suffix(".new")
    lock = FileLock(fresh)
    lock.acquire()
    fresh.rename(path)
    _held[run_id] = lock


def release(dagster_home: Path, run_id: str) -> None:
    """End what `hold` began: the run has ended well, nobody need look after it."""
    forget(dagster_home, run_id)
    _held.pop(run_id).release()


@contextmanager
def alive(dagster_home: Path, run_id: str) -> Iterator[None]:
    """Hold the run during the block; leave its file behind if the block raises."""
    hold(dagster_home, run_id)
    try:
        yield
    except BaseException:
        _held.pop(run_id).release()
        raise
    release(dagster_home, run_id)


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
    """Give the ids of the runs whose process has ended and that nobody has looked after since."""
    files = sorted((dagster_home / "running").glob("*.lock"))
    return [path.stem for path in files if not is_alive(dagster_home, path.stem)]


def forget(dagster_home: Path, run_id: str) -> None:
    """Remove the file of a run that was looked after."""
    _path(dagster_home, run_id).unlink(missing_ok=True)


def _path(dagster_home: Path, run_id: str) -> Path:
    return dagster_home / "running" / f"{run_id}.lock"
