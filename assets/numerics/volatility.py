"""Volatility of return series: realized, exponentially weighted, forecast, trend and percentile.

A series is a symbol's or a portfolio's; how its returns came about does not matter here. All volatilities are
annualised decimals. Everything is built from sums over trailing windows, so nothing recurses and nothing is fitted.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

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
    WEEK,
)
from assets.numerics.order import trailing_medians, trailing_place
from assets.numerics.windows import checked_targets, session_rows, trailing_sum, trailing_sums

_ROUNDING = 1e-13
"""A variance below this share of the mean square is rounding."""
_SAME = 1e-9
"""Two volatilities that differ by a smaller share are equal."""
_BLOCK_CELLS = 24_576
"""Sessions by series worked on at a time, so that they stay in the processor's cache."""
_ONE_SESSION = 512
"""Series worked on at a time as of a single session."""
_TAIL_DEGREE = 32
_WINDOWS = (WEEK, MONTH, QUARTER, VOL_WINDOW)
_NUMBERS = (
    "realized_vol_21d",
    "realized_vol_63d",
    "ewma_vol",
    "forecast_vol_21d",
    "vol_trend_p",
    "vol_percentile",
)

_Counts = npt.NDArray[np.int16]
_Sums = dict[int, FloatArray]
"""(T, S) sums over trailing windows, by their length."""

TREND_LABELS: TextArray = np.array(["decreasing", "stable", "increasing", None], dtype=object)


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
    found = _blank(ends.size, returns.shape[1])
    if ends.size:
        rows = session_rows(returns, int(ends[0]) - LOOKBACK_RETURNS + 1, int(ends[-1]) + 1)
        step = max(_BLOCK_CELLS // len(rows), 1) if ends.size > 1 else _ONE_SESSION
        for first in range(0, rows.shape[1], step):
            block = slice(first, first + step)
            part = Volatility(**{name: values[:, block] for name, values in vars(found).items()})
            if ends.size == 1:
                _fill_one(part, np.ascontiguousarray(rows[:, block].T))
            else:
                _fill(part, rows[:, block], ends - ends[0])
    return found


def _blank(n_targets: int, n_series: int) -> Volatility:
    cells = n_targets, n_series
    numbers = {name: np.empty(cells) for name in _NUMBERS}
    vol_trend, reason = np.empty(cells, dtype=object), np.empty(cells, dtype=object)  # None
    return Volatility(**numbers, vol_trend=vol_trend, n_obs=np.empty(cells, dtype=np.int64), reason=reason)


def _fill(part: Volatility, returns: FloatArray, at: IntArray) -> None:
    """Fill the volatility of a block of series as of rows (D,), counted from the first that has its look-back."""
    finite = np.isfinite(returns)
    returns = np.where(finite, returns, 0.0)
    squares = returns**2
    if (finite == finite[:, :1]).all():
        finite = finite[:, :1]  # what is counted is the same for all series
    counts = trailing_sums(finite.astype(np.int16), _WINDOWS)
    sums, square_sums = trailing_sums(returns, (MONTH, QUARTER)), trailing_sums(squares, _WINDOWS)
    about_mean = _about_mean(sums[MONTH], square_sums[MONTH], MONTH)
    history = np.where(counts[MONTH] == MONTH, _realized(about_mean, MONTH), np.nan)
    earlier = trailing_sum((counts[MONTH] == MONTH).astype(np.int16), PERCENTILE_HISTORY)

    first = LOOKBACK_RETURNS - 1
    every = at.size == len(returns) - first
    rows, own = (slice(first, None), slice(None)) if every else (first + at, at)
    p, sign = _trend(returns[first - TREND_WINDOW + 1 :])
    place = trailing_place(history[first - PERCENTILE_HISTORY :], PERCENTILE_HISTORY, _SAME)
    earlier = earlier[first - 1 : -1][own]

    counts = {window: count[rows] for window, count in counts.items()}
    sums, square_sums = ({window: total[rows] for window, total in of.items()} for of in (sums, square_sums))
    about_mean = _about_mean(sums[QUARTER], square_sums[QUARTER], QUARTER)
    enough = counts[VOL_WINDOW] >= MIN_VOL_OBS
    month, quarter = (enough & (counts[window] == window) for window in (MONTH, QUARTER))
    for name, values, known in (
        ("realized_vol_21d", history[rows], month),
        ("realized_vol_63d", _realized(about_mean, QUARTER), quarter),
        ("ewma_vol", _ewma(squares, finite, rows), month),
        ("forecast_vol_21d", _forecast(square_sums, counts), month),
        ("vol_trend_p", p[own], quarter),
        ("vol_percentile", _ratio(place[own], earlier), month & (earlier >= MIN_PERCENTILE_OBS)),
    ):
        getattr(part, name)[:] = np.where(known, values, np.nan)
    trend = np.where(p < TREND_P, sign, 0).astype(np.int8)[own] + 1
    part.vol_trend[:] = TREND_LABELS[np.where(quarter, trend, len(TREND_LABELS) - 1)]
    part.n_obs[:] = counts[VOL_WINDOW]
    _give_reasons(part.reason, counts[VOL_WINDOW], MONTH - counts[MONTH], QUARTER - counts[QUARTER], earlier)


def _fill_one(part: Volatility, returns: FloatArray) -> None:
    """Fill the volatility of series (S, H) as of their last session: nothing is shared with sessions before it."""
    finite = np.isfinite(returns)
    whole = bool(finite.all())
    returns = returns if whole else np.where(finite, returns, 0.0)
    squares, known = returns**2, None if whole else finite[:, -VOL_WINDOW:]
    counts = {window: _known_in(finite, window, whole=whole) for window in (MONTH, QUARTER, VOL_WINDOW)}
    history = _about_mean(_month_sums(returns), _month_sums(squares), MONTH)[:, : 1 - MONTH]
    if not whole:
        history[_month_sums(finite.astype(np.float64))[:, : 1 - MONTH] < MONTH] = np.nan
    earlier = _known_in(np.isfinite(history[:, :-1]), PERCENTILE_HISTORY, whole=whole)
    place = _place(history, earlier)
    quarter = returns[:, -QUARTER:]
    p, sign = _brown_forsythe(quarter[:, -TREND_RECENT:], quarter[:, :-TREND_RECENT])
    realized = _realized(_about_mean(quarter.sum(axis=1), squares[:, -QUARTER:].sum(axis=1), QUARTER), QUARTER)
    year = squares[:, -VOL_WINDOW:]
    weight = _EWMA.sum() if known is None else known.astype(np.float64) @ _EWMA
    enough = counts[VOL_WINDOW] >= MIN_VOL_OBS
    month, three = (enough & (counts[window] == window) for window in (MONTH, QUARTER))
    for name, values, there in (
        ("realized_vol_21d", _realized(history[:, -1], MONTH), month),
        ("realized_vol_63d", realized, three),
        ("ewma_vol", _annualised(_ratio(year @ _EWMA, np.asarray(weight))), month),
        ("forecast_vol_21d", _annualised(har_variance(year, known)), month),
        ("vol_trend_p", p, three),
        ("vol_percentile", _ratio(place, earlier), month & (earlier >= MIN_PERCENTILE_OBS)),
    ):
        getattr(part, name)[0] = np.where(there, values, np.nan)
    trend = np.where(p < TREND_P, sign, 0).astype(np.int8) + 1
    part.vol_trend[0] = TREND_LABELS[np.where(three, trend, len(TREND_LABELS) - 1)]
    part.n_obs[0] = counts[VOL_WINDOW]
    lacking = np.stack([counts[VOL_WINDOW], MONTH - counts[MONTH], QUARTER - counts[QUARTER], earlier])[:, None]
    _give_reasons(part.reason, lacking[0], lacking[1], lacking[2], lacking[3])


_EWMA: FloatArray = np.power(EWMA_DECAY, np.arange(VOL_WINDOW, dtype=np.float64)[::-1])


def _known_in(finite: BoolArray, window: int, *, whole: bool) -> _Counts:
    """(S,) finite returns in the last sessions of (S, H)."""
    if whole:
        return np.full(len(finite), window, dtype=np.int16)
    known: _Counts = np.count_nonzero(finite[:, -window:], axis=1).astype(np.int16)
    return known


def _month_sums(values: FloatArray) -> FloatArray:
    """(S, H) sums of each of values (S, H) and the 20 after it; those that begin in the last 20 mean nothing.

    Made of sums of pairs of pairs: nothing is subtracted again. The rows are added up as one run of numbers, which is
    several times as fast.
    """
    run = values.ravel()
    two = run[1:] + run[:-1]
    four = two[2:] + two[:-2]
    eight = four[4:] + four[:-4]
    total = np.zeros(values.shape)
    sums = total.ravel()[: 1 - MONTH]
    np.add(eight[8:-5], eight[:-13], out=sums)
    sums += four[16:-1]
    sums += run[MONTH - 1 :]
    return total


def _place(history: FloatArray, earlier: _Counts) -> FloatArray:
    """(S,) place of the last of variances (S, 253) among the earlier (S,) that there are: below and half the equal."""
    today, before = history[:, -1:], history[:, :-1]
    below, above = (
        each.view(np.uint8).sum(axis=1, dtype=np.int16)
        for each in (before < today * (1.0 - _SAME) ** 2, before > today * (1.0 + _SAME) ** 2)
    )
    place: FloatArray = 0.5 * (earlier + below - above)
    return place


def _brown_forsythe(sample: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two-sided p that the spreads of samples (S, n) and (S, m) are equal, and the sign of their difference."""
    n, m = sample.shape[1], other.shape[1]
    (mean, squares), (mean_other, squares_other) = _spread_of(sample), _spread_of(other)
    difference, variance = mean - mean_other, (squares + squares_other) * (1 / n + 1 / m)
    return _two_sided_p(difference, variance, n + m - 2), np.sign(difference)


def _spread_of(sample: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean, and sum of squares about it, of the distances from the median of samples (S, n)."""
    ranked, n = np.sort(sample, axis=1), sample.shape[1]
    median = (ranked[:, n // 2] + ranked[:, ~(n // 2)]) / 2
    distance = np.abs(np.subtract(ranked, median[:, None], out=ranked), out=ranked)
    total = distance.sum(axis=1)
    return total / n, _about_mean(total, np.vecdot(distance, distance), n)


def _annualised(variance: FloatArray) -> FloatArray:
    """Volatility of a year from the variance of a session."""
    vol: FloatArray = np.sqrt(SESSIONS_A_YEAR * variance)
    return vol


def _realized(about_mean: FloatArray, window: int) -> FloatArray:
    """Annualised standard deviation (ddof 1) of windows with these sums of squares about their mean."""
    return _annualised(about_mean / (window - 1))


def _about_mean(sums: FloatArray, squares: FloatArray, window: int) -> FloatArray:
    """Sum of squares about the mean of window numbers with this sum and these squares; 0 where it is rounding."""
    about_mean = sums**2
    about_mean *= -1.0 / window
    about_mean += squares
    about_mean[about_mean <= _ROUNDING * squares] = 0.0
    return about_mean


def _ewma(squares: FloatArray, finite: BoolArray, rows: slice | IntArray) -> FloatArray:
    """(D, S) exponentially weighted volatility over the finite returns of the windows that end at rows."""
    total, weight = (trailing_sum(values, VOL_WINDOW, EWMA_DECAY)[rows] for values in (squares, finite.astype(float)))
    return _annualised(_ratio(total, weight))


def _forecast(square_sums: _Sums, counts: dict[int, _Counts]) -> FloatArray:
    """(D, S) HAR forecast (Corsi 2009) with a one-year level and fixed common weights (Bollerslev et al. 2018).

    ``sqrt(252 sum_k weight_k m_k)``, m_k the mean of the finite squared returns of the last k sessions.
    """
    variance = np.zeros_like(square_sums[1])
    for window, weight in FORECAST_WEIGHTS.items():
        variance += square_sums[window] * _ratio(weight, counts[window])
    return _annualised(variance)


def har_variance(squares: FloatArray, known: BoolArray | None = None) -> FloatArray:
    """(...,) the same forecast of the variance of a session, as of the last one of squared returns (..., H).

    :param known: (..., H) which squares there are (the others are 0); None for all. Averages of which no square is
        known are left out, and the weights of the others rescaled; those over more than H sessions take what there is.
    """
    if known is None:
        variance: FloatArray = squares @ _har_weights(squares.shape[-1])
        return variance
    total, weights = np.zeros(squares.shape[:-1]), np.zeros(known.shape[:-1])
    for sessions, weight in FORECAST_WEIGHTS.items():
        n_known = known[..., -sessions:].sum(axis=-1)
        total += weight * _ratio(squares[..., -sessions:].sum(axis=-1), n_known)
        weights += np.where(n_known > 0, weight, 0.0)
    return _ratio(total, weights)


def _har_weights(length: int) -> FloatArray:
    """(H,) weight of each squared return of a series without gaps."""
    weights = np.zeros(length)
    for sessions, weight in FORECAST_WEIGHTS.items():
        weights[-sessions:] += weight / min(sessions, length)
    return weights


def _ratio(numerator: FloatArray | float, denominator: npt.NDArray[Any]) -> FloatArray:
    """Numerator by denominator, the numerator where the denominator is 0."""
    ratio: FloatArray = numerator / np.where(denominator > 0, denominator, 1)
    return ratio


def _trend(returns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Brown & Forsythe (1974): does the spread about the median differ between the last 21 sessions and the 42 before?

    :param returns: (62 + D, S).
    :returns: (D, S) two-sided p, and the sign of the difference.
    """
    n, m = TREND_RECENT, TREND_WINDOW - TREND_RECENT
    medians = trailing_medians(returns, (n, m))
    mean, squares = _spread(returns[m:], medians[n][m:])
    mean_before, squares_before = _spread(returns[:-n], medians[m][:-n])
    difference, variance = mean - mean_before, (squares + squares_before) * (1 / n + 1 / m)
    return _two_sided_p(difference, variance, n + m - 2), np.sign(difference)


def _spread(returns: FloatArray, median: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean, and sum of squares about it, of the distances from its median (D, S) of each window of returns."""
    total, squares, distance = np.zeros_like(median), np.zeros_like(median), np.empty_like(median)
    window = len(returns) - len(median) + 1
    for first in range(window):
        np.subtract(returns[first : first + len(median)], median, out=distance)
        total += np.abs(distance, out=distance)
        squares += np.multiply(distance, distance, out=distance)
    return total / window, _about_mean(total, squares, window)


def _two_sided_p(difference: FloatArray, variance: FloatArray, freedom: int) -> FloatArray:
    """Two-sided p of Student's t, ``t^2 = freedom difference^2 / variance``; 1 where the variance is 0.

    With ``s = |t| / sqrt(freedom + t^2)``, p is ``(1 - s^2)^(freedom / 2)`` times a smooth function of s: a polynomial
    gives it to 13 digits, in a tenth of the time of scipy's ``stdtr``.
    """
    total = difference**2 + variance
    known = variance > 0
    total[~known] = 1.0
    s, rest = np.abs(difference) / np.sqrt(total), np.where(known, variance, 1.0) / total
    u, factors = 2.0 * s - 1.0, _tail(freedom)
    p = np.full_like(u, factors[-1])
    for factor in factors[-2::-1]:
        p *= u
        p += factor
    p *= rest ** (freedom / 2)
    return np.where(known, p, 1.0)


@cache
def _tail(freedom: int) -> list[float]:
    """Polynomial of ``2 s - 1`` through scipy's p at Chebyshev's points, lowest power first."""
    # Imported here: scipy takes longer than all the rest of a command that only reads what is stored.
    from scipy.special import stdtr

    points = chebyshev.chebpts1(_TAIL_DEGREE + 1)
    s = (points + 1.0) / 2.0
    rest = 1.0 - s**2
    smooth = 2.0 * stdtr(freedom, -s * np.sqrt(freedom / rest)) / rest ** (freedom / 2)
    factors: list[float] = chebyshev.cheb2poly(chebyshev.chebfit(points, smooth, _TAIL_DEGREE)).tolist()
    return factors


def _give_reasons(
    reason: TextArray, n_obs: _Counts, missing_month: _Counts, missing_quarter: _Counts, earlier: _Counts
) -> None:
    """Write why numbers are missing: one text for each way of missing that occurs. Counts are (D, 1 or S)."""
    lacking = (missing_quarter > 0) | (n_obs < MIN_VOL_OBS) | (earlier < MIN_PERCENTILE_OBS)
    if lacking.any():
        counts = np.minimum(n_obs, MIN_VOL_OBS), missing_month, missing_quarter, np.minimum(earlier, MIN_PERCENTILE_OBS)
        shape = MIN_VOL_OBS + 1, MONTH + 1, QUARTER + 1, MIN_PERCENTILE_OBS + 1
        ways, way = np.unique(np.ravel_multi_index([count[lacking] for count in counts], shape), return_inverse=True)
        texts = np.array([_reason(*way) for way in np.transpose(np.unravel_index(ways, shape)).tolist()], dtype=object)
        if lacking.shape == reason.shape:
            reason[lacking] = texts[way]
        else:
            reason[lacking[:, 0]] = texts[way][:, None]


@cache
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
