"""What a Dagster run computes, read off its config or tags: what nobody else should start while it is in progress."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from sigma_dagster import liveness
from sigma_dagster.jobs import JOB_ASSETS
from sigma_dagster.planner import Block


@dataclass(frozen=True)
class Claim:
    """Keys of a dimension and the sessions from `first` to `last`, for some assets."""

    dimension: str
    assets: frozenset[str]
    keys: tuple[str, ...]
    first: date
    last: date

    @classmethod
    def of_block(cls, block: Block) -> "Claim":
        """Claim what a block computes."""
        return cls(block.dimension, frozenset(step.asset for step in block.steps), block.keys, block.first, block.last)

    def overlaps(self, other: "Claim | None") -> bool:
        """Say whether both would compute some cell of some asset."""
        return (
            other is not None
            and not self.assets.isdisjoint(other.assets)
            and not set(self.keys).isdisjoint(other.keys)
            and self.first <= other.last
            and other.first <= self.last
        )


def claim_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Claim | None:
    """Read the claim of a run, whoever started it; None if it computes no block of ours."""
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    for dimension, names in JOB_ASSETS.items():
        assets = frozenset(selected & set(names))
        if assets:
            return _of_config(run, dimension, assets) or _of_partitions(run, instance, dimension, assets)
    return None


def _of_config(run: dg.DagsterRun, dimension: str, assets: frozenset[str]) -> Claim | None:
    """Read a planned run."""
    ops: Any = run.run_config.get("ops", {})
    configs = [ops.get(name, {}).get("config", {}) for name in sorted(assets)]
    keys = dict.fromkeys(key for config in configs for key in config.get("keys", ()))
    if not keys:
        return None
    first, last = min(config["first"] for config in configs), max(config["last"] for config in configs)
    return Claim(dimension, assets, tuple(keys), date.fromisoformat(first), date.fromisoformat(last))


def _of_partitions(
    run: dg.DagsterRun, instance: dg.DagsterInstance, dimension: str, assets: frozenset[str]
) -> Claim | None:
    """Read a run started in the Dagster UI."""
    single = run.tags.get(PARTITION_NAME_TAG)
    start = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, single)
    end = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, single)
    if not start or not end:
        return None
    first, first_key = start.split("|", 1)
    last, last_key = end.split("|", 1)
    keys = list(instance.get_dynamic_partitions(dimension))
    if first_key not in keys or last_key not in keys:
        return None
    named = tuple(keys[keys.index(first_key) : keys.index(last_key) + 1])
    return Claim(dimension, assets, named, date.fromisoformat(first), date.fromisoformat(last))


def rivals(instance: dg.DagsterInstance, claim: Claim, before: dg.DagsterRun | None = None) -> list[dg.DagsterRun]:
    """Give the runs in progress that cover a part of the claim; those created before a run, where one is given.

    A run whose process has ended is marked as failed and is no rival.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    if before is not None:
        own = next(record.storage_id for record in records if record.dagster_run.run_id == before.run_id)
        records = [record for record in records if record.storage_id < own]
    runs = [record.dagster_run for record in records]
    return [run for run in runs if claim.overlaps(claim_of(run, instance)) and _is_executed(instance, run)]


def _is_executed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if not liveness.is_local(run.run_id, run.tags):
        # Queued, starting, or on another host; a run that nobody launched was only prepared.
        return run.status != dg.DagsterRunStatus.NOT_STARTED
    if liveness.is_alive(Path(instance.root_directory), run.run_id):
        return True
    mark_dead(instance, run.run_id)
    return False


def mark_dead(instance: dg.DagsterInstance, run_id: str) -> None:
    """Mark a run as failed whose process has ended, unless it finished."""
    run = instance.get_run_by_id(run_id)
    if run and not run.is_finished:
        instance.report_run_failed(run, "The process that executed this run has ended.")
