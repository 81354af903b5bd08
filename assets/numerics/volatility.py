"""Volatility of return series: realized, exponentially weighted, forecast, trend and percentile.

A series is a symbol's or a portfolio's; how its returns came about does not matter here. All volatilities are
annualised decimals. Everything is built from sums over trailing windows, so nothing recurses and nothing is fitted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import stdtr

from assets.numerics.arrays import BoolArray, FloatArray, IntArray, TextArray
from assets.numerics.constants import (
    EWMA_DECAY,
    FORECAST_WEIGHTS,
    LOOKBACK_RETURNS,
    MIN_PERCENTILE_OBS,
    MIN_VOL_OBS,
    MONTH,
    PERCENTILE_HISTORY,
    QUARTER,
    SESSIONS_A_YEAR,
    TREND_P,
    TREND_RECENT,
    TREND_WINDOW,
    VOL_WINDOW,
)
from assets.numerics.windows import checked_targets, session_rows, trailing_sum

_ROUNDING = 1e-13
"""A variance below this share of the mean square is rounding."""
_SAME = 1e-9
"""Two volatilities that differ by a smaller share are equal."""
_BLOCK_CELLS = 65_536
"""Sessions by series worked on at a time, so that they stay in the processor's cache."""

TREND_LABELS: TextArray = np.array(["decreasing", "stable", "increasing"], dtype=object)


@dataclass(frozen=True)
class Volatility:
    """Volatility of S series on D sessions. A number that cannot be had is NaN (or None), and ``reason`` says why."""

    realized_vol_21d: FloatArray
    """(D, S) standard deviation (ddof 1) of the last 21 returns."""
    realized_vol_63d: FloatArray
    """(D, S) the same of the last 63."""
    ewma_vol: FloatArray
    """(D, S) weights 0.94^i over the finite returns of the last 252 sessions, zero mean (RiskMetrics 1996)."""
    forecast_vol_21d: FloatArray
    """(D, S) forecast for the next 21 sessions, model ``FORECAST_MODEL``."""
    vol_trend: TextArray
    """(D, S) ``increasing``, ``decreasing`` or ``stable``: the last 21 sessions against the 42 before."""
    vol_trend_p: FloatArray
    """(D, S) two-sided p of the trend."""
    vol_percentile: FloatArray
    """(D, S) place of realized_vol_21d among those of the 252 sessions before, 0 to 1."""
    n_obs: IntArray
    """(D, S) finite returns in the last 252 sessions; never missing."""
    reason: TextArray
    """(D, S) why numbers are missing, joined by ``; ``, else None."""


def volatility(returns: FloatArray, targets: npt.ArrayLike) -> Volatility:
    """Everything that is said of the volatility of each series, as of each target session.

    NaN handling: realized volatility and trend need every session of their window, EWMA and forecast every one of the
    last 21; with fewer than 63 finite returns in the last 252 sessions there are no numbers at all. Sessions before the
    first row are missing.

    :param returns: (T, S) decimal returns on consecutive sessions; ``LOOKBACK_RETURNS`` rows up to a target are read.
    :param targets: (D,) strictly ascending rows.
    :raises ValueError: targets that are not ascending rows.
    """
    ends = checked_targets(targets, len(returns))
    start, stop = (int(ends[0]) - LOOKBACK_RETURNS + 1, int(ends[-1]) + 1) if ends.size else (1 - LOOKBACK_RETURNS, 0)
    rows = session_rows(returns, start, stop)
    if ends.size == 1:
        return _of_one_session(np.ascontiguousarray(rows.T))
    step = max(_BLOCK_CELLS // max(len(rows), 1), 1)
    blocks = [rows[:, first : first + step] for first in range(0, max(rows.shape[1], 1), step)]
    parts = [vars(_volatility(block, ends - start)) for block in blocks]
    return Volatility(**{name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]})


def _volatility(returns: FloatArray, rows: IntArray) -> Volatility:
    """Volatility of a block of series as of rows (D,), each with its look-back before it."""
    finite = np.isfinite(returns)
    returns = np.where(finite, returns, 0.0)
    squares = returns**2
    missing_month, missing_quarter = (_missing(finite, window) for window in (MONTH, QUARTER))
    n_obs = VOL_WINDOW - _missing(finite, VOL_WINDOW)[rows]
    history = np.where(missing_month == 0, _realized(returns, squares, MONTH), np.nan)
    percentile, earlier = _percentile(history, rows)
    p, sign = _trend(returns, rows)

    missing_month, missing_quarter = missing_month[rows], missing_quarter[rows]
    enough = n_obs >= MIN_VOL_OBS
    month, quarter = enough & (missing_month == 0), enough & (missing_quarter == 0)
    trend = TREND_LABELS[np.where(p < TREND_P, sign, 0).astype(np.int64) + 1]
    trend[~quarter] = None
    return Volatility(
        realized_vol_21d=np.where(month, history[rows], np.nan),
        realized_vol_63d=np.where(quarter, _realized(returns, squares, QUARTER)[rows], np.nan),
        ewma_vol=np.where(month, _ewma(squares, finite)[rows], np.nan),
        forecast_vol_21d=np.where(month, _forecast(squares, finite)[rows], np.nan),
        vol_trend=trend,
        vol_trend_p=np.where(quarter, p, np.nan),
        vol_percentile=np.where(month & (earlier >= MIN_PERCENTILE_OBS), percentile, np.nan),
        n_obs=n_obs,
        reason=_reasons(n_obs, missing_month, missing_quarter, earlier),
    )


def _of_one_session(returns: FloatArray) -> Volatility:
    """Volatility of series (S, H) as of their last session: the same numbers, without those of the sessions before."""
    finite = np.isfinite(returns)
    returns = returns if finite.all() else np.where(finite, returns, 0.0)
    squares = returns**2
    n_obs, n_month, n_quarter = (
        np.full(len(finite), window) if finite.all() else finite[:, -window:].sum(axis=1)
        for window in (VOL_WINDOW, MONTH, QUARTER)
    )
    history = _realized_month(returns, squares)
    if not finite.all():
        history[_month_sums(finite.astype(np.float64)) < MONTH] = np.nan
    today, before = history[:, -1], history[:, :-1]
    earlier = np.isfinite(before).sum(axis=1)
    below = np.count_nonzero(before < (today * (1.0 - _SAME))[:, None], axis=1)
    above = np.count_nonzero(before > (today * (1.0 + _SAME))[:, None], axis=1)
    quarter = returns[:, -QUARTER:]
    p, sign = _brown_forsythe(quarter[:, -TREND_RECENT:], quarter[:, :-TREND_RECENT])
    enough = n_obs >= MIN_VOL_OBS
    month, quarter_known = enough & (n_month == MONTH), enough & (n_quarter == QUARTER)
    trend = TREND_LABELS[np.where(p < TREND_P, sign, 0).astype(np.int64) + 1]
    trend[~quarter_known] = None
    deviation = _annualised(_variance(quarter.sum(axis=1), (quarter**2).sum(axis=1), QUARTER))
    numbers = {
        "realized_vol_21d": np.where(month, today, np.nan),
        "realized_vol_63d": np.where(quarter_known, deviation, np.nan),
        "ewma_vol": np.where(month, _annualised(_weighted(squares, finite, _EWMA_WEIGHTS)), np.nan),
        "forecast_vol_21d": np.where(month, _annualised(har_variance(squares, finite)), np.nan),
        "vol_trend": trend,
        "vol_trend_p": np.where(quarter_known, p, np.nan),
        "vol_percentile": np.where(
            month & (earlier >= MIN_PERCENTILE_OBS), _ratio(0.5 * (earlier + below - above), earlier), np.nan
        ),
        "n_obs": n_obs,
        "reason": _reasons(n_obs, MONTH - n_month, QUARTER - n_quarter, earlier),
    }
    return Volatility(**{name: values[None] for name, values in numbers.items()})


def har_variance(squares: FloatArray, known: BoolArray | None = None) -> FloatArray:
    """(N,) forecast variance of a session as of the last one of squared returns (N, H).

    :param known: (N, H) which squares there are (the others are 0); None for all. Averages of which no square is known
        are left out, and the weights of the others rescaled.
    """
    if known is None or known.all():
        variance: FloatArray = squares @ _har_weights(squares.shape[1])
        return variance
    total, weights = np.zeros(len(squares)), np.zeros(len(squares))
    for sessions, weight in FORECAST_WEIGHTS.items():
        n_known = known[:, -sessions:].sum(axis=1)
        total += weight * _ratio(squares[:, -sessions:].sum(axis=1), n_known)
        weights += np.where(n_known > 0, weight, 0.0)
    return _ratio(total, weights)


def _har_weights(length: int) -> FloatArray:
    """(H,) weight of each squared return of a series without gaps; averages over more than there is take what is."""
    weights = np.zeros(length)
    for sessions, weight in FORECAST_WEIGHTS.items():
        weights[-sessions:] += weight / min(sessions, length)
    return weights


_EWMA_WEIGHTS: FloatArray = np.power(EWMA_DECAY, np.arange(VOL_WINDOW, dtype=np.float64)[::-1])


def _weighted(squares: FloatArray, finite: BoolArray, weights: FloatArray) -> FloatArray:
    """(S,) weighted mean of what is finite among the last squares of (S, H)."""
    total: FloatArray = squares[:, -len(weights) :] @ weights
    shares = np.full(len(total), weights.sum()) if finite.all() else finite[:, -len(weights) :] @ weights
    return _ratio(total, shares)


def _realized_month(returns: FloatArray, squares: FloatArray) -> FloatArray:
    """(S, 253) annualised standard deviation of the 21 sessions up to each of the last 253, missing returns as 0."""
    return _annualised(_variance(_month_sums(returns), _month_sums(squares), MONTH))


def _month_sums(values: FloatArray) -> FloatArray:
    """(S, H - 20) sums of 21 neighbours, of pairs of pairs: no value is ever subtracted again."""
    two = values[:, 1:] + values[:, :-1]
    four = two[:, 2:] + two[:, :-2]
    eight = four[:, 4:] + four[:, :-4]
    sums = eight[:, 8:] + eight[:, :-8]
    total = sums[:, : -(MONTH - 16)] + four[:, 16:-1]
    total += values[:, MONTH - 1 :]
    return total


def _variance(sums: FloatArray, squares: FloatArray, window: int) -> FloatArray:
    """Variance (ddof 1) of window returns with these sums; 0 where it is rounding."""
    variance: FloatArray = squares - sums**2 / window
    return np.where(variance > _ROUNDING * squares, variance, 0.0) / (window - 1)


def _missing(finite: BoolArray, window: int) -> IntArray:
    """(T, S) sessions of each trailing window without a return."""
    return window - trailing_sum(finite.astype(np.int16), window).astype(np.int64)


def _annualised(variance: FloatArray) -> FloatArray:
    """Volatility of a year from the variance of a session."""
    vol: FloatArray = np.sqrt(SESSIONS_A_YEAR * variance)
    return vol


def _realized(returns: FloatArray, squares: FloatArray, window: int) -> FloatArray:
    """(T, S) annualised standard deviation (ddof 1) of every trailing window, missing returns as 0."""
    total = trailing_sum(squares, window)
    variance = (total - trailing_sum(returns, window) ** 2 / window) / (window - 1)
    return _annualised(np.where(variance * window > _ROUNDING * total, variance, 0.0))


def _ewma(squares: FloatArray, finite: BoolArray) -> FloatArray:
    """(T, S) exponentially weighted volatility over the finite returns of every trailing window."""
    weight = trailing_sum(finite.astype(np.float64), VOL_WINDOW, EWMA_DECAY)
    return _annualised(_ratio(trailing_sum(squares, VOL_WINDOW, EWMA_DECAY), weight))


def _forecast(squares: FloatArray, finite: BoolArray) -> FloatArray:
    """(T, S) HAR forecast (Corsi 2009) with a one-year level and fixed common weights (Bollerslev et al. 2018).

    ``sqrt(252 sum_k weight_k m_k)``, m_k the mean of the finite squared returns of the last k sessions.
    """
    variance = np.zeros_like(squares)
    for window, weight in FORECAST_WEIGHTS.items():
        variance += _ratio(weight * trailing_sum(squares, window), window - _missing(finite, window))
    return _annualised(variance)


def _ratio(numerator: FloatArray, denominator: npt.NDArray[Any]) -> FloatArray:
    """Numerator by denominator, 0 where the denominator is."""
    ratio: FloatArray = numerator / np.where(denominator > 0, denominator, 1)
    return ratio


def _trend(returns: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Brown & Forsythe (1974): does the spread about the median differ between the last 21 sessions and the 42 before?

    :returns: (D, S) two-sided p, and the sign of the difference.
    """
    windows = sliding_window_view(returns, TREND_WINDOW, axis=0)[rows - TREND_WINDOW + 1]
    return _brown_forsythe(windows[..., -TREND_RECENT:], windows[..., :-TREND_RECENT])


def _brown_forsythe(sample: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two-sided p that the spreads of two samples (..., n), (..., m) are equal, and the sign of their difference."""
    n, m = sample.shape[-1], other.shape[-1]
    (mean, squares), (mean_other, squares_other) = _spread(sample), _spread(other)
    error = np.sqrt((squares + squares_other) / (n + m - 2) * (1 / n + 1 / m))
    t = np.where(error > 0, _ratio(mean - mean_other, error), 0.0)
    return 2.0 * stdtr(n + m - 2, -np.abs(t)), np.sign(t)


def _spread(sample: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean, and sum of squares about it, of the distances from the median of samples (..., n)."""
    # np.median is five times slower on many short samples
    ranked, middle = np.sort(sample, axis=-1), sample.shape[-1] // 2
    median = (ranked[..., middle] + ranked[..., ~middle]) / 2
    distance = np.abs(sample - median[..., None])
    mean = distance.mean(axis=-1)
    return mean, ((distance - mean[..., None]) ** 2).sum(axis=-1)


def _percentile(history: FloatArray, rows: IntArray) -> tuple[FloatArray, IntArray]:
    """Place of each row's volatility among those of the 252 sessions before: (below + equal / 2) / finite.

    :returns: (D, S) percentile, and how many of the volatilities before are finite.
    """
    percentile = np.empty((len(rows), history.shape[1]))
    earlier = trailing_sum(np.isfinite(history).astype(np.int16), PERCENTILE_HISTORY)[rows - 1].astype(np.int64)
    for i, row in enumerate(rows):
        before, today = history[row - PERCENTILE_HISTORY : row], history[row]
        below = np.count_nonzero(before < today * (1.0 - _SAME), axis=0)
        above = np.count_nonzero(before > today * (1.0 + _SAME), axis=0)
        percentile[i] = 0.5 * (earlier[i] + below - above)
    return _ratio(percentile, earlier), earlier


def _reasons(n_obs: IntArray, missing_month: IntArray, missing_quarter: IntArray, earlier: IntArray) -> TextArray:
    """(D, S) why numbers are missing: one text for each way of missing that occurs."""
    counts = np.stack(
        [np.minimum(n_obs, MIN_VOL_OBS), missing_month, missing_quarter, np.minimum(earlier, MIN_PERCENTILE_OBS)]
    )
    lacking = (missing_quarter > 0) | (n_obs < MIN_VOL_OBS) | (earlier < MIN_PERCENTILE_OBS)
    reasons = np.full(n_obs.shape, None, dtype=object)
    ways, way = np.unique(counts[:, lacking], axis=1, return_inverse=True)
    reasons[lacking] = np.array([_reason(*counts) for counts in ways.T.tolist()], dtype=object)[way]
    return reasons


def _reason(n_obs: int, missing_month: int, missing_quarter: int, earlier: int) -> str:
    if n_obs < MIN_VOL_OBS:
        return f"Insufficient returns: {n_obs} < {MIN_VOL_OBS}"
    parts = [
        f"{missing} of the last {window} sessions {'has' if missing == 1 else 'have'} no return"
        for missing, window in ((missing_month, MONTH), (missing_quarter, QUARTER))
        if missing
    ]
    if earlier < MIN_PERCENTILE_OBS:
        parts.append(f"Insufficient earlier volatilities: {earlier} < {MIN_PERCENTILE_OBS}")
    return "; ".join(parts)
