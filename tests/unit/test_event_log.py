"""The event log storage: what it reads back is what Dagster's own classes read back; a batch is stored or is not."""

import logging
import os
import sqlite3
import threading
import time as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.definitions.partitions.utils.multi import get_tags_from_multi_partition_key
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEventBatchMetadata,
    StepMaterializationData,
)
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.storage.event_log import (
    ConsolidatedSqliteEventLogStorage,
    SqlEventLogStorage,
    SqliteEventLogStorage,
)

from resources.dagster_storage.event_log import (
    BATCH_SIZE,
    BatchedEventLogStorage,
    SqliteEventLog,
    record_materializations,
)
from resources.dagster_storage.tables import EVENTS

Type = dg.DagsterEventType
PRICES, BETAS, REPORT = dg.AssetKey("daily_prices"), dg.AssetKey(["risk", "betas"]), dg.AssetKey("report")
ASSETS = [PRICES, BETAS, REPORT]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a storage sets for its process ends with the test."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], SqlEventLogStorage]]:
    """Make a storage on an empty database, by name."""
    made: list[SqlEventLogStorage] = []

    def new(name: str) -> SqlEventLogStorage:
        made.append(_new(name))
        return made[-1]

    def _new(name: str) -> SqlEventLogStorage:
        directory = str(tmp_path / uuid4().hex)
        if name == "SqliteEventLogStorage":
            return SqliteEventLogStorage(directory)
        if name == "ConsolidatedSqliteEventLogStorage":
            return ConsolidatedSqliteEventLogStorage(directory)
        if name == "SqliteEventLog":
            return SqliteEventLog(directory)
        from dagster_postgres.event_log import PostgresEventLogStorage

        from resources.dagster_storage.event_log_postgres import PostgresEventLog

        url = request.getfixturevalue("new_postgres_url")()
        return {"PostgresEventLog": PostgresEventLog, "PostgresEventLogStorage": PostgresEventLogStorage}[name](url)

    yield new
    for storage in made:
        storage.dispose()


PAIRS = [
    ("SqliteEventLogStorage", "SqliteEventLog"),
    ("ConsolidatedSqliteEventLogStorage", "SqliteEventLog"),
    ("PostgresEventLogStorage", "PostgresEventLog"),
]


@pytest.fixture(params=["SqliteEventLog", "PostgresEventLog"])
def storage(make: Callable[[str], BatchedEventLogStorage], request: pytest.FixtureRequest) -> BatchedEventLogStorage:
    """Ours, empty."""
    return make(request.param)


# --- events, as a run would make them -------------------------------------------------------------------------------


def entry(run_id: str, time: float, kind: Type, data: Any = None, step: str | None = None) -> dg.EventLogEntry:
    event = dg.DagsterEvent(
        event_type_value=kind.value,
        job_name="a_job",
        node_handle=NodeHandle(step, None) if step else None,
        step_kind_value="COMPUTE" if step else None,
        event_specific_data=data,
        message=kind.value,
        pid=1,
        step_key=step,
    )
    return dg.EventLogEntry(None, logging.DEBUG, "", run_id, time, step, "a_job", event)


def key(date: str, symbol: str) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"date": date, "symbol": symbol})


def materialized(run_id: str, time: float, asset: dg.AssetKey, partition: str | None) -> dg.EventLogEntry:
    dimensions = get_tags_from_multi_partition_key(partition) if isinstance(partition, dg.MultiPartitionKey) else {}
    event = dg.AssetMaterialization(
        asset,
        partition=partition,
        metadata={"close": time, "source": "sample"},
        tags={"dagster/data_version": f"v{time}", "dagster/code_version": "1", **dimensions},
    )
    return entry(run_id, time, Type.ASSET_MATERIALIZATION, StepMaterializationData(event), asset.path[-1])


def planned(run_id: str, time: float, asset: dg.AssetKey, partition: str | None) -> dg.EventLogEntry:
    data = AssetMaterializationPlannedData(asset, partition, None)
    return entry(run_id, time, Type.ASSET_MATERIALIZATION_PLANNED, data, asset.path[-1])


def observed(run_id: str, time: float, asset: dg.AssetKey, partition: str | None) -> dg.EventLogEntry:
    event = dg.AssetObservation(asset, partition=partition, tags={"dagster/data_version": "seen"})
    return entry(run_id, time, Type.ASSET_OBSERVATION, AssetObservationData(event), asset.path[-1])


def first_run() -> list[list[dg.EventLogEntry]]:
    """Batches, and events alone, of a run that does a bit of everything."""
    run = "run-1"
    blocks = [key(f"2022-12-{day}", symbol) for day in (27, 28) for symbol in ("AAPL", "MSFT")]
    planned_check = AssetCheckEvaluationPlanned(asset_key=PRICES, check_name="complete")
    check = dg.AssetCheckEvaluation(asset_key=PRICES, check_name="complete", passed=True, metadata={})
    return [
        [entry(run, 1.0, Type.PIPELINE_STARTING)],
        [entry(run, 2.0, Type.PIPELINE_START)],
        [planned(run, 3.0 + i / 8, PRICES, partition) for i, partition in enumerate(blocks)],
        [entry(run, 4.0, Type.ASSET_CHECK_EVALUATION_PLANNED, planned_check, "c")],
        [entry(run, 5.0, Type.STEP_START, step="daily_prices")],
        [materialized(run, 6.0 + i / 8, PRICES, partition) for i, partition in enumerate(blocks)],
        [dg.EventLogEntry(None, logging.INFO, "a message of the user", run, 7.0, "daily_prices", "a_job", None)],
        [entry(run, 8.0, Type.ASSET_CHECK_EVALUATION, check, "c")],
        [materialized(run, 9.0, REPORT, "core")],
        [materialized(run, 10.0, REPORT, None)],
        [observed(run, 11.0 + i / 8, BETAS, partition) for i, partition in enumerate(blocks)],
        [planned(run, 12.0, PRICES, blocks[0]), planned(run, 12.5, REPORT, "core")],
        [entry(run, 13.0, Type.STEP_SUCCESS, StepSuccessData(1.0), "daily_prices")],
        [entry(run, 14.0, Type.PIPELINE_SUCCESS)],
    ]


def second_run() -> list[list[dg.EventLogEntry]]:
    """Overlaps the first one; one of its batches is of two assets."""
    run = "run-2"
    blocks = [key(f"2022-12-{day}", symbol) for day in (28, 29) for symbol in ("MSFT", "KO")]
    return [
        [entry(run, 21.0, Type.PIPELINE_START)],
        [materialized(run, 22.0 + i / 8, (PRICES, BETAS)[i % 2], partition) for i, partition in enumerate(blocks)],
        [materialized(run, 23.0, PRICES, blocks[0])],
        [planned(run, 24.0, BETAS, blocks[0])],
        [entry(run, 25.0, Type.PIPELINE_FAILURE)],
    ]


# --- the same reads -------------------------------------------------------------------------------------------------


def asset_events(storage: SqlEventLogStorage) -> dict[int, str]:
    """What the storage ids stand for, as they differ from one database to the other."""
    kinds = [Type.ASSET_MATERIALIZATION, Type.ASSET_OBSERVATION, Type.ASSET_MATERIALIZATION_PLANNED]
    return {
        record.storage_id: f"{record.event_log_entry.dagster_event_type} {record.timestamp} {record.partition_key}"
        for kind in kinds
        for record in storage.get_event_records(dg.EventRecordsFilter(kind), limit=10_000)
    }


def run_reads(storage: SqlEventLogStorage, run_id: str) -> Iterator[tuple[str, object]]:
    yield "logs", storage.get_logs_for_run(run_id)
    yield "logs backwards", storage.get_logs_for_run(run_id, ascending=False)
    yield "records", [r.event_log_entry for r in storage.get_records_for_run(run_id).records]
    first = storage.get_records_for_run(run_id, limit=5)
    yield "first page", (len(first.records), first.has_more)
    rest = storage.get_records_for_run(run_id, cursor=first.cursor)
    yield "second page", [r.event_log_entry for r in rest.records]
    yield "of a type", storage.get_logs_for_run(run_id, of_type=Type.ASSET_MATERIALIZATION)
    yield "statistics", storage.get_stats_for_run(run_id)
    yield "step statistics", storage.get_step_stats_for_run(run_id)
    yield "partitions", storage.get_asset_partitions_for_run(run_id)
    yield "asset keys", storage.get_asset_keys_for_run(run_id)


def asset_reads(storage: SqlEventLogStorage, asset: dg.AssetKey) -> Iterator[tuple[str, object]]:
    names, kind = asset_events(storage), Type.ASSET_MATERIALIZATION
    ids = sorted(storage.get_latest_storage_id_by_partition(asset, kind).values())
    middle = ids[len(ids) // 2] if ids else 0
    filters = {
        "all": dg.AssetRecordsFilter(asset),
        "partitions": dg.AssetRecordsFilter(asset, asset_partitions=["2022-12-28|AAPL", "2022-12-28|MSFT", "core"]),
        "after an id": dg.AssetRecordsFilter(asset, after_storage_id=middle),
        "before an id": dg.AssetRecordsFilter(asset, before_storage_id=middle),
        "by id": dg.AssetRecordsFilter(asset, storage_ids=ids[:2]),
        "after a time": dg.AssetRecordsFilter(asset, after_timestamp=6.2),
        "before a time": dg.AssetRecordsFilter(asset, before_timestamp=6.2),
    }
    for name, chosen in filters.items():
        for ascending in (True, False):
            page = storage.fetch_materializations(chosen, limit=3, ascending=ascending)
            yield f"fetch {name} {ascending}", ([r.event_log_entry for r in page.records], page.has_more)
    yield "observations", [r.event_log_entry for r in storage.fetch_observations(asset, limit=99).records]
    yield "materialized", storage.get_materialized_partitions(asset)
    yield "materialized after", storage.get_materialized_partitions(asset, after_cursor=middle)
    yield "materialized before", storage.get_materialized_partitions(asset, before_cursor=middle)
    latest = storage.get_latest_storage_id_by_partition(asset, kind)
    yield "latest", {partition: names[event_id] for partition, event_id in latest.items()}
    yield "latest event", storage.get_latest_materialization_events([asset])
    yield "latest tags", storage.get_latest_tags_by_partition(asset, kind, ["dagster/data_version"])
    yield "tags", sorted(map(sorted, (tags.items() for tags in storage.get_event_tags_for_asset(asset))))
    wanted = {"dagster/partition/symbol": "MSFT"}
    yield "tags of a symbol", sorted(map(sorted, (t.items() for t in storage.get_event_tags_for_asset(asset, wanted))))
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
    yield "attempts", {partition: (run, names[event_id]) for partition, (run, event_id) in attempts.items()}
    yield "planned", (info := storage.get_latest_planned_materialization_info(asset)) and info.run_id
    yield "changed versions", storage.get_updated_data_version_partitions(asset, ["2022-12-28|MSFT", "core"], middle)
    summaries = storage.get_asset_event_summary_records(kind, asset)
    yield "summaries", [(names[s.storage_id], s.run_id, s.partition, s.timestamp) for s in summaries]
    yield "has", storage.has_asset_key(asset)


def reads(storage: SqlEventLogStorage) -> dict[object, object]:
    """Every public read of the storage, by name."""
    found: dict[object, object] = {}
    for run_id in ("run-1", "run-2"):
        found.update(((run_id, name), value) for name, value in run_reads(storage, run_id))
    for asset in ASSETS:
        found.update(((asset, name), value) for name, value in asset_reads(storage, asset))
    names = asset_events(storage)
    for record in storage.get_asset_records(ASSETS):
        asset_entry = record.asset_entry
        found["record", asset_entry.asset_key] = (
            asset_entry.last_materialization,
            names.get(asset_entry.last_materialization_storage_id or 0),
            asset_entry.last_run_id,
            bool(asset_entry.asset_details),  # the time of the wipe
        )
    found["keys"] = storage.all_asset_keys()
    found["events"] = list(names.values())
    check = dg.AssetCheckKey(PRICES, "complete")
    executions = storage.get_asset_check_execution_history(check, limit=9)
    found["checks"] = [(e.status, e.run_id, e.event) for e in executions]
    return found


def store(storage: SqlEventLogStorage, batches: Iterable[Sequence[dg.EventLogEntry]]) -> None:
    for batch in batches:
        if len(batch) > 1:
            storage.store_event_batch(batch)
        else:
            storage.store_event(batch[0])


def histories(storage: SqlEventLogStorage) -> Iterator[dict[object, object]]:
    """What is read after each chapter of a history with a wiped asset and a deleted run."""
    store(storage, [*first_run(), *second_run()])
    yield reads(storage)
    storage.wipe_asset(BETAS)
    after_wipe = [materialized("run-2", 4e9 + i, BETAS, key("2022-12-30", symbol)) for i, symbol in enumerate("AB")]
    store(storage, [after_wipe])
    yield reads(storage)
    storage.delete_events("run-1")
    yield reads(storage)


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_every_read_gives_what_it_gives_through_dagsters_own_class(
    make: Callable[[str], SqlEventLogStorage], stock: str, ours: str
) -> None:
    """Each public read of the event log gives the same through Dagster's class and ours."""
    # Of Dagster's classes only the one with two files deletes the events of a wiped asset; the others hide them.
    deleted = {"events", (BETAS, "changed versions")} if stock == "SqliteEventLogStorage" else set()
    for chapter, (theirs, found) in enumerate(zip(histories(make(stock)), histories(make(ours)), strict=True)):
        different = {name for name in theirs.keys() | found.keys() if found.get(name) != theirs.get(name)}
        assert (chapter, different - deleted) == (chapter, set())


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_a_run_that_records_itself_reads_like_one_recorded_by_dagsters_own_class(
    make: Callable[[str], SqlEventLogStorage], stock: str, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run records by itself reads as if Dagster had recorded it."""
    monkeypatch.setattr("resources.dagster_storage.event_log.get_current_timestamp", lambda: 1234.5)
    found = []
    for storage in (make(stock), make(ours)):
        partitions = [(key("2022-12-28", symbol), {"close": 1.5 + i}) for i, symbol in enumerate(("AAPL", "KO", "X|Y"))]
        assert (
            record(storage, PRICES, partitions, metadata={"source": "sample"}, tags={"dagster/code_version": "1"}) == 3
        )
        assert record(storage, REPORT, [("core", {"positions": 3, "rows": dg.MetadataValue.md("**2**")})]) == 1
        found.append(reads(storage))
    assert found[0] == found[1]


def record(storage: SqlEventLogStorage, asset: dg.AssetKey, partitions: Iterable[Any], **common: Any) -> int:
    instance: Any = SimpleNamespace(event_log_storage=storage)
    run = dg.DagsterRun("a_job", "run-1")
    return record_materializations(instance, run, asset, partitions, **common)


def symbols(count: int) -> list[tuple[dg.MultiPartitionKey, dict[str, int]]]:
    return [(key("2022-12-28", f"S{i:05d}"), {"n": i}) for i in range(count)]


def recorded(storage: SqlEventLogStorage, asset: dg.AssetKey = PRICES) -> list[str]:
    """The materialized partitions in the order of their events, each as often as it is recorded."""
    filters = dg.AssetRecordsFilter(asset)
    page = storage.fetch_materializations(filters, limit=10_000, ascending=True)
    return [str(event.partition_key) for event in page.records]


def test_partitions_are_recorded_in_their_order_over_several_transactions(storage: BatchedEventLogStorage) -> None:
    """Partitions keep their order over the limit of one transaction."""
    partitions = symbols(BATCH_SIZE + 10)
    partitions.reverse()
    assert record(storage, PRICES, iter(partitions)) == len(partitions)
    assert recorded(storage) == [partition for partition, _ in partitions]
    assert record(storage, PRICES, []) == 0


def test_who_records_only_what_is_not_recorded_yet_doubles_nothing(storage: BatchedEventLogStorage) -> None:
    """Four at once that found the same partitions without a record, as processes that heal the same run do."""
    partitions = symbols(300)
    assert record(storage, PRICES, partitions[:100])
    together = threading.Barrier(4)

    def record_all() -> None:
        together.wait(timeout=30)
        record(storage, PRICES, partitions, once=True)

    threads = [threading.Thread(target=record_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorded(storage) == [partition for partition, _ in partitions]
    assert recorded(storage, REPORT) == []
    record(storage, REPORT, partitions[:3], once=True)
    assert len(recorded(storage, REPORT)) == 3  # of each asset by itself


@contextmanager
def failing_at(statement: str, occurrence: int = 1) -> Iterator[None]:
    """Let the database fail at the given occurrence of a statement."""
    seen = 0

    def fail(_conn: object, _cursor: object, sql: str, *_: object) -> None:
        nonlocal seen
        seen += statement in sql
        if statement in sql and seen == occurrence:
            raise OSError("disk full")

    sa.event.listen(sa.Engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", fail)


FAILURES = [
    ("INSERT INTO event_logs", 1),
    ("INSERT INTO asset_event_tags", 1),
    ("INSERT INTO asset_keys", 1),
]


@pytest.mark.parametrize(("statement", "occurrence"), FAILURES)
def test_a_batch_that_fails_anywhere_stores_nothing(
    storage: BatchedEventLogStorage, statement: str, occurrence: int
) -> None:
    """A batch that fails at any statement leaves nothing behind."""
    record(storage, REPORT, [("core", {})])
    before = rows(storage)
    with failing_at(statement, occurrence), pytest.raises(OSError, match="disk full"):
        record(storage, PRICES, symbols(1500))
    assert rows(storage) == before
    record(storage, PRICES, symbols(1500))
    assert recorded(storage) == [partition for partition, _ in symbols(1500)]


def rows(storage: SqlEventLogStorage) -> dict[str, int]:
    tables = ("event_logs", "asset_event_tags", "asset_keys")
    with storage.index_connection() as connection:
        return {table: len(connection.execute(sa.text(f"SELECT id FROM {table}")).all()) for table in tables}  # noqa: S608


def test_dagsters_second_attempt_after_a_failed_batch_stores_each_event_once(
    storage: BatchedEventLogStorage, capfd: pytest.CaptureFixture[str]
) -> None:
    """Dagster's one-by-one attempt after a failed batch doubles nothing."""
    instance = dg.DagsterInstance.ephemeral()
    instance._event_storage = storage
    events = [materialized("run-1", 1.0 + i, PRICES, partition) for i, (partition, _) in enumerate(symbols(20))]
    with failing_at("INSERT INTO asset_keys"):
        for event in events:
            last = event is events[-1]
            instance.handle_new_event(event, batch_metadata=DagsterEventBatchMetadata("a batch", last))
    assert "Exception while storing event batch: disk full" in capfd.readouterr().err
    assert recorded(storage) == [partition for partition, _ in symbols(20)]


def test_batches_of_other_events_are_left_to_dagsters_class(
    storage: BatchedEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are no materializations are stored by Dagster's own code."""
    monkeypatch.setattr(BatchedEventLogStorage, "_store_rows", None)
    ours = {Type.ASSET_MATERIALIZATION, Type.ASSET_MATERIALIZATION_PLANNED}
    others = [batch for batch in first_run() if batch[0].dagster_event_type not in ours or len(batch) == 1]
    others = [batch for batch in others if batch[0].asset_materialization is None]
    store(storage, others)
    assert storage.get_logs_for_run("run-1") == [event for batch in others for event in batch]


def test_events_of_one_asset_become_visible_in_the_order_of_their_ids(storage: BatchedEventLogStorage) -> None:
    """Dagster's cache of partition states never looks again at ids below the highest that it saw."""
    first_has_ids, second_started = threading.Event(), threading.Event()
    visible: list[int] = []

    def pause(_conn: object, _cursor: object, sql: str, *_: object) -> None:
        if "INSERT INTO asset_keys" in sql and not first_has_ids.is_set():
            first_has_ids.set()
            second_started.wait(10)
            second.join(1)  # it must not overtake
            visible.append(len(recorded(storage)))

    first = threading.Thread(target=record, args=(storage, PRICES, symbols(5)))
    second = threading.Thread(target=record, args=(storage, PRICES, symbols(5)))
    sa.event.listen(sa.Engine, "before_cursor_execute", pause)
    try:
        first.start()
        assert first_has_ids.wait(10)
        second.start()
        second_started.set()
        first.join()
        second.join()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", pause)
    assert visible == [0]
    assert len(recorded(storage)) == 10


def test_a_watched_run_is_seen_live_while_other_connections_are_open(storage: BatchedEventLogStorage) -> None:
    """The live page of a run shows events as they come."""
    seen: list[str] = []
    done = threading.Event()

    def see(event: dg.EventLogEntry, _cursor: str) -> None:
        seen.append(str(event.dagster_event_type))
        if event.dagster_event_type == Type.PIPELINE_SUCCESS:
            done.set()

    with storage.index_connection() as reader:
        reader.execute(sa.text("SELECT count(*) FROM event_logs")).all()
        storage.watch("run-1", None, see)
        store(storage, first_run())
        assert done.wait(5)
    storage.end_watch("run-1", see)
    assert len(seen) == sum(map(len, first_run()))


def test_a_run_can_be_deleted_that_has_more_events_than_sqlite_takes_parameters(make: Callable[[str], Any]) -> None:
    """A run of any size can be deleted."""
    storage = make("SqliteEventLog")
    record(storage, PRICES, symbols(200))

    def limit_parameters(connection: sqlite3.Connection, _record: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 100)

    sa.event.listen(sa.Engine, "connect", limit_parameters)
    try:
        storage.delete_events("run-1")
    finally:
        sa.event.remove(sa.Engine, "connect", limit_parameters)
    assert recorded(storage) == []
    assert storage.get_event_tags_for_asset(PRICES) == []


def test_a_storage_switches_batching_on_for_its_process(
    make: Callable[[str], SqlEventLogStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process can forget Dagster's switches for batches."""
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    storage = make("SqliteEventLog")
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == str(BATCH_SIZE)
    assert storage.supports_partition_subset_in_asset_materialization_planned_events


# --- connections of Postgres ----------------------------------------------------------------------------------------


def _connection(storage: SqlEventLogStorage) -> int:
    with storage.index_connection() as conn:
        return int(conn.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_is_kept_and_one_that_the_server_ended_is_made_anew(
    make: Callable[[str], BatchedEventLogStorage],
) -> None:
    """A run executes 150 statements: each had a connection of its own. Disposed of, none is left open."""
    storage, other = make("PostgresEventLog"), make("PostgresEventLog")
    first = _connection(storage)
    assert {_connection(storage) for _ in range(5)} == {first}
    with other.index_connection() as conn:
        conn.execute(sa.select(sa.func.pg_terminate_backend(first)))
    again = _connection(storage)
    assert again != first
    storage.dispose()
    with other.index_connection() as conn:
        open_now = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid").bindparams(pid=again)
        deadline = clock.monotonic() + 30
        while conn.execute(open_now).scalar_one():
            assert clock.monotonic() < deadline
            clock.sleep(0.05)


def test_tables_are_as_new_as_our_storages_say(storage: BatchedEventLogStorage) -> None:
    """Dagster asks which tables and columns are there; ours answers without a look, and Dagster's look agrees."""
    with storage.index_connection() as conn:
        tables, columns = sa.inspect(conn).get_table_names(), sa.inspect(conn).get_columns("asset_keys")
    assert {name for name in EVENTS.metadata.tables if storage.has_table(name)} <= set(tables)
    assert not storage.has_table("no_such_table")
    assert storage.has_asset_key_index_cols() == ("last_materialization_timestamp" in {c["name"] for c in columns})
