"""The definitions that Dagster loads by workspace.yaml: by a worker's process for one run after the other."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from resources.releases import OtherReleaseError
from sigma_dagster import definitions
from sigma_dagster.orchestration.build import span
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
from tests.support.home import LAST, ROOT


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


def test_a_process_refuses_what_a_newer_release_has_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was not restarted on a deploy: its runs fail with what to do, and write nothing."""
    monkeypatch.setenv("SIGMA_HOME", str(tmp_path))
    definitions.defs()
    with closing(sqlite3.connect(tmp_path / "sigma.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(OtherReleaseError, match="newer release"):
        definitions.defs()


REPLACED = """
from pathlib import Path
from resources.database import migrate
before = migrate.newest()
Path(migrate.__file__).with_name("migrations").joinpath("versions", "9999_more.py").touch()
assert migrate.newest() == before, migrate.newest()
"""


def test_the_release_is_that_of_the_code_that_was_imported(tmp_path: Path) -> None:
    """`git pull` puts newer files beside a worker that runs: it stays what it was, and refuses a newer database."""
    shutil.copytree(ROOT / "resources", tmp_path / "resources")
    done = subprocess.run([sys.executable, "-c", REPLACED], cwd=tmp_path, capture_output=True, text=True)  # noqa: S603 - our own code
    assert done.returncode == 0, done.stderr
