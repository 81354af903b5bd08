"""What one run is asked to compute: a block of keys (symbols or portfolios) and sessions, and how it is reported.

Shared by all assets; what a block's numbers are is each asset's own business.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from time import perf_counter
from types import MappingProxyType
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
from dagster import AssetExecutionContext
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator
from dagster._core.storage.dagster_run import assets_are_externally_managed
from numpy.typing import NDArray

from resources import calendar
from resources.event_log import provenance_tags, record_materializations, record_planned


class BlockConfig(dg.Config):
    """Run config of every partitioned asset. The planner names the block; in other runs it is the run's partitions."""

    #: Compute and replace what exists as well.
    force: bool = False
    #: The block of a planned run: keys and the first and last session.
    keys: list[str] = []  # noqa: RUF012 - a pydantic field
    first: str = ""
    last: str = ""
    #: The last completed session; empty: ask the clock.
    completed: str = ""
    #: What the planner found stored already and therefore left out of this block.
    cached_keys: int = 0
    cached_rows: int = 0


@dataclass(frozen=True)
class Block:
    """The cells of a run: `keys` x `sessions`."""

    dimension: str  # "symbol" or "portfolio"
    keys: tuple[str, ...]
    sessions: tuple[date, ...]

    @classmethod
    def of_run(cls, context: AssetExecutionContext, dimension: str, config: BlockConfig) -> "Block":
        """Read the block of a run off its config, or else off its partitions."""
        if config.keys:
            keys, first, last = config.keys, config.first, config.last
        else:
            start, end = (_partition(context, end) for end in ("start", "end"))
            first, last = start["date"], end["date"]
            # Dynamic keys are ordered as they were added, and so are their ranges.
            keys = list(context.instance.get_dynamic_partitions(dimension))
            keys = keys[keys.index(start[dimension]) : keys.index(end[dimension]) + 1]
        sessions = calendar.sessions(date.fromisoformat(first), date.fromisoformat(last))
        return cls(dimension, tuple(keys), tuple(sessions))

    @property
    def span(self) -> str:
        """The sessions for people."""
        return f"{self.sessions[0]}..{self.sessions[-1]}"


def _partition(context: AssetExecutionContext, end: str) -> Mapping[str, str]:
    partitions = context.assets_def.partitions_def
    if not isinstance(partitions, dg.MultiPartitionsDefinition):
        raise TypeError(f"{context.asset_key.to_user_string()} has no date and key partitions")
    return partitions.get_partition_key_from_str(getattr(context.partition_key_range, end)).keys_by_dimension


class Cell(NamedTuple):
    """A partition that was written, with what a person who clicks it would look for."""

    key: str
    session: date
    metadata: Mapping[str, Any] = MappingProxyType({})


class Stopwatch:
    """Seconds spent by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to the stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


def hit_rate(stored: int, skipped: int) -> float:
    """Share of the requested rows that existed; 1.0 when nothing was missing."""
    return skipped / (stored + skipped) if stored + skipped else 1.0


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


def groups(wanted: NDArray[np.bool_]) -> Iterator[tuple[list[int], list[int]]]:
    """Split wanted cells, shape (keys, sessions), into full rectangles: keys that want the very same sessions."""
    same: dict[bytes, list[int]] = {}
    for i, row in enumerate(wanted):
        if row.any():
            same.setdefault(row.tobytes(), []).append(i)
    for rows in same.values():
        yield rows, np.flatnonzero(wanted[rows[0]]).tolist()
