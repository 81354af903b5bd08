"""What a Dagster run computes, read off its tags and config: the rectangle that nobody else should start meanwhile."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from sigma_dagster.jobs import JOB_ASSETS
from sigma_dagster.planner import Block


@dataclass(frozen=True)
class Claim:
    """Keys of a dimension and the sessions from `first` to `last`, for some assets."""

    dimension: str
    assets: frozenset[str]
    keys: tuple[str, ...]  # in the order of the dynamic partitions
    first: date
    last: date

    @classmethod
    def of_block(cls, block: Block, instance: dg.DagsterInstance) -> "Claim":
        """Claim what a block covers; its keys are partitions already, or are claimed in their own order."""
        order = {key: i for i, key in enumerate(instance.get_dynamic_partitions(block.dimension))}
        keys = tuple(sorted(block.keys, key=lambda key: order.get(key, len(order))))
        return cls(block.dimension, frozenset(step.asset for step in block.steps), keys, block.first, block.last)

    @property
    def range_tags(self) -> dict[str, str]:
        """The tags by which Dagster knows the partitions of a run: a range in each dimension."""
        ends = ((ASSET_PARTITION_RANGE_START_TAG, self.first, 0), (ASSET_PARTITION_RANGE_END_TAG, self.last, -1))
        return {
            tag: dg.MultiPartitionKey({"date": day.isoformat(), self.dimension: self.keys[i]}) for tag, day, i in ends
        }

    def overlaps(self, other: "Claim | None") -> bool:
        """Say whether both would compute some cell of some asset."""
        return (
            other is not None
            and self.dimension == other.dimension
            and not self.assets.isdisjoint(other.assets)
            and not set(self.keys).isdisjoint(other.keys)
            and self.first <= other.last
            and other.first <= self.last
        )


def claim_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Claim | None:
    """Read the claim of a run, whoever started it; None if it computes no block of ours."""
    single = run.tags.get(PARTITION_NAME_TAG)
    start = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, single)
    end = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, single)
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    for dimension, names in JOB_ASSETS.items():
        assets = selected & set(names)
        if assets and start and end:
            return _claim(run, instance, dimension, frozenset(assets), start, end)
    return None


def _claim(
    run: dg.DagsterRun, instance: dg.DagsterInstance, dimension: str, assets: frozenset[str], start: str, end: str
) -> Claim | None:
    first, first_key = start.split("|", 1)
    last, last_key = end.split("|", 1)
    keys = list(instance.get_dynamic_partitions(dimension))
    if first_key not in keys or last_key not in keys:
        return None
    keys = keys[keys.index(first_key) : keys.index(last_key) + 1]
    configs: list[Any] = [op.get("config", {}) for op in run.run_config.get("ops", {}).values()]
    only = {key for config in configs for key in config.get("only", ())}
    named = tuple(key for key in keys if not only or key in only)
    return Claim(dimension, assets, named, date.fromisoformat(first), date.fromisoformat(last))
