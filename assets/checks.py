"""Asset checks: what must hold of the stored rows, whoever wrote them.

Each is a plain question to the database. Dagster asks it when a person materializes an asset in the UI; planned runs
leave them out (Dagster lists every partition of the asset for each of them), and `evaluate` asks them once instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial

import dagster as dg
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity

from assets.factor_models import FactorModel
from assets.numerics.constants import MIN_COVERAGE
from resources import calendar
from resources.database.bulk import session_text
from resources.database.engine import Database
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio,
    portfolio_factor_exposure,
    portfolio_volatility,
    position,
    symbol_volatility,
)

#: A larger move from one session to the next is worth a look: mostly it is a split that the source did not report.
MAX_MOVE = 0.6
#: Betas as of today need factor prices of today; so many sessions bridge a refresh that failed over a weekend.
MAX_SESSIONS_BEHIND = 2
_SHOWN = 10


@dataclass(frozen=True)
class Check:
    """A question about the rows of an asset; the answer names what offends, and is empty if nothing does."""

    name: str
    asset: str
    description: str
    severity: AssetCheckSeverity
    offenders: Callable[[dg.DagsterInstance, Database, FactorModel], Sequence[str]]

    def evaluate(self, instance: dg.DagsterInstance, database: Database, model: FactorModel) -> dg.AssetCheckResult:
        """Answer for the rows as they are."""
        found = self.offenders(instance, database, model)
        listed = ", ".join(found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        return dg.AssetCheckResult(
            passed=not found,
            asset_key=self.asset,
            check_name=self.name,
            severity=self.severity,
            description=f"{len(found)} do not: {listed}" if found else None,
        )


def build_checks(*, live: bool) -> list[dg.AssetChecksDefinition]:
    """Make Dagster's definitions of the checks; `live`: of a price source that follows the market too."""
    return [_definition(check) for check in _checks(live)]


def evaluate(instance: dg.DagsterInstance, database: Database, model: FactorModel, *, live: bool) -> None:
    """Answer every check now, outside of any run."""
    for check in _checks(live):
        result = check.evaluate(instance, database, model)
        instance.report_runless_asset_event(
            AssetCheckEvaluation(
                asset_key=dg.AssetKey(check.asset),
                check_name=check.name,
                passed=result.passed,
                metadata={},
                severity=check.severity,
                description=result.description,
            )
        )


def _checks(live: bool) -> tuple[Check, ...]:
    return (*CHECKS, PROXIES_FRESH) if live else CHECKS


def _definition(check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=check.asset, name=check.name, description=check.description)
    def ask(
        context: dg.AssetCheckExecutionContext,
        database: dg.ResourceParam[Database],
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.AssetCheckResult:
        return check.evaluate(context.instance, database, factor_model)

    return ask


def _not_positive(_instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    close = daily_price.c.close
    wrong = sa.select(daily_price.c.symbol, daily_price.c.session).where(close.is_not(None), ~close.between(1e-9, 1e12))
    with database.read() as connection:
        return [f"{symbol} {session}" for symbol, session in connection.execute(wrong)]


def _incomplete(_instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    session = daily_price.c.session
    spans = sa.select(daily_price.c.symbol, sa.func.min(session), sa.func.max(session), sa.func.count())
    with database.read() as connection:
        stored = set(connection.execute(sa.select(session).distinct()).scalars())
        rows = connection.execute(spans.group_by(daily_price.c.symbol)).all()
    if not rows:
        return []
    days = calendar.sessions(min(row[1] for row in rows), max(row[2] for row in rows))
    at = {day: i for i, day in enumerate(days)}
    holes = [
        name
        for name, first, last, count in rows
        if first not in at or last not in at or count != at[last] - at[first] + 1
    ]
    return [*(f"{day} (no session)" for day in sorted(stored - set(days))), *holes]


def _held_without(table: sa.Table, database: Database, of_model: sa.ColumnElement[bool]) -> list[str]:
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


def _jumps(_instance: dg.DagsterInstance, database: Database, _model: FactorModel) -> list[str]:
    price = daily_price.c
    before = sa.func.lag(price.close).over(partition_by=price.symbol, order_by=price.session)
    ratio = (price.close + price.dividend) * price.split / before
    moves = sa.select(price.symbol, price.session, ratio.label("ratio")).subquery()
    query = sa.select(moves.c.symbol, moves.c.session).where(~moves.c.ratio.between(1 - MAX_MOVE, 1 + MAX_MOVE))
    with database.read() as connection:
        return [f"{symbol} {session}" for symbol, session in connection.execute(query)]


def _thinly_covered(_instance: dg.DagsterInstance, database: Database, model: FactorModel) -> list[str]:
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


def _recorded_without_row(
    asset: str, table: sa.Table, instance: dg.DagsterInstance, database: Database, model: FactorModel
) -> list[str]:
    names = table.c.symbol if "symbol" in table.c else portfolio.c.name
    query = sa.select(session_text(table), names)
    if "portfolio_id" in table.c:
        query = query.join(portfolio)
    if "model" in table.c:
        query = query.where(table.c.model == model.key)
    with database.read() as connection:
        rows = {f"{session}|{name}" for session, name in connection.execute(query)}
    return sorted(instance.get_materialized_partitions(dg.AssetKey(asset)) - rows)


def _rows_check(asset: str, table: sa.Table) -> Check:
    return Check(
        "recorded_partitions_have_rows",
        asset,
        "Every partition that Dagster shows as materialized has a row. One whose inputs changed has lost it until it "
        "is computed again: the planner asks for it.",
        AssetCheckSeverity.WARN,
        partial(_recorded_without_row, asset, table),
    )


CHECKS = (
    Check(
        "prices_positive",
        "daily_prices",
        "Every stored close is a positive number.",
        AssetCheckSeverity.ERROR,
        _not_positive,
    ),
    Check(
        "prices_complete",
        "daily_prices",
        "Between a symbol's first and last stored session, every exchange session has a row (a close, or a recorded "
        "absence), and no other day has one.",
        AssetCheckSeverity.WARN,
        _incomplete,
    ),
    Check(
        "held_symbols_have_exposures",
        "factor_exposures",
        "Every symbol held at the newest session has a row there.",
        AssetCheckSeverity.WARN,
        lambda _instance, database, model: _held_without(
            factor_exposure, database, factor_exposure.c.model == model.key
        ),
    ),
    Check(
        "held_symbols_have_volatility",
        "symbol_volatility",
        "Every symbol held at the newest session has a row there.",
        AssetCheckSeverity.WARN,
        lambda _instance, database, _model: _held_without(symbol_volatility, database, sa.true()),
    ),
    Check(
        "prices_continuous",
        "daily_prices",
        f"No price moves by more than {MAX_MOVE:.0%} from one session to the next, dividends and splits allowed for.",
        AssetCheckSeverity.WARN,
        _jumps,
    ),
    Check(
        "exposures_cover_value",
        "portfolio_factor_exposures",
        f"At the newest session, symbols with exposures make up at least {MIN_COVERAGE:.0%} of a portfolio's value.",
        AssetCheckSeverity.WARN,
        _thinly_covered,
    ),
    _rows_check("daily_prices", daily_price),
    _rows_check("factor_exposures", factor_exposure),
    _rows_check("symbol_volatility", symbol_volatility),
    _rows_check("portfolio_factor_exposures", portfolio_factor_exposure),
    _rows_check("portfolio_volatility", portfolio_volatility),
)

#: Of a price source that follows the market: one that has ended is stale by nature.
PROXIES_FRESH = Check(
    "proxies_fresh",
    "daily_prices",
    f"Every factor proxy has a close at most {MAX_SESSIONS_BEHIND} sessions before the last completed one.",
    AssetCheckSeverity.WARN,
    lambda _instance, database, model: stale_proxies(
        database, model, calendar.last_completed_session(datetime.now(UTC))
    ),
)
