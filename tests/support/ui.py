"""The Dagster UI as a test uses it: `make dev` on a free port, asked over HTTP, or its GraphQL in this process."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster._core.remote_origin import CodeLocationOrigin, InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget

from benchmarks import web
from sigma_dagster.definitions import services_of
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.settings import Settings
from tests.support.home import ROOT, Home


@contextmanager
def running(home: Home, port: int, terminal: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the UI of a home; see `web.running`."""
    _, environment = home.command()
    with web.running(environment, port, terminal) as process:
        yield process


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
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in variables.items():
            patch.setenv(name, value)
        made = Settings.from_environment(variables)
        instance = stack.enter_context(open_instance(made))
        stack.callback(lambda: services_of(made).database.engine.dispose())
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
