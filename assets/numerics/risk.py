"""How much a portfolio may lose: its return series with today's weights, where its risk comes from, value at risk.

Volatility of the series is ``volatility``'s business; weights and exposures are ``portfolio``'s.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from assets.numerics.arrays import BoolArray, FloatArray, TextArray
from assets.numerics.constants import (
    COVERAGE_WINDOW,
    LOOKBACK_RETURNS,
    MIN_COVERAGE,
    MIN_RISK_OBS,
    RISK_WINDOW,
    SESSIONS_A_YEAR,
    VAR_TAILS,
)
from assets.numerics.portfolio import Weights
from assets.numerics.windows import checked_targets, count_texts, first_reason, session_rows

_QUANTILES = np.array([NormalDist().inv_cdf(tail) for tail in VAR_TAILS])
"""Of the standard normal; scipy has them too, a fifth of a second later."""
NO_SPLIT_UNIVARIATE = "Univariate betas do not add up"


@dataclass(frozen=True)
class ReturnSeries:
    """Returns that today's portfolio would have had: one series for each of D sessions."""

    returns: FloatArray
    """(H, D) the ``LOOKBACK_RETURNS`` sessions up to each session; NaN where no symbol has a return."""
    coverage: FloatArray
    """(H, D) share of gross value in symbols that have a return."""

    @property
    def return_coverage(self) -> FloatArray:
        """(D,) mean coverage of the last 63 sessions."""
        mean: FloatArray = self.coverage[-COVERAGE_WINDOW:].mean(axis=0)
        return mean

    def low_coverage(self, weight_coverage: FloatArray) -> BoolArray:
        """(D,) some of the last 63 sessions, or the exposures (D,), cover less than 80% of gross value."""
        worst = np.minimum(self.coverage[-COVERAGE_WINDOW:].min(axis=0), weight_coverage)
        low: BoolArray = worst < MIN_COVERAGE
        return low


@dataclass(frozen=True)
class RiskSplit:
    """Where the variance of the covered part of the portfolio comes from; NaN where there is none."""

    by_factor: FloatArray
    """(D, K) share of each factor, styles net of the market; a hedge is negative."""
    specific: FloatArray
    """(D,) share of the symbols' own risk; with by_factor it adds up to 1."""
    by_position: FloatArray
    """(D, S) share of each symbol; they add up to 1, a hedge is negative."""
    split_vol: FloatArray
    """(D,) annualised volatility of the split."""
    split_ratio: FloatArray
    """(D,) variance of the split by that of the last 252 portfolio returns; NaN with fewer than 126 of them."""


@dataclass(frozen=True)
class ValueAtRisk:
    """One-session value at risk on D sessions, as a fraction of the denominator of the weights; positive is a loss."""

    var_95_1d: FloatArray
    """(D,) historical: quantile of the last 252 portfolio returns; NaN with fewer than 126 of them."""
    var_99_1d: FloatArray
    """(D,) historical; rests on the two or three worst days of the year."""
    var_95_1d_normal: FloatArray
    """(D,) normal, zero mean, with the forecast volatility."""
    var_99_1d_normal: FloatArray
    """(D,) normal; exceeded on 1.5-2% of days."""
    reason: TextArray
    """(D,) why the historical numbers are missing, else None."""


def return_series(weights: Weights, returns: FloatArray, targets: npt.ArrayLike) -> ReturnSeries:
    """Returns of the portfolio with the weights of each target session held constant over its look-back.

    ``R_t = sum_i w_i r_it / c_t`` over the symbols that have a return on t, c_t their share of gross value. So a young
    listing joins on its first return. Cash has no return; a portfolio of nothing else returns 0.

    :param weights: of the D target sessions.
    :param returns: (T, S) decimal returns on consecutive sessions; NaN where there is none.
    :param targets: (D,) strictly ascending rows.
    """
    ends = checked_targets(targets, len(returns))
    start, stop = (int(ends[0]) - LOOKBACK_RETURNS + 1, int(ends[-1]) + 1) if ends.size else (1 - LOOKBACK_RETURNS, 0)
    rows = session_rows(returns, start, stop)
    finite = np.isfinite(rows)
    window = np.arange(1 - LOOKBACK_RETURNS, 1)[:, None] + (ends - start), np.arange(len(ends))
    total = (np.where(finite, rows, 0.0) @ np.nan_to_num(weights.weight).T)[window]
    coverage = (finite.astype(np.float64) @ weights.gross_share.T)[window]
    coverage = np.where(weights.gross > 0, coverage, weights.coverage(np.zeros(weights.held.shape, dtype=bool)))
    return ReturnSeries(total / np.where(coverage > 0, coverage, np.nan), coverage)


def split_risk(
    weights: Weights,
    beta: FloatArray,
    residual_vol: FloatArray,
    covariance: FloatArray,
    series: ReturnSeries,
    market: int | None = 0,
) -> RiskSplit:
    """Split the variance ``b'Fb + sum_i w_i^2 s_i^2`` of the covered part by factors and by positions.

    Weights are those of the symbols that have betas, rescaled by their share of gross value. Styles count net of the
    market (Grinold & Kahn): the market has ``b_T^2 F_mm`` with ``b_T = (F b)_m / F_mm``, style k ``b_k (G b)_k`` with G
    the covariance of the styles net of the market. Joint models only: univariate betas do not add up.

    :param beta: (D, S, K); NaN where there is none.
    :param residual_vol: (D, S) annualised.
    :param covariance: (D, K, K) of the factors' returns of a session, from ``regression.factor_covariance``.
    :param market: the market's column; without one, factor k has ``b_k (F b)_k``.
    """
    covered = np.all(np.isfinite(beta), axis=2) & np.isfinite(residual_vol)
    coverage = weights.coverage(covered)[:, None]
    weight = np.where(covered, weights.weight, 0.0) / np.where(coverage > 0, coverage, np.nan)
    beta = np.where(covered[..., None], beta, 0.0)
    own = weight * np.where(covered, residual_vol, 0.0) ** 2 / SESSIONS_A_YEAR
    exposure = np.einsum("ds,dsk->dk", weight, beta)
    pull = np.einsum("dkj,dj->dk", covariance, exposure)
    specific = (weight * own).sum(axis=1)
    variance = (exposure * pull).sum(axis=1) + specific
    total = np.where(variance > 0, variance, np.nan)
    return RiskSplit(
        by_factor=_by_factor(exposure, pull, covariance, market) / total[:, None],
        specific=specific / total,
        by_position=weight * (np.einsum("dsk,dk->ds", beta, pull) + own) / total[:, None],
        split_vol=np.sqrt(SESSIONS_A_YEAR * total),
        split_ratio=total / _variance(series.returns[-RISK_WINDOW:]),
    )


def value_at_risk(series: ReturnSeries, forecast_vol: FloatArray) -> ValueAtRisk:
    """Historical and normal value at risk of one session.

    :param series: of D sessions.
    :param forecast_vol: (D,) annualised ``forecast_vol_21d`` of the series; NaN where there is none.
    """
    recent = series.returns[-RISK_WINDOW:]
    n_obs = np.isfinite(recent).sum(axis=0)
    enough = n_obs >= MIN_RISK_OBS
    historical = np.full((len(VAR_TAILS), len(n_obs)), np.nan)
    if enough.any():
        historical[:, enough] = -np.nanquantile(recent[:, enough], VAR_TAILS, axis=0, method="weibull")
    normal = -_QUANTILES[:, None] * forecast_vol / np.sqrt(SESSIONS_A_YEAR)
    texts = count_texts(f"Insufficient portfolio returns: {{n}} < {MIN_RISK_OBS}", RISK_WINDOW)
    return ValueAtRisk(
        var_95_1d=historical[0],
        var_99_1d=historical[1],
        var_95_1d_normal=normal[0],
        var_99_1d_normal=normal[1],
        reason=first_reason(n_obs.shape, (~enough, texts[n_obs])),
    )


def _by_factor(exposure: FloatArray, pull: FloatArray, covariance: FloatArray, market: int | None) -> FloatArray:
    """(D, K) variance that each factor accounts for, of exposures b (D, K) with pull ``F b``."""
    if market is None:
        return exposure * pull
    with_market = covariance[:, :, market]
    variance = np.where(with_market[:, market] > 0, with_market[:, market], np.nan)
    total_beta = pull[:, market] / variance
    by_factor: FloatArray = exposure * (pull - with_market * total_beta[:, None])
    by_factor[:, market] = total_beta * pull[:, market]
    return by_factor


def _variance(returns: FloatArray) -> FloatArray:
    """(D,) variance (ddof 1) of the finite returns (H, D); NaN with fewer than 126 of them, or where it is 0."""
    finite = np.isfinite(returns)
    n_obs = finite.sum(axis=0)
    enough = n_obs >= MIN_RISK_OBS
    mean = np.where(finite, returns, 0.0).sum(axis=0) / np.maximum(n_obs, 1)
    squares = (np.where(finite, returns - mean, 0.0) ** 2).sum(axis=0)
    variance: FloatArray = np.where(enough & (squares > 0), squares, np.nan) / np.maximum(n_obs - 1, 1)
    return variance
