"""Runs on an instance described by a dagster.yaml: what Dagster knows afterwards, with and without the tag."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from resources.dagster_storage.event_log import (
    BATCH_SIZE,
    SqliteEventLog,
    provenance_tags,
    record_materializations,
    record_planned,
)

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DEFERRED = {"dagster/defer_asset_events": "true"}
DATES = dg.DailyPartitionsDefinition("2022-12-01", end_date="2023-01-01")
PARTITIONS = dg.MultiPartitionsDefinition({"date": DATES, "symbol": dg.DynamicPartitionsDefinition(name="symbol")})
SYMBOLS = ["AAPL", "KO", "MSFT"]
PRICES, BETAS = dg.AssetKey("daily_prices"), dg.AssetKey("betas")
KINDS = {
    "run_storage": {
        "sqlite": ("dagster._core.storage.runs", "SqliteRunStorage"),
        "postgres": ("dagster_postgres.run_storage", "PostgresRunStorage"),
    },
    "schedule_storage": {
        "sqlite": ("dagster._core.storage.schedules", "SqliteScheduleStorage"),
        "postgres": ("dagster_postgres.schedule_storage", "PostgresScheduleStorage"),
    },
    "event_log_storage": {
        "sqlite": ("resources.dagster_storage.event_log", "SqliteEventLog"),
        "postgres": ("resources.dagster_storage.event_log_postgres", "PostgresEventLog"),
    },
}


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))
    url = request.getfixturevalue("new_postgres_url")() if request.param == "postgres" else None
    settings: dict[str, Any] = {"telemetry": {"enabled": False}}
    for storage, kinds in KINDS.items():
        module, name = kinds[request.param]
        config = {"postgres_url": url} if url else {"base_dir": str(tmp_path / storage)}
        settings[storage] = {"module": module, "class": name, "config": config}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("symbol", SYMBOLS)
        yield instance


def definitions(code_version: str | None = "1") -> dg.Definitions:
    """Two assets that record themselves, except for the symbol KO, in a run with the tag."""

    def asset(name: str, deps: list[dg.AssetsDefinition]) -> dg.AssetsDefinition:
        @dg.asset(
            name=name,
            deps=deps,
            partitions_def=PARTITIONS,
            backfill_policy=dg.BackfillPolicy.single_run(),
            code_version=code_version,
        )
        def compute(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            node = context.job_def.asset_layer.get(context.asset_key)
            tags = provenance_tags(context.instance, node, context.run.run_id)
            if DEFERRED.items() <= context.run.tags.items():
                written = [(key, {"n": 252}) for key in context.partition_keys if not key.endswith("KO")]
                record_materializations(context.instance, context.run, context.asset_key, written, tags=tags)
            return dg.MaterializeResult(metadata={"n": 252})

        return compute

    prices = asset("daily_prices", [])
    return dg.Definitions([prices, asset("betas", [prices])], jobs=[dg.define_asset_job("both")])


def run(
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    *,
    days: tuple[int, int] = (27, 28),
    symbols: tuple[str, str] = ("AAPL", "MSFT"),
    only: dg.AssetKey | None = None,
    code_version: str | None = "1",
) -> dg.ExecuteInProcessResult:
    """Run the block of days x symbols."""
    start, end = (f"2022-12-{day}|{symbol}" for day, symbol in zip(days, symbols, strict=True))
    job = definitions(code_version).resolve_job_def("both")
    tags = {**tags, "dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
    return job.execute_in_process(instance=instance, tags=tags, asset_selection=[only] if only else None)


def block(*symbols: str, days: tuple[int, ...] = (27, 28)) -> set[str]:
    return {f"2022-12-{day}|{symbol}" for day in days for symbol in symbols}


def events(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> list[dg.EventLogEntry]:
    return list(instance.all_logs(run_id, of_type=kind))


def stale(instance: dg.DagsterInstance, partition: str, code_version: str | None = "1") -> dict[str, StaleStatus]:
    """The state that the UI shows for each asset."""
    graph = definitions(code_version).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    return {key.to_user_string(): resolver.get_status(key, partition) for key in (PRICES, BETAS)}


def test_the_instance_and_what_other_processes_make_of_its_reference_use_the_class(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        expected = yaml.safe_load((home / "dagster.yaml").read_text())["event_log_storage"]["class"]
        assert type(instance.event_log_storage).__name__ == expected
        assert instance._is_batch_writing_enabled()
        with dg.DagsterInstance.from_ref(instance.get_ref()) as elsewhere:
            assert type(elsewhere.event_log_storage) is type(instance.event_log_storage)


def test_a_run_with_the_tag_records_what_it_wrote_and_nothing_else(instance: dg.DagsterInstance) -> None:
    result = run(instance, DEFERRED)
    for key in (PRICES, BETAS):
        assert instance.get_materialized_partitions(key) == block("AAPL", "MSFT")
    assert events(instance, result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED) == []
    recorded = events(instance, result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert len(recorded) == 8
    assert instance.get_run_stats(result.run_id).materializations == 8
    latest = instance.get_latest_materialization_event(BETAS)
    assert latest is not None
    assert (latest.run_id, latest.step_key, latest.job_name) == (result.run_id, "betas", "both")


def test_a_run_without_the_tag_records_its_whole_block_in_batches(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    store = type(instance.event_log_storage).store_event_batch

    def count(storage: Any, batch: list[dg.EventLogEntry]) -> None:
        batches.append(len(batch))
        store(storage, batch)

    monkeypatch.setattr(type(instance.event_log_storage), "store_event_batch", count)
    result = run(instance, {})
    for key in (PRICES, BETAS):
        assert instance.get_materialized_partitions(key) == block(*SYMBOLS)
    assert batches == [2, 6, 6]  # one planned event for each of two assets, then the partitions of each
    assert len(events(instance, result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)) == 2


def test_a_backfill_over_recorded_partitions_adds_to_their_history(instance: dg.DagsterInstance) -> None:
    first, second = run(instance, DEFERRED), run(instance, {}, days=(28, 28))
    assert instance.get_materialized_partitions(BETAS) == block("AAPL", "MSFT") | block("KO", days=(28,))
    page = instance.fetch_materializations(
        dg.AssetRecordsFilter(BETAS, asset_partitions=["2022-12-28|AAPL"]), limit=10, ascending=True
    )
    assert [record.run_id for record in page.records] == [first.run_id, second.run_id]
    assert stale(instance, "2022-12-28|AAPL") == {"daily_prices": StaleStatus.FRESH, "betas": StaleStatus.FRESH}


@pytest.mark.parametrize("tags", [DEFERRED, {}], ids=["with the tag", "without the tag"])
@pytest.mark.parametrize("code_version", ["1", None])
def test_staleness_is_the_same_with_and_without_the_tag(
    instance: dg.DagsterInstance, tags: dict[str, str], code_version: str | None
) -> None:
    partition = "2022-12-28|AAPL"
    fresh = {"daily_prices": StaleStatus.FRESH, "betas": StaleStatus.FRESH}
    assert set(stale(instance, partition, code_version).values()) == {StaleStatus.MISSING}
    run(instance, tags, code_version=code_version)
    assert stale(instance, partition, code_version) == fresh
    assert set(stale(instance, partition, "2").values()) == {StaleStatus.STALE}

    # Prices recorded again: by the same code they are the same; without a version of the code nobody can tell.
    run(instance, tags, only=PRICES, code_version=code_version)
    again = StaleStatus.FRESH if code_version else StaleStatus.STALE
    assert stale(instance, partition, code_version) == {**fresh, "betas": again}
    run(instance, tags, only=BETAS, code_version=code_version)
    assert stale(instance, partition, code_version) == fresh

    # Prices by other code: different for all that is known.
    run(instance, tags, only=PRICES, code_version="2")
    run(instance, tags, only=BETAS, code_version="2", days=(27, 27))
    assert stale(instance, partition, "2")["betas"] == StaleStatus.STALE
    assert stale(instance, "2022-12-27|AAPL", "2") == fresh


def test_the_tags_are_those_that_dagster_gives(instance: dg.DagsterInstance) -> None:
    def tags_of(result: dg.ExecuteInProcessResult) -> list[dict[str, str]]:
        recorded = events(instance, result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
        materializations = [event.asset_materialization for event in recorded]
        return [dict(m.tags or {}) for m in materializations if m]

    runs = [run(instance, tags, days=(28, 28), symbols=("MSFT", "MSFT")) for tags in (DEFERRED, {})]
    (prices, betas), (prices_of_dagster, betas_of_dagster) = map(tags_of, runs)
    assert prices == prices_of_dagster
    assert betas.keys() == betas_of_dagster.keys()


def test_a_failed_step_leaves_what_it_recorded_before_and_its_run_as_the_latest(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=DATES, backfill_policy=dg.BackfillPolicy.single_run())
    def report(context: dg.AssetExecutionContext) -> None:
        record_planned(context.instance, context.run, context.asset_key)
        record_materializations(context.instance, context.run, context.asset_key, [("2022-12-27", {})])
        raise RuntimeError("out of memory")

    days = {"dagster/asset_partition_range_start": "2022-12-27", "dagster/asset_partition_range_end": "2022-12-28"}
    result = dg.materialize([report], instance=instance, tags={**DEFERRED, **days}, raise_on_error=False)
    assert instance.get_materialized_partitions(report.key) == {"2022-12-27"}
    latest = instance.get_latest_planned_materialization_info(report.key)
    assert latest is not None
    assert latest.run_id == result.run_id
    assert result.dagster_run.status == dg.DagsterRunStatus.FAILURE


def test_recording_works_on_an_instance_with_dagsters_own_storage() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("symbol", SYMBOLS)
        assert not isinstance(instance.event_log_storage, SqliteEventLog)
        run(instance, DEFERRED)
        assert instance.get_materialized_partitions(BETAS) == block("AAPL", "MSFT")
