"""What a book would make in a scenario: how factors move together, and what positions returned over a window.

Not here: which scenarios there are, and what the book holds.
"""

import numpy as np

from assets.numerics.arrays import BoolArray, FloatArray


def following_moves(covariance: FloatArray, moves: FloatArray) -> FloatArray:
    """(K,) the factors' moves: those given, and of the others what is expected beside them (Kupiec 1998).

    ``s_B = F_BA F_AA^-1 s_A``, A the factors that are given. With the market alone, a book makes ``market_total`` times
    its move.

    :param covariance: (K, K) of the factors.
    :param moves: (K,) decimal returns; NaN for a factor that follows.
    """
    given: BoolArray = np.isfinite(moves)
    pull = np.linalg.lstsq(covariance[np.ix_(given, given)], moves[given])[0]
    return np.where(given, moves, covariance[:, given] @ pull)


def window_returns(close: FloatArray, dividend: FloatArray, split: FloatArray) -> FloatArray:
    """(S,) total return from the first row's close to the last row's; NaN without either of the two.

    Without a gap, the product of ``1 + returns.simple_returns``: dividends are reinvested at the close of their
    session. One that is paid on a session without a close is left out; a split counts always.

    :param close: (T, S) raw closes on consecutive sessions; dividend and split as in ``returns.simple_returns``.
    """
    paid = np.nan_to_num(dividend[1:] / close[1:], nan=0.0)
    shares = np.prod((1.0 + paid) * np.nan_to_num(split[1:], nan=1.0), axis=0)
    total: FloatArray = close[-1] * shares / close[0] - 1.0
    return total
