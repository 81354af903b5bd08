"""What a portfolio's page says, as plain data: read from stored rows, or made of them by `assets.numerics`.

Not here: how it is drawn (`charts`) and laid out (`page`). No Dagster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics import hindsight
from assets.numerics.arrays import FloatArray
from assets.numerics.constants import BETA_WINDOW, MIN_VOL_OBS, MONTH
from assets.numerics.returns import simple_returns
from resources.database import prices
from resources.database.bulk import within
from resources.database.portfolios import Portfolio
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol,
)
from sigma_dagster.analysis import attribution, risk
from sigma_dagster.analysis.attribution import Change, NoChangeError
from sigma_dagster.analysis.risk import Risk
from sigma_dagster.analysis.scenarios import Scenario, scenarios
from sigma_dagster.analysis.stress import Stress, stress

SHOWN_SESSIONS = 365
"""Sessions of history on the page."""
_CORRELATED = 12
"""Positions whose correlations are shown, the largest."""
_FORECASTS = ("forecast_vol_21d", "ewma_vol", "realized_vol_21d")
_VOLATILITIES = ("forecast_vol_21d", "ewma_vol", "realized_vol_21d", "realized_vol_63d")
_LOSSES = ("return_1d", "var_95_1d", "var_99_1d")


@dataclass(frozen=True)
class History:
    """Stored rows of a portfolio over D sessions, ascending; NaN where a row has no number."""

    sessions: tuple[date, ...]
    market_total: FloatArray  # (D,)
    exposures: dict[str, FloatArray]  # by factor, (D,) each, as all that follow
    standard_errors: dict[str, FloatArray]
    volatility: dict[str, FloatArray]  # by column, annualised decimals
    returns: FloatArray
    var_95_1d: FloatArray  # fractions, positive for a loss
    var_99_1d: FloatArray
    drawdown: FloatArray  # fractions from -1 to 0


@dataclass(frozen=True)
class ForecastRecord:
    """How good one way to foresee the next 21 sessions' volatility was for this portfolio."""

    name: str  # of the column
    sessions: int  # on which it was said and 21 sessions have followed
    said: float  # root mean square of the forecasts, annualised
    followed: float  # the same of what followed
    qlike: float  # mean loss, 0 is perfect


@dataclass(frozen=True)
class Correlations:
    """Correlations of returns of the last 252 sessions, of the largest positions."""

    symbols: tuple[str, ...]
    matrix: FloatArray  # (S, S)


@dataclass(frozen=True)
class Source:
    """Where the numbers of one public symbol come from."""

    symbol: str
    status: str  # ok, unknown, delisted
    sources: tuple[str, ...]  # of its prices
    last_price: date | None
    computed: int  # exposure rows of the page's sessions
    reused: int  # those of them that were there when the portfolio was stored
    computed_at: datetime | None  # the newest, UTC


@dataclass(frozen=True)
class Facts:
    """A portfolio's page as of one session."""

    portfolio: Portfolio
    model: FactorModel
    risk: Risk
    history: History
    forecasts: tuple[ForecastRecord, ...]
    correlations: Correlations
    change: Change | None  # against 21 sessions before; None: there are no two sessions to compare
    stress: Stress
    sources: tuple[Source, ...]

    @property
    def reused(self) -> float | None:
        """The share of the symbols' exposure rows that other portfolios had brought; None: there are no rows."""
        computed = sum(one.computed for one in self.sources)
        return sum(one.reused for one in self.sources) / computed if computed else None

    @property
    def computed_at(self) -> datetime | None:
        """When the newest row was computed, UTC."""
        return max((one.computed_at for one in self.sources if one.computed_at), default=None)


def read(
    connection: Connection,
    one: Portfolio,
    model: FactorModel,
    up_to: date | None = None,
    *,
    chosen: Sequence[Scenario] | None = None,
) -> Facts | None:
    """Read the page of a stored portfolio as of its newest session up to the date; None if nothing is stored of it.

    `chosen` are the scenarios of its stress, by default the built-in ones. Raises MissingInputsError if rows that it
    rests on are gone.
    """
    found = risk.read(connection, one, model, up_to)
    if found is None:
        return None
    history = _history(connection, one, model, found.as_of)
    held = [position.symbol for position in found.positions if position.asset_class == "public"]
    return Facts(
        portfolio=one,
        model=model,
        risk=found,
        history=history,
        forecasts=_forecasts(history),
        correlations=_correlations(connection, held[:_CORRELATED], found.as_of),
        change=_change(connection, one, model, found.as_of),
        stress=stress(connection, one, model, found.as_of, scenarios() if chosen is None else chosen),
        sources=_sources(connection, one, held, model, history.sessions),
    )


def _change(connection: Connection, one: Portfolio, model: FactorModel, last: date) -> Change | None:
    try:
        return attribution.explain(connection, one, model, last=last)
    except NoChangeError:
        return None


def _history(connection: Connection, one: Portfolio, model: FactorModel, last: date) -> History:
    exposure, volatility = portfolio_factor_exposure, portfolio_volatility
    same = (volatility.c.portfolio_id == exposure.c.portfolio_id) & (volatility.c.session == exposure.c.session)
    factors = [f"{prefix}_{name}" for prefix in ("exposure", "se") for name in model.factor_names]
    columns = [exposure.c[name] for name in ("market_total", *factors)]
    columns += [volatility.c[name] for name in (*_VOLATILITIES, *_LOSSES)]
    query = (
        sa.select(exposure.c.session, *columns)
        .join(volatility, same)
        .where(exposure.c.portfolio_id == one.id, exposure.c.model == model.key, exposure.c.session <= last)
        .order_by(exposure.c.session.desc())
        .limit(SHOWN_SESSIONS)
    )
    rows = connection.execute(query).all()[::-1]
    numbers = np.array([row[1:] for row in rows], dtype=np.float64).T
    at = dict(zip([column.name for column in columns[: 1 + len(factors)]], numbers, strict=False))
    later = dict(zip((*_VOLATILITIES, *_LOSSES), numbers[1 + len(factors) :], strict=True))
    return History(
        sessions=tuple(row[0] for row in rows),
        market_total=at["market_total"],
        exposures={name: at[f"exposure_{name}"] for name in model.factor_names},
        standard_errors={name: at[f"se_{name}"] for name in model.factor_names},
        volatility={name: later[name] for name in _VOLATILITIES},
        returns=later["return_1d"],
        var_95_1d=later["var_95_1d"],
        var_99_1d=later["var_99_1d"],
        drawdown=hindsight.drawdowns(later["return_1d"]),
    )


def _forecasts(history: History) -> tuple[ForecastRecord, ...]:
    """Compare the forecasts on the sessions that have all of them; none if there are no such sessions."""
    followed = hindsight.followed_volatility(history.returns, MONTH)
    losses = {name: hindsight.qlike(history.volatility[name], followed) for name in _FORECASTS}
    both = np.isfinite(list(losses.values())).all(axis=0)
    if not both.any():
        return ()
    return tuple(
        ForecastRecord(
            name,
            int(both.sum()),
            float(np.sqrt((history.volatility[name][both] ** 2).mean())),
            float(np.sqrt((followed[both] ** 2).mean())),
            float(losses[name][both].mean()),
        )
        for name in _FORECASTS
    )


def _correlations(connection: Connection, names: Sequence[str], last: date) -> Correlations:
    newest = sa.select(daily_price.c.session).where(daily_price.c.symbol.in_(names), daily_price.c.session <= last)
    newest = newest.distinct().order_by(daily_price.c.session.desc()).limit(BETA_WINDOW + 1)
    sessions = sorted(connection.execute(newest).scalars())
    if not sessions:
        return Correlations((), np.empty((0, 0)))
    panel = prices.load(connection, names, sessions)
    returns = simple_returns(panel.close, panel.dividend, panel.split)
    return Correlations(tuple(names), hindsight.correlations(returns, MIN_VOL_OBS))


def _sources(
    connection: Connection, one: Portfolio, names: Sequence[str], model: FactorModel, sessions: Sequence[date]
) -> tuple[Source, ...]:
    if not names:
        return ()
    stored = sa.select(portfolio.c.created_at).where(portfolio.c.id == one.id).scalar_subquery()
    row = factor_exposure
    computed = (
        sa.select(
            row.c.symbol,
            sa.func.count(),
            sa.func.sum(sa.case((row.c.computed_at < stored, 1), else_=0)),
            sa.func.max(row.c.computed_at),
        )
        .where(within(row.c.symbol, names), row.c.model == model.key, row.c.session.between(sessions[0], sessions[-1]))
        .group_by(row.c.symbol)
    )
    work = {name: numbers for name, *numbers in connection.execute(computed)}
    kept = {
        name: (status, last)
        for name, status, last in connection.execute(
            sa.select(symbol.c.symbol, symbol.c.status, symbol.c.last_session).where(within(symbol.c.symbol, names))
        )
    }
    used = (
        sa.select(daily_price.c.symbol, daily_price.c.source)
        .where(within(daily_price.c.symbol, names), daily_price.c.session.between(sessions[0], sessions[-1]))
        .distinct()
        .order_by(daily_price.c.source)
    )
    origins: dict[str, list[str]] = {}
    for name, source in connection.execute(used):
        origins.setdefault(name, []).append(source)
    return tuple(
        Source(name, kept[name][0], tuple(origins.get(name, ())), kept[name][1], *work.get(name, (0, 0, None)))
        for name in names
        if name in kept
    )
