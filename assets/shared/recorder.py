"""Telling Dagster which partitions a run wrote, and what a person who clicks one would look for.

Not here: writing rows, reading those that a run skipped (`stored_cells`), and how Dagster's event log stores
what is recorded (`resources.dagster_storage.event_log`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
from dagster import AssetExecutionContext
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator
from dagster._core.storage.dagster_run import assets_are_externally_managed
from sqlalchemy.exc import IntegrityError

from assets.catalogue import BY_NAME
from resources.dagster_storage.event_log import provenance_tags, record_materializations, record_planned

#: Of rates and shares in metadata: enough to read, few enough to take in.
_DIGITS = 4


class Cell(NamedTuple):
    """A partition, with what a person who clicks it would look for."""

    key: str
    session: date
    metadata: Mapping[str, Any] = MappingProxyType({})


class Recorder:
    """Tells Dagster which partitions a run wrote. Make it before the inputs are read, call it after the commit.

    Only runs whose asset events are deferred (the planner's) record here; in all others Dagster records the block.
    """

    def __init__(self, context: AssetExecutionContext) -> None:
        self._context = context
        self._dimension = BY_NAME[context.asset_key.to_user_string()].dimension
        self.deferred = assets_are_externally_managed(context.run)
        if self.deferred:
            node = context.job_def.asset_layer.get(context.asset_key)
            self._tags = provenance_tags(context.instance, node, context.run.run_id)
            record_planned(context.instance, context.run, context.asset_key)

    def __call__(
        self, written: Sequence[Cell], skipped: Callable[[], Iterable[Cell]], totals: Mapping[str, Any]
    ) -> dg.MaterializeResult[None]:
        """Record the cells in their order, and report the run's totals.

        `skipped` gives the cells that exist: Dagster records them anew where it records the whole block, and they are
        to show their rows still. The totals stand on the step of the run, not on a partition among others: as its
        output's metadata, or in its log where Dagster would copy the output's metadata to every partition.
        """
        totals = {name: rounded(value) for name, value in totals.items()}
        self._context.log.info(f"Totals: {json.dumps(totals)}")
        if not self.deferred:
            known = (cell._replace(metadata={**cell.metadata, "skipped": True}) for cell in skipped())
            self._add_facts([*known, *written])
            return dg.MaterializeResult()
        self._record(written)
        return dg.MaterializeResult(metadata=totals)

    def once(self, cells: Iterable[Cell]) -> None:
        """Record those of the cells that were never recorded."""
        self._record(list(cells), once=True)

    def _record(self, cells: Sequence[Cell], *, once: bool = False) -> None:
        if not cells:
            return
        context = self._context
        register_keys(context.instance, self._dimension, list(dict.fromkeys(cell.key for cell in cells)))
        partitions = [(self._partition(cell), cell.metadata) for cell in cells]
        # A process that was cut off and is back: its run was given up, and another may have recorded the same.
        run = context.instance.get_run_by_id(context.run.run_id)
        once = once or (run is not None and run.is_finished)
        record_materializations(
            context.instance, context.run, context.asset_key, partitions, tags=self._tags, once=once
        )

    def _partition(self, cell: Cell) -> dg.MultiPartitionKey:
        return dg.MultiPartitionKey({"date": cell.session.isoformat(), self._dimension: cell.key})

    def _add_facts(self, cells: Iterable[Cell]) -> None:
        """Leave the recording to Dagster, but give the partitions of the run their facts.

        All at once: `add_asset_metadata` lists the run's partitions and copies what was added, for each partition anew.
        """
        chosen = self._context.has_partition_key or self._context.has_partition_key_range
        partitions = set(self._context.partition_keys) if chosen else set()
        facts: dict[Any, Mapping[str, Any]] = {
            AssetMetadataHandle(asset_key=self._context.asset_key, partition_key=key): cell.metadata
            for cell in cells
            if (key := self._partition(cell)) in partitions
        }
        step = self._context.op_execution_context.get_step_execution_context()
        known = step._metadata_accumulator.per_output_metadata
        step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata={**known, **facts})


def register_keys(instance: dg.DagsterInstance, dimension: str, keys: Sequence[str]) -> None:
    """Make keys known as partitions, in their order."""
    while True:
        known = set(instance.get_dynamic_partitions(dimension))
        new = [key for key in keys if key not in known]
        if not new:
            return
        # Dagster looks before it inserts: another process may add one of them in between.
        with suppress(IntegrityError):
            instance.add_dynamic_partitions(dimension, new)


def facts_of(columns: Mapping[str, Sequence[Any]], shown: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give the shown columns of each row, without what is not known."""
    present = [name for name in shown if name in columns]
    for values in zip(*(_plain(columns[name]) for name in present), strict=True):
        yield row_facts(dict(zip(present, values, strict=True)))


def row_facts(row: Mapping[str, Any]) -> dict[str, str]:
    """Give what is known of a row as text: numbers of all keys and sessions would be one zigzag on the Plots page."""
    return {name: str(value) for name, value in facts(row).items()}


def facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is known of a row, as a person reads it."""
    return {name: rounded(value) for name, value in row.items() if value is not None and value == value}


def rounded(value: Any) -> Any:
    """Give a number with as many digits as metadata show; of a mapping, each of its values."""
    if isinstance(value, Mapping):
        return {name: rounded(one) for name, one in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values
