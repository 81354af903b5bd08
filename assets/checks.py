"""Asset checks: what must hold of the stored rows, whoever wrote them.

Each is a plain question to the database. Dagster asks it when a person materializes an asset in the UI; planned runs
leave them out (Dagster lists every partition of the asset for each of them), and `evaluate` asks them once instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity

from assets.factor_models import FactorModel
from resources import calendar
from resources.database.engine import Database
from resources.database.tables import daily_price, factor_exposure, position, symbol_volatility

_SHOWN = 10


@dataclass(frozen=True)
class Check:
    """A question about the rows of an asset; the answer names what offends, and is empty if nothing does."""

    name: str
    asset: str
    description: str
    severity: AssetCheckSeverity
    offenders: Callable[[Database, FactorModel], Sequence[str]]

    def evaluate(self, database: Database, model: FactorModel) -> dg.AssetCheckResult:
        """Answer for the rows as they are."""
        found = self.offenders(database, model)
        listed = ", ".join(found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        return dg.AssetCheckResult(
            passed=not found,
            asset_key=self.asset,
            check_name=self.name,
            severity=self.severity,
            description=f"{len(found)} do not: {listed}" if found else None,
        )


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Make Dagster's definitions of the checks."""
    return [_definition(check) for check in CHECKS]


def evaluate(instance: dg.DagsterInstance, database: Database, model: FactorModel) -> None:
    """Answer every check now, outside of any run."""
    for check in CHECKS:
        result = check.evaluate(database, model)
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


def _definition(check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=check.asset, name=check.name, description=check.description)
    def ask(database: dg.ResourceParam[Database], factor_model: dg.ResourceParam[FactorModel]) -> dg.AssetCheckResult:
        return check.evaluate(database, factor_model)

    return ask


def _not_positive(database: Database, _model: FactorModel) -> list[str]:
    close = daily_price.c.close
    wrong = sa.select(daily_price.c.symbol, daily_price.c.session).where(close.is_not(None), ~close.between(1e-9, 1e12))
    with database.read() as connection:
        return [f"{symbol} {session}" for symbol, session in connection.execute(wrong)]


def _incomplete(database: Database, _model: FactorModel) -> list[str]:
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
        lambda database, model: _held_without(factor_exposure, database, factor_exposure.c.model == model.key),
    ),
    Check(
        "held_symbols_have_volatility",
        "symbol_volatility",
        "Every symbol held at the newest session has a row there.",
        AssetCheckSeverity.WARN,
        lambda database, _model: _held_without(symbol_volatility, database, sa.true()),
    ),
)
