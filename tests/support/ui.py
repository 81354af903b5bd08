"""`make dev` as a test uses it: start it on a free port, ask it by GraphQL, end it as Ctrl-C does or kill it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sigma_dagster.orchestration import webserver
from tests.support.home import Home

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
def running(home: Home, port: int, terminal: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start it in a session of its own, wait until it answers, and end it as Ctrl-C does."""
    command, environment = home.command("dev", "--port", str(port))
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
    """End all of its processes at once; the runs among them too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    def up() -> bool:
        assert process.poll() is None
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
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.2)


def ask(port: int, query: str, variables: Mapping[str, Any] | None = None) -> Any:
    """Ask by GraphQL."""
    data = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(
        f"http://{webserver.HOST}:{port}/graphql", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http to this machine
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


PARTITIONS = """query($asset: String!) { assetNodes(assetKeys: [{path: [$asset]}]) {
    partitionStats { numMaterialized numPartitions numFailed numMaterializing }
    latestMaterialization: assetMaterializations(limit: 1) { partition runId } } }"""
"""What the page of an asset asks, and how many of its partitions failed."""


@contextmanager
def answering(home: Home) -> Iterator[Callable[[str, Mapping[str, Any]], Any]]:
    """Answer GraphQL as the webserver does, over the home's definitions and instance, without starting one."""
    from dagster._core.test_utils import in_process_test_workspace
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster_graphql.schema import create_schema

    origin = LoadableTargetOrigin(executable_path=sys.executable, module_name="sigma_dagster.definitions")
    _, environment = home.command()
    with pytest.MonkeyPatch.context() as patch, home.instance() as instance:
        for name, value in environment.items():
            patch.setenv(name, value)
        with in_process_test_workspace(instance, origin) as context:

            def answer(query: str, variables: Mapping[str, Any]) -> Any:
                fresh = context.process_context.create_request_context()
                found = asyncio.run(create_schema().execute_async(query, context_value=fresh, variables=variables))
                assert not found.errors, found.errors
                return found.data

            yield answer
