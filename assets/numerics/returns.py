"""Simple returns from raw closes and corporate actions; no filling, no aggregation over sessions or symbols."""

import numpy as np

from assets.numerics.arrays import BoolArray, FloatArray
from assets.numerics.constants import MAX_RETURN


def simple_returns(close: FloatArray, dividend: FloatArray, split: FloatArray) -> FloatArray:
    """Total return of each session over the session before it.

    ``r[t] = (close[t] + dividend[t]) * split[t] / close[t-1] - 1``, the dividend a share as traded on t, after the
    split where both fall on t.

    :param close: (T, S) raw closes on consecutive sessions, ascending; NaN where there is none.
    :param dividend: (T, S) in the currency of close; NaN counts as none. Adjusted closes come with 0.
    :param split: (T, S) new shares for one old; NaN counts as 1. Adjusted closes come with 1.
    :returns: (T, S) decimal returns. NaN on the first session and wherever t or t-1 has no close: a return never spans
        a gap, so an action on a session without a close enters no return.
    """
    returns = np.full(close.shape, np.nan)
    dividend, split = np.nan_to_num(dividend[1:], nan=0.0), np.nan_to_num(split[1:], nan=1.0)
    returns[1:] = (close[1:] + dividend) * split / close[:-1] - 1.0
    return returns


def outliers(returns: FloatArray, split: FloatArray) -> BoolArray:
    """(T, S) returns above 500% on a session without a split: more likely a misprint than a price.

    They are kept; what is computed from them says so.
    """
    jumps: BoolArray = (np.abs(returns) > MAX_RETURN) & (np.nan_to_num(split, nan=1.0) == 1.0)
    return jumps
