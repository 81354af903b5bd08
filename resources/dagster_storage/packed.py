"""The text of events that differ in little: what Dagster's serialiser would write, most of it written once.

Packing each event takes longer than storing it. Here the packed form of one is cut where the others differ. How
Dagster packs is learnt from Dagster each time, so that nothing here repeats its format.
"""

import json
import math
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.storage.tags import MULTIDIMENSIONAL_PARTITION_PREFIX
from dagster._serdes import pack_value

#: Stands where events differ; no text of ours has it.
_GAP = "\0gap"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that Dagster can show")
    return float.__repr__(value)


#: How values are written whose type is exactly this one; all others are left to Dagster.
_PLAIN: dict[type, Callable[[Any], str]] = {
    float: _float,
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    str: encode_basestring_ascii,
}


class PackedMaterializations:
    """Writes materialization events that are like `template` but for partition, metadata and tags."""

    def __init__(self, template: dg.EventLogEntry, tags: Mapping[str, str]) -> None:
        packed: Any = pack_value(template)
        event = packed["dagster_event"]
        event["step_handle"] = None  # Dagster rebuilds it from the node handle: 10 % of the text
        event["event_specific_data"]["materialization"].update(metadata_entries=_GAP, partition=_GAP, tags=_GAP)
        self._start, self._partition, self._tags, self._end = _cut(packed)
        self._common_tags = _dump(dict(tags))[1:-1]
        self._entries: dict[tuple[str, type], tuple[str, str]] = {}

    def text(self, partition: str | None, metadata: Mapping[str, Any]) -> str:
        """Write the event of a partition, without its dimensions' tags if it has none; raises ValueError for NaN."""
        entries = ",".join([self._entry(label, value) for label, value in metadata.items()])
        key = "null" if partition is None else encode_basestring_ascii(partition)
        tags = [
            f"{encode_basestring_ascii(name)}:{encode_basestring_ascii(value)}"
            for name, value in dimension_tags(partition).items()
        ]
        if self._common_tags:
            tags.append(self._common_tags)
        return f"{self._start}[{entries}]{self._partition}{key}{self._tags}{{{','.join(tags)}}}{self._end}"

    def _entry(self, label: str, value: Any) -> str:
        kind = type(value)
        write = _PLAIN.get(kind)
        if write is None:
            return _dump(_packed_entry(label, value))
        cut = self._entries.get((label, kind))
        if cut is None:
            cut = self._entries[label, kind] = _cut_entry(label, kind())
        return f"{cut[0]}{write(value)}{cut[1]}"


class PackedPlans:
    """Writes the planned events of an asset's partitions, which are like `template` but for the partition."""

    def __init__(self, template: dg.EventLogEntry) -> None:
        event = template.get_dagster_event()
        planned = AssetMaterializationPlannedData(
            event.asset_materialization_planned_data.asset_key, partition=_GAP, partitions_subset=None
        )
        self._start, self._end = _cut(
            pack_value(template._replace(dagster_event=event._replace(event_specific_data=planned)))
        )

    def text(self, partition: str) -> str:
        """Write the event of a partition."""
        return f"{self._start}{encode_basestring_ascii(partition)}{self._end}"


def dimension_tags(partition: str | None) -> dict[str, str]:
    """Give the tags by which Dagster finds partitions of several dimensions."""
    if not isinstance(partition, dg.MultiPartitionKey):
        return {}
    keys = partition.keys_by_dimension
    return {f"{MULTIDIMENSIONAL_PARTITION_PREFIX}{name}": key for name, key in keys.items()}


def _dump(packed: Any) -> str:
    return json.dumps(packed, separators=(",", ":"))


def _cut(packed: Any) -> list[str]:
    return _dump(packed).split(_dump(_GAP))


def _packed_entry(label: str, value: Any) -> Any:
    packed: Any = pack_value(dg.AssetMaterialization("any", metadata={label: value}))
    return packed["metadata_entries"][0]


def _cut_entry(label: str, sample: Any) -> tuple[str, str]:
    entry = _packed_entry(label, sample)
    (field,) = entry["entry_data"].keys() - {"__class__"}
    entry["entry_data"][field] = _GAP
    start, end = _cut(entry)
    return start, end
