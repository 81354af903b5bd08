"""The volatility forecast, case ``har``: 500 series x 1500 sessions, every session a target.

All methods compute ``sqrt(252 sum_k weight_k m_k)``, m_k the mean of the finite squared returns of the last k sessions.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from assets.numerics import volatility
from assets.numerics.arrays import FloatArray
from assets.numerics.constants import BETA_WINDOW, FORECAST_WEIGHTS, SESSIONS_A_YEAR
from assets.numerics.windows import trailing_sums
from benchmarks import regressions
from benchmarks.measure import Row, compare, pure
from benchmarks.simulated import simulate


def har() -> Iterator[Row]:
    """Compare ours with pandas' rolling means, and with reading and writing the array once (``floor``).

    ``ours_all`` is all that a row of `symbol_volatility` has: realized, EWMA, forecast, trend and percentile. It stands
    beside ``regressions``, those of 500 symbols x 1250 sessions as in case ``ols``.
    """
    panel = simulate(500, 1250, BETA_WINDOW)
    returns = simulate(500, 1500, 1).returns
    methods = [
        pure("naive", lambda: pandas_forecast(returns)),
        pure("ours", lambda: ours(returns)),
        pure("ours_all", lambda: volatility.volatility(returns, np.arange(len(returns)))),
        pure("regressions", lambda: regressions.ours(panel)),
        pure("floor", lambda: np.sqrt(returns * returns)),
    ]
    yield from compare("har", "500x1500", methods)


def ours(returns: FloatArray) -> FloatArray:
    """The forecast alone, as `volatility.volatility` makes it: some series at a time, so that they stay in cache."""
    windows, step = list(FORECAST_WEIGHTS)[1:], max(volatility._BLOCK_CELLS // len(returns), 1)
    forecast = np.empty_like(returns)
    for first in range(0, returns.shape[1], step):
        block = returns[:, first : first + step]
        finite = np.isfinite(block)
        squares = np.where(finite, block, 0.0) ** 2
        sums, counts = (trailing_sums(values, windows) for values in (squares, finite.astype(np.int16)))
        forecast[:, first : first + step] = volatility._forecast(sums, counts)
    return forecast


def pandas_forecast(returns: FloatArray) -> FloatArray:
    """The same by pandas' rolling means."""
    squares = pd.DataFrame(returns) ** 2
    means = {k: squares.rolling(k, min_periods=1).mean() for k in FORECAST_WEIGHTS}
    variance = sum(weight * means[k].fillna(0.0) for k, weight in FORECAST_WEIGHTS.items())
    forecast: FloatArray = np.sqrt(SESSIONS_A_YEAR * np.asarray(variance))
    return forecast
