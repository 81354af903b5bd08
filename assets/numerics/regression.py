"""Rolling factor regressions of many symbols at once: betas, standard errors, fit and quality.

What is fitted, by which method, and what the result is worth. The arithmetic that the methods share is ``kernel``'s;
which factors a model has, and where returns come from, belongs elsewhere.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from assets.numerics import kernel
from assets.numerics.arrays import BoolArray, CodeArray, FloatArray, IntArray, TextArray
from assets.numerics.constants import (
    BETA_WINDOW,
    FULL_WINDOW_SHARE,
    MAX_CONDITION,
    MAX_VIF,
    MIN_OBS,
    MIN_OBS_BEYOND_FACTORS,
    PRIOR_MARKET,
    PRIOR_SPREAD,
    RECENT_SESSIONS,
    RIDGE_KAPPA,
    SESSIONS_A_YEAR,
)
from assets.numerics.kernel import Projection, Windows
from assets.numerics.windows import checked_targets, count_texts, first_reason, has_reason, session_rows, trailing_sum

Method = Literal["ols", "ridge", "univariate", "bayes"]

MARKET = "market"
DEPENDENT = "Factors are linearly dependent"
SILENT = f"No return in the last {RECENT_SESSIONS} sessions"
FLAT = "Price did not move in the window"

_BLOCK_SESSIONS = 32
_SYMBOLS = 2048
"""Fitted at a time: with many more, most of the time goes into memory that is new each time."""
_GAP_SYMBOLS = 512
_NUMBERS = "beta", "se", "r_squared", "residual_vol", "market_total"
_OF_A_SYMBOL = *_NUMBERS, "n_obs", "quality", "reason"

_Residuals = tuple[FloatArray, FloatArray]
"""(B, S) residual sum of squares, and residual variance of a session."""


class Quality(IntEnum):
    """What a fit is worth, worst first; rows store the label."""

    FAILED = 0
    INSUFFICIENT_HISTORY = 1
    OUTLIER = 2
    COLLINEAR = 3
    LIMITED_HISTORY = 4
    FULL_HISTORY = 5

    @property
    def label(self) -> str:
        """The name as rows store it."""
        return self.name.lower()


QUALITY_LABELS: TextArray = np.array([quality.label for quality in Quality], dtype=object)
"""(6,) labels by code: ``QUALITY_LABELS[fits.quality]``."""


@dataclass(frozen=True)
class Fits:
    """Fits of D sessions, S symbols and K factors; NaN where quality is failed or insufficient_history."""

    beta: FloatArray
    """(D, S, K) in the order of the factors."""
    se: FloatArray
    """(D, S, K) standard errors of beta."""
    r_squared: FloatArray
    """(D, S)."""
    residual_vol: FloatArray
    """(D, S) annualised decimal."""
    market_total: FloatArray
    """(D, S) beta to the market with what the other factors carry of it, ``(F b)_market / F_market,market``."""
    n_obs: IntArray
    """(D, S) sessions used; never missing."""
    condition: FloatArray
    """(D,) of the centred factors at unit variance; infinite for a factor that does not move."""
    max_vif: FloatArray
    """(D,) largest variance inflation factor; NaN where the factors are linearly dependent."""
    quality: CodeArray
    """(D, S) codes of Quality."""
    reason: TextArray
    """(D, S) why there are no numbers, else None."""


@dataclass(frozen=True)
class _Model:
    """What is to be fitted."""

    names: Sequence[str]
    """(K,)."""
    method: Method
    window: int
    required: int
    """Sessions that a symbol must have."""

    @cached_property
    def scarce_texts(self) -> TextArray:
        """The reason for each number of sessions that is less than required."""
        return count_texts(f"Insufficient history: {{n}} < {self.required}", self.window)

    @property
    def full(self) -> int:
        """Sessions from which on a window is full history; factors with fewer make no fit."""
        return math.ceil(FULL_WINDOW_SHARE * self.window)


@dataclass(frozen=True)
class _Factors:
    """The factors of D sessions, and what they are worth."""

    r: FloatArray
    """(D, P, P) triangles; 1 where the factors failed, so that arithmetic goes through."""
    inverse: FloatArray
    """(D, P, P) ``R^-1``."""
    condition: FloatArray
    max_vif: FloatArray
    reason: TextArray
    """(D,) why no symbol can be fitted, else None."""

    def part(self, block: slice) -> "_Factors":
        """Those of a block of sessions."""
        return _Factors(**{name: values[block] for name, values in vars(self).items()})


def fit(
    returns: FloatArray,
    factors: FloatArray,
    targets: npt.ArrayLike,
    *,
    factor_names: Sequence[str],
    method: Method = "ols",
    window: int = BETA_WINDOW,
    min_obs: int = MIN_OBS,
    outliers: BoolArray | None = None,
) -> Fits:
    """Regress every symbol on the factors, over the window that ends at each target session.

    NaN handling: a session counts for a symbol when its return and all factor returns are finite; sessions before the
    first row are missing. A target whose own factor row is missing is fitted without it: whether a factor's return is
    still to come is for the caller to know.

    :param returns: (T, S) decimal returns on consecutive sessions.
    :param factors: (T, K) decimal factor returns; the market, if the model has one, is the first.
    :param targets: (D,) strictly ascending rows.
    :param method: ``ols``; ``ridge`` (styles net of the market are shrunk, market and intercept are not: Hoerl &
        Kennard 1970); ``univariate`` (one regression a factor; fit and condition are those of the market's); ``bayes``
        (least squares weighed against a fixed prior of each factor: Vasicek 1973).
    :param window: sessions of a window.
    :param min_obs: a symbol with fewer sessions, or fewer than K + 10, has no numbers.
    :param factor_names: (K,) different names; the market's is ``market``.
    :param outliers: (T, S) returns that are not believed, from ``returns.outliers``; a window that holds one says so in
        its quality, and counts it.
    :raises ValueError: names that do not fit the factors, a market that is not the first (``ridge`` and ``univariate``
        need one), targets that are not ascending rows, a window too short for the factors.
    """
    _check_names(factor_names, factors.shape[1], method)
    required = max(min_obs, len(factor_names) + MIN_OBS_BEYOND_FACTORS)
    if window < required:
        raise ValueError(f"window must be at least {required} sessions for {len(factor_names)} factors, got {window}")
    model = _Model(factor_names, method, window, required)
    ends = checked_targets(targets, len(returns))
    fits = _blank_fits(len(ends), returns.shape[1], len(factor_names))
    if ends.size:
        start, stop = int(ends[0]) - window + 1, int(ends[-1]) + 1
        _fill(fits, session_rows(returns, start, stop), session_rows(factors, start, stop), ends - start, model)
        if outliers is not None and outliers.any():
            _flag(fits, outliers & np.isfinite(factors).all(axis=1, keepdims=True), ends, window)
    return fits


def _flag(fits: Fits, outliers: BoolArray, ends: IntArray, window: int) -> None:
    """Say which windows (D, S) hold an outlier (T, S)."""
    held = trailing_sum(outliers.astype(np.int16), window)[ends] > 0
    fits.quality[held & (fits.quality > Quality.OUTLIER)] = Quality.OUTLIER


def factor_covariance(factors: FloatArray, targets: npt.ArrayLike, window: int = BETA_WINDOW) -> FloatArray:
    """Covariance (ddof 1) of the factors over the sessions of each target's window that have every factor.

    :param factors: (T, K) decimal factor returns on consecutive sessions; NaN where there is none.
    :param targets: (D,) strictly ascending rows.
    :returns: (D, K, K) of daily returns; NaN where fewer than two sessions have every factor.
    """
    ends = checked_targets(targets, len(factors))
    if not ends.size:
        return np.empty((0, factors.shape[1], factors.shape[1]))
    start = int(ends[0]) - window + 1
    rows = session_rows(factors, start, int(ends[-1]) + 1)
    windows = np.swapaxes(sliding_window_view(rows, window, axis=0)[ends - ends[0]], 1, 2)
    complete = np.isfinite(windows).all(axis=2, keepdims=True)
    n_obs = complete.sum(axis=1, keepdims=True)
    mean = np.where(complete, windows, 0.0).sum(axis=1, keepdims=True) / np.maximum(n_obs, 1)
    centred = np.where(complete, windows - mean, 0.0)
    return np.swapaxes(centred, 1, 2) @ centred / np.where(n_obs > 1, n_obs - 1.0, np.nan)


def _check_names(names: Sequence[str], n_factors: int, method: Method) -> None:
    if len(names) != n_factors or len(set(names)) != n_factors or not n_factors:
        raise ValueError(f"factor_names must name {n_factors} different factors, got {list(names)}")
    if names[0] != MARKET and (MARKET in names or method in ("ridge", "univariate")):
        raise ValueError(f"the first factor must be {MARKET!r} for method {method!r}, got {list(names)}")
    if method == "bayes" and not set(names) <= set(PRIOR_SPREAD):
        raise ValueError(f"method 'bayes' has a prior for {sorted(PRIOR_SPREAD)}, got {list(names)}")


def _blank_fits(n_targets: int, n_symbols: int, n_factors: int) -> Fits:
    cells = n_targets, n_symbols
    # Symbols last in memory: that is how the kernel makes loadings, and how a column of a table takes them.
    beta, se = np.moveaxis(np.empty((2, n_targets, n_factors, n_symbols)), 2, 3)
    return Fits(
        beta=beta,
        se=se,
        r_squared=np.empty(cells),
        residual_vol=np.empty(cells),
        market_total=np.empty(cells),
        n_obs=np.empty(cells, dtype=np.int64),
        condition=np.empty(n_targets),
        max_vif=np.empty(n_targets),
        quality=np.empty(cells, dtype=np.int8),
        reason=np.empty(cells, dtype=object),  # None
    )


def _fill(fits: Fits, returns: FloatArray, factors: FloatArray, ends: IntArray, model: _Model) -> None:
    """Fill fits some symbols at a time, so that what is made on the way fits into memory that is used again."""
    blocks = list(_blocks(factors, ends, model.window))
    examined = _examine([windows for _, windows in blocks], model)
    fits.condition[:], fits.max_vif[:] = examined.condition, examined.max_vif
    complete: BoolArray = np.all(np.isfinite(factors), axis=1, keepdims=True)
    for first in range(0, returns.shape[1], _SYMBOLS):
        columns = slice(first, first + _SYMBOLS)
        part = replace(fits, **{name: getattr(fits, name)[:, columns] for name in _OF_A_SYMBOL})
        _fill_symbols(part, returns[:, columns], complete, ends, blocks, examined, model)


def _fill_symbols(
    fits: Fits,
    returns: FloatArray,
    complete: BoolArray,
    ends: IntArray,
    blocks: Sequence[tuple[slice, Windows]],
    examined: _Factors,
    model: _Model,
) -> None:
    """Fill fits block by block: all symbols as if they had no gaps, then those that have, apart."""
    finite = np.isfinite(returns)
    values = np.where(finite & complete, returns, 0.0)
    squares = values**2
    missing = complete & ~finite
    recent = trailing_sum(finite.astype(np.int8), RECENT_SESSIONS)[ends] > 0
    for block, windows in blocks:
        rows = slice(int(ends[block.start]) - model.window + 1, int(ends[block.stop - 1]) + 1)
        own = examined.part(block)
        projection = kernel.project(windows, own.r, own.inverse, values[rows], squares[rows])
        part = Fits(**{name: numbers[block] for name, numbers in vars(fits).items()})
        _solve(part, own, projection, recent[block], model)
        for columns in _gap_columns(missing[rows]):
            corrected = kernel.project_gaps(windows, projection, columns, missing[rows][:, columns])
            apart = _blank_fits(len(recent[block]), len(columns), len(model.names))
            _solve(apart, own, corrected, recent[block][:, columns], model)
            for name in _OF_A_SYMBOL:
                getattr(part, name)[:, columns] = getattr(apart, name)


def _blocks(factors: FloatArray, ends: IntArray, window: int) -> Iterator[tuple[slice, Windows]]:
    """Runs of targets whose windows share a basis."""
    first = 0
    while first < len(ends):
        reach = int(np.searchsorted(ends, ends[first] + min(_BLOCK_SESSIONS, window)))
        windows = kernel.factorise(factors, ends[first:reach], window)
        yield slice(first, first + len(windows.r)), windows
        first += len(windows.r)


def _gap_columns(missing: BoolArray) -> Iterator[IntArray]:
    """The symbols with gaps, some at a time: their triangles are many times the size of their returns."""
    columns = np.flatnonzero(missing.any(axis=0))
    for first in range(0, len(columns), _GAP_SYMBOLS):
        yield columns[first : first + _GAP_SYMBOLS]


def _examine(blocks: Sequence[Windows], model: _Model) -> _Factors:
    """Condition, variance inflation, and whether the factors can be used at all, for all sessions at once."""
    r = np.concatenate([windows.r for windows in blocks])
    if model.method == "univariate":
        condition = np.where(np.all(kernel.moving(r), axis=1), 1.0, np.inf)
    else:
        condition = kernel.condition(r)
    dependent, short = condition > MAX_CONDITION, np.concatenate([windows.n_obs for windows in blocks]) < model.full
    failed = dependent | short
    r[failed] = np.eye(r.shape[1])
    inverse = np.moveaxis(kernel.inverse_triangle(np.moveaxis(r, 0, 2)[None])[0], 2, 0)
    vif = np.ones(len(r)) if model.method == "univariate" else kernel.max_vif(r, inverse)
    reason = first_reason(failed.shape, (dependent, DEPENDENT))
    lacking = np.concatenate([windows.lacking for windows in blocks])
    for session in np.flatnonzero(short):
        reason[session] = _lacking_text(lacking[session], model)
    return _Factors(
        r=r,
        inverse=inverse,
        condition=np.where(short, np.nan, condition),
        max_vif=np.where(failed, np.nan, vif),
        reason=reason,
    )


def _lacking_text(lacking: IntArray, model: _Model) -> str:
    """Which factors lack how many sessions (K,) of the window."""
    named = ", ".join(f"{name} {n}" for name, n in zip(model.names, lacking, strict=True) if n)
    return f"Factor returns missing in the last {model.window} sessions: {named}"


def _ols(projection: Projection, beta: FloatArray, se: FloatArray) -> _Residuals:
    """Least squares: ``beta = R^-1 Q' y``, ``se^2 = rss / (n - K - 1) diag((X'X)^-1)``."""
    inverse = projection.inverse[:, 1:]
    variance = projection.rss / np.maximum(projection.n_obs - inverse.shape[2], 1)
    kernel.times(inverse, projection.w, out=beta)
    np.multiply(np.sqrt((inverse**2).sum(axis=2)), np.sqrt(variance)[:, None], out=se)
    return projection.rss, variance


def _ridge(projection: Projection, beta: FloatArray, se: FloatArray) -> _Residuals:
    """Ridge on the styles net of the market, Z at unit variance: ``b = (Z'Z + kappa n I)^-1 Z'y / sd``.

    The market's beta is the slope of what is left on the market. Standard errors ignore the bias.
    """
    r, w = projection.r, projection.w
    n_obs = np.maximum(projection.n_obs, 1)
    styles, slopes = r[:, 2:, 2:], r[:, 1, 2:] / r[:, 1, 1][:, None]
    sd = np.sqrt((styles**2).sum(axis=1) / n_obs[:, None])
    scaled = styles / sd[:, None]
    gram = np.einsum("bkis,bkjs->bijs", scaled, scaled)
    penalty = RIDGE_KAPPA * n_obs[:, None, None] * np.eye(gram.shape[1])[..., None]
    shrunk = np.moveaxis(np.linalg.inv(np.moveaxis(gram + penalty, 3, 1)), 1, 3)
    smoother = np.einsum("bijs,bjks->biks", shrunk, gram)
    b_styles = kernel.times(shrunk, kernel.times(np.swapaxes(scaled, 1, 2), w[:, 2:])) / sd
    b_market = w[:, 1] / r[:, 1, 1] - (slopes * b_styles).sum(axis=1)
    rss = projection.rss + ((w[:, 2:] - kernel.times(styles, b_styles)) ** 2).sum(axis=1)
    variance = rss / np.maximum(n_obs - 2.0 - np.einsum("biis->bs", smoother), 1.0)
    covariance = np.einsum("bijs,bjks->biks", smoother, shrunk) / (sd[:, :, None] * sd[:, None])
    spread = np.einsum("bis,bijs,bjs->bs", slopes, covariance, slopes) + 1.0 / r[:, 1, 1] ** 2
    diagonal = np.concatenate([spread[:, None], np.einsum("biis->bis", covariance)], axis=1)
    beta[:, 0], beta[:, 1:] = b_market, b_styles
    np.sqrt(diagonal * variance[:, None], out=se)
    return rss, variance


def _univariate(projection: Projection, beta: FloatArray, se: FloatArray) -> _Residuals:
    """One regression on each factor alone; fit and residuals are those of the market's."""
    centred = projection.r[:, 1:, 1:]
    sxx = (centred**2).sum(axis=1)
    sxy = kernel.times(np.swapaxes(centred, 1, 2), projection.w[:, 1:])
    rss = np.maximum(projection.tss[:, None] - sxy**2 / sxx, 0.0)
    variance = rss / np.maximum(projection.n_obs - 2, 1)[:, None]
    np.divide(sxy, sxx, out=beta)
    np.sqrt(variance / sxx, out=se)
    return rss[:, 0], variance[:, 0]


def prior(names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """What method ``bayes`` expects of a beta before it sees returns: (K,) means and standard deviations."""
    return (
        np.array([PRIOR_MARKET if name == MARKET else 0.0 for name in names]),
        np.array([PRIOR_SPREAD[name] for name in names]),
    )


def _bayes(names: Sequence[str], projection: Projection, beta: FloatArray, se: FloatArray) -> _Residuals:
    """Posterior of normal betas: mean ``(G/s^2 + T)^-1 (G b/s^2 + T beta_0)``, covariance ``(G/s^2 + T)^-1``.

    G is the centred X'X, b and s^2 those of ``ols``, ``T = diag(1 / tau^2)`` of the prior. With ``R tau = U D V'``, R
    the triangle of G, both are diagonal in the basis V whatever a symbol's s^2: symbols without gaps share it.
    """
    mean, spread = prior(names)
    centred, w = projection.r[:, 1:, 1:], projection.w[:, 1:]
    variance = projection.rss / np.maximum(projection.n_obs - len(names) - 1, 1)
    left, size, right = np.linalg.svd(np.moveaxis(centred * spread[:, None], 3, 1))
    to_basis, basis = np.moveaxis(np.swapaxes(left, 2, 3), 1, 3), np.moveaxis(right, 1, 3)
    size = np.moveaxis(size, 1, 2)
    total = size**2 + variance[:, None]
    data = size * kernel.times(to_basis, w)
    expected = variance[:, None] * np.einsum("bijs,j->bis", basis, mean / spread)
    out = np.swapaxes(basis, 1, 2) * spread[:, None, None]
    kernel.times(out, (data + expected) / total, out=beta)
    np.sqrt(kernel.times(out**2, np.broadcast_to(variance[:, None] / total, w.shape)), out=se)
    rss = projection.rss + ((w - kernel.times(centred, beta)) ** 2).sum(axis=1)
    return rss, rss / np.maximum(projection.n_obs - len(names) - 1, 1)


def _method(model: _Model) -> Callable[[Projection, FloatArray, FloatArray], _Residuals]:
    """What writes betas and standard errors (B, K, S) where they belong."""
    return partial(_bayes, model.names) if model.method == "bayes" else _METHODS[model.method]


_METHODS: dict[Method, Callable[[Projection, FloatArray, FloatArray], _Residuals]] = {
    "ols": _ols,
    "ridge": _ridge,
    "univariate": _univariate,
}


def _solve(fits: Fits, factors: _Factors, projection: Projection, recent: BoolArray, model: _Model) -> None:
    """Fill fits, whose D sessions and S symbols are those of the projection."""
    beta, se = np.swapaxes(fits.beta, 1, 2), np.swapaxes(fits.se, 1, 2)
    rss, variance = _method(model)(projection, beta, se)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.subtract(1.0, rss / projection.tss, out=fits.r_squared)
    np.sqrt(SESSIONS_A_YEAR * variance, out=fits.residual_vol)
    _market_total(factors.r, beta, model, fits.market_total)
    fits.n_obs[:] = projection.n_obs
    _judge(fits, factors, projection, recent, model)
    unfit = fits.quality <= Quality.INSUFFICIENT_HISTORY
    if unfit.any():
        for name in _NUMBERS:
            getattr(fits, name)[unfit] = np.nan


def _market_total(r: FloatArray, beta: FloatArray, model: _Model, out: FloatArray) -> None:
    """(B, S) ``(F b)_market / F_market,market``: with the market first, F's market row is R's."""
    if model.names[0] != MARKET:
        out[:] = np.nan
    elif model.method == "univariate":
        out[:] = beta[:, 0]
    else:
        np.matmul((r[:, 1, 1:] / r[:, 1, 1, None])[:, None], beta, out=out[:, None])


def _judge(fits: Fits, factors: _Factors, projection: Projection, recent: BoolArray, model: _Model) -> None:
    """Quality codes, and reasons where there are no numbers."""
    n_obs = projection.n_obs
    fits.quality[:] = np.where(n_obs < model.full, Quality.LIMITED_HISTORY, Quality.FULL_HISTORY)
    fits.quality[factors.max_vif > MAX_VIF] = Quality.COLLINEAR

    def mark(cells: BoolArray, code: Quality, text: TextArray | str) -> None:
        if cells.any():
            where = np.broadcast_to(cells, recent.shape)
            fits.quality[where], fits.reason[where] = code, np.broadcast_to(text, recent.shape)[where]

    # The last one stands.
    mark(projection.singular, Quality.FAILED, DEPENDENT)
    mark(projection.flat, Quality.FAILED, FLAT)
    mark(n_obs < model.required, Quality.INSUFFICIENT_HISTORY, model.scarce_texts[n_obs])
    mark(~recent, Quality.FAILED, SILENT)
    mark(has_reason(factors.reason)[:, None], Quality.FAILED, factors.reason[:, None])
