"""Events written by splicing are, value for value, what Dagster's serialiser writes."""

import json
import math
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._serdes import deserialize_value, pack_value
from hypothesis import given
from hypothesis import strategies as st

from resources.dagster_storage.packed import PackedMaterializations, PackedPlans

KEY = dg.AssetKey(["risk", "betas"])
TAGS = {"dagster/code_version": "1", "dagster/data_version": "ab12"}
VALUES: list[Any] = [
    *(0.0, -0.0, 1.5, -1e-300, 1.7976931348623157e308, 5e-324, 0.1 + 0.2),
    *(0, -1, 2**31, 2**63, -(10**40)),
    *(True, False, "", "plain", 'quo"te\\', "line\nbreak\ttab\0nul", "\u00fc \u4e2d \U0001f4c8 \u202e \ud800"),
    *(None, [1, 2], {"n": 1}, dg.MetadataValue.md("**2**"), dg.MetadataValue.url("http://h/")),
    *(dg.AssetKey("other"), dg.MetadataValue.timestamp(1.5)),
]


def entry(data: Any, kind: dg.DagsterEventType) -> dg.EventLogEntry:
    event = dg.DagsterEvent(
        event_type_value=kind.value,
        job_name="a_job",
        node_handle=NodeHandle("betas", None),
        event_specific_data=data,
        message="a message",
        pid=1,
        step_key="betas",
    )
    return dg.EventLogEntry(None, 10, "", "run-1", 1234.5, "betas", "a_job", event)


def materialized(partition: str | None, metadata: dict[str, Any]) -> dg.EventLogEntry:
    dimensions = {}
    if isinstance(partition, dg.MultiPartitionKey):
        dimensions = {f"dagster/partition/{name}": key for name, key in partition.keys_by_dimension.items()}
    made = dg.AssetMaterialization(KEY, partition=partition, metadata=metadata, tags={**TAGS, **dimensions})
    return entry(StepMaterializationData(made), dg.DagsterEventType.ASSET_MATERIALIZATION)


def assert_written_as_dagster_does(partition: str | None, metadata: dict[str, Any]) -> None:
    text = PackedMaterializations(materialized(None, {}), TAGS).text(partition, metadata)
    event = materialized(partition, metadata)
    expected: Any = pack_value(event)
    expected["dagster_event"]["step_handle"] = None
    assert json.loads(text) == json.loads(json.dumps(expected))
    assert deserialize_value(text, dg.EventLogEntry) == event


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_written_as_dagster_writes_it(value: Any) -> None:
    """Each kind of metadata that a row has, and those left to Dagster: packed and read back the same, bit for bit."""
    assert_written_as_dagster_does("core", {"value": value, 'a "label" \u00fc': value})


@pytest.mark.parametrize(
    "partition", [None, "core", 'quo"te', dg.MultiPartitionKey({"date": "2022-12-28", "symbol": 'X|Y"\u00fc'})], ids=str
)
def test_a_partition_is_written_as_dagster_writes_it(partition: str | None) -> None:
    """With and without dimensions, whatever characters a key has."""
    assert_written_as_dagster_does(partition, {"n_obs": 252})


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text(), st.booleans()),
        max_size=4,
    )
)
def test_any_metadata_are_written_as_dagster_writes_them(metadata: dict[str, Any]) -> None:
    """No value of a kind, and no mixture, comes out differently."""
    assert_written_as_dagster_does("core", metadata)


def test_one_writer_writes_events_that_do_not_mix() -> None:
    """A label may have another type in the next partition: nothing of the one before stays."""
    writer = PackedMaterializations(materialized(None, {}), TAGS)
    for metadata in ({"n": 1, "close": 2.5}, {"n": 1.5}, {"n": "one"}, {"n": True}, {}, {"close": 3.5, "n": 2}):
        found = deserialize_value(writer.text("core", metadata), dg.EventLogEntry)
        assert found == materialized("core", metadata)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    """JSON has no NaN: the pages of the UI would not read it."""
    with pytest.raises(ValueError, match="no number"):
        PackedMaterializations(materialized(None, {}), TAGS).text("core", {"close": value})


@pytest.mark.parametrize("partition", ["core", dg.MultiPartitionKey({"date": "2022-12-28", "symbol": 'X|Y"\u00fc'})])
def test_a_plan_is_written_as_dagster_writes_it(partition: str) -> None:
    """The plan of many partitions becomes what Dagster would store for each."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    writer = PackedPlans(entry(AssetMaterializationPlannedData(KEY, partition=None, partitions_subset=None), kind))
    expected = entry(AssetMaterializationPlannedData(KEY, partition=partition, partitions_subset=None), kind)
    assert json.loads(writer.text(partition)) == json.loads(json.dumps(pack_value(expected)))
    assert deserialize_value(writer.text(partition), dg.EventLogEntry) == expected
