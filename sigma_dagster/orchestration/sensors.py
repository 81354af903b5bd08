"""The sensor `new_portfolio`: asks for whatever stored portfolios lack, for whatever reason they lack it.

It never buys a new session: that is for the schedules (`schedules`), once a day.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES

from assets import checks, onboardings, positions
from assets.shared.block import Block
from assets.shared.look_back import listed
from resources.database import portfolios, symbols
from resources.database.tables import daily_price
from sigma_dagster.planning.planner import WorkPlan
from sigma_dagster.planning.work import foreseen
from sigma_dagster.runs import claims, heal, keys, request
from sigma_dagster.runs.request import DEFER_TAG, LAUNCHED_BY_COMMAND, LAUNCHED_BY_TAG, job_name
from sigma_dagster.services import Services

#: Names the block of a run, so that one that failed is not asked for again at once.
BLOCK_TAG = ".dagster/sigma_block"
INTERVAL_SECONDS = 5
COOL_DOWN = timedelta(minutes=5)
#: A look that found nothing missing holds so long while the database stays as it was. It ends for what is not in the
#: database: a key that somebody adds in the UI.
LOOK_HOLDS = timedelta(minutes=10)
#: A look that found all in progress holds so long while that goes on: planning beside the runs takes their time.
WAIT_HOLDS = timedelta(minutes=1)
#: So long a tick waits for the end of what is in progress, to ask at once for what follows it.
PATIENCE_SECONDS = 4.0
_POLL_SECONDS = 0.2
#: Of the newest runs, so many are looked at: more do not end between two ticks.
_RUNS_CHECKED = 50


def new_portfolio(services: Services, jobs: Sequence[UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    """Make the sensor."""
    memory = Memory()

    @dg.sensor(
        name="new_portfolio",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for what stored portfolios lack: symbols and sessions first, then portfolios.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return evaluate(context, services, datetime.now(UTC), memory, patience=PATIENCE_SECONDS)

    return sensor


def newest_session(services: Services, now: datetime) -> date:
    """Give the newest session that is stored for a factor proxy, or was asked for in vain; else the last completed one.

    Not the newest that all of them have: one that lags would keep everybody from the sessions after it, itself too.
    """
    newest = sa.select(sa.func.max(daily_price.c.session)).where(daily_price.c.symbol.in_(services.model.proxies))
    with services.database.read() as connection:
        stored: date | None = connection.execute(newest).scalar()
        asked = [told.session for told in symbols.pending(connection).values()]
    completed = services.as_of(None, now)
    return min(max(filter(None, [stored, *asked])), completed) if stored else completed


@dataclass
class Verdict:
    """What is requested, and why the rest is not."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    awaited: list[str] = field(default_factory=list)
    """The runs in progress that compute a part of what is missing."""


@dataclass(frozen=True)
class Look:
    """A look at the stored portfolios that found nothing missing."""

    verdict: Verdict
    at: datetime
    state: object
    """The mark of the database that was looked at."""
    as_of: date
    priced: Sequence[str]
    """The symbols whose source may say that their prices have changed."""

    def holds(self, services: Services, now: datetime) -> bool:
        """Say whether another look would find the same."""
        return (
            now - self.at < LOOK_HOLDS
            and services.database.state() == self.state
            and newest_session(services, now) == self.as_of
            and not services.changed(self.priced, now)
        )


@dataclass(frozen=True)
class Wait:
    """A look at the stored portfolios that found in progress whatever could be asked for."""

    verdict: Verdict
    at: datetime
    newest: int
    """The greatest id of a portfolio: one that comes or changes gets a greater one."""

    def holds(self, services: Services, now: datetime) -> bool:
        """Say whether nobody has brought a portfolio since; the runs are for the caller to look at."""
        with services.database.read() as connection:
            return now - self.at < WAIT_HOLDS and not portfolios.names(connection, after=self.newest)


@dataclass
class Memory:
    """What the sensor's process keeps from one tick to the next: planning for thousands of symbols takes seconds."""

    look: Look | None = None
    wait: Wait | None = None


def request_blocks(
    instance: dg.DagsterInstance,
    busy: Sequence[tuple[dg.DagsterRun, Block]],
    blocks: Sequence[Block],
    now: datetime,
    *,
    onboarding: Mapping[str, Any],
    launched_by: str,
) -> Verdict:
    """Request a run for each block that nobody computes, and that did not fail and was not ended a short while ago.

    `busy` are the runs that were in progress before the blocks were planned.
    """
    verdict = Verdict()
    ended = _ended_lately(instance, now) if blocks else []
    for block in blocks:
        what = f"{block.size} {block.span}"
        name = _fingerprint(block)
        others = [run for run, other in busy if block.overlaps(other)]
        if others:
            verdict.skipped.append(f"{what}: run {others[0].run_id[:8]} is in progress")
            verdict.awaited += [run.run_id for run in others]
        elif _failed_lately(instance, name, now):
            verdict.skipped.append(f"{what}: failed less than {COOL_DOWN.seconds // 60} minutes ago")
        elif stopped := [run for run, other in ended if block.overlaps(other)]:
            verdict.skipped.append(
                f"{what}: run {stopped[0].run_id[:8]} was ended less than {COOL_DOWN.seconds // 60} minutes ago"
            )
        else:
            request.register(instance, block)
            tags = request.run_tags(block, onboarding=onboarding, launched_by=launched_by)
            verdict.requests.append(
                dg.RunRequest(
                    job_name=job_name(block.dimension),
                    run_config=request.run_config(block),
                    tags={**tags, BLOCK_TAG: name},
                    asset_selection=request.selection(block),
                    asset_check_keys=[],
                )
            )
    return verdict


def due_blocks(todo: WorkPlan) -> list[Block]:
    """Give the blocks that can run now: symbols wait for the proxies, and portfolios for the symbols."""
    return [block for block in todo.blocks if block.dimension == todo.blocks[0].dimension]


@dataclass
class Cursor:
    """What the sensor remembers from one tick to the next."""

    onboarding: dict[str, Any] = field(default_factory=dict)
    """Numbers of the symbols' runs, for the metadata of the portfolio run that follows them."""
    checked: float = 0.0
    """When the last run ended whose rows the checks have seen, as a timestamp."""

    @classmethod
    def of(cls, text: str | None) -> "Cursor":
        """Read what `to_text` wrote; what another version wrote counts for nothing."""
        known = json.loads(text or "{}")
        return cls(known.get("onboarding", {}), known.get("checked", 0.0))

    def to_text(self) -> str:
        """Write it for Dagster to keep."""
        return json.dumps(asdict(self))


def evaluate(
    context: dg.SensorEvaluationContext, services: Services, now: datetime, memory: Memory, *, patience: float = 0.0
) -> dg.SensorResult:
    """Plan, request what can run now, and say why the rest cannot.

    Where all of it is in progress, wait `patience` seconds for its end, and look again.
    """
    instance, cursor = context.instance, Cursor.of(context.cursor)
    repository = context.repository_def
    if repository is not None:
        heal.heal(instance, repository.asset_graph, services)
    if memory.look and memory.look.holds(services, now):
        verdict = memory.look.verdict
    elif (
        (wait := memory.wait)
        and wait.holds(services, now)
        and not _have_ended(instance, wait.verdict.awaited, patience)
    ):
        verdict = wait.verdict
    else:
        memory.look = memory.wait = None
        verdict = _request(instance, services, cursor, now, memory)
        if not verdict.requests and verdict.awaited and _have_ended(instance, verdict.awaited, patience):
            verdict = _request(instance, services, cursor, now, memory)
    if not verdict.requests:
        _check(instance, services, cursor)
    reason = None if verdict.requests else "; ".join(verdict.skipped)
    return dg.SensorResult(run_requests=verdict.requests, skip_reason=reason, cursor=cursor.to_text())


def _have_ended(instance: dg.DagsterInstance, run_ids: Sequence[str], patience: float) -> bool:
    """Wait so many seconds at most until all of the runs have ended; say whether they have."""
    at_work = dg.RunsFilter(run_ids=run_ids, statuses=NOT_FINISHED_STATUSES)
    end = time.monotonic() + patience
    while instance.get_runs_count(at_work):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _request(
    instance: dg.DagsterInstance, services: Services, cursor: Cursor, now: datetime, memory: Memory
) -> Verdict:
    state = services.database.state()
    with services.database.read() as connection:
        stored = portfolios.load(connection)
        positions.report(instance, connection)
    if not stored:
        return Verdict(skipped=["No portfolio is stored: sigma add FILE or sigma onboard FILE stores one"])
    onboardings.report(instance, services.database)
    as_of = newest_session(services, now)
    busy = claims.in_progress(instance, services)
    todo = services.plan(stored, as_of, completed=services.as_of(None, now), now=now)
    if again := services.changed(todo.priced, now):
        blocks = services.blocks_again(again, as_of)
        return request_blocks(instance, busy, blocks, now, onboarding={}, launched_by="sensor new_portfolio")
    if not todo.blocks:
        if cursor.onboarding:
            told = {"of": "sensor new_portfolio", "as_of": as_of.isoformat(), **cursor.onboarding}
            onboardings.tell(instance, now.timestamp(), told)
        cursor.onboarding = {}
        waits = f", but for what waits for prices: {listed(list(todo.waiting))}" if todo.waiting else ""
        idle = [
            f"no row and no holder: {name} (sigma symbols --forget {name})" for name in keys.idle(instance, services)
        ]
        verdict = Verdict(skipped=[f"Nothing is missing as of {as_of}{waits}", *idle])
        if not todo.waiting:
            memory.look = Look(verdict, now, state, as_of, tuple(todo.priced))
        return verdict
    with services.database.write() as connection:
        services.fix_first_date(connection, as_of)
    # Symbol rows are computed first; the portfolio run that follows reports what they took.
    due = foreseen(todo) if todo.fetch or todo.exposures.rows else {}
    # The same rows once more: a plan of them whose proxies were fetched meanwhile, which count too.
    rows = ("held", "computed", "records_stored")
    if due and not all(cursor.onboarding.get(name) == due[name] for name in rows):
        cursor.onboarding = due
    verdict = request_blocks(
        instance, busy, due_blocks(todo), now, onboarding=cursor.onboarding, launched_by="sensor new_portfolio"
    )
    if verdict.awaited and not verdict.requests:
        memory.wait = Wait(verdict, now, max(one.id for one in stored))
    return verdict


def _check(instance: dg.DagsterInstance, services: Services, cursor: Cursor) -> None:
    """Let the asset checks answer for what runs have written since, unless some are still in progress.

    Runs of `sigma` are left out: the command evaluates the checks itself, after its last block.
    """
    since = datetime.fromtimestamp(cursor.checked, UTC)
    runs = dg.RunsFilter(statuses=FINISHED_STATUSES, tags={DEFER_TAG: "true"}, updated_after=since)
    ended = instance.get_run_records(runs, limit=_RUNS_CHECKED)
    if not ended or claims.in_progress(instance, services):
        return
    cursor.checked = max(record.update_timestamp.replace(tzinfo=UTC).timestamp() for record in ended)
    blocks = [
        block
        for record in ended
        if record.dagster_run.tags.get(LAUNCHED_BY_TAG) != LAUNCHED_BY_COMMAND
        and (block := claims.block_of(record.dagster_run, instance))
    ]
    if blocks:
        live = services.source.latest_session() is None
        checks.evaluate(instance, services.database, services.model, live=live, blocks=blocks)


def _fingerprint(block: Block) -> str:
    # Sorted: a run that failed half-way leaves the same keys to be computed, those without prices first. Of its steps
    # which there are and how they are asked for, and not whose keys they have: those become fewer half-way.
    steps = [(step.asset, step.force, step.whole, step.source) for step in block.steps]
    named = repr((block.dimension, sorted(block.keys), block.first, block.last, steps))
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _failed_lately(instance: dg.DagsterInstance, name: str, now: datetime) -> bool:
    statuses = [dg.DagsterRunStatus.FAILURE]
    failed = dg.RunsFilter(statuses=statuses, tags={BLOCK_TAG: name}, updated_after=now - COOL_DOWN)
    return bool(instance.get_runs(failed, limit=1))


def _ended_lately(instance: dg.DagsterInstance, now: datetime) -> list[tuple[dg.DagsterRun, Block]]:
    """Give the runs that somebody ended in the UI a short while ago, with their blocks.

    Whatever block a key of theirs is in by now, it is left alone: what such a run had stored groups the rest anew.
    """
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.CANCELED], updated_after=now - COOL_DOWN)
    runs = [run for run in instance.get_runs(ended) if run.tags.get(LAUNCHED_BY_TAG) != LAUNCHED_BY_COMMAND]
    return [(run, block) for run in runs if (block := claims.block_of(run, instance))]
