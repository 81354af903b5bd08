"""The sensor `new_portfolio`: asks for whatever stored portfolios lack, for whatever reason they lack it.

It never buys a new session: that is for the schedules (`schedules`), once a day.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.shared.block import Block
from assets.shared.look_back import listed
from resources.database import portfolios, symbols
from resources.database.tables import daily_price
from sigma_dagster.planning.planner import WorkPlan
from sigma_dagster.planning.work import foreseen
from sigma_dagster.runs import claims, heal, request
from sigma_dagster.runs.request import job_name
from sigma_dagster.services import Services

#: Names the block of a run, so that one that failed is not asked for again at once.
BLOCK_TAG = "sigma/block"
INTERVAL_SECONDS = 5
COOL_DOWN = timedelta(minutes=5)


def new_portfolio(services: Services, jobs: Sequence[UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    """Make the sensor."""

    @dg.sensor(
        name="new_portfolio",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for what stored portfolios lack: symbols and sessions first, then portfolios.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return evaluate(context, services, datetime.now(UTC))

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


def request_blocks(
    instance: dg.DagsterInstance, blocks: Sequence[Block], onboarding: Mapping[str, Any], now: datetime
) -> Verdict:
    """Request a run for each block that nobody computes and that did not fail a short while ago."""
    verdict = Verdict()
    for block in blocks:
        what = f"{len(block.keys)} {block.dimension}s {block.first}..{block.last}"
        name = _fingerprint(block)
        others = claims.rivals(instance, block)
        if others:
            verdict.skipped.append(f"{what}: run {others[0].run_id[:8]} is in progress")
        elif _failed_lately(instance, name, now):
            verdict.skipped.append(f"{what}: failed less than {COOL_DOWN.seconds // 60} minutes ago")
        else:
            request.register(instance, block)
            tags = {**request.partition_tags(instance, block), BLOCK_TAG: name}
            verdict.requests.append(
                dg.RunRequest(
                    job_name=job_name(block.dimension),
                    run_config=request.run_config(block, onboarding),
                    tags=tags,
                    asset_selection=request.selection(block),
                    asset_check_keys=[],
                )
            )
    return verdict


def due_blocks(todo: WorkPlan) -> Iterator[Block]:
    """Give the blocks that can run now: all else waits for factor prices, and portfolios wait for their symbols."""
    symbols = [block for block in todo.blocks if block.dimension == "symbol"]
    if symbols:
        proxies_due = any(symbol in todo.fetch for symbol in todo.proxies)
        yield from symbols[:1] if proxies_due else symbols
    else:
        yield from todo.blocks


def evaluate(context: dg.SensorEvaluationContext, services: Services, now: datetime) -> dg.SensorResult:
    """Plan, request what can run now, and say why the rest cannot."""
    instance = context.instance
    repository = context.repository_def
    if repository is not None:
        heal.heal(instance, repository.asset_graph, services)
    with services.database.read() as connection:
        stored = portfolios.load(connection)
    if not stored:
        return dg.SensorResult(skip_reason="No portfolio is stored: sigma add FILE or sigma onboard FILE stores one")
    as_of = newest_session(services, now)
    todo = services.plan(stored, as_of, completed=services.as_of(None, now), now=now)
    if not todo.blocks:
        waits = f", but for what waits for prices: {listed(list(todo.waiting))}" if todo.waiting else ""
        return dg.SensorResult(skip_reason=f"Nothing is missing as of {as_of}{waits}", cursor="{}")
    # Symbol rows are computed first; the portfolio run that follows reports what they took.
    due = foreseen(todo) if todo.fetch or todo.exposures.rows else {}
    expected = {**json.loads(context.cursor or "{}"), **due}
    verdict = request_blocks(instance, list(due_blocks(todo)), expected, now)
    cursor = json.dumps(expected)
    if verdict.requests:
        return dg.SensorResult(run_requests=verdict.requests, cursor=cursor)
    return dg.SensorResult(skip_reason="; ".join(verdict.skipped), cursor=cursor)


def _fingerprint(block: Block) -> str:
    # Sorted: a run that failed half-way leaves the same keys to be computed, those without prices first.
    named = repr((block.dimension, sorted(block.keys), block.first, block.last))
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _failed_lately(instance: dg.DagsterInstance, name: str, now: datetime) -> bool:
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        tags={BLOCK_TAG: name},
        updated_after=now - COOL_DOWN,
    )
    return bool(instance.get_runs(failed, limit=1))
