"""How much a portfolio may lose in one session, by three methods, and how often it lost more than was said.

The portfolio's return series is ``risk``'s; its forecast volatility ``volatility``'s.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from assets.numerics.arrays import BoolArray, FloatArray, IntArray, TextArray
from assets.numerics.constants import (
    COVERED_SESSIONS,
    EWMA_DECAY,
    LOOKBACK_RETURNS,
    MIN_RISK_OBS,
    MONTH,
    RISK_WINDOW,
    SESSIONS_A_YEAR,
    SHORTFALL_TAIL,
    VAR_TAILS,
)
from assets.numerics.windows import count_texts

MIN_FILTERED_OBS = MIN_RISK_OBS + MONTH
"""Returns that a filtered number needs: a month starts the variance."""
_LOWEST = math.floor((RISK_WINDOW + 1) * max(VAR_TAILS)) + 1
"""The smallest returns of a window that its quantiles lie between."""
_QUANTILES = np.array([NormalDist().inv_cdf(tail) for tail in VAR_TAILS])
"""Of the standard normal; scipy has them too, a fifth of a second later."""
_SCARCE = count_texts(f"Insufficient portfolio returns: {{n}} < {MIN_FILTERED_OBS}", MIN_FILTERED_OBS)
_SCARCE[MIN_FILTERED_OBS] = None  # so many, or more, are enough
_KUPIEC_95 = NormalDist().inv_cdf(0.975) ** 2
"""The 95% point of chi-squared with one degree of freedom."""


LOSSES = (
    "var_95_1d",
    "var_99_1d",
    "es_975_1d",
    "var_95_1d_historical",
    "var_99_1d_historical",
    "var_95_1d_normal",
    "var_99_1d_normal",
)
"""The numbers of ``ValueAtRisk``, as rows and reports name them."""


@dataclass(frozen=True)
class ValueAtRisk:
    """One-session value at risk on D sessions, as a fraction of the covered part's value; positive is a loss.

    Every field is (D,). Filtered numbers are NaN with fewer than 147 returns, historical ones with fewer than 126.
    """

    var_95_1d: FloatArray
    """Filtered historical: quantiles of the returns, each by its own day's volatility, times the volatility of now."""
    var_99_1d: FloatArray
    es_975_1d: FloatArray
    """Filtered expected shortfall: the mean loss on the worst 2.5% of sessions."""
    var_95_1d_historical: FloatArray
    """Quantile of the last 252 portfolio returns as they were."""
    var_99_1d_historical: FloatArray
    """Rests on the two or three worst days of the year."""
    var_95_1d_normal: FloatArray
    """Normal, zero mean, with the forecast volatility."""
    var_99_1d_normal: FloatArray
    """Exceeded on 1.5-2% of days."""
    reason: TextArray
    """Why the filtered numbers are missing, else None."""


@dataclass(frozen=True)
class Exceedances:
    """How often a portfolio lost more than its value at risk of the day before."""

    sessions: int
    """Sessions that have both a return, and a value at risk of the session before."""
    count: int
    expected: float
    low: int
    """The 95% band of Kupiec's test: counts from low to high do not contradict the value at risk."""
    high: int


def value_at_risk(returns: FloatArray, forecast_vol: FloatArray) -> ValueAtRisk:
    """Filtered historical, historical and normal value at risk of one session, and expected shortfall.

    Filtered historical simulation (Barone-Adesi, Giannopoulos & Vosper 1999; Hull & White 1998) over the n finite
    returns of the window: ``h_1`` the mean of the first 21 squares, ``h_{i+1} = 0.94 h_i + 0.06 R_i^2``, ``z_i = R_i /
    sqrt(h_i)`` of all but the first 21. Value at risk is ``-sqrt(h_{n+1})`` times the quantile of z (Weibull), the
    shortfall the same with the mean of the z at or below their 2.5% quantile. Nothing is carried from one session to
    the next. A z without variance before it counts as 0.

    :param returns: (H, D) ``risk.ReturnSeries.returns``: the 273 sessions up to each of D sessions; NaN for none.
    :param forecast_vol: (D,) annualised ``forecast_vol_21d`` of the series; NaN where there is none.
    """
    rows = np.ascontiguousarray(returns.T)
    finite = np.isfinite(rows)
    whole = bool(finite.all())
    n_obs, n_recent = (_count(finite[:, -n:], whole=whole) for n in (rows.shape[1], RISK_WINDOW))
    filtered = _filtered(rows, n_obs)
    recent = rows[:, -RISK_WINDOW:].copy()
    if not whole:
        recent[~finite[:, -RISK_WINDOW:]] = np.inf
    historical = _quantiles(_lowest(recent), n_recent, VAR_TAILS)
    at_risk = (
        *np.where(n_obs < MIN_FILTERED_OBS, np.nan, 0.0 - filtered),
        *np.where(n_recent < MIN_RISK_OBS, np.nan, 0.0 - historical),
        *(-_QUANTILES[:, None] * forecast_vol / np.sqrt(SESSIONS_A_YEAR)),
    )
    reason = _SCARCE[np.minimum(n_obs, MIN_FILTERED_OBS)]
    return ValueAtRisk(**dict(zip(LOSSES, at_risk, strict=True)), reason=reason)


def exceedances(returns: FloatArray, at_risk: FloatArray, tail: float) -> Exceedances:
    """Count the sessions of the last 252 on which more was lost than the value at risk of the session before.

    The band is that of Kupiec's (1995) test of the proportion of failures at 5%.

    :param returns: (N,) of each session, with the weights of the session before; NaN where there is none.
    :param at_risk: (N,) value at risk as of the same sessions; NaN where there is none.
    :param tail: the probability of a larger loss, 0.01 for ``var_99_1d``.
    """
    lost, said = -returns[1:][-COVERED_SESSIONS:], at_risk[:-1][-COVERED_SESSIONS:]
    both = np.isfinite(lost) & np.isfinite(said)
    sessions = int(both.sum())
    low, high = kupiec_band(sessions, tail)
    return Exceedances(sessions, int((lost > said)[both].sum()), sessions * tail, low, high)


def kupiec_band(sessions: int, tail: float) -> tuple[int, int]:
    """The smallest and largest number of exceedances that Kupiec's test does not reject at 5%."""
    counts = np.arange(sessions + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = counts / sessions if sessions else np.zeros(1)
        ratio = np.nan_to_num(counts * np.log(seen / tail)) + np.nan_to_num(
            (sessions - counts) * np.log((1 - seen) / (1 - tail))
        )
    inside = np.flatnonzero(2 * ratio <= _KUPIEC_95)
    return int(inside[0]), int(inside[-1])


def _filtered(rows: FloatArray, n_obs: IntArray) -> FloatArray:
    """(3, D) filtered quantiles for ``VAR_TAILS``, and mean of the tail, of returns (D, H); n_obs (D,) are finite."""
    returns, first = _finite_last(rows, n_obs), rows.shape[1] - n_obs
    variance = _variances(returns**2, first)
    before, now = variance[:, MONTH - 1 : -1], np.sqrt(variance[:, -1])
    if not before.all():
        before[before == 0] = np.inf
    # Signed squares of z are in the order of z: roots are taken of the lowest alone.
    recent = returns[:, MONTH:]
    squared = np.abs(recent)
    squared *= recent
    squared /= before
    if first.any():
        squared[np.arange(squared.shape[1]) < first[:, None]] = np.inf  # of the first 21 returns there are none
    lowest = _root(_lowest(squared))
    quantiles = _quantiles(lowest, n_obs - MONTH, (*VAR_TAILS, SHORTFALL_TAIL))
    quantiles[-1] = _mean_up_to(quantiles[-1], lowest, squared)
    with np.errstate(invalid="ignore"):  # no values at all
        quantiles *= now
    return quantiles


def _variances(squares: FloatArray, first: IntArray) -> FloatArray:
    """(D, H) variance after each of squared returns (D, H), 0 before the first (D,) of each row; squares are spent.

    A month at a time: what is known when a month begins is put into its first square, so that one triangle of weights
    makes every variance of the month.
    """
    months, weights = squares.reshape(-1, MONTH), (1 - EWMA_DECAY) * _IN_A_MONTH
    late = np.flatnonzero(first)
    if late.size:
        own = np.minimum(first[late, None] + np.arange(MONTH), squares.shape[1] - 1)
        squares[late, first[late] - 1] = squares[late[:, None], own].mean(axis=1) / (1 - EWMA_DECAY)
    start = np.where(first > 0, 0.0, squares[:, :MONTH].sum(axis=1) / MONTH)
    added = (months @ weights[-1]).reshape(len(squares), -1)
    known = np.column_stack([start, added[:, :-1]]) @ _BY_MONTH.T
    months[:, 0] += EWMA_DECAY / (1 - EWMA_DECAY) * known.ravel()
    variance: FloatArray = (months @ weights.T).reshape(squares.shape)
    return variance


def _decays(n: int, sessions: int = 1) -> FloatArray:
    """(n, n) weight at i of what was there at j, ``sessions * (i - j)`` sessions before."""
    decays: FloatArray = np.tril(EWMA_DECAY ** (sessions * np.subtract.outer(np.arange(n), np.arange(n))))
    return decays


_IN_A_MONTH = _decays(MONTH)
_BY_MONTH = _decays(LOOKBACK_RETURNS // MONTH, MONTH)


def _root(squared: FloatArray) -> FloatArray:
    """Values whose signed squares are known."""
    return np.copysign(np.sqrt(np.abs(squared)), squared)


def _mean_up_to(tail: FloatArray, lowest: FloatArray, squared: FloatArray) -> FloatArray:
    """(D,) mean of what is at or below tail (D,), of the signed squares (D, n) of a sample and its lowest (D, 13)."""
    mean = _mean_of(lowest, lowest <= tail[:, None])
    tied = np.flatnonzero(lowest[:, -1] <= tail)  # and maybe more beyond the lowest
    sample = _root(squared[tied])
    mean[tied] = _mean_of(sample, sample <= tail[tied, None])
    return mean


def _mean_of(values: FloatArray, chosen: BoolArray) -> FloatArray:
    mean: FloatArray = np.where(chosen, values, 0.0).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)
    return mean


def _count(finite: BoolArray, *, whole: bool) -> IntArray:
    """(D,) true cells of each row."""
    return np.full(len(finite), finite.shape[1]) if whole else finite.sum(axis=1)


def _finite_last(rows: FloatArray, n_obs: IntArray) -> FloatArray:
    """Rows (D, H) with their finite values moved to the end in their order, and 0 before them."""
    gaps = np.flatnonzero(n_obs < rows.shape[1])
    if not gaps.size:
        return rows
    moved = rows.copy()
    order = np.argsort(np.isfinite(rows[gaps]), axis=1, kind="stable")
    moved[gaps] = np.nan_to_num(np.take_along_axis(rows[gaps], order, axis=1), nan=0.0)
    return moved


def _lowest(sample: FloatArray) -> FloatArray:
    """(D, 13) the smallest values of (D, n), infinite for none, in order; the sample itself is put in another."""
    sample.partition(_LOWEST - 1, axis=1)
    return np.sort(sample[:, :_LOWEST], axis=1)


def _quantiles(lowest: FloatArray, n_obs: IntArray, tails: tuple[float, ...]) -> FloatArray:
    """(N, D) quantiles for N tails of n_obs (D,) values, by Weibull's rule, from the smallest of them; NaN for none."""
    place = np.maximum(np.multiply.outer(tails, n_obs + 1), 1.0)
    rank = place.astype(np.int64)
    rows, share = np.arange(len(lowest)), place - rank
    low, high = lowest[rows, rank - 1], lowest[rows, np.minimum(rank, _LOWEST - 1)]
    with np.errstate(invalid="ignore"):  # no values at all
        quantiles: FloatArray = np.where(share > 0, low + share * (high - low), low)
    return quantiles
