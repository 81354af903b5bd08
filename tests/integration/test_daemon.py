"""The real daemon, code server and webserver: a portfolio is computed with no click, backfills skip and replace.

Slow: `make test-daemon`.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.web import ask, free_port, kill, wait_for
from resources.database.tables import factor_exposure
from sigma_dagster.runs import liveness
from tests.support.contents import assert_records_are_rows, partitions, recorded
from tests.support.home import GROWTH, Home
from tests.support.ui import running

pytestmark = pytest.mark.daemon

TICKS = """{ sensorOrError(sensorSelector: {repositoryName: "__repository__",
    repositoryLocationName: "sigma_dagster", sensorName: "new_portfolio"}) {
    ... on Sensor { sensorState { ticks(limit: 20) { status runIds skipReason } } } } }"""
STATISTICS = "{ assetNodes { assetKey { path } partitionStats { numMaterialized numFailed } } }"
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "sigma_dagster") { __typename } }"""
BACKFILL = """mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } } }"""
STATUS = """query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } } }"""


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home: on SQLite, or on Postgres for the domain and for Dagster."""
    variables = {"SIGMA_HISTORY_SESSIONS": "40"}
    if request.param == "postgres":
        new_url: Callable[[], str] = request.getfixturevalue("new_postgres_url")
        for name in ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"):
            variables[name] = sa.make_url(new_url()).set(drivername="postgresql").render_as_string(hide_password=False)
            monkeypatch.setenv(name, variables[name])  # dagster.yaml names the variable, not the password
    return Home(tmp_path / "sigma", variables)


def _is_complete(home: Home) -> bool:
    return bool(json.loads(home.sigma("plan", "--json").stdout)["runs"] == 0)


def _written_at(home: Home) -> dict[tuple[str, str], Any]:
    """When each factor exposure was written."""
    services = home.environment()
    table = factor_exposure.c
    with services.database.read() as connection:
        rows = connection.execute(sa.select(table.session, table.symbol, table.computed_at, table.beta_market)).all()
    services.database.engine.dispose()
    return {(f"{row[0]}", row[1]): row[2:] for row in rows}


def _statistics(port: int) -> dict[str, Any]:
    """What the UI says of each asset's partitions."""
    return {asset["assetKey"]["path"][0]: asset["partitionStats"] for asset in ask(port, STATISTICS)["assetNodes"]}


def _backfill(port: int, partitions: list[str], config: Mapping[str, Any]) -> None:
    """Launch a backfill of factor exposures as the UI does, and wait for its end."""
    params = {
        "assetSelection": [{"path": ["factor_exposures"]}],
        "partitionNames": partitions,
        "runConfigData": json.dumps({"ops": {"factor_exposures": {"config": dict(config)}}}),
    }
    launched = ask(port, BACKFILL, {"params": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def status() -> str:
        return str(ask(port, STATUS, {"id": launched["backfillId"]})["partitionBackfillOrError"]["status"])

    wait_for(lambda: status() not in ("REQUESTED", "COMPLETED_SUCCESS_PENDING"), 240, "the backfill ended")
    assert status() == "COMPLETED_SUCCESS"


def test_a_portfolio_is_computed_with_no_click_and_backfills_skip_and_replace(home: Home, tmp_path: Path) -> None:
    """The sensor asks for exactly what is missing, once; a backfill skips what exists, and with force replaces it."""
    port = free_port()
    with running(home, port, tmp_path / "terminal"):
        assert home.sigma("add", GROWTH).returncode == 0
        wait_for(lambda: _is_complete(home), 180, "everything is computed")
        wait_for(lambda: set(home.statuses()) == {"SUCCESS"}, 60, "the runs have ended")
        ticks = ask(port, TICKS)["sensorOrError"]["sensorState"]["ticks"]
        assert sum(len(tick["runIds"]) for tick in ticks) == 3
        assert all(tick["skipReason"] for tick in ticks if tick["status"] == "SKIPPED")
        assert_records_are_rows(home)
        statistics = _statistics(port)
        assert statistics["factor_exposures"] == {"numMaterialized": 15 * 40, "numFailed": 0}

        assert ask(port, RELOAD)["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"
        assert _statistics(port) == statistics

        block = [f"{day}|{symbol}" for day in ("2022-12-22", "2022-12-23") for symbol in ("AAPL", "MSFT")]
        before, before_backfills = _written_at(home), recorded(home)["factor_exposures"]
        _backfill(port, block, {})
        assert _written_at(home) == before
        _backfill(port, block, {"force": True})
        after = _written_at(home)
        replaced = {key for key in after if after[key][0] != before[key][0]}
        assert replaced == {tuple(key.split("|")) for key in block}
        assert recorded(home)["factor_exposures"] == Counter({**before_backfills, **dict.fromkeys(block, 3)})


def test_a_kill_in_the_middle_is_made_good(home: Home, tmp_path: Path) -> None:
    """Daemon, code server and run die together; started again, every row is there once, and so is its record."""
    port = free_port()
    with running(home, port, tmp_path / "terminal") as process:
        assert home.sigma("add", GROWTH).returncode == 0
        wait_for(lambda: any(liveness.living(home.environment()).values()), 120, "a run is executed")
        wait_for(lambda: partitions(home)["daily_prices"], 60, "the run has written something")
        kill(process)
    with running(home, port, tmp_path / "terminal"):
        wait_for(lambda: _is_complete(home), 240, "everything is computed")
        wait_for(lambda: set(home.statuses()) == {"SUCCESS", "FAILURE"}, 120, "the runs have ended")
        assert_records_are_rows(home)
