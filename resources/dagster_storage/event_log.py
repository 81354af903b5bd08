"""Dagster's event log, made to store thousands of materialized partitions at once.

Here belong the storage class for SQLite, what it shares with the one for Postgres (`event_log_postgres`), and
the recorder by which a run stores materializations of exactly the partitions that it wrote. What a partition is,
and which ones to record, is the business of `assets`.

Built on internals of Dagster 1.13: docs/event-log.md says which, and why.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

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
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.definitions.partitions.utils.multi import MULTIPARTITION_KEY_DELIMITER
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage, SqlEventLogStorage
from dagster._core.storage.event_log.polling_event_watcher import SqlPollingEventWatcher
from dagster._core.storage.event_log.schema import AssetEventTagsTable, AssetKeyTable, SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData, deserialize_value, serialize_value
from dagster._time import get_current_timestamp
from sqlalchemy.engine import Connection

from resources.dagster_storage.packed import PackedMaterializations, PackedPlans, dimension_tags
from resources.dagster_storage.tables import EVENTS, CurrentTables, KeptEngine, open_sqlite

BATCH_SIZE = 2000
"""Events of one transaction: about 0.15 s of SQLite's only write lock."""

#: Keys that one statement names.
_IN_A_STATEMENT = 500
_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION.value
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value


class _Row(NamedTuple):
    """One materialization as it is stored: its columns in `event_logs`, and the tags of its asset event."""

    columns: dict[str, Any]
    tags: Mapping[str, str]


class BatchedEventLogStorage(SqlEventLogStorage):
    """An event log that stores a batch of materializations in one transaction, all of it or nothing.

    Dagster stores a batch that raises once more, one event at a time: half a batch would be stored twice.
    Both of Dagster's switches for batches are on in every process that makes one of these.
    """

    #: The database's function that finds a text in another.
    _position: ClassVar[Callable[..., sa.Function[int]]]

    def __init__(self, *args: Any, **kwargs: Any):
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """Take one planned event for all partitions of an asset; `store_event` makes one of each, faster."""
        return True

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event; one that names several planned partitions becomes an event of each, as Dagster reads them."""
        if _planned_partitions(event):
            self._store_rows(self._rows([event]))
        else:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events that Dagster made; batches with others than materializations and plans are left to Dagster."""
        if all(event.asset_materialization or _is_plan(event) for event in events):
            self._store_rows(self._rows(events))
        else:
            for event in events:
                self.store_event(event)

    def store_materializations(
        self,
        template: dg.EventLogEntry,
        partitions: Sequence[tuple[str, Mapping[str, Any]]],
        tags: Mapping[str, str],
        *,
        once: bool = False,
    ) -> None:
        """Store `template` for each partition with its metadata; nothing else differs between the events.

        With `once`, those that are materialized already are left out.
        """
        columns = self._event_to_row(template)
        packed = PackedMaterializations(template, tags)
        rows = [
            _Row({**columns, "event": packed.text(partition, metadata), "partition": str(partition)}, {})
            for partition, metadata in partitions
        ]
        common = {name: sa.literal(value) for name, value in tags.items()}
        self._store_rows(rows, common_tags=common | self._dimension_tags(partitions[0][0]), once=once)

    def forget_materializations(
        self, asset_key: dg.AssetKey, partitions: Sequence[str], before: int | None = None
    ) -> int:
        """Delete the materializations of partitions, and the plans that led to them, of ids less than `before`.

        Returns how many there were. The last event of all stays, since SQLite would give its id to another: call it
        again until nothing is found. A reader may have counted the partitions while they were deleted: then, too.
        """
        newest = self.get_maximum_record_id() or 0
        end = min(before or newest, newest)
        found = 0
        for start in range(0, len(partitions), BATCH_SIZE):
            with self.index_transaction() as conn:
                self._begin_writing(conn, [asset_key.to_string()])
                found += self._forget(conn, asset_key, partitions[start : start + BATCH_SIZE], end)
        self._show_latest(asset_key)
        return found

    def _forget(self, conn: Connection, asset_key: dg.AssetKey, partitions: Sequence[str], end: int) -> int:
        """Delete events of some partitions; return the number of their materializations."""
        events, found, ids = SqlEventLogStorageTable.c, 0, list[int]()
        query = sa.select(events.partition, events.id, events.dagster_event_type).where(
            events.asset_key == asset_key.to_string(), events.dagster_event_type.in_([_MADE, _PLANNED]), events.id < end
        )
        for start in range(0, len(partitions), _IN_A_STATEMENT):
            chunk = [str(partition) for partition in partitions[start : start + _IN_A_STATEMENT]]
            rows = conn.execute(query.where(events.partition.in_(chunk))).all()
            made = [(partition, number) for partition, number, kind in rows if kind == _MADE]
            latest = dict(sorted(made))  # plans after it are of runs that try again
            ids += [number for partition, number, _ in rows if number <= latest.get(partition, 0)]
            found += len(made)
        self._delete_events(conn, ids)
        return found

    def _delete_events(self, conn: Connection, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), _IN_A_STATEMENT):
            few = ids[start : start + _IN_A_STATEMENT]
            conn.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(few)))
            conn.execute(SqlEventLogStorageTable.delete().where(SqlEventLogStorageTable.c.id.in_(few)))

    def forget_partitions_before(self, asset_keys: Sequence[dg.AssetKey], day: str) -> tuple[int, list[str]]:
        """Delete what is recorded of partitions whose key begins with a date before `day` (YYYY-MM-DD).

        Returns how many events that were, and the runs of which no materialization is left. The newest event of all
        stays, as in `forget_materializations`.
        """
        events, keys = SqlEventLogStorageTable.c, [key.to_string() for key in asset_keys]
        newest = self.get_maximum_record_id() or 0
        kinds = events.dagster_event_type.in_([_MADE, _PLANNED])
        old = (events.asset_key.in_(keys), kinds, events.partition < day, events.id < newest)
        deleted, run_ids = 0, set[str]()
        while True:
            with self.index_transaction() as conn:
                self._begin_writing(conn, keys)
                rows = conn.execute(sa.select(events.id, events.run_id).where(*old).limit(BATCH_SIZE)).all()
                self._delete_events(conn, [number for number, _ in rows])
            run_ids |= {run_id for _, run_id in rows}
            deleted += len(rows)
            if not rows:
                break
        for key in asset_keys:
            self._show_latest(key)
        return deleted, [run_id for run_id in sorted(run_ids) if not self._has_made(run_id)]

    def _has_made(self, run_id: str) -> bool:
        events = SqlEventLogStorageTable.c
        query = sa.select(events.id).where(events.run_id == run_id, events.dagster_event_type == _MADE).limit(1)
        with self.index_connection() as conn:
            return conn.execute(query).first() is not None

    def _show_latest(self, asset_key: dg.AssetKey) -> None:
        """Make the latest materialization that is left the one that Dagster shows; have it count partitions anew."""
        events, key = SqlEventLogStorageTable.c, asset_key.to_string()
        query = (
            sa.select(events.id, events.event)
            .where(events.asset_key == key, events.dagster_event_type == _MADE)
            .order_by(events.id.desc())
            .limit(1)
        )
        query = self._add_assets_wipe_filter_to_query(query, self._get_assets_details([asset_key]), [asset_key])
        of_asset = AssetKeyTable.update().where(AssetKeyTable.c.asset_key == key)
        with self.index_transaction() as conn:
            self._begin_writing(conn, [key])
            conn.execute(of_asset.values(cached_status_data=None, last_materialization=None))
            for event_id, text in conn.execute(query).all():
                record = dg.EventLogRecord(event_id, deserialize_value(text, dg.EventLogEntry))
                conn.execute(of_asset.values(last_materialization=serialize_value(record)))

    def delete_events_for_run(self, conn: Connection, run_id: str) -> None:
        """Delete a run's events; Dagster names each in a parameter, of which SQLite may take no more than 32,766."""
        of_run = SqlEventLogStorageTable.c.run_id == run_id
        ids = sa.select(SqlEventLogStorageTable.c.id).where(of_run)
        conn.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(ids)))
        conn.execute(SqlEventLogStorageTable.delete().where(of_run))

    def _rows(self, events: Iterable[dg.EventLogEntry]) -> list[_Row]:
        """Give the rows of materializations and plans."""
        rows = []
        for event in events:
            columns, partitions = self._event_to_row(event), _planned_partitions(event)
            if partitions:
                packed = PackedPlans(event)
                rows += [_Row({**columns, "event": packed.text(key), "partition": str(key)}, {}) for key in partitions]
            else:
                rows.append(_Row(columns, event.tags or {} if event.asset_materialization else {}))
        return rows

    def _store_rows(
        self,
        rows: Sequence[_Row],
        *,
        common_tags: Mapping[str, sa.ColumnElement[str]] = MappingProxyType({}),
        once: bool = False,
    ) -> None:
        if not rows:
            return
        with self.index_transaction() as conn:
            self._begin_writing(conn, sorted({row.columns["asset_key"] for row in rows}))
            if once:
                rows = list(self._without_record(conn, rows))
                if not rows:
                    return
            last_of_asset = {row.columns["asset_key"]: i for i, row in enumerate(rows)}
            # Ids of our own: to be told those of the database, SQLAlchemy makes a statement of each row.
            event_ids = self._new_ids(conn, len(rows))
            numbered = [{**row.columns, "id": number} for row, number in zip(rows, event_ids, strict=True)]
            conn.execute(SqlEventLogStorageTable.insert(), numbered)
            tags = list(self._tag_rows(rows, event_ids))
            if tags:
                conn.execute(AssetEventTagsTable.insert(), tags)
            if common_tags:
                self._tag(conn, rows[0], event_ids, common_tags)
            for i in last_of_asset.values():
                event = deserialize_value(rows[i].columns["event"], dg.EventLogEntry)
                self._store_asset_event(conn, event, event_ids[i])

    def _without_record(self, conn: Connection, rows: Sequence[_Row]) -> Iterator[_Row]:
        """Give those of an asset's materializations whose partition has none yet."""
        events, asset_key = SqlEventLogStorageTable.c, rows[0].columns["asset_key"]
        query = sa.select(events.partition).where(events.asset_key == asset_key, events.dagster_event_type == _MADE)
        key = dg.AssetKey(json.loads(asset_key))
        query = self._add_assets_wipe_filter_to_query(query, self._get_assets_details([key]), [key])
        for start in range(0, len(rows), _IN_A_STATEMENT):
            few = rows[start : start + _IN_A_STATEMENT]
            within = events.partition.in_([row.columns["partition"] for row in few])
            recorded = set(conn.execute(query.where(within)).scalars())
            yield from (row for row in few if row.columns["partition"] not in recorded)

    def _tag_rows(self, rows: Sequence[_Row], event_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        indexed: dict[frozenset[str], Iterable[str]] = {}
        for row, event_id in zip(rows, event_ids, strict=True):
            names = frozenset(row.tags)
            if names not in indexed:
                indexed[names] = self.get_asset_tags_to_index(set(names))
            for name in indexed[names]:
                yield {
                    "event_id": event_id,
                    "asset_key": row.columns["asset_key"],
                    "key": name,
                    "value": row.tags[name],
                    "event_timestamp": row.columns["timestamp"],
                }

    def _tag(
        self, conn: Connection, one: _Row, event_ids: Sequence[int], tags: Mapping[str, sa.ColumnElement[str]]
    ) -> None:
        """Index the tags of materializations of one asset and run, which have all of them: a statement for each tag."""
        events, tag = SqlEventLogStorageTable.c, AssetEventTagsTable.c
        same = (events[name] == one.columns[name] for name in ("run_id", "asset_key", "dagster_event_type"))
        of_all = (events.id.between(event_ids[0], event_ids[-1]), *same)
        for name in sorted(self.get_asset_tags_to_index(set(tags))):
            rows = sa.select(events.id, events.asset_key, sa.literal(name), tags[name], events.timestamp).where(*of_all)
            columns = [tag.event_id, tag.asset_key, tag.key, tag.value, tag.event_timestamp]
            conn.execute(AssetEventTagsTable.insert().from_select(columns, rows))

    def _dimension_tags(self, partition: str) -> dict[str, sa.ColumnElement[str]]:
        """Give the tags of dimensions, whose values stand on either side of the delimiter in the key."""
        key = SqlEventLogStorageTable.c.partition
        delimiter = self._position(key, sa.literal(MULTIPARTITION_KEY_DELIMITER))
        values = sa.func.substr(key, 1, delimiter - 1), sa.func.substr(key, delimiter + 1)
        return dict(zip(dimension_tags(partition), values, strict=False))

    def _begin_writing(self, conn: Connection, asset_keys: Sequence[str]) -> None:
        """See to it that the events of an asset become visible in the order of their ids, and nobody else writes some.

        Dagster's readers remember the highest id they saw: an event committed after one with a higher id would
        never be counted.
        """
        raise NotImplementedError

    def _new_ids(self, conn: Connection, n: int) -> Sequence[int]:
        """Give ids, ascending, that no other event gets; after `_begin_writing`."""
        raise NotImplementedError


def _is_plan(event: dg.EventLogEntry) -> bool:
    return event.is_dagster_event and event.get_dagster_event().is_asset_materialization_planned


def _planned_partitions(event: dg.EventLogEntry) -> Sequence[str]:
    """Give the partitions of an event that plans several at once."""
    subset = event.get_dagster_event().asset_materialization_planned_data.partitions_subset if _is_plan(event) else None
    return list(subset.get_partition_keys()) if subset else []


class SqliteEventLog(CurrentTables, BatchedEventLogStorage, KeptEngine, ConsolidatedSqliteEventLogStorage):
    """The event log in one SQLite file, where Dagster's own default has one for all runs and one for each run."""

    _position = sa.func.instr

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        url = open_sqlite(Path(base_dir) / "event_log.db", EVENTS)
        super().__init__(base_dir, inst_data)
        self._conn_string = url
        self._event_watcher = SqlPollingEventWatcher(self)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self.connect() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Say whether the file has a table."""
        with self.connect() as connection:
            return sa.inspect(connection).has_table(table_name)

    def _begin_writing(self, conn: Connection, asset_keys: Sequence[str]) -> None:  # noqa: ARG002 - one writer of all
        # Python's driver would begin with the first change, after what was read to decide on it.
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    def _new_ids(self, conn: Connection, n: int) -> Sequence[int]:
        last = conn.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar() or 0
        return range(last + 1, last + 1 + n)

    # The parent waits for the file to change, but another open connection keeps new events in the write-ahead log.

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back for every new event of a run: the live page of the run."""
        self._event_watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        """Stop calling back."""
        self._event_watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        """Stop every watch, and close the connections."""
        self._event_watcher.close()
        KeptEngine.dispose(self)


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


def record_planned(
    instance: dg.DagsterInstance, run: dg.DagsterRun, asset_key: dg.AssetKey, partitions: Sequence[str] = ()
) -> None:
    """Announce that a run with the tag `dagster/defer_asset_events` works on an asset (3 ms), or on partitions of it.

    This is how the UI knows that an asset is being materialized, and which run to blame when it fails. Partitions are
    shown as in progress, or as failed once the run has failed, only for one event each, which are stored in one
    transaction: a run announces the asset, and one that failed gets the partitions that it left out.
    """
    subset = DefaultPartitionsSubset(set(partitions)) if partitions else None
    event = dg.DagsterEvent.build_asset_materialization_planned_event(
        run.job_name,
        asset_key.to_python_identifier(),
        AssetMaterializationPlannedData(asset_key, partition=None, partitions_subset=subset),
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
    once: bool = False,
) -> int:
    """Store a materialization for each of `partitions` (key, own metadata), in order; return how many.

    For a run with the tag `dagster/defer_asset_events`, which stores none itself. `metadata` and `tags`
    (`provenance_tags`) are common to all. Each 2,000 partitions are one transaction: after a kill the first of
    them may be recorded, and `instance.get_materialized_partitions` tells which. With `once`, what is recorded already
    is left out, whoever records at the same time.
    """
    storage = instance.event_log_storage
    template = _materialization_event(run, dg.AssetMaterialization(asset_key))
    all_of_them = ((key, {**metadata, **own}) if metadata else (key, own) for key, own in partitions)
    count = 0
    while batch := list(islice(all_of_them, BATCH_SIZE)):
        if isinstance(storage, BatchedEventLogStorage):
            storage.store_materializations(template, batch, tags or {}, once=once)
        else:
            made = (_materialization(asset_key, key, own, tags or {}) for key, own in batch)
            storage.store_event_batch([_materialization_event(run, materialization) for materialization in made])
        count += len(batch)
    return count


def forget_materializations(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partitions: Sequence[str], before: int | None = None
) -> int:
    """Take back that partitions are materialized; return how many materializations were found.

    Open-source Dagster cannot: their events are deleted, those of runs' pages too. With `before`, only events with
    smaller ids (`get_maximum_record_id`): what is recorded while somebody decides what to take back stays. To be
    repeated until nothing is found. On storages of other classes nothing is taken back.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, BatchedEventLogStorage) or not partitions:
        return 0
    return storage.forget_materializations(asset_key, partitions, before)


def forget_partitions_before(
    instance: dg.DagsterInstance, asset_keys: Sequence[dg.AssetKey], day: str
) -> tuple[int, list[str]]:
    """Delete the records of partitions before a date; see `BatchedEventLogStorage.forget_partitions_before`."""
    storage = instance.event_log_storage
    if not isinstance(storage, BatchedEventLogStorage):
        return 0, []
    return storage.forget_partitions_before(asset_keys, day)


def _materialization(
    asset_key: dg.AssetKey, partition: str, metadata: Mapping[str, Any], tags: Mapping[str, str]
) -> dg.AssetMaterialization:
    tags = {**tags, **dimension_tags(partition)}
    return dg.AssetMaterialization(asset_key, partition=partition, metadata=metadata, tags=tags)


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
