"""Bringing Dagster's record and the stored rows together again, in both directions. The rows are true.

After a run that failed or vanished, some of its rows may lack their record, since rows are committed first: it is
written in the name of the run, and what has no row is shown as failed. After rows were deleted, their record is taken
back: `deletions` says which.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from assets.catalogue import ASSETS, BY_NAME, Asset
from assets.shared.block import Block, Step
from assets.shared.look_back import price_sessions
from resources import calendar
from resources.calendar import CalendarError
from resources.dagster_storage.event_log import (
    forget_materializations,
    provenance_tags,
    record_materializations,
    record_planned,
)
from resources.database import bulk, deletions, portfolios
from resources.database.deletions import Deletion
from sigma_dagster.runs import liveness
from sigma_dagster.runs.claims import block_of, mark_dead, rivals
from sigma_dagster.runs.request import DEFER_TAG, RECONCILED, TO_RECONCILE
from sigma_dagster.services import Services

_AT_ONCE = 20
_AT_WORK = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
#: Runs that may have left out records of their rows.
DUE = dg.RunsFilter(
    statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], tags={DEFER_TAG: "true", **TO_RECONCILE}
)
#: Cells of a failed block that are shown as failed: about 2 s of the sensor's time.
_MOST_FAILED = 20_000


def heal(instance: dg.DagsterInstance, graph: AssetGraph, services: Services) -> list[Block]:
    """Take back the records of deleted rows, and write those that runs left out.

    Return the blocks of these runs: nobody has checked their rows yet.
    """
    _follow_deletions(instance, services)
    left = liveness.left_behind(services)
    for run_id in left:
        mark_dead(instance, run_id)
    healed, later = [], set[str]()
    while runs := [run for run in instance.get_runs(DUE, limit=_AT_ONCE + len(later)) if run.run_id not in later]:
        for run in runs:
            if block := block_of(run, instance):
                if not record_stored(instance, graph, services, run, block):
                    later.add(run.run_id)
                    continue
                if run.status == dg.DagsterRunStatus.FAILURE:
                    record_failed(instance, services, run, block)
                healed.append(block)
            instance.add_run_tags(run.run_id, RECONCILED)
    liveness.forget(services, [run_id for run_id in left if run_id not in later])
    return healed


def _follow_deletions(instance: dg.DagsterInstance, services: Services) -> None:
    """Take back the records of rows that were deleted and are not there again.

    A note is settled when nothing is left to take back and no run is in progress: one may have stored rows before
    they were deleted, and record them yet.
    """
    with services.database.read() as connection:
        notes = deletions.noted(connection)
    settled: list[int] = []
    for asset in ASSETS:
        of_asset = [note for note in notes if note.table == asset.table.name]
        if of_asset:
            busy = instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)) > 0
            # A row that is stored from now on has its record after this event.
            newest = instance.event_log_storage.get_maximum_record_id()
            gone = _gone(services, asset, of_asset)
            found = forget_materializations(instance, dg.AssetKey(asset.name), gone, before=newest)
            if not found and not busy:
                settled += [note.id for note in of_asset]
    if settled:
        with services.database.write() as connection:
            deletions.settle(connection, settled)


def _gone(services: Services, asset: Asset, notes: Sequence[Deletion]) -> list[dg.MultiPartitionKey]:
    """Give the partitions of the notes that have no row."""
    last = max(note.last for note in notes)
    days = calendar.sessions(max(min(note.first for note in notes), services.first_date(last)), last)
    present = set(_present(services, asset, list({note.key for note in notes}), days))
    wanted = {(note.key, day) for note in notes for day in days if note.first <= day <= note.last}
    return [_partition(asset, *cell) for cell in sorted(wanted - present)]


def record_stored(
    instance: dg.DagsterInstance, graph: AssetGraph, services: Services, run: dg.DagsterRun, block: Block
) -> bool:
    """Record the rows of a run's block that have no record; not, and False, while another run is at work on the block.

    That one may have stored rows that it has not recorded yet: these are read first, then the runs in progress.
    """
    stored = {step.asset: _rows(services, step, block) for step in block.steps}
    others = (other for other in rivals(instance, services, block) if other.run_id != run.run_id)
    if any(other.status in _AT_WORK for other in others):
        return False
    for asset, rows in stored.items():
        key = dg.AssetKey(asset)
        recorded = instance.get_materialized_partitions(key) if rows else set()
        lost: list[tuple[str, dict[str, Any]]] = [(partition, {}) for partition in rows if partition not in recorded]
        if lost:
            tags = provenance_tags(instance, graph.get(key), run.run_id)
            # Another process may heal the same run at this moment.
            record_materializations(instance, run, key, lost, tags=tags, once=True)
    return True


def record_failed(instance: dg.DagsterInstance, services: Services, run: dg.DagsterRun, block: Block) -> None:
    """Have Dagster show as failed what a failed run's block has no row for, as it does for runs of the UI.

    What a run before it left so is shown already: a source that is down all day adds nothing to the log. What another
    run works on is its to fill. Of a large block its run alone tells: a part would say that the rest did not fail.
    """
    if rivals(instance, services, block):
        return
    missing = {step.asset: _missing(services, step, block) for step in block.steps}
    if sum(map(len, missing.values())) > _MOST_FAILED:
        return
    for asset, partitions in missing.items():
        key = dg.AssetKey(asset)
        known = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
        if new := sorted(set(partitions).difference(known(key))):
            record_planned(instance, run, key, new)


def _rows(services: Services, step: Step, block: Block) -> list[dg.MultiPartitionKey]:
    """Give the partitions of a step that have a row."""
    asset, days = BY_NAME[step.asset], _days(services, step, block)
    return [_partition(asset, *cell) for cell in _present(services, asset, step.keys, days)]


def _missing(services: Services, step: Step, block: Block) -> list[dg.MultiPartitionKey]:
    """Give the partitions of a step that have no row."""
    asset, days = BY_NAME[step.asset], _days(services, step, block)
    present = set(_present(services, asset, step.keys, days))
    return [_partition(asset, key, day) for day in days for key in step.keys if (key, day) not in present]


def _days(services: Services, step: Step, block: Block) -> list[date]:
    """Give the sessions of a step that have partitions, those of its look-back among them."""
    try:
        days = list(block.sessions)
        if BY_NAME[step.asset].look_back and days:
            days = price_sessions(days[0], days[-1])
    except CalendarError:
        return []  # no row has days that the calendar lacks
    first = services.first_date(block.last)
    return [day for day in days if day >= first]


def _present(services: Services, asset: Asset, keys: Sequence[str], days: Sequence[date]) -> Iterator[tuple[str, date]]:
    """Give the cells that have a row."""
    with services.database.read() as connection:
        ids: dict[Any, str] = {key: key for key in keys}
        if asset.dimension == "portfolio":
            ids = {found.id: found.name for found in portfolios.load(connection, keys)}
        exists = bulk.present(connection, asset.table, list(ids), days, **asset.fixed(services.model.key))
    names = list(ids.values())
    for i, j in np.argwhere(exists):
        yield names[i], days[j]


def _partition(asset: Asset, key: str, day: date) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"date": day.isoformat(), asset.dimension: key})
