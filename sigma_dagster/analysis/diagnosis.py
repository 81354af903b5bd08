"""Second opinion on one factor regression: statsmodels on the same window, for `sigma diagnose`.

statsmodels does the statistics, this module picks them; the numbers that are stored are never made here. Imported by
that command alone: statsmodels takes seconds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection
from statsmodels.regression.linear_model import OLS, RegressionResults
from statsmodels.stats.outliers_influence import variance_inflation_factor
from statsmodels.stats.stattools import durbin_watson, jarque_bera
from statsmodels.tools import add_constant

from assets.factor_models import FactorModel
from assets.numerics import regression
from assets.numerics.arrays import BoolArray, FloatArray
from assets.numerics.regression import Fits
from assets.numerics.returns import outliers, simple_returns
from assets.shared.look_back import MissingInputsError, check_complete, listed
from resources import calendar
from resources.database import prices
from resources.database.tables import daily_price

_INFLUENTIAL = 5
#: Residuals of an annualised volatility below this are rounding: the symbol is made of the factors.
_NO_RESIDUALS = 1e-6
NO_RESIDUALS = "The returns are a combination of the factors: there are no residuals to diagnose"


@dataclass(frozen=True)
class Loading:
    """One factor of the regression."""

    factor: str
    beta: float
    se: float
    beta_ols: float  # statsmodels, least squares: what the data say; with method ols the same as beta
    se_ols: float
    se_hac: float  # of beta_ols, Newey-West
    vif: float
    prior: float | None = None  # what method bayes expects before it sees returns; beta lies between it and beta_ols
    prior_sd: float | None = None


@dataclass(frozen=True)
class Influence:
    """A session that the regression rests on more than on others."""

    session: date
    cooks_distance: float
    symbol_return: float  # decimal, of the session, as is the residual
    residual: float


@dataclass(frozen=True)
class Residuals:
    """What the residuals say of the regression's assumptions."""

    durbin_watson: float  # 2: no autocorrelation
    jarque_bera: float
    jarque_bera_p: float  # of normal residuals
    skew: float
    kurtosis: float  # 3: normal


@dataclass(frozen=True)
class Diagnosis:
    """The regression of one symbol at one session, looked at from outside; None is not known."""

    symbol: str
    as_of: date
    first: date  # session of the window
    factor_model: str
    method: str
    n_obs: int
    quality: str
    reason: str | None
    r_squared: float | None
    residual_vol: float | None  # annualised decimal
    market_total: float | None
    condition: float | None
    hac_lags: int
    factors: tuple[Loading, ...] = ()
    residuals: Residuals | None = None
    influential: tuple[Influence, ...] = ()  # the most influential first

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        influential = [{**asdict(one), "session": one.session.isoformat()} for one in self.influential]
        dates = {"as_of": self.as_of.isoformat(), "first": self.first.isoformat()}
        return {**asdict(self), **dates, "influential": influential}


@dataclass(frozen=True)
class _Sample:
    """The sessions of the window that have the symbol's return and every factor's."""

    sessions: Sequence[date]
    y: FloatArray  # (n,)
    x: FloatArray  # (n, K)


def diagnose(connection: Connection, symbol: str, model: FactorModel, up_to: date | None = None) -> Diagnosis:
    """Diagnose the regression at the newest stored session of the symbol, not after the date.

    Raises MissingInputsError: nothing is stored of the symbol, or not the whole window.
    """
    session = _newest_session(connection, symbol, up_to)
    sessions = calendar.last_sessions(model.window + 1, session)
    panel = prices.load(connection, list(dict.fromkeys([symbol, *model.proxies])), sessions)
    check_complete(panel)
    returns = simple_returns(panel.close, panel.dividend, panel.split)
    factors = model.factor_returns(returns, panel.symbols)
    own = returns[:, :1]
    doubted: BoolArray = np.any(outliers(returns, panel.split), axis=1, keepdims=True)  # of the symbol, or of a proxy
    fits = regression.fit(
        own,
        factors,
        [len(sessions) - 1],
        factor_names=model.factor_names,
        method=model.method,
        window=model.window,
        min_obs=model.min_obs,
        outliers=doubted,
    )
    used = np.isfinite(own[:, 0]) & np.isfinite(factors).all(axis=1)
    sample = _Sample([sessions[i] for i in np.flatnonzero(used)], own[used, 0], factors[used])
    ours = _ours(symbol, sessions, model, fits)
    return ours if ours.reason else _second_opinion(ours, model, fits, sample)


def _newest_session(connection: Connection, symbol: str, up_to: date | None) -> date:
    session = daily_price.c.session
    newest = sa.select(sa.func.max(session)).where(daily_price.c.symbol == symbol)
    found: date | None = connection.execute(newest if up_to is None else newest.where(session <= up_to)).scalar()
    if found is None:
        known = list(connection.execute(sa.select(daily_price.c.symbol).distinct().order_by("symbol")).scalars())
        until = f" up to {up_to}" if up_to and symbol in known else ""
        raise MissingInputsError(
            f"no prices of {symbol!r} are stored{until}; stored: {listed(known) or 'none'}. "
            "They are stored when a portfolio that holds it is onboarded: sigma onboard FILE"
        )
    return found


def _ours(symbol: str, sessions: Sequence[date], model: FactorModel, fits: Fits) -> Diagnosis:
    """What the numerics say."""
    n_obs = int(fits.n_obs[0, 0])
    return Diagnosis(
        symbol=symbol,
        as_of=sessions[-1],
        first=sessions[1],
        factor_model=model.key,
        method=model.method,
        n_obs=n_obs,
        quality=str(regression.QUALITY_LABELS[fits.quality[0, 0]]),
        reason=fits.reason[0, 0],
        r_squared=_known(fits.r_squared[0, 0]),
        residual_vol=_known(fits.residual_vol[0, 0]),
        market_total=_known(fits.market_total[0, 0]),
        condition=_known(fits.condition[0]),
        hac_lags=int(4 * (n_obs / 100) ** (2 / 9)),  # the rule of Newey & West (1994)
    )


def _second_opinion(ours: Diagnosis, model: FactorModel, fits: Fits, sample: _Sample) -> Diagnosis:
    """Add what statsmodels says of the same sessions."""
    # A method that is not least squares is held against it; of univariate fits the market's is looked at, as in R2.
    results = _least_squares(sample, model)
    factors = tuple(
        Loading(
            factor=name,
            beta=float(fits.beta[0, 0, k]),
            se=float(fits.se[0, 0, k]),
            beta_ols=float(result.params[at]),
            se_ols=float(result.bse[at]),
            se_hac=float(result.get_robustcov_results(cov_type="HAC", maxlags=ours.hac_lags).bse[at]),
            vif=float(variance_inflation_factor(result.model.exog, at)),
            prior=prior,
            prior_sd=spread,
        )
        for k, (name, (result, at), (prior, spread)) in enumerate(
            zip(model.factor_names, results, _priors(model), strict=True)
        )
    )
    if ours.residual_vol is None or ours.residual_vol < _NO_RESIDUALS:
        return replace(ours, factors=factors, reason=NO_RESIDUALS)
    first, _ = results[0]
    return replace(ours, factors=factors, residuals=_residuals(first), influential=_influential(first, sample))


def _priors(model: FactorModel) -> list[tuple[float | None, float | None]]:
    """Give the mean and spread of each factor's prior; None where the method has none."""
    if model.method != "bayes":
        return [(None, None)] * len(model.factors)
    means, spreads = regression.prior(model.factor_names)
    return list(zip(means.tolist(), spreads.tolist(), strict=True))


def _least_squares(sample: _Sample, model: FactorModel) -> list[tuple[RegressionResults, int]]:
    """Fit the factors together, or each alone if the method does; give each factor's fit and its place there."""
    columns = range(len(model.factors))
    if model.method == "univariate":
        return [(OLS(sample.y, add_constant(sample.x[:, [k]])).fit(), 1) for k in columns]
    together = OLS(sample.y, add_constant(sample.x)).fit()
    return [(together, 1 + k) for k in columns]


def _residuals(result: RegressionResults) -> Residuals:
    statistic, p, skew, kurtosis = jarque_bera(result.resid)
    return Residuals(float(durbin_watson(result.resid)), float(statistic), float(p), float(skew), float(kurtosis))


def _influential(result: RegressionResults, sample: _Sample) -> tuple[Influence, ...]:
    distances, _ = result.get_influence().cooks_distance
    return tuple(
        Influence(sample.sessions[i], float(distances[i]), float(sample.y[i]), float(result.resid[i]))
        for i in np.argsort(-distances, kind="stable")[:_INFLUENTIAL]
    )


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
