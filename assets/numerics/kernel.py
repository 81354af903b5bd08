"""Least squares of many symbols on the factors they share: the linear algebra of ``regression``, and no more of it.

The factors of a window are the same for all symbols. So each session has one QR factorisation, ``X = Q R``, and the
``Q'`` of a block of sessions stand on a band that meets the returns of all symbols in one matrix product. A symbol with
gaps corrects its own triangle by the Cholesky factor of ``Q' M Q``, M its mask; that matrix is near the identity, so
squaring costs no accuracy. Nothing is updated from one session to the next.

Shapes: B windows of W sessions, P = 1 + K columns (intercept, factors), S symbols, L sessions from the first of the
first window to the last of the last one.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from assets.numerics.arrays import BoolArray, FloatArray, IntArray

ROUNDING = 1e-13
"""A sum of squares about the mean below this share of the sum about zero is rounding."""
SINGULAR = 1e-10
"""A pivot of ``Q' M Q`` below this is rounding: a symbol's own sessions do not tell the factors apart."""


@dataclass(frozen=True)
class Windows:
    """The factor windows of a block of sessions, factorised."""

    q: FloatArray
    """(B, W, P) orthonormal columns; sessions that lack a factor are rows of zeros."""
    r: FloatArray
    """(B, P, P) upper triangular."""
    n_obs: IntArray
    """(B,) sessions with every factor."""
    lacking: IntArray
    """(B, K) sessions that lack the factor."""
    offsets: IntArray
    """(B,) where each window begins among the L sessions."""


@dataclass(frozen=True)
class Projection:
    """Symbols projected on their factors: all that a method needs to know of the returns."""

    r: FloatArray
    """(B, P, P, 1 or S) triangle of the sessions that the symbol has."""
    w: FloatArray
    """(B, P, S) ``Q' y``."""
    squares: FloatArray
    """(B, S) ``y' y``."""
    n_obs: IntArray
    """(B, 1 or S)."""
    singular: BoolArray
    """(B, 1 or S) the symbol's own sessions do not tell the factors apart: r and w are finite and mean nothing."""

    @cached_property
    def tss(self) -> FloatArray:
        """(B, S) sum of squares about the mean; exactly 0 where it is rounding."""
        tss: FloatArray = self.squares - self.w[:, 0] ** 2
        return np.where(tss > ROUNDING * self.squares, tss, 0.0)

    @cached_property
    def rss(self) -> FloatArray:
        """(B, S) residual sum of squares of the joint least-squares fit."""
        rss: FloatArray = np.maximum(self.squares - np.einsum("bps,bps->bs", self.w, self.w), 0.0)
        return rss


def windows_of(factors: FloatArray, ends: IntArray, window: int) -> FloatArray:
    """(B, W, K) the factors (T, K) of the window that ends at each of the rows (B,)."""
    return np.swapaxes(sliding_window_view(factors, window, axis=0)[ends - window + 1], 1, 2)


def factorise(factors: FloatArray, ends: IntArray, window: int) -> Windows:
    """QR of intercept and factors (T, K) for the windows that end at the rows (B,)."""
    windows = windows_of(factors, ends, window)
    present = np.isfinite(windows)
    complete = present.all(axis=2, keepdims=True)
    design = np.concatenate([np.ones((*windows.shape[:2], 1)), windows], axis=2)
    q, r = np.linalg.qr(np.where(complete, design, 0.0))
    return Windows(q, r, complete.sum(axis=(1, 2)), window - present.sum(axis=1), ends - ends[0])


def moving(r: FloatArray) -> BoolArray:
    """(B, K) factors that vary in their window."""
    varies: BoolArray = np.linalg.norm(r[:, 1:, 1:], axis=1) > ROUNDING * np.linalg.norm(r[:, :, 1:], axis=1)
    return varies


def condition(r: FloatArray) -> FloatArray:
    """(B,) largest by smallest singular value of the factors, centred and at unit variance; infinite if dependent."""
    centred = r[:, 1:, 1:]
    varies = moving(r)
    scale = np.where(varies, np.linalg.norm(centred, axis=1), 1.0)
    singular = np.linalg.svd(centred / scale[:, None], compute_uv=False)
    regular = np.all(varies, axis=1) & (singular[:, -1] > 0)
    return np.where(regular, singular[:, 0] / np.where(regular, singular[:, -1], 1.0), np.inf)


def max_vif(r: FloatArray) -> FloatArray:
    """(B,) largest variance inflation factor (Belsley, Kuh & Welsch 1980) of independent factors."""
    centred, inverse = r[:, 1:, 1:], np.linalg.inv(r)[:, 1:, 1:]
    largest: FloatArray = ((centred**2).sum(axis=1) * (inverse**2).sum(axis=2)).max(axis=1)
    return largest


def project(windows: Windows, values: FloatArray) -> Projection:
    """Project returns (L, S), 0 where missing, as if every symbol had every session."""
    n_windows, width, n_columns = windows.q.shape
    whole = np.ones((n_windows, width, 1))
    return Projection(
        r=windows.r[..., None],
        w=(_on_band(windows.q, windows.offsets, len(values)) @ values).reshape(n_windows, n_columns, -1),
        squares=_on_band(whole, windows.offsets, len(values)) @ values**2,
        n_obs=windows.n_obs[:, None],
        singular=np.zeros((n_windows, 1), dtype=bool),
    )


def project_gaps(windows: Windows, projection: Projection, columns: IntArray, missing: BoolArray) -> Projection:
    """Correct the projection of some symbols for the sessions (L, columns) that they miss.

    With ``M`` the mask of the sessions that a symbol has and ``Q' M Q = C C'``, its own design has the triangle
    ``C' R`` and the projection ``C^-1 Q' M y``.
    """
    n_windows, width, n_columns = windows.q.shape
    i, j = np.triu_indices(n_columns)
    products = np.concatenate([windows.q[..., i] * windows.q[..., j], np.ones((n_windows, width, 1))], axis=2)
    band = _on_band(products, windows.offsets, len(missing))
    lost = (band @ missing.astype(np.float64)).reshape(n_windows, len(i) + 1, -1)
    gram = np.empty((n_windows, n_columns, n_columns, len(columns)))
    gram[:, i, j] = gram[:, j, i] = np.eye(n_columns)[i, j][:, None] - lost[:, :-1]
    lower, singular = _cholesky(gram)
    return Projection(
        r=np.einsum("bkis,bkj->bijs", lower, windows.r),
        w=_forward(lower, projection.w[..., columns]),
        squares=projection.squares[:, columns],
        n_obs=windows.n_obs[:, None] - np.rint(lost[:, -1]).astype(np.int64),
        singular=singular,
    )


def inverse_triangle(r: FloatArray) -> FloatArray:
    """Inverses of upper triangles (B, P, P, S)."""
    inverse = np.zeros_like(r)
    for j in range(r.shape[1]):
        inverse[:, j, j] = 1.0 / r[:, j, j]
        for i in reversed(range(j)):
            known = r[:, i, i + 1 : j + 1] * inverse[:, i + 1 : j + 1, j]
            inverse[:, i, j] = -known.sum(axis=1) / r[:, i, i]
    return inverse


def times(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """(B, I, S) product of (B, I, J, 1 or S) and (B, J, S)."""
    if matrix.shape[3] == 1:
        return matrix[..., 0] @ vector
    product: FloatArray = np.einsum("bijs,bjs->bis", matrix, vector)
    return product


def _on_band(columns: FloatArray, offsets: IntArray, length: int) -> FloatArray:
    """(B C, length) the columns (B, W, C) of each window as rows, where the window lies among the sessions."""
    band = np.zeros((len(columns), columns.shape[2], length))
    for rows, window, offset in zip(band, columns, offsets, strict=True):
        rows[:, offset : offset + len(window)] = window.T
    return band.reshape(-1, length)


def _cholesky(gram: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Lower factors of gram (B, P, P, S), and which of them (B, S) are singular: these are finite and mean nothing."""
    lower = np.zeros_like(gram)
    singular = np.zeros((gram.shape[0], gram.shape[3]), dtype=bool)
    for j in range(gram.shape[1]):
        done = lower[:, j, :j]
        square = gram[:, j, j] - (done**2).sum(axis=1)
        singular |= square < SINGULAR
        pivot = np.sqrt(np.where(singular, 1.0, square))
        lower[:, j, j] = pivot
        rest = gram[:, j + 1 :, j] - np.einsum("biks,bks->bis", lower[:, j + 1 :, :j], done)
        lower[:, j + 1 :, j] = rest / pivot[:, None]
    return lower, singular


def _forward(lower: FloatArray, w: FloatArray) -> FloatArray:
    """Solve ``lower x = w``: (B, P, P, S), (B, P, S)."""
    x = np.empty_like(w)
    for i in range(w.shape[1]):
        x[:, i] = (w[:, i] - (lower[:, i, :i] * x[:, :i]).sum(axis=1)) / lower[:, i, i]
    return x
