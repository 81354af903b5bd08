"""Telling Dagster which partitions a run wrote, and what a person who clicks one would look for.

Not here: writing rows, and how Dagster's event log stores what is recorded (`resources.dagster_storage.event_log`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
from dagster import AssetExecutionContext
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator
from dagster._core.storage.dagster_run import assets_are_externally_managed

from resources.dagster_storage.event_log import provenance_tags, record_materializations, record_planned


class Cell(NamedTuple):
    """A partition that was written, with what a person who clicks it would look for."""

    key: str
    session: date
    metadata: Mapping[str, Any] = MappingProxyType({})


class Recorder:
    """Tells Dagster which partitions a run wrote. Make it before the inputs are read, call it after the commit.

    Only runs whose asset events are deferred (the planner's) record here; in all others Dagster records the block.
    """

    def __init__(self, context: AssetExecutionContext, dimension: str) -> None:
        self._context = context
        self._dimension = dimension
        self.deferred = assets_are_externally_managed(context.run)
        if self.deferred:
            node = context.job_def.asset_layer.get(context.asset_key)
            self._tags = provenance_tags(context.instance, node, context.run.run_id)
            record_planned(context.instance, context.run, context.asset_key)

    def __call__(self, written: Sequence[Cell], run_metadata: Mapping[str, Any]) -> None:
        """Record the cells in their order; the last one carries the numbers of the whole run beside its own."""
        if not self.deferred:
            self._add_facts(written)
            return
        if not written:
            return
        partitions = [
            (dg.MultiPartitionKey({"date": cell.session.isoformat(), self._dimension: cell.key}), cell.metadata)
            for cell in written
        ]
        partitions[-1] = (partitions[-1][0], {**run_metadata, **partitions[-1][1]})
        record_materializations(
            self._context.instance,
            self._context.run,
            self._context.asset_key,
            partitions,
            tags=self._tags,
        )

    def _add_facts(self, written: Sequence[Cell]) -> None:
        """Leave the recording to Dagster, but give the partitions of the run their facts.

        All at once: `add_asset_metadata` lists the run's partitions and copies what was added, for each partition anew.
        """
        partitions = set(self._context.partition_keys)
        keys = (dg.MultiPartitionKey({"date": c.session.isoformat(), self._dimension: c.key}) for c in written)
        facts: dict[Any, Mapping[str, Any]] = {
            AssetMetadataHandle(asset_key=self._context.asset_key, partition_key=key): cell.metadata
            for key, cell in zip(keys, written, strict=True)
            if key in partitions
        }
        step = self._context.op_execution_context.get_step_execution_context()
        known = step._metadata_accumulator.per_output_metadata
        step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata={**known, **facts})


def facts_of(columns: Mapping[str, Sequence[Any]], shown: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give the shown columns of each row, without what is not known."""
    present = [name for name in shown if name in columns]
    for values in zip(*(_plain(columns[name]) for name in present), strict=True):
        yield {name: value for name, value in zip(present, values, strict=True) if value is not None and value == value}


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values
