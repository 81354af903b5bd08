"""How much a portfolio moves, and where that comes from: its return series with today's weights, its risk split.

Volatility of the series is ``volatility``'s business, what may be lost in a session ``value_at_risk``'s; weights and
exposures are ``portfolio``'s, what the factors leave ``residuals``'. Of several portfolios (``...``), weights have
them before the D sessions, and returns after the T sessions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assets.numerics.arrays import BoolArray, FloatArray
from assets.numerics.constants import (
    COVERAGE_WINDOW,
    LOOKBACK_RETURNS,
    MIN_COVERAGE,
    MIN_RISK_OBS,
    RISK_WINDOW,
    SESSIONS_A_YEAR,
)
from assets.numerics.factor_windows import FactorWindows
from assets.numerics.portfolio import Weights
from assets.numerics.residuals import Residuals, symbol_shares, symbol_variances
from assets.numerics.volatility import har_variance
from assets.numerics.windows import checked_targets, has_reason, in_any_row, session_rows, windowed_product

NO_SPLIT_UNIVARIATE = "Univariate betas do not add up"
_ROUNDING = 1e-13
"""A part of the variance below this share of the whole is rounding."""


@dataclass(frozen=True)
class ReturnSeries:
    """Returns that today's portfolio would have had: one series for each of D sessions."""

    returns: FloatArray
    """(H, ..., D) the ``LOOKBACK_RETURNS`` sessions up to each session; NaN where no symbol has a return."""
    coverage: FloatArray
    """(H, ..., D) share of gross value in symbols that have a return."""

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
class Shares:
    """A variance of the covered part of the portfolio, and who has it; NaN where there is none."""

    by_factor: FloatArray
    """(D, K) share of each factor, styles net of the market; a hedge is negative."""
    specific: FloatArray
    """(D,) share of the residual; with by_factor it adds up to 1."""
    vol: FloatArray
    """(D,) annualised volatility: the whole."""


@dataclass(frozen=True)
class RiskSplit:
    """Where the variance of the covered part of the portfolio comes from; NaN where there is none."""

    now: Shares
    """Factors and residual scaled to their forecast variances: what the next month's risk is made of."""
    equal_weighted: Shares
    """Over the window, every session alike."""
    r_squared: FloatArray
    """(D,) share of the equal-weighted variance that the factors explain."""
    diversifiable_share: FloatArray
    """(D,) residual variance, were the symbols' residuals independent, by what it is. Below 1 the positions move
    together beyond the factors; above 1 they hedge each other."""
    split_ratio: FloatArray
    """(D,) equal-weighted variance by that of the last 252 portfolio returns; NaN with fewer than 126 of them."""


def return_series(weights: Weights, returns: FloatArray, targets: npt.ArrayLike) -> ReturnSeries:
    """Returns of the portfolio with the weights of each target session held constant over its look-back.

    ``R_t = sum_i w_i r_it / c_t`` over the symbols that have a return on t, c_t their share of gross value. So a young
    listing joins on its first return. Cash has no return; a portfolio of nothing else returns 0.

    :param weights: of the D target sessions.
    :param returns: (T, ..., S) decimal returns on consecutive sessions; NaN where there is none.
    :param targets: (D,) strictly ascending rows.
    """
    ends = checked_targets(targets, len(returns))
    start, stop = (int(ends[0]) - LOOKBACK_RETURNS + 1, int(ends[-1]) + 1) if ends.size else (1 - LOOKBACK_RETURNS, 0)
    rows = session_rows(returns, start, stop)
    finite = np.isfinite(rows)
    offsets = ends - ends[:1]
    known = rows if finite.all() else np.where(finite, rows, 0.0)
    weight = np.where(has_reason(weights.reason)[..., None], 0.0, weights.weight)
    total = windowed_product(weight, known, offsets, LOOKBACK_RETURNS)
    gaps = np.flatnonzero(in_any_row(~finite) & in_any_row(weights.gross_share > 0))
    nothing = weights.coverage(np.zeros(weights.held.shape, dtype=bool))  # 1 where there is nothing but cash
    most = np.where(weights.gross > 0, 1.0, nothing)[..., None]
    coverage = np.broadcast_to(most, total.shape)
    if gaps.size:
        missing = (~finite[..., gaps]).astype(np.float64)
        coverage = most - windowed_product(weights.gross_share[..., gaps], missing, offsets, LOOKBACK_RETURNS)
        coverage[coverage <= _ROUNDING] = 0.0
    if gaps.size or (most != 1.0).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            total /= coverage
        total[coverage == 0] = np.nan
    return ReturnSeries(np.moveaxis(total, -1, 0), np.moveaxis(coverage, -1, 0))


def session_returns(weights: Weights, returns: FloatArray) -> FloatArray:
    """(..., D) return of one session, by the weights of the session before: what value at risk is held against.

    :param returns: (..., D, S) of the session; NaN where there is none: as in ``return_series``.
    """
    finite = np.isfinite(returns)
    coverage = weights.coverage(finite)
    total = (weights.weight * np.where(finite, returns, 0.0)).sum(axis=-1)
    session: FloatArray = total / np.where(coverage > _ROUNDING, coverage, np.nan)
    return session


def split_risk(
    found: Residuals,
    windows: FactorWindows,
    r_squared: FloatArray,
    returns: FloatArray,
    series: ReturnSeries,
    market: int | None = 0,
) -> RiskSplit:
    """Split the variance ``b'Fb + v_e`` of the covered part by factors and residual, as of now and equal-weighted.

    b are the covered part's exposures, F the covariance of the factors, v_e the variance of the book's own residuals,
    in which the positions' common movement beyond the factors counts. As of now F is scaled to the factors' forecast
    variances and v_e is ``HAR(e) W / (W - K - 1)``. Styles count net of the market (Grinold & Kahn): the market has
    ``b_T^2 F_mm`` with ``b_T = (F b)_m / F_mm``, style k ``b_k (G b)_k`` with G the covariance of the styles net of the
    market. Joint models only: univariate betas do not add up.

    :param r_squared: (..., D, S) of the symbols' fits.
    :param returns: (T, ..., S) as in ``residuals.residuals``.
    :param market: the market's column; without one, factor k has ``b_k (F b)_k``.
    """
    own = residual_variances(found, windows)
    equal = _split(found, windows.covariance, own[0], market)
    now = _split(found, windows.scaled, own[1], market)
    independent = (found.weight**2 * symbol_variances(found, r_squared, returns, windows)).sum(axis=-1)
    moving = own[0] > 0
    variance = equal.vol**2 / SESSIONS_A_YEAR
    return RiskSplit(
        now=now,
        equal_weighted=equal,
        r_squared=1.0 - equal.specific,
        diversifiable_share=np.where(moving, independent / np.where(moving, own[0], 1.0), np.nan),
        split_ratio=variance / _variance(series.returns[-RISK_WINDOW:]),
    )


def position_shares(
    found: Residuals, windows: FactorWindows, returns: FloatArray, *, equal_weighted: bool = False
) -> FloatArray:
    """(D, S) share of each symbol, ``u_i (b_i' F b + cov(e_i, e)) / variance``; they add up to 1, a hedge is negative.

    :param returns: (T, S) as in ``residuals.residuals``.
    :param equal_weighted: shares of ``RiskSplit.equal_weighted`` instead of ``now``.
    """
    equal, now = residual_variances(found, windows)
    covariance, own = (windows.covariance, equal) if equal_weighted else (windows.scaled, now)
    pull = _pull(covariance, found.exposure)
    specific = symbol_shares(found, returns, windows)
    specific *= (own / np.where(equal > 0, equal, 1.0))[:, None]
    by_position = found.weight * np.einsum("dsk,dk->ds", found.beta, pull) + specific
    total = by_position.sum(axis=1)
    shares: FloatArray = by_position / np.where(total > 0, total, np.nan)[:, None]
    return shares


def residual_variances(found: Residuals, windows: FactorWindows) -> tuple[FloatArray, FloatArray]:
    """(D,) variance of a session of the residuals: equal-weighted, and as of now; 0 where it is rounding."""
    n_columns = windows.window - windows.factors.shape[1] - 1
    equal = found.variance
    explained = (found.exposure * _pull(windows.covariance, found.exposure)).sum(axis=-1)
    now = har_variance(found.squares, found.known) * windows.window / n_columns
    moves = equal > _ROUNDING * explained
    return np.where(moves, equal, 0.0), np.where(moves, now, 0.0)


def _split(found: Residuals, covariance: FloatArray, specific: FloatArray, market: int | None) -> Shares:
    pull = _pull(covariance, found.exposure)
    variance = (found.exposure * pull).sum(axis=-1) + specific
    total = np.where(variance > 0, variance, np.nan)
    return Shares(
        by_factor=_by_factor(found.exposure, pull, covariance, market) / total[..., None],
        specific=specific / total,
        vol=np.sqrt(SESSIONS_A_YEAR * total),
    )


def _pull(covariance: FloatArray, exposure: FloatArray) -> FloatArray:
    """(D, K) ``F b``: covariance of each factor with the part of the portfolio that the factors explain."""
    pull: FloatArray = np.matmul(covariance, exposure[..., None])[..., 0]
    return pull


def _by_factor(exposure: FloatArray, pull: FloatArray, covariance: FloatArray, market: int | None) -> FloatArray:
    """(..., D, K) variance that each factor accounts for, of exposures b with pull ``F b``."""
    if market is None:
        return exposure * pull
    with_market = covariance[:, :, market]
    variance = np.where(with_market[:, market] > 0, with_market[:, market], np.nan)
    total_beta = pull[..., market] / variance
    by_factor: FloatArray = exposure * (pull - with_market * total_beta[..., None])
    by_factor[..., market] = total_beta * pull[..., market]
    return by_factor


def _variance(returns: FloatArray) -> FloatArray:
    """(..., D) variance (ddof 1) of finite returns (H, ..., D); NaN with fewer than 126, or where it is rounding."""
    rows = np.moveaxis(returns, 0, -1)
    n_obs, total = np.full(rows.shape[:-1], rows.shape[-1]), rows.sum(axis=-1)
    if not np.isfinite(total).all():
        finite = np.isfinite(rows)
        rows = np.where(finite, rows, 0.0)
        n_obs, total = finite.sum(axis=-1), rows.sum(axis=-1)
    squares = np.vecdot(rows, rows)
    about_mean = squares - total**2 / np.maximum(n_obs, 1)
    known = (n_obs >= MIN_RISK_OBS) & (about_mean > _ROUNDING * squares)
    variance: FloatArray = np.where(known, about_mean, np.nan) / np.maximum(n_obs - 1, 1)
    return variance
