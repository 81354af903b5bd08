"""The Dagster UI as a test uses it: `make dev` on a free port, asked over HTTP, or its GraphQL in this process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from dagster._core.remote_origin import CodeLocationOrigin, InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget

from sigma_dagster.orchestration import webserver
from tests.support.home import ROOT, Home

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


class _InThisProcess(WorkspaceLoadTarget):
    """The code location of workspace.yaml, loaded here instead of in a server of its own."""

    def create_origins(self) -> Sequence[CodeLocationOrigin]:
        target = LoadableTargetOrigin(
            executable_path=sys.executable, module_name="sigma_dagster.definitions", working_directory=str(ROOT)
        )
        return [InProcessCodeLocationOrigin(target, location_name="sigma_dagster")]


@contextmanager
def asked_here(home: Home, **settings: str) -> Iterator[Callable[..., Any]]:
    """The UI's own GraphQL over a home, without its server: gives a function that answers a query."""
    from dagster_graphql.test.utils import execute_dagster_graphql

    variables = {**home.variables, "SIGMA_HOME": str(home.path)}
    variables |= {f"SIGMA_{name.upper()}": value for name, value in settings.items()}
    with pytest.MonkeyPatch.context() as patch, home.instance() as instance, ExitStack() as stack:
        for name, value in variables.items():
            patch.setenv(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dagster's server uses what Dagster deprecates
            process = stack.enter_context(WorkspaceProcessContext(instance, _InThisProcess()))

        def ask_here(query: str, **values: Any) -> Any:
            found = execute_dagster_graphql(process.create_request_context(), query, values)
            assert not found.errors, found.errors
            return found.data

        yield ask_here


BARS = """{ assetNodes { assetKey { path } partitionStats { numMaterialized numPartitions numFailed } } }"""


def bars(ask_here: Callable[..., Any]) -> dict[str, tuple[int, int]]:
    """Materialized and defined partitions of each asset, as the bar of its page shows them."""
    nodes = {node["assetKey"]["path"][0]: node["partitionStats"] for node in ask_here(BARS)["assetNodes"]}
    return {name: (stats["numMaterialized"], stats["numPartitions"]) for name, stats in nodes.items() if stats}
