"""The factors over the window of each session, as every portfolio of a run needs them: covariance, then and now.

Portfolios and their residuals belong in ``residuals`` and ``risk``; regressions of symbols in ``regression``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from assets.numerics.arrays import BoolArray, FloatArray, IntArray
from assets.numerics.constants import BETA_WINDOW, VOL_WINDOW
from assets.numerics.regression import factor_covariance
from assets.numerics.volatility import har_variance
from assets.numerics.windows import checked_targets, session_rows

_NO_LEVERAGE = 1e-12
"""A session that its own column takes up has no residual to weigh."""


@dataclass(frozen=True)
class FactorWindows:
    """The windows of W sessions that end at each of D target sessions, among L sessions; K factors."""

    targets: IntArray
    """(D,) rows of the arrays that the windows were made from."""
    window: int
    factors: FloatArray
    """(L, K) returns from the first session of the first window on; 0 on sessions that lack a factor."""
    complete: BoolArray
    """(L,) sessions with every factor."""
    covariance: FloatArray
    """(D, K, K) equal-weighted over the window (ddof 1)."""
    scaled: FloatArray
    """(D, K, K) the same with each factor scaled to its forecast: ``D F D``, ``D_k = sqrt(HAR_k / m_252)``."""
    robust: FloatArray
    """(D, K, W) what the squared residual of each session adds to the HC3 variance of each exposure."""

    @property
    def start(self) -> int:
        """The row of the first of the L sessions; negative where the arrays begin later."""
        return int(self.targets[0]) - self.window + 1 if len(self.targets) else 0

    @property
    def offsets(self) -> IntArray:
        """(D,) where each window begins among the L sessions."""
        return self.targets - self.targets[:1]

    def known(self) -> BoolArray | None:
        """(D, W) the sessions of each window that have every factor; None for all of every window."""
        if self.complete.all():
            return None
        known: BoolArray = sliding_window_view(self.complete, self.window)[self.offsets]
        return known


def factor_windows(factors: FloatArray, targets: npt.ArrayLike, window: int = BETA_WINDOW) -> FactorWindows:
    """Prepare factors (T, K) for portfolios at the target sessions (D,), strictly ascending rows.

    :raises ValueError: targets that are not ascending rows.
    """
    ends = checked_targets(targets, len(factors))
    start, stop = (int(ends[0]) - window + 1, int(ends[-1]) + 1) if ends.size else (0, 0)
    rows = session_rows(factors, start, stop)
    complete: BoolArray = np.all(np.isfinite(rows), axis=1)
    rows = np.where(complete[:, None], rows, 0.0)
    covariance = factor_covariance(factors, ends, window)
    design = np.column_stack([complete, rows])
    shape = len(ends), window, design.shape[1]
    windows = np.swapaxes(sliding_window_view(design, window, axis=0)[ends - ends[:1]], 1, 2) if ends.size else None
    growth = np.sqrt(_growth(factors, ends))
    return FactorWindows(
        targets=ends,
        window=window,
        factors=rows,
        complete=complete,
        covariance=covariance,
        scaled=covariance * growth[:, :, None] * growth[:, None],
        robust=robust_weights(np.empty(shape) if windows is None else windows),
    )


def robust_weights(designs: FloatArray) -> FloatArray:
    """(D, K, W) weights of squared residuals in HC3 variances (MacKinnon & White 1985) of the slopes.

    ``V = (X'X)^-1 X' diag((e_t / (1 - h_t))^2) X (X'X)^-1``, h_t the leverage.

    :param designs: (D, W, 1 + K) intercept and factors; rows of zeros are sessions left out.
    """
    inverse = np.linalg.pinv(designs, rcond=1e-12)
    leverage = np.einsum("dwk,dkw->dw", designs, inverse)
    left = 1.0 - leverage
    scale = np.where(left > _NO_LEVERAGE, left, np.inf)
    weights: FloatArray = (inverse[:, 1:] / scale[:, None]) ** 2
    return weights


def _growth(factors: FloatArray, ends: IntArray) -> FloatArray:
    """(D, K) forecast variance of each factor by its mean square over a year; 1 where there is neither."""
    if not ends.size:
        return np.ones((0, factors.shape[1]))
    rows = session_rows(factors, int(ends[0]) - VOL_WINDOW + 1, int(ends[-1]) + 1)
    growth = np.ones((len(ends), factors.shape[1]))
    for k, series in enumerate(rows.T):
        windows = sliding_window_view(series, VOL_WINDOW)[ends - ends[0]]
        known = np.isfinite(windows)
        squares = np.where(known, windows, 0.0) ** 2
        level = squares.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        moves = level > 0
        growth[moves, k] = har_variance(squares, known)[moves] / level[moves]
    return growth
