"""What moved a book's variance from one session to another: one input after the other is put in the place of the old.

Not here: the variance itself (``risk``), and what the book holds (``portfolio``).
"""

import numpy as np

from assets.numerics.arrays import FloatArray
from assets.numerics.constants import SESSIONS_A_YEAR

PARTS = ("trades", "prices", "betas", "factors", "specific")
"""The order in which the inputs change."""


def variance_path(exposure: FloatArray, covariance: FloatArray, specific: FloatArray) -> FloatArray:
    """(6,) annualised ``b'Fb + v`` at the start and after each of ``PARTS``; the differences add up to the change.

    ===========  ==========  =====  =====
    after        b           F      v
    ===========  ==========  =====  =====
    the start    0           old    0
    trades       1           old    1
    prices       2           old    2
    betas        3           old    2
    factors      3           new    2
    specific     3           new    3
    ===========  ==========  =====  =====

    :param exposure: (4, K) of the old book; of the new quantities at old prices; of the new book with old betas; with
        new ones.
    :param covariance: (2, K, K) of the factors for a session, old and new.
    :param specific: (4,) variance for a session: of the first three books by the old residuals, of the new book by the
        new ones.
    """
    b, f, v = (np.array(at) for at in ((0, 1, 2, 3, 3, 3), (0, 0, 0, 0, 1, 1), (0, 1, 2, 2, 2, 3)))
    factors = np.einsum("sk,skj,sj->s", exposure[b], covariance[f], exposure[b])
    path: FloatArray = SESSIONS_A_YEAR * (factors + specific[v])
    return path
