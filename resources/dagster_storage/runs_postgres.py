"""Dagster's run and schedule storages in Postgres, from the URL that a user writes."""

from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from resources.dagster_storage.tables import CurrentTables, KeptConnection, open_postgres


class PostgresRuns(CurrentTables, KeptConnection, PostgresRunStorage):
    """Runs."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PostgresRuns":
        """Make the storage that dagster.yaml describes."""
        return cls(open_postgres(config_value["postgres_url"]), should_autocreate_tables=False, inst_data=inst_data)


class PostgresSchedules(PostgresScheduleStorage):
    """Schedules and sensors. Its connections are not kept: Dagster never disposes of it."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PostgresSchedules":
        """Make the storage that dagster.yaml describes."""
        return cls(open_postgres(config_value["postgres_url"]), should_autocreate_tables=False, inst_data=inst_data)
