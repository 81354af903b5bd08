"""What has come of what was said: losses from the highest value, and volatility forecasts against what followed.

Of one series, as it is stored. How often a value at risk was exceeded is ``value_at_risk``'s.
"""

import numpy as np

from assets.numerics.arrays import FloatArray
from assets.numerics.constants import MONTH, SESSIONS_A_YEAR


def drawdowns(returns: FloatArray) -> FloatArray:
    """How far the value lies below the highest before it, the value before the first return among these.

    :param returns: (T,) decimal returns; on a session without one (NaN) the value stays.
    :returns: (T,) fractions from -1 to 0.
    """
    value = np.cumprod(1.0 + np.nan_to_num(returns, nan=0.0))
    highest = np.maximum(np.maximum.accumulate(value), 1.0) if value.size else value
    return value / highest - 1.0


def followed_volatility(returns: FloatArray, sessions: int = MONTH) -> FloatArray:
    """Volatility of the sessions after each: the root of their mean squared return (zero mean), annualised.

    :param returns: (T,) decimal returns.
    :returns: (T,) NaN where fewer sessions follow, or one of them has no return.
    """
    found = np.full(returns.shape, np.nan)
    if returns.size > sessions:
        windows = np.lib.stride_tricks.sliding_window_view(returns[1:], sessions)
        found[: len(windows)] = np.sqrt(SESSIONS_A_YEAR * (windows**2).mean(axis=1))
    return found


def qlike(forecast: FloatArray, followed: FloatArray) -> FloatArray:
    """Loss of a volatility forecast: ``v/h - ln(v/h) - 1``, v the variance that followed, h the one forecast.

    0 is a perfect forecast; too low a forecast costs more than too high a one (Patton 2011, Journal of Econometrics
    160, 246-256).

    :param forecast: (T,) volatilities, as ``followed``.
    :returns: (T,) NaN where one of the two is missing or not positive.
    """
    both = (forecast > 0) & (followed > 0)
    ratio = np.full(forecast.shape, np.nan)
    np.divide(followed, forecast, out=ratio, where=both)
    loss: FloatArray = ratio**2 - 2.0 * np.log(ratio) - 1.0
    return loss


def correlations(returns: FloatArray, at_least: int) -> FloatArray:
    """Correlation of each pair of series over the sessions that have a return of both.

    :param returns: (T, S) decimal returns.
    :returns: (S, S) with 1 on the diagonal; NaN for a pair of fewer than ``at_least`` sessions, or with a constant.
    """
    n_series = returns.shape[1]
    found = np.full((n_series, n_series), np.nan)
    np.fill_diagonal(found, 1.0)
    for i in range(n_series):
        for j in range(i):
            pair = returns[:, [i, j]]
            pair = pair[np.isfinite(pair).all(axis=1)]
            if len(pair) >= at_least and (pair.std(axis=0) > 0).all():
                found[i, j] = found[j, i] = np.asarray(np.corrcoef(pair, rowvar=False))[0, 1]
    return found
