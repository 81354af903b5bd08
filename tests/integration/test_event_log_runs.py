"""Runs on an instance described by a dagster.yaml: what Dagster knows afterwards, with and without the tag."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from resources.dagster_storage.event_log import (
    BATCH_SIZE,
    SqliteEventLog,
    forget_materializations,
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
        "stock sqlite": ("dagster._core.storage.event_log", "SqliteEventLogStorage"),
        "stock postgres": ("dagster_postgres.event_log", "PostgresEventLogStorage"),
        "sqlite": ("resources.dagster_storage.event_log", "SqliteEventLog"),
        "postgres": ("resources.dagster_storage.event_log_postgres", "PostgresEventLog"),
    },
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pytest.FixtureRequest, str], Path | str]:
    """Make the empty databases of a kind when they are first asked for: a folder, or the URL of a Postgres."""
    made: dict[str, Path | str] = {}

    def prepare(request: pytest.FixtureRequest, kind: str) -> Path | str:
        if kind not in made:
            path = tmp_path_factory.mktemp("prepared")
            url = request.getfixturevalue("new_postgres_url")() if "postgres" in kind else None
            with dg.DagsterInstance.from_config(str(describe(path, kind, url))):
                made[kind] = url or path
        return made[kind]

    return prepare


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))
    return new_home(request, tmp_path, request.param)


def new_home(request: pytest.FixtureRequest, path: Path, kind: str) -> Path:
    """Make an instance with the storages of a kind, from the databases that were made once."""
    prepared = request.getfixturevalue("prepared")(request, kind)
    if isinstance(prepared, Path):
        shutil.copytree(prepared, path, dirs_exist_ok=True)
        return describe(path, kind, None)
    return describe(path, kind, request.getfixturevalue("copy_postgres")(prepared))


def describe(path: Path, kind: str, url: str | None) -> Path:
    """Write the dagster.yaml of an instance with the storages of a kind."""
    database = kind.split()[-1]
    settings: dict[str, Any] = {"telemetry": {"enabled": False}}
    for storage, kinds in KINDS.items():
        module, name = kinds.get(kind) or kinds[database]
        config = {"postgres_url": url} if url else {"base_dir": str(path / storage)}
        settings[storage] = {"module": module, "class": name, "config": config}
    path.mkdir(exist_ok=True)
    (path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("symbol", SYMBOLS)
        yield instance


@cache
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
    """Every process that opens the instance stores events through our class."""
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        expected = yaml.safe_load((home / "dagster.yaml").read_text())["event_log_storage"]["class"]
        assert type(instance.event_log_storage).__name__ == expected
        assert instance._is_batch_writing_enabled()
        with dg.DagsterInstance.from_ref(instance.get_ref()) as elsewhere:
            assert type(elsewhere.event_log_storage) is type(instance.event_log_storage)


def test_a_run_with_the_tag_records_what_it_wrote_and_nothing_else(instance: dg.DagsterInstance) -> None:
    """A planned run records exactly the partitions that it wrote."""
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
    """A run from the UI records all that it was asked for, by batches."""
    batches: list[int] = []
    store = type(instance.event_log_storage).store_event_batch

    def count(storage: Any, batch: list[dg.EventLogEntry]) -> None:
        batches.append(len(batch))
        store(storage, batch)

    monkeypatch.setattr(type(instance.event_log_storage), "store_event_batch", count)
    result = run(instance, {})
    for key in (PRICES, BETAS):
        assert instance.get_materialized_partitions(key) == block(*SYMBOLS)
    assert batches == [2, 6, 6]  # the plans of two assets, each stored as its partitions', then what was made of each
    assert len(events(instance, result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)) == 12


def test_a_backfill_over_recorded_partitions_adds_to_their_history(instance: dg.DagsterInstance) -> None:
    """Recording a partition again keeps its history."""
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
    """The UI calls the same partitions stale, whoever recorded them."""
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
    """Provenance tags of ours equal those of Dagster."""

    def tags_of(result: dg.ExecuteInProcessResult) -> list[dict[str, str]]:
        recorded = events(instance, result.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
        materializations = [event.asset_materialization for event in recorded]
        return [dict(m.tags or {}) for m in materializations if m]

    runs = [run(instance, tags, days=(28, 28), symbols=("MSFT", "MSFT")) for tags in (DEFERRED, {})]
    (prices, betas), (prices_of_dagster, betas_of_dagster) = map(tags_of, runs)
    assert prices == prices_of_dagster
    assert betas.keys() == betas_of_dagster.keys()


def test_a_failed_step_leaves_what_it_recorded_before_and_its_run_as_the_latest(instance: dg.DagsterInstance) -> None:
    """A failure takes back nothing that was recorded, and the UI names the run that failed."""

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
    """The recorder needs no storage class of ours."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("symbol", SYMBOLS)
        assert not isinstance(instance.event_log_storage, SqliteEventLog)
        run(instance, DEFERRED)
        assert instance.get_materialized_partitions(BETAS) == block("AAPL", "MSFT")


# --- what Dagster knows of a run that did not make its partitions

RANGE = {"dagster/asset_partition_range_start": "2022-12-27|AAPL", "dagster/asset_partition_range_end": "2022-12-28|KO"}
SINGLE = {"dagster/partition": "2022-12-27|AAPL"}
ENDINGS = {
    "failed": dg.DagsterRunStatus.FAILURE,
    "cancelled": dg.DagsterRunStatus.CANCELED,
    "running": dg.DagsterRunStatus.STARTED,
    "succeeded": dg.DagsterRunStatus.SUCCESS,
}


def unfinished(instance: dg.DagsterInstance, tags: dict[str, str], status: dg.DagsterRunStatus) -> dict[str, Any]:
    """Every read about partitions after a run that made one partition of `betas` and then came to a status."""
    made = dg.AssetMaterialization(BETAS, partition=dg.MultiPartitionKey({"date": "2022-12-28", "symbol": "KO"}))
    job = definitions().resolve_job_def("both")
    run = instance.create_run_for_job(
        job,
        tags=tags,
        status=status,
        asset_selection=frozenset([PRICES, BETAS]),
        run_id="9f1b1c06-6ad6-4f0e-8b0f-6f3a2f5f0a11",
    )
    if tags == RANGE:
        record_materializations(instance, run, BETAS, [(str(made.partition), {})], tags=made.tags)
    storage, found = instance.event_log_storage, dict[str, Any]()
    for key in (PRICES, BETAS):
        cached = get_and_update_asset_status_cache_value(instance, key, PARTITIONS, instance)
        assert cached is not None
        with partition_loading_context(dynamic_partitions_store=instance):
            for name in ("materialized", "failed", "in_progress"):
                text = getattr(cached, f"serialized_{name}_partition_subset")
                subset = PARTITIONS.deserialize_subset(text) if text else PARTITIONS.empty_subset()
                found[f"{key} {name}"] = set(subset.get_partition_keys())
        attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        found[f"{key} attempts"] = {partition: run_id for partition, (run_id, _) in attempts.items()}
        for partition in (None, "2022-12-27|AAPL", "2022-12-28|KO", "2022-12-28|MSFT"):
            info = storage.get_latest_planned_materialization_info(key, partition)
            found[f"{key} planned {partition}"] = info and info.run_id
        filters = dg.EventRecordsFilter(
            dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, key, asset_partitions=["2022-12-27|AAPL"]
        )
        records = storage.get_event_records(filters, limit=9)
        found[f"{key} plans"] = [record.event_log_entry.get_dagster_event() for record in records]
    planned = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    found["log"] = [entry.get_dagster_event() for entry in planned]
    found["partitions"] = storage.get_asset_partitions_for_run(run.run_id)
    found["keys"] = storage.get_asset_keys_for_run(run.run_id)
    return found


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("tags", [SINGLE, RANGE], ids=["single", "range"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_partitions_that_a_run_did_not_make_read_as_through_dagsters_own_class(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, tags: dict[str, str], ending: str
) -> None:
    """Failed, cancelled and running runs of the UI: which partitions failed or are in progress, and by which run."""
    found = []
    for kind in (f"stock {database}", database):
        with dg.DagsterInstance.from_config(str(new_home(request, tmp_path / kind, kind))) as instance:
            instance.add_dynamic_partitions("symbol", SYMBOLS)
            found.append(unfinished(instance, tags, ENDINGS[ending]))
    assert found[1] == found[0]
    wanted = block("AAPL") | block("KO") if tags == RANGE else {"2022-12-27|AAPL"}
    made = {"2022-12-28|KO"} & wanted
    assert found[1][f"{BETAS} failed"] == (wanted - made if ending == "failed" else set())
    assert found[1][f"{BETAS} in_progress"] == (wanted - made if ending == "running" else set())
    assert found[1][f"{BETAS} materialized"] == made


# --- taking materializations back


def test_materializations_that_are_taken_back_leave_no_trace_in_any_read(instance: dg.DagsterInstance) -> None:
    """Their partitions are missing again, the others stay, and the latest that is left is the one that is shown."""
    run(instance, {})
    second = run(instance, DEFERRED, days=(28, 28))
    gone = [*block("AAPL"), "2022-12-28|MSFT", "2022-12-30|KO"]
    assert get_and_update_asset_status_cache_value(instance, BETAS, PARTITIONS, instance) is not None
    assert forget_materializations(instance, BETAS, gone) == 5
    assert forget_materializations(instance, BETAS, gone) == 0
    left = block(*SYMBOLS) - set(gone)
    assert instance.get_materialized_partitions(BETAS) == left
    assert instance.get_materialized_partitions(PRICES) == block(*SYMBOLS)
    cached = get_and_update_asset_status_cache_value(instance, BETAS, PARTITIONS, instance)
    assert cached is not None
    with partition_loading_context(dynamic_partitions_store=instance):
        subset = PARTITIONS.deserialize_subset(cached.serialized_materialized_partition_subset or "")
        assert set(subset.get_partition_keys()) == left
    assert cached.serialized_failed_partition_subset == PARTITIONS.empty_subset().serialize()
    latest = instance.get_latest_materialization_event(BETAS)
    assert latest is not None
    assert latest.asset_materialization is not None
    (record,) = instance.fetch_materializations(BETAS, limit=1).records
    assert (latest, latest.asset_materialization.partition) == (record.event_log_entry, record.partition_key)
    assert record.partition_key in left
    assert latest.run_id != second.run_id
    tags = instance.get_event_tags_for_asset(BETAS)
    assert {f"{t['dagster/partition/date']}|{t['dagster/partition/symbol']}" for t in tags} == left
    assert all(stale(instance, partition)["betas"] == StaleStatus.MISSING for partition in ("2022-12-27|AAPL",))
    run(instance, DEFERRED)
    assert instance.get_materialized_partitions(BETAS) == left | block("AAPL", "MSFT")


def test_what_is_recorded_while_somebody_decides_stays(instance: dg.DagsterInstance) -> None:
    """Only events older than the look at the rows are taken back: a row stored since is recorded after it."""
    run(instance, DEFERRED)
    before = instance.event_log_storage.get_maximum_record_id()
    run(instance, DEFERRED, days=(28, 28))
    assert forget_materializations(instance, BETAS, sorted(block("AAPL")), before=before) == 2
    assert instance.get_materialized_partitions(BETAS) == block("MSFT") | block("AAPL", days=(28,))


def test_all_materializations_of_an_asset_can_be_taken_back(instance: dg.DagsterInstance) -> None:
    """Nothing is left to show; the asset is known all the same, and can be made again."""
    run(instance, DEFERRED)
    assert forget_materializations(instance, BETAS, sorted(block("AAPL", "MSFT"))) == 4
    assert instance.get_latest_materialization_event(BETAS) is None
    assert instance.get_materialized_partitions(BETAS) == set()
    run(instance, DEFERRED)
    assert instance.get_materialized_partitions(BETAS) == block("AAPL", "MSFT")


def test_a_plan_that_came_after_stays(instance: dg.DagsterInstance) -> None:
    """A run that tries the partition again failed after the row was made: that it failed is still shown."""
    run(instance, DEFERRED)
    job = definitions().resolve_job_def("both")
    failed = dg.DagsterRunStatus.FAILURE
    instance.create_run_for_job(job, tags=SINGLE, status=failed, asset_selection=frozenset([PRICES, BETAS]))
    assert forget_materializations(instance, BETAS, ["2022-12-27|AAPL"]) == 1
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        BETAS
    )
    assert attempts.keys() == {"2022-12-27|AAPL"}
