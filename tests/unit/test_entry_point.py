"""The definitions that Dagster loads by workspace.yaml: by a worker's process for one run after the other."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from sigma_dagster import definitions
from sigma_dagster.orchestration.build import span
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
from tests.support.home import LAST


def first_partition(loaded: dg.Definitions) -> date:
    """The first day of the date partitions."""
    made = loaded.get_assets_def("factor_exposures").partitions_def
    assert isinstance(made, dg.MultiPartitionsDefinition)
    (days,) = [one.partitions_def for one in made.partitions_defs if one.name == "date"]
    return date.fromisoformat(days.get_partition_keys()[0])


def test_definitions_are_made_once_a_process_and_anew_when_days_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster loads them twice a run, at a quarter of a second each; a worker that began before the first portfolio
    was stored has the home's own first day afterwards, and another home has its own."""
    monkeypatch.setenv("SIGMA_HOME", str(tmp_path / "one"))
    monkeypatch.setenv("SIGMA_PRICE_SOURCES", "sample")
    monkeypatch.delenv("SIGMA_START_DATE", raising=False)
    monkeypatch.setenv("SIGMA_HISTORY_SESSIONS", "5")
    empty = definitions.defs()
    assert definitions.defs() is empty
    services = Services.of(
        Settings.from_environment({"SIGMA_HOME": str(tmp_path / "one"), "SIGMA_HISTORY_SESSIONS": "9"})
    )
    with services.database.write() as connection:
        services.fix_first_date(connection, LAST)
    begun = definitions.defs()
    assert begun is not empty
    assert first_partition(begun) == span(services)[0] != first_partition(empty)
    assert definitions.defs() is begun
    monkeypatch.setenv("SIGMA_HOME", str(tmp_path / "other"))
    assert definitions.defs() is not begun
    services.database.engine.dispose()
