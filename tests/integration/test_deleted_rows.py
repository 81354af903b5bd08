"""Rows that are deleted: after the next command, or tick of the sensor, Dagster shows what is stored and no more."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from resources import calendar
from resources.database import deletions, portfolios
from resources.database.deletions import delete_results
from resources.database.tables import symbol_volatility
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration import sensors
from sigma_dagster.orchestration.build import build_defs
from tests.conftest import SMALL
from tests.support.home import LAST, TABLES, Home, lots
from tests.support.sources import RecordedSource
from tests.support.ui import PARTITIONS, asked_here

#: Dagster's own, when it describes schedules to its webserver.
pytestmark = pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")

ASSETS = ("portfolio_factor_exposures", "portfolio_volatility")


def shown(home: Home, asset: str) -> Mapping[str, Any]:
    """The numbers on the page of an asset."""
    with asked_here(home) as answer:
        (node,) = answer(PARTITIONS, asset=asset)["assetNodes"]
    stats: Mapping[str, Any] = node["partitionStats"]
    return stats


@pytest.fixture(params=["sqlite", "postgres"])
def any_home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose Dagster is on either database; the domain stays on SQLite, where tests look at it."""
    variables = dict(SMALL)
    if request.param == "postgres":
        url = sa.make_url(request.getfixturevalue("new_postgres_url")()).set(drivername="postgresql")
        variables["SIGMA_DAGSTER_DATABASE_URL"] = url.render_as_string(hide_password=False)
        monkeypatch.setenv("SIGMA_DAGSTER_DATABASE_URL", variables["SIGMA_DAGSTER_DATABASE_URL"])
    return Home(tmp_path / "sigma", variables)


def materialized(home: Home, asset: str) -> set[str]:
    with home.instance() as instance:
        return instance.get_materialized_partitions(dg.AssetKey(asset))


def tick(home: Home) -> None:
    """Let the sensor look."""
    services = home.environment()
    defs = build_defs(services)
    with home.instance() as instance:
        context = dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def())
        sensors.evaluate(context, services, datetime(2023, 1, 3, tzinfo=UTC), sensors.Memory())
    services.database.engine.dispose()


def noted(home: Home) -> bool:
    services = home.environment()
    with services.database.read() as connection:
        found = deletions.any_noted(connection)
    services.database.engine.dispose()
    return found


def test_a_portfolio_replaced_by_a_later_entry_leaves_no_partition_without_a_row(any_home: Home) -> None:
    """The UI's own numbers: as many partitions are materialized as there are rows, with the very command."""
    any_home.onboard(lots("AAPL", entry="2021-06-15"))
    assert shown(any_home, ASSETS[0])["numMaterialized"] == 5
    any_home.onboard(lots("AAPL", entry="2022-12-23"))
    for asset in ASSETS:
        rows = any_home.partitions_with_row(asset)
        assert 0 < len(rows) < 5
        assert materialized(any_home, asset) == rows
        assert shown(any_home, asset)["numMaterialized"] == len(rows)


def test_the_sensor_follows_deletions_that_no_command_followed(home: Home) -> None:
    """`sigma add` computes nothing: the next tick takes the records back, and the one after it has nothing to do."""
    home.onboard(lots("AAPL", entry="2021-06-15"))
    services = home.environment()
    with services.database.write() as connection:
        portfolios.store(connection, "book", lots("AAPL", entry="2022-12-23"), None, LAST)
    services.database.engine.dispose()
    assert len(materialized(home, ASSETS[0])) == 5
    tick(home)
    kept = {"2022-12-27|book", "2022-12-28|book"}
    assert materialized(home, ASSETS[0]) == home.partitions_with_row(ASSETS[0]) == kept
    assert shown(home, ASSETS[0])["numMaterialized"] == 2
    tick(home)
    assert not noted(home)


def test_rows_that_came_back_before_anybody_looked_keep_their_record(home: Home) -> None:
    """What is there again is not taken back, and a key whose rows stayed is not touched."""
    home.onboard(lots("AAPL KO"))
    before = materialized(home, "symbol_volatility")
    with home.sql() as connection:
        kept = connection.execute("SELECT * FROM symbol_volatility WHERE symbol = 'KO'").fetchall()
    services = home.environment()
    with services.database.write() as connection:
        delete_results(connection, symbol_volatility, symbol_volatility.c.symbol == "KO")
    services.database.engine.dispose()
    with home.sql() as connection:
        connection.executemany(f"INSERT INTO symbol_volatility VALUES ({','.join('?' * len(kept[0]))})", kept[1:])  # noqa: S608
    tick(home)
    assert materialized(home, "symbol_volatility") == home.partitions_with_row("symbol_volatility")
    assert len(materialized(home, "symbol_volatility")) == len(before) - 1


def test_a_failed_partition_shows_as_failed_and_can_be_launched_again(home: Home) -> None:
    """A run of the UI over a single partition, and one over a range, that fail for want of prices."""
    home.create()
    single = home.materialize("symbol_volatility", "2022-12-27|KO", "2022-12-27|KO")
    assert not single.success
    assert shown(home, "symbol_volatility")["numFailed"] == 1
    assert not home.materialize("symbol_volatility", "2022-12-23|KO", "2022-12-28|KO").success
    stats = shown(home, "symbol_volatility")
    assert (stats["numFailed"], stats["numMaterialized"], stats["numMaterializing"]) == (3, 0, 0)
    home.onboard(lots("KO"))
    stats = shown(home, "symbol_volatility")
    assert (stats["numFailed"], stats["numMaterialized"]) == (0, 5)


def test_what_a_planned_run_left_out_shows_as_failed_until_it_is_there(home: Home) -> None:
    """Exactly the cells of the failed run that have no row, from the next look on; in vain again adds nothing."""
    source = RecordedSource(broken=["KO"])
    for _ in range(2):
        with pytest.raises(BlockFailedError):
            home.onboard(lots("AAPL KO"), source=source)
        tick(home)
    days = len(calendar.sessions(date(2022, 12, 1), LAST))  # of prices; results have five
    for asset, failed, made in (("daily_prices", days, days), ("factor_exposures", 5, 5), ("symbol_volatility", 5, 5)):
        stats = shown(home, asset)
        assert (stats["numFailed"], stats["numMaterialized"], stats["numMaterializing"]) == (failed, made, 0), asset
    with home.instance() as instance:
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        logs = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id, of_type=kind)]
    assert sum(entry.get_dagster_event().partition is not None for entry in logs) == days + 5 + 5
    home.onboard(lots("AAPL KO"))
    assert {shown(home, asset)["numFailed"] for asset in TABLES} == {0}
    home.assert_records_are_rows()
