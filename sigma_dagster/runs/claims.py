"""What a Dagster run computes, read off its config or tags, and its claim: nobody else computes it meanwhile.

A run claims the keys of its assets before it computes: rows of the domain database, of which there is one a key. Who
finds a part claimed waits, and then plans anew or finds nothing left to do. To look at the runs in progress (`rivals`)
keeps most from asking in vain; it keeps nobody from starting.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from assets.catalogue import BY_NAME, DIMENSIONS, of_dimension
from assets.shared.block import Block, BlockConfigError
from assets.shared.run_block import NOTHING_CHOSEN_TAG
from resources import calendar
from resources.database import executions
from resources.database.executions import ClaimedError
from sigma_dagster.runs import liveness, request
from sigma_dagster.runs.request import TO_RECONCILE, job_name
from sigma_dagster.services import Services

_NOT_BEGUN = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)
#: The daemon beats every 30 seconds.
_DAEMON_SILENT = 120
#: From Dagster's first event to `begin` it takes milliseconds.
_SECONDS_TO_BEGIN = 120
#: For people: where the run is or was executed.
HOST_TAG = "host"
ENDED = "The process that executed this run has ended."
#: Of somebody who waits for another's run.
POLL_SECONDS = 0.2


def block_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Block | None:
    """Read the block of a run, whoever started it; None if it computes none of ours, or one that cannot be read.

    A run whose config describes no block fails when it is executed: nobody need wait for it. Config is whatever
    somebody wrote: its types are not to be relied on.
    """
    assets = _assets(run)
    if not assets:
        return None
    ops = _mapping(run.run_config, "ops")
    configs = {name: _mapping(_mapping(ops, name), "config") for name in assets}
    if not any(config.get("keys") for config in configs.values()):
        return _of_partitions(run, instance, assets)
    # From the launchpad a block may have no ends: it may be all sessions there are.
    ends = {"first": calendar.FIRST_DAY.isoformat(), "last": calendar.LAST_DAY.isoformat()}
    configs = {
        name: {**config, **{end: config.get(end) or ends[end] for end in ends}} for name, config in configs.items()
    }
    try:
        return Block.from_config(configs)
    except BlockConfigError:
        return None


def name_partitions(instance: dg.DagsterInstance, run: dg.DagsterRun, newest: date) -> None:
    """Give a run from the launchpad, for which no partition was chosen, some all the same.

    Dagster wants them before it starts a step, and says so in words that help nobody. The run computes the keys of its
    config, and where there are none either, the step says what to choose. In place: Dagster reads the run it has.
    """
    assets, of_partitions = _assets(run), (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG)
    if not assets or any(tag.startswith(of_partitions) for tag in run.tags):
        return
    dimension = BY_NAME[assets[0]].dimension
    block = block_of(run, instance)
    if block:
        request.register(instance, block)
    keys = block.keys if block else instance.get_dynamic_partitions(dimension)[:1] or ["none"]
    named = Block.of_keys(assets, keys, newest, newest)
    chosen = {} if block else {NOTHING_CHOSEN_TAG: "true"}
    cast("dict[str, str]", run.tags).update({**request.partition_tags(named), **chosen})


def _mapping(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _assets(run: dg.DagsterRun) -> list[str]:
    """Name the assets of a run, of one dimension; a run of a whole job selects none."""
    if not run.asset_selection:
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


def rivals(instance: dg.DagsterInstance, services: Services, block: Block) -> list[dg.DagsterRun]:
    """Give the runs in progress that cover a part of the block.

    A run whose process has ended is marked as failed and is no rival.
    """
    return [run for run, other in in_progress(instance, services) if block.overlaps(other)]


def awaited(instance: dg.DagsterInstance, services: Services, block: Block) -> list[str]:
    """Give the runs that are worth waiting for: while no daemon runs, nobody starts what is queued."""
    found = rivals(instance, services, block)
    if any(run.status in _NOT_BEGUN for run in found) and not _daemon_lives(instance):
        found = [run for run in found if run.status not in _NOT_BEGUN]
    claimed, _ = _claimants(instance, services, block)
    return list(dict.fromkeys([*(run.run_id for run in found), *claimed]))


def _daemon_lives(instance: dg.DagsterInstance) -> bool:
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    return bool(beats) and time.time() - max(beats) < _DAEMON_SILENT


def in_progress(instance: dg.DagsterInstance, services: Services) -> list[tuple[dg.DagsterRun, Block]]:
    """Give the runs that compute blocks of ours and have not ended; those whose process has ended are marked.

    Who plans after this look, and leaves out what they cover, asks for nothing that one of them did meanwhile.
    """
    found = []
    records = instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    living = liveness.living(services) if records else {}
    for record in records:
        run = record.dagster_run
        block = block_of(run, instance)
        if block is None:
            continue
        if run.status == dg.DagsterRunStatus.NOT_STARTED and run.run_id not in living:
            continue  # only prepared; nobody launched it
        if _is_dead(record, living):
            mark_dead(instance, run.run_id)
        else:
            found.append((run, block))
    return found


def is_dead(services: Services, record: dg.RunRecord) -> bool:
    """Say whether the process of a run has ended."""
    return _is_dead(record, liveness.living(services))


def _is_dead(record: dg.RunRecord, living: Mapping[str, bool]) -> bool:
    run = record.dagster_run
    if run.run_id in living:
        return not living[run.run_id]
    # A process notes that it executes a run right after the run's start (`begin`); one that did not was killed before.
    silent = time.time() - (record.start_time or time.time()) > _SECONDS_TO_BEGIN
    return run.status == dg.DagsterRunStatus.STARTED and silent


def claim(instance: dg.DagsterInstance, services: Services, run_id: str, block: Block) -> bool:
    """Claim a block, with all of its keys' sessions, for a run that this process holds; False if another has a part.

    Claims of runs that have ended are taken over. This one ends with the run (`liveness`).
    """
    claimed, over = _claimants(instance, services, block)
    if claimed:
        return False
    for ended in over:
        mark_dead(instance, ended)
    try:
        with services.database.write() as connection:
            executions.release(connection, over)
            executions.claim(connection, run_id, [(step.asset, key) for step in block.steps for key in step.keys])
    except ClaimedError:
        return False
    return True


def _claimants(instance: dg.DagsterInstance, services: Services, block: Block) -> tuple[list[str], list[str]]:
    """Give the runs that have claimed parts of the block: those in progress, and those that have ended."""
    with services.database.read() as connection:
        found = set().union(*(executions.claimants(connection, step.asset, step.keys) for step in block.steps))
    living = liveness.living(services) if found else {}
    claimed: list[str] = []
    over: list[str] = []
    for run_id in sorted(found):
        run = instance.get_run_by_id(run_id)
        # A process that executes one run after the other keeps the lock of its last.
        in_progress = living.get(run_id, False) and not (run and run.is_finished)
        (claimed if in_progress else over).append(run_id)
    return claimed, over


def begin(instance: dg.DagsterInstance, services: Services, run_id: str) -> None:
    """Show that this process executes the run, until it ends, and claim its block as soon as nobody else has it.

    Until it ends, for Dagster writes the last events after all code of ours. Raises dagster.Failure if the run was
    given up before it came to that.
    """
    for other in liveness.own():
        earlier = instance.get_run_by_id(other)
        if earlier is None or earlier.is_finished:
            liveness.release(services, other)
    liveness.hold(services, run_id)
    instance.add_run_tags(run_id, {HOST_TAG: socket.gethostname(), **TO_RECONCILE})
    while True:
        run = instance.get_run_by_id(run_id)
        if run and (run.is_finished or run.status == dg.DagsterRunStatus.CANCELING):
            raise dg.Failure(f"the run was marked as {run.status.value} before it had begun: it is not executed")
        block = block_of(run, instance) if run else None
        if block is None or claim(instance, services, run_id, block):
            return
        time.sleep(POLL_SECONDS)


def mark_dead(instance: dg.DagsterInstance, run_id: str) -> None:
    """Mark a run whose process has ended, unless it finished: as canceled if somebody asked for that, else as failed.

    Call it after the process was found dead, and with nothing but the id: the run is read anew.
    """
    run = instance.get_run_by_id(run_id)
    if run and run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, ENDED)
    elif run and not run.is_finished:
        instance.report_run_failed(run, ENDED)


def cancel(instance: dg.DagsterInstance, run_id: str) -> None:
    """Mark a run of this process as canceled that was interrupted before or while it was executed."""
    run = instance.get_run_by_id(run_id)
    if run and not run.is_finished:
        instance.report_run_canceled(run)
