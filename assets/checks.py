"""Asset checks: what must hold of the stored rows, whoever wrote them."""

from collections.abc import Sequence

import dagster as dg
import sqlalchemy as sa

from assets.factor_models import FactorModel
from resources import calendar
from resources.database.engine import Database
from resources.database.tables import daily_price, factor_exposure, position, symbol_volatility

_SHOWN = 10


def build_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Make the checks."""
    return [prices_positive, prices_complete, symbols_have_exposures, symbols_have_volatility]


def _verdict(offenders: Sequence[str], what: str, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    if not offenders:
        return dg.AssetCheckResult(passed=True)
    listed = ", ".join(offenders[:_SHOWN]) + (" ..." if len(offenders) > _SHOWN else "")
    return dg.AssetCheckResult(passed=False, severity=severity, description=f"{len(offenders)} {what}: {listed}")


@dg.asset_check(asset="daily_prices", description="Every stored close is a positive number.")
def prices_positive(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Fail on a close that is zero, negative or not finite."""
    wrong = sa.select(daily_price.c.symbol, daily_price.c.session).where(
        daily_price.c.close.is_not(None), ~daily_price.c.close.between(1e-9, 1e12)
    )
    with database.read() as connection:
        offenders = [f"{symbol} {session}" for symbol, session in connection.execute(wrong)]
    return _verdict(offenders, "prices are not positive", dg.AssetCheckSeverity.ERROR)


@dg.asset_check(
    asset="daily_prices",
    description="Between the first and the last stored session of a symbol, every exchange session has a row "
    "(a close, or a recorded absence), and no other day has one.",
)
def prices_complete(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn of symbols with holes: the planner fetches them."""
    session = daily_price.c.session
    spans = sa.select(daily_price.c.symbol, sa.func.min(session), sa.func.max(session), sa.func.count())
    with database.read() as connection:
        stored = set(connection.execute(sa.select(session).distinct()).scalars())
        rows = connection.execute(spans.group_by(daily_price.c.symbol)).all()
    if not rows:
        return dg.AssetCheckResult(passed=True)
    days = calendar.sessions(min(row[1] for row in rows), max(row[2] for row in rows))
    strange = sorted(stored - set(days))
    at = {day: i for i, day in enumerate(days)}
    holes = [
        name
        for name, first, last, count in rows
        if first not in at or last not in at or count != at[last] - at[first] + 1
    ]
    offenders = [*(f"no session: {day}" for day in strange), *holes]
    return _verdict(offenders, "symbols or days do not fit the calendar", dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="factor_exposures", description="Every symbol held at the newest session has a row there.")
def symbols_have_exposures(
    database: dg.ResourceParam[Database], factor_model: dg.ResourceParam[FactorModel]
) -> dg.AssetCheckResult:
    """Warn of held symbols without factor exposures."""
    return _without_row(database, factor_exposure, factor_exposure.c.model == factor_model.key)


@dg.asset_check(asset="symbol_volatility", description="Every symbol held at the newest session has a row there.")
def symbols_have_volatility(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn of held symbols without volatility."""
    return _without_row(database, symbol_volatility, sa.true())


def _without_row(database: Database, table: sa.Table, of_model: sa.ColumnElement[bool]) -> dg.AssetCheckResult:
    with database.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(table.c.session)).where(of_model)).scalar()
        if newest is None:
            return dg.AssetCheckResult(passed=True)
        present = sa.select(table.c.symbol).where(table.c.session == newest, of_model)
        held = (
            sa.select(position.c.symbol)
            .distinct()
            .where(
                position.c.asset_class == "public",
                position.c.entry_date <= newest,
                position.c.exit_date.is_(None) | (position.c.exit_date > newest),
                position.c.symbol.not_in(present),
            )
        )
        offenders = sorted(connection.execute(held).scalars())
    return _verdict(offenders, f"held symbols have no row at {newest}", dg.AssetCheckSeverity.WARN)
