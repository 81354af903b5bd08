"""Dagster's run and schedule storages in SQLite files, each made by one process and whole before others see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData

from resources.dagster_storage.tables import RUNS, SCHEDULES, CurrentTables, KeptEngine, open_sqlite


class SqliteRuns(CurrentTables, KeptEngine, SqliteRunStorage):
    """Runs, in `runs.db`."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make the storage that dagster.yaml describes; Dagster's own method names its own class."""
        return cls.from_local(config_value["base_dir"], inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """Open the file in a folder; raises TwoVersionsError."""
        return cls(open_sqlite(Path(base_dir) / "runs.db", RUNS), inst_data)


class SqliteSchedules(KeptEngine, SqliteScheduleStorage):
    """Schedules and sensors, in `schedules.db`. Its connections are not kept: Dagster never disposes of it."""

    _pool = sa.NullPool

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make the storage that dagster.yaml describes; Dagster's own method names its own class."""
        return cls.from_local(config_value["base_dir"], inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """Open the file in a folder; raises TwoVersionsError."""
        return cls(open_sqlite(Path(base_dir) / "schedules.db", SCHEDULES), inst_data)
