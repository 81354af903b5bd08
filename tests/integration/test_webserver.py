"""`make dev`: the UI and the daemon start on what the command line stored, and say nothing that needs no saying."""

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster._daemon.auto_run_reexecution import event_log_consumer

from benchmarks.web import kill, living, wait_for
from sigma_dagster.orchestration import webserver
from tests.support.home import Home

SECONDS_TO_START = 120
SECONDS_TO_END = 60

LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
    __typename } } } } }"""
ASSETS = "{ assetNodes { id assetKey { path } partitionStats { numMaterialized numFailed } } }"
RUNS = "{ runsOrError { ... on Runs { results { jobName status repositoryOrigin { repositoryLocationName } } } } }"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((webserver.HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(home: Home, port: int, terminal: Path) -> Iterator[None]:
    """Start it in a session of its own, wait until it answers, and end it as Ctrl-C does."""
    command, environment = home.command("dev", "--port", str(port))
    with terminal.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)  # noqa: S603 - our own command
    try:
        _wait(process, port)
        yield
        os.killpg(process.pid, signal.SIGINT)
        process.wait(SECONDS_TO_END)
    finally:
        kill(process)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            entries = _ask(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
        except OSError:
            entries = []
        if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
            return
        time.sleep(0.5)
    raise AssertionError(f"the UI was not up after {SECONDS_TO_START} s")


def _ask(port: int, query: str) -> Any:
    data = json.dumps({"query": query}).encode()
    request = urllib.request.Request(
        f"http://{webserver.HOST}:{port}/graphql", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http to this machine
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


def _status(port: int, path: str, method: str = "GET", **headers: str) -> int:
    """Send a request as it stands, and give the status of the answer."""
    connection = http.client.HTTPConnection(webserver.HOST, port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_ui_shows_what_the_command_line_did(core_home: Home, port: int, tmp_path: Path) -> None:
    """Code location, materialized partitions, runs with their job; and one line on the terminal."""
    terminal = tmp_path / "terminal"
    with _running(core_home, port, terminal):
        (location,) = _ask(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
        assets = _ask(port, ASSETS)["assetNodes"]
        runs = _ask(port, RUNS)["runsOrError"]["results"]
        refused = [
            _status(port, "/graphql", "POST", Origin="http://evil.example"),
            _status(port, "/graphql", "POST", Host="evil.example"),
            _status(port, "/graphql?query=mutation+Launch+%7B+launchRun+%7B+__typename+%7D+%7D"),
        ]
        answered = _status(port, "/", Host=f"localhost:{port}")
    assert (refused, answered) == ([403, 403, 403], 200)
    assert location["name"] == "sigma_dagster"
    assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation"
    filled = {
        asset["assetKey"]["path"][0]: asset["partitionStats"]["numMaterialized"]
        for asset in assets
        if asset["partitionStats"]
    }
    assert filled["factor_exposures"] == filled["symbol_volatility"] == 10 * 5
    assert filled["portfolio_factor_exposures"] == filled["portfolio_volatility"] == 5
    of_command = [run for run in runs if run["jobName"] != "portfolio_reports"]  # the sensor's, if it was quick
    assert {run["jobName"] for run in of_command} == {"proxy_block", "symbol_block", "portfolio_block"}
    assert {run["status"] for run in of_command} == {"SUCCESS"}
    assert {run["repositoryOrigin"]["repositoryLocationName"] for run in runs} == {"sigma_dagster"}
    lines = terminal.read_text().splitlines()
    assert len(lines) == 1, lines
    line = lines[0]
    assert line.startswith(f"Dagster UI: http://127.0.0.1:{port} ")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["dev", "webserver", "daemon"])
def test_ctrl_c_at_any_moment_of_a_start_is_quiet(core_home: Home, port: int, tmp_path: Path, program: str) -> None:
    """One of its processes always imports: no traceback, no complaint of it, and nothing of it is left."""
    options = [] if program == "daemon" else ["--port", str(port)]
    command, environment = core_home.command(program, *options)
    for seconds in (1, 2.5, 4, 5.5, 7, 8.5, 10, 12, 15, 25):
        terminal = tmp_path / f"{seconds}"
        with terminal.open("w") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)  # noqa: S603 - our own command
        try:
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(SECONDS_TO_END) in (0, 130), seconds  # 130: before it had begun
            wait_for(lambda session=process.pid: not living(session), 10, "its processes have ended")
        finally:
            kill(process)
        said = terminal.read_text()
        assert "Traceback" not in said, (seconds, said)
        assert "Aborted" not in said, (seconds, said)


def test_a_port_that_is_taken_is_named(home: Home) -> None:
    """With the command to type instead."""
    with socket.socket() as other:
        other.bind((webserver.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        done = home.sigma("dev", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"port {port} of 127.0.0.1 is taken: make dev PORT={port + 1}\n"


def test_a_first_start_warns_of_nothing_and_retries_nothing_old(
    core_home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon finds where to begin; where it stands later is its own business."""
    events = event_log_consumer.DAGSTER_EVENT_TYPES
    with core_home.instance() as instance:
        newest = instance.event_log_storage.get_maximum_record_id()
        webserver.begin_retries_now(instance)
        found = event_log_consumer._fetch_persisted_cursors(instance, events, logging.getLogger("daemon"))
        assert set(found.values()) == {newest}
        assert not caplog.records
        event_log_consumer._persist_cursors(instance, dict.fromkeys(events, 7))
        webserver.begin_retries_now(instance)
        found = event_log_consumer._fetch_persisted_cursors(instance, events, logging.getLogger("daemon"))
    assert set(found.values()) == {7}
