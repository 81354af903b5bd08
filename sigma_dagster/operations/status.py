"""How a home is, for whoever watches it: what is missing, waits or failed, and when what runs by itself last did."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from resources.database import portfolios, quota, tables
from resources.sources.chain import members
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.orchestration.schedules import build_schedules
from sigma_dagster.planning.planner import NothingToPlanError
from sigma_dagster.services import Services

_A_DAY = 86_400.0
#: Of each schedule, so many of the newest evaluations are looked at.
_TICKS = 200
#: The daemon tells that it lives every 30 seconds.
_SILENT_SECONDS = 300.0


def status(services: Services, now: datetime) -> dict[str, Any]:
    """Give the state as plain data; times are UTC in ISO 8601, None: never."""
    as_of = services.as_of(None, now)
    with open_instance(services.settings) as instance:
        return {
            "at": now.isoformat(timespec="seconds"),
            "as_of": as_of.isoformat(),
            "missing": _missing(services, now),
            **_waiting(services),
            "quota": _quota(services, now),
            "runs": _runs(instance, now),
            "schedules": _schedules(services, instance),
            "daemon": _daemon(instance, now),
        }


def _missing(services: Services, now: datetime) -> dict[str, Any]:
    """Count the rows that are missing, by asset."""
    as_of = services.as_of(None, now)
    with services.database.read() as connection:
        stored = portfolios.load(connection)
    try:
        todo = services.plan(stored, as_of)
    except NothingToPlanError:
        return {"portfolios": len(stored), "blocks": 0, "rows": {}}
    rows = {name: wanted.rows for name, wanted in todo.wanted.items()}
    return {"portfolios": len(stored), "blocks": len(todo.blocks), "rows": rows}


def _waiting(services: Services) -> dict[str, Any]:
    """Give the symbols that were asked for in vain: the one that waits longest, and how many by source."""
    pending, symbol = tables.pending_fetch.c, tables.symbol.c
    query = (
        sa.select(pending.symbol, pending.outcome, pending.reason, pending.session, pending.retry_at, symbol.source)
        .select_from(tables.pending_fetch.outerjoin(tables.symbol, symbol.symbol == pending.symbol))
        .order_by(pending.session, pending.symbol)
    )
    with services.database.read() as connection:
        rows = connection.execute(query).all()
    # A symbol that was never there has no source yet: the first of the chain is the one that failed it.
    first = members(services.source)[0].name
    failed = Counter(row.source or first for row in rows if row.outcome == "failed")
    oldest = rows[0] if rows else None
    return {
        "waiting": len(rows),
        "oldest_wait": oldest
        and {
            "symbol": oldest.symbol,
            "session": oldest.session.isoformat(),
            "outcome": oldest.outcome,
            "reason": oldest.reason,
            "retry_at": _utc(oldest.retry_at.replace(tzinfo=UTC).timestamp()),
        },
        "failures": dict(sorted(failed.items())),
    }


def _quota(services: Services, now: datetime) -> list[dict[str, Any]]:
    """Give what was asked of each source, and what is left of its day or hour; None: it has no such limit."""
    with services.database.read() as connection:
        spent = quota.spent(connection, [member.name for member in members(services.source)], now)
    left = {member.name: _left(member) for member in members(services.source)}
    return [
        {
            "source": one.source,
            "calls_24h": one.calls,
            "left": 0 if one.closed_until else left.get(one.source),
            "closed_until": one.closed_until and one.closed_until.isoformat(timespec="seconds"),
        }
        for one in spent
    ]


def _left(source: object) -> int | None:
    """Ask a source; what has no quota has no such method."""
    asked = getattr(source, "requests_left", None)
    return None if asked is None else asked()


def _runs(instance: dg.DagsterInstance, now: datetime) -> dict[str, int]:
    since = datetime.fromtimestamp(now.timestamp() - _A_DAY, UTC)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    return {
        "in_progress": instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)),
        "failed_24h": instance.get_runs_count(failed),
    }


def _schedules(services: Services, instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Give when each schedule last did well, with something to do or not, and when it last failed."""
    states = {
        state.instigator_name: state for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    }
    found = []
    for schedule in build_schedules(services):
        state = states.get(schedule.name)
        ticks = [] if state is None else instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=_TICKS)
        found.append(
            {
                "name": schedule.name,
                "last_success": _newest(ticks, (TickStatus.SUCCESS, TickStatus.SKIPPED)),
                "last_failure": _newest(ticks, (TickStatus.FAILURE,)),
            }
        )
    return found


def _newest(ticks: Sequence[Any], statuses: Sequence[TickStatus]) -> str | None:
    times = [tick.timestamp for tick in ticks if tick.status in statuses]
    return _utc(max(times)) if times else None


def _daemon(instance: dg.DagsterInstance, now: datetime) -> dict[str, Any]:
    """Give the newest heartbeat of Dagster's daemon."""
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    if not beats:
        return {"last_heartbeat": None, "alive": False}
    return {"last_heartbeat": _utc(max(beats)), "alive": now.timestamp() - max(beats) < _SILENT_SECONDS}


def _utc(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")
