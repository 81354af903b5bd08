"""Dagster's event log in Postgres, made to store thousands of materialized partitions at once.

A module of its own because importing `dagster_postgres` takes half a second, which SQLite's users need not pay.
What both databases share is in `event_log`.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config
from sqlalchemy.engine import Connection

from resources.dagster_storage.event_log import BatchedEventLogStorage
from resources.dagster_storage.tables import CurrentTables, KeptConnection, open_postgres


class PostgresEventLog(CurrentTables, KeptConnection, BatchedEventLogStorage, PostgresEventLogStorage):
    """The event log in Postgres, configured like Dagster's own class."""

    _position = sa.func.strpos

    def __init__(self, postgres_url: str, *args: Any, **kwargs: Any):
        super().__init__(open_postgres(postgres_url), *args, **kwargs)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make the storage that dagster.yaml describes; Dagster's own method names its own class."""
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=False,  # `open_postgres` makes them
            token_provider=get_token_provider_from_config(config_value),
        )

    def _begin_writing(self, conn: Connection, asset_keys: Sequence[str]) -> None:
        for asset_key in asset_keys:
            conn.execute(sa.select(sa.func.pg_advisory_xact_lock(zlib.crc32(asset_key.encode()))))

    def _new_ids(self, conn: Connection, n: int) -> Sequence[int]:
        sequence = sa.func.pg_get_serial_sequence(SqlEventLogStorageTable.name, "id")
        numbers = sa.func.generate_series(1, n).table_valued("number")
        return sorted(conn.execute(sa.select(sa.func.nextval(sequence)).select_from(numbers)).scalars())
