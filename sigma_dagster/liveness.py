"""Whether the process that runs a block still lives, for runs that the command line executes itself.

Dagster watches over the runs that its daemon starts; nobody watches over these. A process holds a lock file while it
executes a run, which the operating system frees when the process ends, however it ends; the file of a run that did not
end well stays until `reconcile` has looked after the run. No Dagster here: the command line looks for such files first.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

#: The tag that names the host whose command line executes the run.
HOST_TAG = "sigma/host"


def host_tags() -> dict[str, str]:
    """Give the tags of a run that this process executes."""
    return {HOST_TAG: socket.gethostname()}


def is_local(tags: Mapping[str, str]) -> bool:
    """Say whether a run with the tags is executed by a command line of this host."""
    return tags.get(HOST_TAG) == socket.gethostname()


@contextmanager
def alive(dagster_home: Path, run_id: str) -> Iterator[None]:
    """Show other processes that the run is being executed; leave the file behind if the block raises."""
    path = _path(dagster_home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield
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
