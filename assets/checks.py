"""Asset checks: what must hold of the stored rows, whoever wrote them.

Dagster asks them of all rows when a person materializes an asset in the UI. Planned runs leave them out (Dagster lists
every partition of the asset for each of them), and `evaluate` asks them once instead, of what the runs wrote. What is
asked stands in `questions`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import AssetCheckEvaluation, AssetCheckKey, AssetCheckSeverity
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)
from filelock import FileLock

from assets import questions
from assets.catalogue import ASSETS, Asset
from assets.factor_models import FactorModel
from assets.numerics.constants import MIN_COVERAGE
from assets.questions import EVERYTHING, Asked, Offender, Question, Scope, price_ends
from assets.shared.block import Block, Step
from assets.shared.look_back import price_sessions
from resources.calendar import CalendarError
from resources.database import deletions
from resources.database.deletions import Deletion
from resources.database.engine import Database

_SHOWN = 10
#: So many keys with offenders are remembered; with more of them, all rows are asked again.
_REMEMBERED = 500


@dataclass(frozen=True)
class Check:
    """A question about the rows of an asset, and what it means if something offends."""

    name: str
    description: str
    severity: AssetCheckSeverity
    question: Question
    of_newest: bool = False
    """Asked about the newest session: always of all rows there."""

    def answer(self, asset: Asset, found: Sequence[Offender]) -> dg.AssetCheckResult:
        """Put into Dagster's words what was found."""
        texts = [offender.text for offender in found]
        listed = ", ".join(texts[:_SHOWN]) + (" ..." if len(texts) > _SHOWN else "")
        keys = sorted({offender.key for offender in found})
        return dg.AssetCheckResult(
            passed=not found,
            asset_key=asset.name,
            check_name=self.name,
            severity=self.severity,
            description=f"{len(found)} do not: {listed}" if found else None,
            # Read by the next evaluation (`_offending_keys`).
            metadata={"offenders": len(found), "keys": dg.MetadataValue.json(keys[: _REMEMBERED + 1])},
        )


def build_checks(*, live: bool) -> list[dg.AssetChecksDefinition]:
    """Make Dagster's definitions of the checks; `live`: of a price source that follows the market too."""
    return [_definition(asset, check) for asset, check in _asked(live)]


def evaluate(
    instance: dg.DagsterInstance, database: Database, model: FactorModel, *, live: bool, blocks: Sequence[Block]
) -> None:
    """Answer the checks outside of any run, after the runs of the blocks.

    Looked at is what may have changed: the keys and sessions of the blocks, rows that were deleted meanwhile, and the
    keys that offended last time. So an answer is always about all rows: what offends elsewhere is not forgotten. A
    check that was never answered is asked of all rows; one that nothing has changed for keeps its answer.
    """
    # One after the other: each answer rests on the one before.
    with FileLock(Path(instance.root_directory) / "checks.lock"):
        before = _answers(instance, live)
        with database.read() as connection:
            deleted = deletions.noted(connection)
            began = {name: first for name, (first, _) in price_ends(connection, None).items()}
        targets = _targets(instance)
        for asset, check in _asked(live):
            offending = before.get(AssetCheckKey(dg.AssetKey(asset.name), check.name))
            scopes = [EVERYTHING] if check.of_newest else _scopes(asset, offending, blocks, deleted, began)
            if not scopes:
                continue
            asked = Asked(asset, instance, database, model)
            found = {one: None for scope in scopes for one in check.question(replace(asked, scope=scope))}
            _report(instance, check.answer(asset, sorted(found)), targets)


def _report(instance: dg.DagsterInstance, result: dg.AssetCheckResult, targets: Mapping[dg.AssetKey, Target]) -> None:
    if result.asset_key is None or result.check_name is None:
        raise TypeError("an answer without asset or check")
    evaluation = AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        target_materialization_data=targets.get(result.asset_key),
    )
    instance.report_runless_asset_event(evaluation)


def _targets(instance: dg.DagsterInstance) -> dict[dg.AssetKey, Target]:
    """Name the materializations that answers are about: else the UI goes by seconds, and takes them for older."""
    found = {}
    for record in instance.get_asset_records([dg.AssetKey(asset.name) for asset in ASSETS]):
        latest = record.asset_entry.last_materialization_record
        if latest is not None:
            found[record.asset_entry.asset_key] = Target(
                storage_id=latest.storage_id, run_id=latest.run_id, timestamp=latest.timestamp
            )
    return found


def _answers(instance: dg.DagsterInstance, live: bool) -> dict[AssetCheckKey, list[str]]:
    """Give the keys that offended when each check was last answered; without those that nobody knows of."""
    keys = [AssetCheckKey(dg.AssetKey(asset.name), check.name) for asset, check in _asked(live)]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {}
    for key, record in latest.items():
        event = record.event.dagster_event if record.event else None
        answer = event.event_specific_data if event else None
        offending = _offending_keys(answer.metadata) if isinstance(answer, AssetCheckEvaluation) else None
        if offending is not None:
            found[key] = offending
    return found


def _offending_keys(metadata: Mapping[str, Any]) -> list[str] | None:
    keys = getattr(metadata.get("keys"), "value", None)
    return keys if isinstance(keys, list) and len(keys) <= _REMEMBERED else None


def _scopes(
    asset: Asset,
    offending: Sequence[str] | None,
    blocks: Sequence[Block],
    deleted: Sequence[Deletion],
    began: Mapping[str, date],
) -> list[Scope]:
    """Give the rows of the asset whose answer may have changed since keys offended (None: it is not known which).

    `began` is the first session with a price, by symbol.
    """
    if offending is None:
        return [EVERYTHING]
    keys: dict[tuple[date, date], dict[str, None]] = {}  # of each span of sessions
    for block in blocks:
        for step in block.steps:
            for key, span in _spans(asset, block, step, began):
                keys.setdefault(span, {})[key] = None
    for deletion in deleted:
        if deletion.table == asset.table.name:
            keys.setdefault((deletion.first, deletion.last), {})[deletion.key] = None
    scopes = [Scope(tuple(named), first, last) for (first, last), named in keys.items()]
    return [*scopes, *([Scope(tuple(offending))] if offending else [])]


def _spans(
    asset: Asset, block: Block, step: Step, began: Mapping[str, date]
) -> Iterator[tuple[str, tuple[date, date]]]:
    """Give the sessions of the asset's rows that a step of a block may have written, by key."""
    try:
        days = block.sessions if step.asset == asset.name else ()
        look_back = price_sessions(days[0], days[-1])[0] if days and asset.look_back else None
    except CalendarError:
        return  # no row has days that the calendar lacks
    for key in step.keys if days else ():
        # Prices before the block are stored with a symbol's first ones only.
        fresh = look_back is not None and began.get(key, days[0]) >= look_back
        yield key, (look_back if look_back and fresh else days[0], days[-1])


def _asked(live: bool) -> Iterator[tuple[Asset, Check]]:
    for asset in ASSETS:
        for name in asset.checks:
            if live or name not in OF_LIVE_SOURCES:
                yield asset, CHECKS[name]


def _definition(asset: Asset, check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset.name, name=check.name, description=check.description)
    def ask(
        context: dg.AssetCheckExecutionContext,
        database: dg.ResourceParam[Database],
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.AssetCheckResult:
        return check.answer(asset, check.question(Asked(asset, context.instance, database, factor_model)))

    return ask


_WARN, _ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR

#: By name; the catalogue says which assets have which.
CHECKS = {
    check.name: check
    for check in (
        Check("prices_positive", "Every stored close is a positive number.", _ERROR, questions.not_positive),
        Check(
            "prices_complete",
            "Between a symbol's first and last stored session, every exchange session has a row (a close, or a "
            "recorded absence) or is late, and no other day has one.",
            _WARN,
            questions.incomplete,
        ),
        Check(
            "prices_continuous",
            f"No price moves by more than {questions.MAX_MOVE:.0%} from one session to the next, dividends and splits "
            "allowed for.",
            _WARN,
            questions.jumps,
        ),
        Check(
            "prices_move",
            f"Of the last {questions.RECENT_SESSIONS} sessions, no price is the one before all day while others moved, "
            f"and none stays the same for {questions.EQUAL_CLOSES} sessions.",
            _WARN,
            questions.doubtful,
            of_newest=True,
        ),
        Check(
            "proxies_fresh",
            f"Every factor proxy has a close at most {questions.MAX_SESSIONS_BEHIND} sessions before the last "
            "completed one.",
            _WARN,
            questions.proxies_behind,
            of_newest=True,
        ),
        Check(
            "held_symbols_have_exposures",
            "Every symbol held at the newest session has a row there.",
            _WARN,
            questions.held_without,
            of_newest=True,
        ),
        Check(
            "held_symbols_have_volatility",
            "Every symbol held at the newest session has a row there.",
            _WARN,
            questions.held_without,
            of_newest=True,
        ),
        Check(
            "exposures_cover_value",
            f"At the newest session, symbols with exposures make up at least {MIN_COVERAGE:.0%} of a portfolio's "
            "value.",
            _WARN,
            questions.thinly_covered,
            of_newest=True,
        ),
        Check(
            "recorded_partitions_have_rows",
            "Every partition that Dagster shows as materialized has a row. One whose inputs changed has lost it until "
            "it is computed again: the planner asks for it.",
            _WARN,
            questions.recorded_without_row,
        ),
    )
}

#: Of price sources that follow the market only: one that has ended is stale by nature.
OF_LIVE_SOURCES = ("proxies_fresh",)
