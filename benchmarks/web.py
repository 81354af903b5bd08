"""`sigma dev` in a process of its own: started on a free port, asked by GraphQL, ended as Ctrl-C does or killed.

For benchmarks and tests. Not here: what is asked.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sigma_dagster.orchestration import webserver

SECONDS_TO_START = 120
SECONDS_TO_END = 60

LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
    __typename } } } } }"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((webserver.HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(environment: Mapping[str, str], port: int, terminal: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start it in a session of its own, wait until it answers, and end it as Ctrl-C does; its output goes to a file."""
    with _running(_sigma("dev", port), environment, port, terminal) as process:
        yield process


@contextmanager
def webserver_alone(environment: Mapping[str, str], port: int, terminal: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The same without the daemon: nothing is computed meanwhile."""
    with _running(_sigma("webserver", port), environment, port, terminal) as process:
        yield process


def _sigma(command: str, port: int) -> list[str]:
    return [str(Path(sys.executable).with_name("sigma")), command, "--port", str(port)]


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], port: int, terminal: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    with terminal.open("a") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)  # noqa: S603 - our own command
    try:
        _wait_until_up(process, port)
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(SECONDS_TO_END)
    finally:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End all processes of its session at once; the runs among them too."""
    for pid in living(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def living(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    listed = subprocess.run(["ps", "-Ao", "pid=,stat="], capture_output=True, text=True, check=True)  # noqa: S607
    found = []
    for pid, state in (line.split()[:2] for line in listed.stdout.splitlines()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(pid)) == session and not state.startswith("Z"):
                found.append(int(pid))
    return found


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    def up() -> bool:
        if process.poll() is not None:
            raise RuntimeError("the UI has ended before it was up")
        try:
            entries = ask(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
        except OSError:
            return False
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)

    wait_for(up, SECONDS_TO_START, "the UI is up")


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.2)


def ask(port: int, query: str, variables: Mapping[str, Any] | None = None) -> Any:
    """Ask by GraphQL."""
    data = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(
        f"http://{webserver.HOST}:{port}/graphql", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http to this machine
        found = json.load(answer)
    if "errors" in found:
        raise RuntimeError(f"GraphQL: {found}")
    return found["data"]
