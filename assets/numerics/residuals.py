"""What the factors leave of a portfolio: its residual series, how exact its exposures are, who has the residual risk.

The factors themselves are ``factor_windows``'s; how variance splits is ``risk``'s.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from assets.numerics.arrays import BoolArray, FloatArray, IntArray
from assets.numerics.constants import MIN_RESIDUAL_COVERAGE
from assets.numerics.factor_windows import FactorWindows, robust_weights
from assets.numerics.portfolio import Weights, betas_of, has_betas, weighted_sum
from assets.numerics.windows import in_any_row, session_rows, window_sums, windowed_product

_ROUNDING = 1e-13
"""A variance below this share of that of the returns is rounding."""


@dataclass(frozen=True)
class Residuals:
    """The covered part of a portfolio beside its factors: D sessions, S symbols, K factors, windows of W sessions.

    Several portfolios stand before the D sessions.
    """

    weight: FloatArray
    """(D, S) weights of the symbols that have betas, by their share of gross value; 0 for the others."""
    coverage: FloatArray
    """(D,) that share."""
    beta: FloatArray
    """(D, S, K) of the same symbols; 0 for the others."""
    exposure: FloatArray
    """(D, K) of the covered part: the book's own regression coefficients, where no symbol has a gap."""
    series: FloatArray
    """(D, W) residuals of the window; 0 on sessions without one."""
    known: BoolArray | None
    """(D, W) sessions that have one; None for all of every window."""

    @cached_property
    def squares(self) -> FloatArray:
        """(D, W) of the series."""
        squares: FloatArray = self.series**2
        return squares

    @property
    def n_obs(self) -> IntArray:
        """(D,) sessions that have a residual."""
        whole = np.full(self.series.shape[:-1], self.series.shape[-1])
        return whole if self.known is None else self.known.sum(axis=-1)

    @property
    def variance(self) -> FloatArray:
        """(D,) variance of the residuals (ddof 1)."""
        n_obs = self.n_obs
        total = self.squares.sum(axis=-1) - self.series.sum(axis=-1) ** 2 / np.maximum(n_obs, 1)
        variance: FloatArray = np.maximum(total, 0.0) / np.maximum(n_obs - 1, 1)
        return variance


@dataclass(frozen=True)
class _Panel:
    """Returns over the sessions of the windows."""

    returns: FloatArray
    """(L, ..., S) 0 where there is none, and on sessions that lack a factor."""
    gaps: IntArray
    """(G,) the symbols that miss sessions which have every factor."""
    missing: FloatArray
    """(L, ..., G) 1 on these sessions."""


def residuals(weights: Weights, beta: FloatArray, returns: FloatArray, windows: FactorWindows) -> Residuals:
    """The residual series of a portfolio in the window of each session, with that session's weights and betas.

    ``e_t = sum_i u_i e_it / c_t`` over the symbols that have a return on t, ``e_it = r_it - a_i - x_t' b_i`` with the
    stored betas and the intercept that goes with them, u the covered weights and c_t the share of ``sum |u_i|`` that
    has a return. Sessions that lack a factor, or with c_t below 0.5, have none.

    :param beta: (..., D, S, K); NaN where there is none.
    :param returns: (T, ..., S) decimal returns on the sessions that the windows were made from; NaN where there is
        none.
    """
    covered = has_betas(beta) & (weights.weight != 0) & ~np.isnan(weights.weight)
    coverage = weights.coverage(covered)
    weight = np.where(covered, weights.weight, 0.0) / np.where(coverage > 0, coverage, 1.0)[..., None]
    beta = betas_of(covered, beta)
    exposure = weighted_sum(weight, beta)
    panel = _panel(returns, windows, in_any_row(covered))
    factors = windows.factors.reshape(-1, *[1] * (returns.ndim - 2), exposure.shape[-1])
    factors = np.broadcast_to(factors, (*panel.returns.shape[:-1], exposure.shape[-1]))
    taken = np.concatenate([weight, -exposure], axis=-1), np.concatenate([panel.returns, factors], axis=-1)
    series = windowed_product(*taken, windows.offsets, windows.window)
    cells, fitted, share = _of_the_missing(weight, beta, panel, windows)
    series[cells] += fitted
    known = windows.known()
    n_obs = windows.window if known is None else np.maximum(known.sum(axis=-1), 1)
    series -= (series.sum(axis=-1) / n_obs)[..., None]
    scarce = share < MIN_RESIDUAL_COVERAGE
    series[cells] /= np.where(scarce, 1.0, share)
    if scarce.any():
        known = np.ones(series.shape, dtype=bool) if known is None else np.broadcast_to(known, series.shape).copy()
        known[cells] &= ~scarce
    if known is not None:
        series = np.where(known, series, 0.0)
    return Residuals(weight, coverage, beta, exposure, series, known)


def standard_errors(found: Residuals, windows: FactorWindows) -> FloatArray:
    """(D, K) HC3 standard errors of the whole portfolio's exposures: of the covered part's, times the coverage."""
    squares = found.squares
    variance = np.matmul(windows.robust, squares[..., None])[..., 0]
    if found.known is not None:
        # Sessions left out for want of symbols have no place in X either.
        complete = windows.known()
        fewer = np.nonzero((~found.known if complete is None else complete & ~found.known).any(axis=-1))
        if fewer[0].size:
            rows = zip(fewer[-1].tolist(), found.known[fewer], strict=True)
            design = np.stack([_window_rows(windows, d) * known[:, None] for d, known in rows])
            variance[fewer] = np.einsum("dkw,dw->dk", robust_weights(design), squares[fewer])
    se: FloatArray = found.coverage[..., None] * np.sqrt(variance)
    return se


def symbol_variances(
    found: Residuals, r_squared: FloatArray, returns: FloatArray, windows: FactorWindows
) -> FloatArray:
    """(D, S) variance (ddof 1) of each covered symbol's own residuals, ``(1 - R2) var(r)``; 0 for the others.

    :param r_squared: (..., D, S) of the fits.
    """
    rows = session_rows(returns, windows.start, windows.start + len(windows.complete))
    present = np.isfinite(rows)
    present[~windows.complete] = False
    whole = present.all()
    values = rows if whole else np.where(present, rows, 0.0)
    sums = window_sums(np.concatenate([values, values**2], axis=-1), windows.offsets, windows.window)
    total, squares = np.split(sums, 2, axis=-1)
    n_obs: IntArray | int = windows.window
    if not whole:
        n_obs = window_sums(present.astype(np.int16), windows.offsets, windows.window).astype(np.int64)
    variance = np.maximum(squares - total**2 / np.maximum(n_obs, 1), 0.0) / np.maximum(n_obs - 1, 1)
    variance = np.moveaxis(variance, 0, -2)
    own = (found.weight != 0) & np.isfinite(r_squared)
    return np.where(own, (1.0 - r_squared) * variance, 0.0)


def symbol_shares(found: Residuals, returns: FloatArray, windows: FactorWindows) -> FloatArray:
    """(D, S) what each symbol adds to the residual variance, ``u_i cov(e_i, e)``, rescaled so that it adds up to it.

    Covariances are over the sessions on which both have a residual. Without gaps they add up by themselves.
    """
    shares = np.zeros(found.weight.shape)
    rows = session_rows(returns, windows.start, windows.start + len(windows.complete))
    for d, offset in enumerate(windows.offsets):
        own = np.flatnonzero(found.weight[d])
        if own.size:
            window = slice(int(offset), int(offset) + windows.window)
            shares[d, own] = found.weight[d, own] * _covariances(found, windows, rows[window][:, own], d, own)
    total, variance = shares.sum(axis=1), found.variance
    moves = (variance > 0) & (total > _ROUNDING * np.abs(shares).sum(axis=1))
    return shares * np.where(moves, variance / np.where(moves, total, 1.0), 0.0)[:, None]


def _covariances(found: Residuals, windows: FactorWindows, returns: FloatArray, d: int, own: IntArray) -> FloatArray:
    """(N,) covariances of the residuals of some symbols, returns (W, N), with the portfolio's at session d."""
    x = _window_rows(windows, d)
    present = np.isfinite(returns) & (x[:, :1] > 0)
    left = np.where(present, np.where(present, returns, 0.0) - x[:, 1:] @ found.beta[d, own].T, 0.0)
    both = present if found.known is None else present & found.known[d, :, None]
    n_obs = np.maximum(both.sum(axis=0), 1)
    book = found.series[d]
    mean = (book[:, None] * both).sum(axis=0) / n_obs
    # Any constant (the intercept, too) drops out against deviations from the mean of the common sessions.
    covariance: FloatArray = (left * both * (book[:, None] - mean)).sum(axis=0) / np.maximum(n_obs - 1, 1)
    return covariance


def _window_rows(windows: FactorWindows, d: int) -> FloatArray:
    """(W, 1 + K) intercept and factors in the window of session d; zeros on sessions that lack a factor."""
    window = slice(int(windows.offsets[d]), int(windows.offsets[d]) + windows.window)
    return np.column_stack([windows.complete[window], windows.factors[window]])


def _panel(returns: FloatArray, windows: FactorWindows, wanted: BoolArray) -> _Panel:
    rows = session_rows(returns, windows.start, windows.start + len(windows.complete))
    finite = np.isfinite(rows)
    if finite.all() and windows.complete.all():
        return _Panel(rows, np.empty(0, dtype=np.int64), np.empty((*rows.shape[:-1], 0)))
    missing = ~finite
    missing[~windows.complete] = False
    gaps = np.flatnonzero(in_any_row(missing) & wanted)
    values = np.where(finite, rows, 0.0)
    values[~windows.complete] = 0.0
    return _Panel(values, gaps, missing[..., gaps].astype(np.float64))


def _of_the_missing(
    weight: FloatArray, beta: FloatArray, panel: _Panel, windows: FactorWindows
) -> tuple[tuple[Any, ...], FloatArray, FloatArray]:
    """What symbols that miss sessions change there, for want of ``e_it``.

    The sum over symbols has taken ``-x_t' b_i`` of each where it has no return: that is given back. The mean will take
    its intercept a_i there as well: it is given in advance.

    :returns: the N cells (session, place in its window) that some symbol misses; (..., N) what is given; (..., N) the
        share of weight that has a return.
    """
    gaps, rows = panel.gaps, np.flatnonzero(panel.missing.reshape(len(panel.missing), -1).any(axis=1))
    if not rows.size:
        return (..., rows, rows), np.empty(0), np.empty(0)
    own, loading, missing = weight[..., gaps], beta[..., gaps, :], np.moveaxis(panel.missing[rows], 0, -2)
    places = rows - windows.offsets[:, None]
    inside = (places >= 0) & (places < windows.window)
    d, m = np.nonzero(inside)
    design = np.column_stack([windows.complete, windows.factors])
    missed = np.concatenate([missing * column[rows, None] for column in design.T], axis=-1)
    total = window_sums(design, windows.offsets, windows.window)
    moves = np.repeat(total, len(gaps), axis=1) - inside @ missed
    n_obs, *moves = np.split(moves, design.shape[1], axis=-1)
    explained = sum(move * slope for move, slope in zip(moves, np.moveaxis(loading, -1, 0), strict=True))
    returned = np.moveaxis(window_sums(panel.returns[..., gaps], windows.offsets, windows.window), 0, -2)
    intercept = (returned - explained) / np.maximum(n_obs, 1.0)
    given = np.concatenate([own * intercept, *(own * slope for slope in np.moveaxis(loading, -1, 0))], axis=-1)
    fitted = given @ np.swapaxes(missed, -1, -2)
    size = np.abs(weight).sum(axis=-1, keepdims=True)
    lost = (np.abs(own) / np.where(size > 0, size, 1.0)) @ np.swapaxes(missing, -1, -2)
    return (..., d, places[d, m]), fitted[..., d, m], 1.0 - lost[..., d, m]
