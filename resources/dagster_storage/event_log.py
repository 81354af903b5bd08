"""Dagster's event log, made to store thousands of materialized partitions at once.

Here belong the storage class for SQLite, what it shares with the one for Postgres (`event_log_postgres`), and
the recorder by which a run stores materializations of exactly the partitions that it wrote. What a partition is,
and which ones to record, is the business of `assets`.

Built on internals of Dagster 1.13: docs/event-log.md says which, and why.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetNode
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    compute_logical_data_version,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.definitions.partitions.utils.multi import get_tags_from_multi_partition_key
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage, SqlEventLogStorage
from dagster._core.storage.event_log.polling_event_watcher import SqlPollingEventWatcher
from dagster._core.storage.event_log.schema import AssetEventTagsTable, SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData, deserialize_value, pack_value
from dagster._time import get_current_timestamp
from sqlalchemy.engine import Connection

from resources.dagster_storage.tables import EVENTS, open_sqlite

BATCH_SIZE = 2000
"""Events of one transaction: about 0.15 s of SQLite's only write lock."""


class _Row(NamedTuple):
    """One materialization as it is stored: its columns in `event_logs`, and the tags of its asset event."""

    columns: dict[str, Any]
    tags: Mapping[str, str]


class BatchedEventLogStorage(SqlEventLogStorage):
    """An event log that stores a batch of materializations in one transaction, all of it or nothing.

    Dagster stores a batch that raises once more, one event at a time: half a batch would be stored twice.
    Both of Dagster's switches for batches are on in every process that makes one of these.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """One planned event an asset, not one a partition."""
        return True

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events that Dagster made; anything but materializations is left to Dagster's own class."""
        if all(event.asset_materialization for event in events):
            self._store_rows([_Row(self._event_to_row(event), event.tags or {}) for event in events])
        else:
            super().store_event_batch(events)

    def store_materializations(
        self, template: dg.EventLogEntry, materializations: Sequence[dg.AssetMaterialization]
    ) -> None:
        """Store `template` once for each materialization; nothing else differs between the events."""
        columns = self._event_to_row(template)
        packed: Any = pack_value(template)
        event = packed["dagster_event"]
        event["step_handle"] = None  # Dagster rebuilds it from the node handle: 10 % of the text
        rows = []
        for materialization in materializations:
            event["event_specific_data"]["materialization"] = pack_value(materialization)
            text = json.dumps(packed, separators=(",", ":"))
            partition = materialization.partition and str(materialization.partition)
            rows.append(_Row({**columns, "event": text, "partition": partition}, materialization.tags or {}))
        self._store_rows(rows)

    def delete_events_for_run(self, conn: Connection, run_id: str) -> None:
        """Delete a run's events; Dagster names each in a parameter, of which SQLite may take no more than 32,766."""
        of_run = SqlEventLogStorageTable.c.run_id == run_id
        ids = sa.select(SqlEventLogStorageTable.c.id).where(of_run)
        conn.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(ids)))
        conn.execute(SqlEventLogStorageTable.delete().where(of_run))

    def _store_rows(self, rows: Sequence[_Row]) -> None:
        if not rows:
            return
        last_of_asset = {row.columns["asset_key"]: i for i, row in enumerate(rows)}
        with self.index_transaction() as conn:
            self._begin_writing(conn, sorted(last_of_asset))
            insert = SqlEventLogStorageTable.insert().returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            )
            event_ids = conn.execute(insert, [row.columns for row in rows]).scalars().all()
            tags = [tag for row, event_id in zip(rows, event_ids, strict=True) for tag in self._tag_rows(row, event_id)]
            if tags:
                conn.execute(AssetEventTagsTable.insert(), tags)
            for i in last_of_asset.values():
                event = deserialize_value(rows[i].columns["event"], dg.EventLogEntry)
                self._store_asset_event(conn, event, event_ids[i])

    def _tag_rows(self, row: _Row, event_id: int) -> Iterator[dict[str, Any]]:
        for key in self.get_asset_tags_to_index(set(row.tags)):
            yield {
                "event_id": event_id,
                "asset_key": row.columns["asset_key"],
                "key": key,
                "value": row.tags[key],
                "event_timestamp": row.columns["timestamp"],
            }

    def _begin_writing(self, conn: Connection, asset_keys: Sequence[str]) -> None:
        """See to it that the events of an asset become visible in the order of their ids.

        Dagster's readers remember the highest id they saw: an event committed after one with a higher id would
        never be counted. SQLite has one writer at a time, so nothing is to be done.
        """


class SqliteEventLog(BatchedEventLogStorage, ConsolidatedSqliteEventLogStorage):
    """The event log in one SQLite file, where Dagster's own default has one for all runs and one for each run."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        url = open_sqlite(Path(base_dir) / "event_log.db", EVENTS)
        super().__init__(base_dir, inst_data)
        self._conn_string = url
        self._event_watcher = SqlPollingEventWatcher(self)

    # The parent waits for the file to change, but another open connection keeps new events in the write-ahead log.

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back for every new event of a run: the live page of the run."""
        self._event_watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        """Stop calling back."""
        self._event_watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        """Stop every watch."""
        self._event_watcher.close()


def provenance_tags(instance: dg.DagsterInstance, node: BaseAssetNode, run_id: str) -> dict[str, str]:
    """Return the tags by which Dagster tells whether a materialization is up to date with its code and inputs.

    Take them before the inputs are read: what is recorded of an input after that makes the result stale.
    `node` is the asset in an asset graph (`context.assets_def` knows no parents), for instance
    `context.job_def.asset_layer.get(key)`. Without a code version the run stands for it, as in Dagster.
    """
    code_version = node.code_version or run_id
    records = {key: instance.get_latest_data_version_record(key) for key in node.parent_keys}
    versions = {
        key: (record and extract_data_version_from_entry(record.event_log_entry)) or DEFAULT_DATA_VERSION
        for key, record in records.items()
    }
    tags = {
        CODE_VERSION_TAG: code_version,
        DATA_VERSION_TAG: compute_logical_data_version(code_version, versions).value,
    }
    for key, record in records.items():
        tags[get_input_data_version_tag(key)] = versions[key].value
        tags[get_input_event_pointer_tag(key)] = str(record.storage_id) if record else NULL_EVENT_POINTER
    return tags


def record_planned(instance: dg.DagsterInstance, run: dg.DagsterRun, asset_key: dg.AssetKey) -> None:
    """Announce that a run with the tag `dagster/defer_asset_events` works on an asset (3 ms).

    This is how the UI knows that an asset is being materialized, and which run to blame when it fails. It names no
    partitions: Dagster shows those as in progress only for one event each.
    """
    event = dg.DagsterEvent.build_asset_materialization_planned_event(
        run.job_name,
        asset_key.to_python_identifier(),
        AssetMaterializationPlannedData(asset_key, partition=None, partitions_subset=None),
    )
    instance.report_dagster_event(event, run.run_id, logging.DEBUG)


def record_materializations(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    asset_key: dg.AssetKey,
    partitions: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    metadata: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> int:
    """Store a materialization for each of `partitions` (key, own metadata), in order; return how many.

    For a run with the tag `dagster/defer_asset_events`, which stores none itself. `metadata` and `tags`
    (`provenance_tags`) are common to all. Each 2,000 partitions are one transaction: after a kill the first of
    them may be recorded, and `instance.get_materialized_partitions` tells which.
    """
    storage = instance.event_log_storage
    template = _materialization_event(run, dg.AssetMaterialization(asset_key))
    materializations = (
        _materialization(asset_key, key, {**(metadata or {}), **own}, tags or {}) for key, own in partitions
    )
    count = 0
    while batch := list(islice(materializations, BATCH_SIZE)):
        if isinstance(storage, BatchedEventLogStorage):
            storage.store_materializations(template, batch)
        else:
            storage.store_event_batch([_materialization_event(run, materialization) for materialization in batch])
        count += len(batch)
    return count


def _materialization(
    asset_key: dg.AssetKey, partition: str, metadata: Mapping[str, Any], tags: Mapping[str, str]
) -> dg.AssetMaterialization:
    dimensions = get_tags_from_multi_partition_key(partition) if isinstance(partition, dg.MultiPartitionKey) else {}
    return dg.AssetMaterialization(asset_key, partition=partition, metadata=metadata, tags={**tags, **dimensions})


def _materialization_event(run: dg.DagsterRun, materialization: dg.AssetMaterialization) -> dg.EventLogEntry:
    """Return the event that Dagster itself would store for an asset made with `@dg.asset`."""
    step_key = materialization.asset_key.to_python_identifier()
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=run.job_name,
        node_handle=NodeHandle.from_string(step_key),
        step_kind_value="COMPUTE",
        event_specific_data=StepMaterializationData(materialization),
        message="Materialized value.",
        pid=os.getpid(),
        step_key=step_key,
    )
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level="DEBUG",
        user_message="",
        run_id=run.run_id,
        timestamp=get_current_timestamp(),
        step_key=step_key,
        job_name=run.job_name,
        dagster_event=event,
    )
