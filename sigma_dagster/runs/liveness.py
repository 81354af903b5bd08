"""Whether the process that executes a run still lives: Dagster's launchers cannot tell.

A process notes each run that it executes in the database (`executions`), and holds a lock for it, from before the
run starts until after its last event. The lock ends with the process, however that ends: on SQLite it is that of a
file, which the operating system frees; on Postgres one of a session of its own, which every host sees, and which the
server frees when the process is gone or its network is cut. The note stays for `heal`, which looks after the run.
No Dagster here: the command line looks for such notes before it imports Dagster.
"""

import hashlib
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from filelock import FileLock, Timeout

from resources.database import executions
from resources.database.engine import Database
from resources.postgres import psycopg2_url
from sigma_dagster.services import Services


class Locks(Protocol):
    """Locks by run, each held by one process until it ends or releases the run."""

    def hold(self, run_id: str) -> Callable[[], None]:
        """Hold the lock of a run, waiting for it; give what releases it."""

    def held(self, hosts: Mapping[str, str]) -> set[str]:
        """Give those of the runs (with their hosts) whose lock is held, or may be, as far as this host can tell."""


class FileLocks:
    """The lock of a file for each run. A file tells nothing on other hosts than its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, run_id: str) -> Callable[[], None]:
        """Make the file and lock it; released, it is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(run_id)
        lock = FileLock(path)
        lock.acquire()

        def release() -> None:
            lock.release()
            path.unlink(missing_ok=True)

        return release

    def held(self, hosts: Mapping[str, str]) -> set[str]:
        """Try the files of this host."""
        here = socket.gethostname()
        return {run_id for run_id, host in hosts.items() if host != here or self._is_locked(run_id)}

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.lock"

    def _is_locked(self, run_id: str) -> bool:
        path = self._path(run_id)
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
                return False
        except Timeout:
            return True


class AdvisoryLocks:
    """A session's advisory lock for each run, on a connection of its own. It needs no table and tells every host."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, run_id: str) -> Callable[[], None]:
        """Open the connection and lock."""
        engine = sa.create_engine(psycopg2_url(self._database.url), poolclass=sa.NullPool)
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.select(sa.func.pg_advisory_lock(_number(run_id))))

        def release() -> None:
            # Of a connection that was cut the server has freed it already.
            with suppress(sa.exc.OperationalError):
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_number(run_id))))
            connection.close()

        return release

    def held(self, hosts: Mapping[str, str]) -> set[str]:
        """Ask the server for the locks of this database."""
        query = sa.text(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with self._database.read() as connection:
            found = set(connection.execute(query).scalars())
        return {run_id for run_id in hosts if _number(run_id) in found}


def _number(run_id: str) -> int:
    """Give the number that Postgres locks for a run: 64 bits with a sign."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8], signed=True)


def _locks(services: Services) -> Locks:
    if services.database.url.get_backend_name() == "postgresql":
        return AdvisoryLocks(services.database)
    return FileLocks(services.settings.dagster_home / "running")


#: By run that this process executes what releases its lock. One that nobody refers to any more would be released.
_held: dict[str, Callable[[], None]] = {}


def own() -> list[str]:
    """Give the runs that this process executes."""
    return list(_held)


def hold(services: Services, run_id: str) -> None:
    """Show all processes that this one executes the run, until it ends or releases the run."""
    # The lock before the note: with the note alone the run would look dead.
    _held[run_id] = _locks(services).hold(run_id)
    with services.database.write() as connection:
        executions.note(connection, run_id, socket.gethostname())


def release(services: Services, run_id: str) -> None:
    """End what `hold` began: the run has ended well, nobody need look after it."""
    forget(services, [run_id])
    _held.pop(run_id)()


@contextmanager
def alive(services: Services, run_id: str) -> Iterator[None]:
    """Hold the run during the block; leave its note behind if the block raises."""
    hold(services, run_id)
    try:
        yield
    except BaseException:
        _held.pop(run_id)()
        raise
    release(services, run_id)


def living(services: Services) -> dict[str, bool]:
    """Say of each run that was noted whether a process executes it."""
    with services.database.read() as connection:
        hosts = executions.hosts(connection)
    held = _locks(services).held(hosts) if hosts else set()
    return {run_id: run_id in held for run_id in hosts}


def is_alive(services: Services, run_id: str) -> bool:
    """Say whether a process executes the run."""
    return living(services).get(run_id, False)


def left_behind(services: Services) -> list[str]:
    """Give the ids of the runs whose process has ended and that nobody has looked after since."""
    return sorted(run_id for run_id, lives in living(services).items() if not lives)


def forget(services: Services, run_ids: Collection[str]) -> None:
    """Remove the notes of runs that were looked after, and their claims."""
    if run_ids:
        with services.database.write() as connection:
            executions.forget(connection, run_ids)
