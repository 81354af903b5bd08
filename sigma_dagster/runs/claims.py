"""What a Dagster run computes, read off its config or tags: what nobody else should start while it is in progress."""

from collections.abc import Sequence
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

from assets.catalogue import BY_NAME, DIMENSIONS, of_dimension
from assets.shared.block import Block, BlockConfigError
from sigma_dagster.runs import liveness
from sigma_dagster.runs.request import job_name


def block_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Block | None:
    """Read the block of a run, whoever started it; None if it computes none of ours, or one that cannot be read.

    A run whose config describes no block fails when it is executed: nobody need wait for it.
    """
    assets = _assets(run)
    if not assets:
        return None
    ops: Any = run.run_config.get("ops") or {}
    configs = {name: (ops.get(name) or {}).get("config") or {} for name in assets}
    if not any(config.get("keys") for config in configs.values()):
        return _of_partitions(run, instance, assets)
    try:
        return Block.from_config(configs)
    except BlockConfigError:
        return None


def _assets(run: dg.DagsterRun) -> list[str]:
    """Name the assets of a run, of one dimension; a run of a whole job selects none."""
    if run.asset_selection is None:
        of_job = {job_name(dimension): of_dimension(dimension) for dimension in DIMENSIONS}
        return [asset.name for asset in of_job.get(run.job_name, ())]
    selected = {key.to_user_string() for key in run.asset_selection}
    for dimension in DIMENSIONS:
        if names := [asset.name for asset in of_dimension(dimension) if asset.name in selected]:
            return names
    return []


def _of_partitions(run: dg.DagsterRun, instance: dg.DagsterInstance, assets: Sequence[str]) -> Block | None:
    """Read a run started in the Dagster UI."""
    single = run.tags.get(PARTITION_NAME_TAG)
    start = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, single)
    end = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, single)
    if not start or not end or "|" not in start or "|" not in end:
        return None
    first, first_key = start.split("|", 1)
    last, last_key = end.split("|", 1)
    keys = list(instance.get_dynamic_partitions(BY_NAME[assets[0]].dimension))
    if first_key not in keys or last_key not in keys:
        return None
    named = keys[keys.index(first_key) : keys.index(last_key) + 1]
    try:
        return Block.of_keys(assets, named, date.fromisoformat(first), date.fromisoformat(last))
    except ValueError:
        return None


def rivals(instance: dg.DagsterInstance, block: Block, before: dg.DagsterRun | None = None) -> list[dg.DagsterRun]:
    """Give the runs in progress that cover a part of the block; those created before a run, where one is given.

    A run whose process has ended is marked as failed and is no rival.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    if before is not None:
        own = next(record.storage_id for record in records if record.dagster_run.run_id == before.run_id)
        records = [record for record in records if record.storage_id < own]
    runs = [record.dagster_run for record in records]
    return [
        run
        for run in runs
        if (other := block_of(run, instance)) and block.overlaps(other) and _is_executed(instance, run)
    ]


def in_progress(instance: dg.DagsterInstance) -> bool:
    """Say whether a run that computes blocks of ours has not ended."""
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return any(block_of(run, instance) and _is_executed(instance, run) for run in runs)


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
