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

from resources.database import portfolios
from resources.database.tables import daily_price
from sigma_dagster import block_runs, claims, reconcile
from sigma_dagster.claims import Claim
from sigma_dagster.environment import Environment
from sigma_dagster.jobs import job_name
from sigma_dagster.planner import Block, WorkPlan

#: Names the block of a run, so that one that failed is not asked for again at once.
BLOCK_TAG = "sigma/block"
INTERVAL_SECONDS = 5
COOL_DOWN = timedelta(minutes=5)


def new_portfolio(env: Environment, jobs: Sequence[UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    """Make the sensor."""

    @dg.sensor(
        name="new_portfolio",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for what stored portfolios lack: symbols and sessions first, then portfolios.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return evaluate(context, env, datetime.now(UTC))

    return sensor


def newest_session(env: Environment, now: datetime) -> date:
    """Give the newest session that is stored for a factor proxy; nothing stored: the last completed one.

    Not the newest that all of them have: one that lags would keep everybody from the sessions after it, itself too.
    """
    newest = sa.select(sa.func.max(daily_price.c.session)).where(daily_price.c.symbol.in_(env.model.proxies))
    with env.database.read() as connection:
        stored: date | None = connection.execute(newest).scalar()
    completed = env.as_of(None, now)
    return min(stored, completed) if stored else completed


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
        others = claims.rivals(instance, Claim.of_block(block))
        if others:
            verdict.skipped.append(f"{what}: run {others[0].run_id[:8]} is in progress")
        elif _failed_lately(instance, name, now):
            verdict.skipped.append(f"{what}: failed less than {COOL_DOWN.seconds // 60} minutes ago")
        else:
            block_runs.register(instance, block)
            tags = {**block_runs.partition_tags(instance, block), BLOCK_TAG: name}
            verdict.requests.append(
                dg.RunRequest(
                    job_name=job_name(block.dimension),
                    run_config=block_runs.run_config(block, onboarding),
                    tags=tags,
                    asset_selection=block_runs.selection(block),
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


def evaluate(context: dg.SensorEvaluationContext, env: Environment, now: datetime) -> dg.SensorResult:
    """Plan, request what can run now, and say why the rest cannot."""
    instance = context.instance
    repository = context.repository_def
    if repository is not None:
        reconcile.heal(instance, repository.asset_graph, env)
    with env.database.read() as connection:
        stored = portfolios.load(connection)
    if not stored:
        return dg.SensorResult(skip_reason="No portfolio is stored: sigma add FILE or sigma onboard FILE stores one")
    as_of = newest_session(env, now)
    todo = env.plan(stored, as_of)
    if not todo.blocks:
        return dg.SensorResult(skip_reason=f"Nothing is missing as of {as_of}", cursor="{}")
    expected = {**json.loads(context.cursor or "{}"), **_expected(todo)}
    verdict = request_blocks(instance, list(due_blocks(todo)), expected, now)
    cursor = json.dumps(expected)
    if verdict.requests:
        return dg.SensorResult(run_requests=verdict.requests, cursor=cursor)
    return dg.SensorResult(skip_reason="; ".join(verdict.skipped), cursor=cursor)


def _expected(todo: WorkPlan) -> dict[str, Any]:
    """Give the onboarding's numbers while symbol rows are missing; the portfolio run reports them when it comes."""
    if not todo.fetch and not todo.exposures.rows:
        return {}
    held, computed = len(todo.exposures.keys), len(todo.exposures.missing_keys)
    asked, stored = int(todo.exposures.asked.sum()), todo.exposures.rows
    return {
        "held": held,
        "computed": computed,
        "cached": held - computed,
        "records_stored": stored,
        "records_skipped_cached": asked - stored,
        "cache_hit_rate": (asked - stored) / asked if asked else 1.0,
        "symbols_fetched": len(todo.fetch),
        "api_calls": todo.api_calls,
        "api_calls_saved": held - len(set(todo.fetch) & set(todo.exposures.keys)),
    }


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
