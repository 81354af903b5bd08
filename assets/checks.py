"""Asset checks: what must hold of the stored rows, whoever wrote them.

Each is a plain question to the database. Dagster asks it when a person materializes an asset in the UI; planned runs
leave them out (Dagster lists every partition of the asset for each of them), and `evaluate` asks them once instead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity
from sqlalchemy import Connection

from assets.catalogue import ASSETS, Asset
from assets.factor_models import FactorModel
from assets.numerics.constants import MIN_COVERAGE
from assets.shared.block import Block
from resources import calendar
from resources.database import symbols
from resources.database.bulk import session_text
from resources.database.engine import Database
from resources.database.tables import daily_price, portfolio, portfolio_factor_exposure, position

#: A larger move from one session to the next is worth a look: mostly it is a split that the source did not report.
MAX_MOVE = 0.4
#: So many equal closes in a row are mostly a price that nobody makes any more.
EQUAL_CLOSES = 5
#: New prices are looked at: those of so many sessions up to the newest.
RECENT_SESSIONS = 30
#: Betas as of today need factor prices of today; so many sessions bridge a refresh that failed over a weekend.
MAX_SESSIONS_BEHIND = 2
_SHOWN = 10


@dataclass(frozen=True)
class Check:
    """A question about the rows of an asset; the answer names what offends, and is empty if nothing does."""

    name: str
    description: str
    severity: AssetCheckSeverity
    offenders: Callable[[Asset, dg.DagsterInstance, Database, FactorModel], Sequence[str]]

    def evaluate(
        self, asset: Asset, instance: dg.DagsterInstance, database: Database, model: FactorModel
    ) -> dg.AssetCheckResult:
        """Answer for the asset's rows as they are."""
        found = self.offenders(asset, instance, database, model)
        listed = ", ".join(found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        return dg.AssetCheckResult(
            passed=not found,
            asset_key=asset.name,
            check_name=self.name,
            severity=self.severity,
            description=f"{len(found)} do not: {listed}" if found else None,
            metadata={"offenders": len(found)},
        )


def build_checks(*, live: bool) -> list[dg.AssetChecksDefinition]:
    """Make Dagster's definitions of the checks; `live`: of a price source that follows the market too."""
    return [_definition(asset, check) for asset, check in _asked(live)]


def evaluate(
    instance: dg.DagsterInstance,
    database: Database,
    model: FactorModel,
    *,
    live: bool,
    blocks: Sequence[Block],  # noqa: ARG001 - what was written: to be looked at instead of whole tables
) -> None:
    """Answer every check now, outside of any run."""
    for asset, check in _asked(live):
        result = check.evaluate(asset, instance, database, model)
        instance.report_runless_asset_event(
            AssetCheckEvaluation(
                asset_key=dg.AssetKey(asset.name),
                check_name=check.name,
                passed=result.passed,
                metadata=result.metadata,
                severity=check.severity,
                description=result.description,
            )
        )


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
        return check.evaluate(asset, context.instance, database, factor_model)

    return ask


def _not_positive(_asset: Asset, _instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    close = daily_price.c.close
    wrong = sa.select(daily_price.c.symbol, daily_price.c.session).where(close.is_not(None), ~close.between(1e-9, 1e12))
    with database.read() as connection:
        return [f"{symbol} {session}" for symbol, session in connection.execute(wrong)]


def _incomplete(_asset: Asset, _instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    session = daily_price.c.session
    spans = sa.select(daily_price.c.symbol, sa.func.min(session), sa.func.max(session), sa.func.count())
    with database.read() as connection:
        stored = set(connection.execute(sa.select(session).distinct()).scalars())
        rows = connection.execute(spans.group_by(daily_price.c.symbol)).all()
        late = symbols.pending(connection)
    if not rows:
        return []
    days = calendar.sessions(min(row[1] for row in rows), max(row[2] for row in rows))
    at = {day: i for i, day in enumerate(days)}
    holes = [
        name
        for name, first, last, count in rows
        if name not in late and (first not in at or last not in at or count != at[last] - at[first] + 1)
    ]
    return [*(f"{day} (no session)" for day in sorted(stored - set(days))), *holes]


def _held_without(asset: Asset, _instance: dg.DagsterInstance, database: Database, model: FactorModel) -> list[str]:
    table = asset.table
    of_model = table.c.model == model.key if asset.of_model else sa.true()
    with database.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(table.c.session)).where(of_model)).scalar()
        if newest is None:
            return []
        present = sa.select(table.c.symbol).where(table.c.session == newest, of_model)
        held = sa.select(position.c.symbol).where(
            position.c.asset_class == "public",
            position.c.entry_date <= newest,
            position.c.exit_date.is_(None) | (position.c.exit_date > newest),
            position.c.symbol.not_in(present),
        )
        return sorted(connection.execute(held.distinct()).scalars())


def _jumps(_asset: Asset, _instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    price = daily_price.c
    before = sa.func.lag(price.close).over(partition_by=price.symbol, order_by=price.session)
    ratio = (price.close + price.dividend) * price.split / before
    moves = sa.select(price.symbol, price.session, ratio.label("ratio")).subquery()
    query = sa.select(moves.c.symbol, moves.c.session).where(~moves.c.ratio.between(1 - MAX_MOVE, 1 + MAX_MOVE))
    with database.read() as connection:
        return [f"{symbol} {session}" for symbol, session in connection.execute(query)]


def doubtful_prices(connection: Connection, first: date, last: date) -> list[str]:
    """Name prices of the sessions that look as if nobody had made them.

    That is a session on which open, high, low and close are the close before, while other symbols moved, and a close
    that is the same for `EQUAL_CLOSES` sessions.
    """
    price = daily_price.c
    before = [
        sa.func.lag(price.close, n).over(partition_by=price.symbol, order_by=price.session).label(f"before_{n}")
        for n in range(1, EQUAL_CLOSES)
    ]
    start = calendar.shift(calendar.session_on_or_after(first), -EQUAL_CLOSES)
    known = sa.select(price.symbol, price.session, price.open, price.high, price.low, price.close, *before)
    row = known.where(price.session.between(start, last)).subquery().c
    flat = sa.and_(*(row[name] == row.before_1 for name in ("open", "high", "low", "close")))
    equal = sa.and_(*(row.close == row[f"before_{n}"] for n in range(1, EQUAL_CLOSES)))
    query = sa.select(row.symbol, row.session, equal).where(row.session >= first, flat | equal)
    found = connection.execute(query.order_by(row.symbol, row.session)).all()
    moved = sa.select(row.session).where(row.close != row.before_1).distinct()
    traded = set(connection.execute(moved).scalars()) if found else set()
    return [
        f"{name} {day} ({f'the same for {EQUAL_CLOSES} sessions' if same else 'the close before, all day'})"
        for name, day, same in found
        if same or day in traded
    ]


def _doubtful(_asset: Asset, _instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    with database.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(daily_price.c.session))).scalar()
        return doubtful_prices(connection, calendar.shift(newest, -RECENT_SESSIONS), newest) if newest else []


def _thinly_covered(_asset: Asset, _instance: dg.DagsterInstance, database: Database, model: FactorModel) -> list[str]:
    rows = portfolio_factor_exposure
    newest = sa.select(sa.func.max(rows.c.session)).where(rows.c.model == model.key).scalar_subquery()
    query = (
        sa.select(portfolio.c.name)
        .join(rows)
        .where(rows.c.model == model.key, rows.c.session == newest, rows.c.weight_coverage < MIN_COVERAGE)
    )
    with database.read() as connection:
        return sorted(connection.execute(query).scalars())


def stale_proxies(database: Database, model: FactorModel, completed: date) -> list[str]:
    """Name the factor proxies whose newest close is too far behind the last completed session, or that have none."""
    price = daily_price.c
    newest = sa.select(price.symbol, sa.func.max(price.session)).where(
        price.symbol.in_(model.proxies), price.close.is_not(None)
    )
    with database.read() as connection:
        found = dict(connection.execute(newest.group_by(price.symbol)).all())
    oldest = calendar.shift(completed, -MAX_SESSIONS_BEHIND)
    return [
        f"{symbol} ({found.get(symbol, 'no price')})"
        for symbol in model.proxies
        if found.get(symbol, date.min) < oldest
    ]


def _stale_proxies(_asset: Asset, _instance: dg.DagsterInstance, database: Database, model: FactorModel) -> list[str]:
    return stale_proxies(database, model, calendar.last_completed_session(datetime.now(UTC)))


def _recorded_without_row(
    asset: Asset, instance: dg.DagsterInstance, database: Database, model: FactorModel
) -> list[str]:
    table = asset.table
    query = sa.select(session_text(table), portfolio.c.name if asset.dimension == "portfolio" else table.c.symbol)
    if asset.dimension == "portfolio":
        query = query.join(portfolio)
    if asset.of_model:
        query = query.where(table.c.model == model.key)
    with database.read() as connection:
        rows = {f"{session}|{name}" for session, name in connection.execute(query)}
    return sorted(instance.get_materialized_partitions(dg.AssetKey(asset.name)) - rows)


_WARN, _ERROR = AssetCheckSeverity.WARN, AssetCheckSeverity.ERROR

#: By name; the catalogue says which assets have which.
CHECKS = {
    check.name: check
    for check in (
        Check("prices_positive", "Every stored close is a positive number.", _ERROR, _not_positive),
        Check(
            "prices_complete",
            "Between a symbol's first and last stored session, every exchange session has a row (a close, or a "
            "recorded absence) or is late, and no other day has one.",
            _WARN,
            _incomplete,
        ),
        Check(
            "prices_continuous",
            f"No price moves by more than {MAX_MOVE:.0%} from one session to the next, dividends and splits allowed "
            "for.",
            _WARN,
            _jumps,
        ),
        Check(
            "prices_move",
            f"Of the last {RECENT_SESSIONS} sessions, no price is the one before all day while others moved, and none "
            f"stays the same for {EQUAL_CLOSES} sessions.",
            _WARN,
            _doubtful,
        ),
        Check(
            "proxies_fresh",
            f"Every factor proxy has a close at most {MAX_SESSIONS_BEHIND} sessions before the last completed one.",
            _WARN,
            _stale_proxies,
        ),
        Check(
            "held_symbols_have_exposures",
            "Every symbol held at the newest session has a row there.",
            _WARN,
            _held_without,
        ),
        Check(
            "held_symbols_have_volatility",
            "Every symbol held at the newest session has a row there.",
            _WARN,
            _held_without,
        ),
        Check(
            "exposures_cover_value",
            f"At the newest session, symbols with exposures make up at least {MIN_COVERAGE:.0%} of a portfolio's "
            "value.",
            _WARN,
            _thinly_covered,
        ),
        Check(
            "recorded_partitions_have_rows",
            "Every partition that Dagster shows as materialized has a row. One whose inputs changed has lost it until "
            "it is computed again: the planner asks for it.",
            _WARN,
            _recorded_without_row,
        ),
    )
}

#: Of price sources that follow the market only: one that has ended is stale by nature.
OF_LIVE_SOURCES = ("proxies_fresh",)
