"""Onboarding a second portfolio, case ``onboarding``: `growth` after `core`, of whose 15 symbols 10 are shared.

Ours is all of it, in this process: plan, fetch, regressions, volatility, portfolio rows, and Dagster's records. The old
way (``per_position``) is spared everything but the regressions and their rows, and finds every price in the database.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from benchmarks.measure import Method, Row, Work, compare
from benchmarks.regressions import fit_one
from benchmarks.tables import store_row
from resources.database.tables import daily_price
from sigma_dagster.portfolio import onboarding as onboarding_of_sigma
from sigma_dagster.portfolio.holdings import read_holdings
from sigma_dagster.services import Services
from sigma_dagster.settings import PROJECT, Settings

LAST = date(2022, 12, 28)
SAMPLED_SESSIONS = 5


def onboarding() -> Iterator[Row]:
    """Compare ours with a regression, a deletion and an insertion a position and date, on the same database."""
    with TemporaryDirectory() as folder:
        after_core, after_growth = Path(folder) / "core", Path(folder) / "growth"
        onboard(environment(after_core), "core")
        shutil.copytree(after_core, after_growth)
        services = environment(after_growth)
        onboard(services, "growth")
        targets = services.sessions(LAST)
        methods = [
            Method("per_position", partial(_per_position, services), SAMPLED_SESSIONS / len(targets)),
            Method("ours", partial(_onboarding, after_core)),
        ]
        yield from compare("onboarding", f"15x{len(targets)}", methods)
        services.database.engine.dispose()


def environment(home: Path, **variables: str) -> Services:
    """The parts of the product over a home of its own; settings that are not named have their defaults."""
    return Services.of(Settings.from_environment({**variables, "SIGMA_HOME": str(home)}))


def onboard(services: Services, name: str) -> None:
    """Onboard an example portfolio, as the command line does."""
    lots = read_holdings(PROJECT / "examples" / f"{name}.csv", as_of=LAST, source=services.source).lots
    started = time.perf_counter()
    onboarding_of_sigma.onboard(services, name, lots, None, LAST, say=lambda _: None, started=started)


@contextmanager
def _onboarding(after_core: Path) -> Iterator[Work]:
    with TemporaryDirectory() as folder:
        home = Path(folder) / "sigma"
        shutil.copytree(after_core, home)
        services = environment(home)
        yield lambda: onboard(services, "growth")
        services.database.engine.dispose()


@contextmanager
def _per_position(services: Services) -> Iterator[Work]:
    lots = read_holdings(PROJECT / "examples" / "growth.csv", as_of=LAST, source=services.source).lots
    targets = services.sessions(LAST)[-SAMPLED_SESSIONS:]
    yield lambda: per_position(services, [lot.symbol for lot in lots], targets)


def per_position(services: Services, symbols: Sequence[str], targets: Sequence[date]) -> None:
    """Read the prices once a position; then align, fit, delete and insert for each date, one transaction a position."""
    for symbol in symbols:
        with services.database.write() as connection:
            returns = daily_returns(connection, [symbol, *services.model.proxies])
            of_factors = services.model.factor_returns(returns.to_numpy(), list(returns.columns))
            factors = pd.DataFrame(of_factors, returns.index, list(services.model.factor_names))
            for day in targets:
                fitted = fit_one(returns[symbol][: pd.Timestamp(day)], factors)
                row = exposure_row(fitted, services.model.factor_names)
                store_row(
                    connection, {"symbol": symbol, "session": day.isoformat(), "model": services.model.key, **row}
                )


def daily_returns(connection: sa.Connection, symbols: Sequence[str]) -> pd.DataFrame:
    """Returns by day and symbol, of adjusted closes."""
    table = daily_price.c
    query = sa.select(table.session, table.symbol, table.close).where(table.symbol.in_(symbols))
    closes = pd.read_sql(query, connection, parse_dates=["session"]).pivot_table("close", "session", "symbol")
    return closes[list(symbols)].pct_change(fill_method=None)


def exposure_row(fitted: Any, names: Sequence[str]) -> dict[str, Any]:
    """What the old way stores of a fit."""
    betas = {f"beta_{name}": float(fitted.params[name]) for name in names}
    errors = {f"se_{name}": float(fitted.bse[name]) for name in names}
    volatility = float(np.sqrt(252 * fitted.mse_resid))
    rest = {"r_squared": float(fitted.rsquared), "residual_vol": volatility, "n_obs": int(fitted.nobs)}
    return {**betas, **errors, **rest, "quality": "full_history"}
