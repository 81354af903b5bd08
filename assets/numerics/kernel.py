"""Least squares of many symbols on the factors they share: the linear algebra of ``regression``, and no more of it.

The factors of a window are the same for all symbols, and those of neighbouring windows are nearly so. So a block of
windows shares a basis: with ``X = Q R`` the QR factorisation of its first window, ``Z = X R^-1`` on all its sessions is
near orthonormal on each of its windows. There ``Z' Z = C C'`` is near the identity, squaring costs no accuracy, and
``C' R`` is the window's own triangle. A symbol with gaps has another ``C``, that of its own sessions. A window that is
not near (a crash, a bad tick that comes or goes) begins a block of its own.

``Z' y`` of all windows and symbols is one small matrix product for the sessions that all windows of the block have, and
one for the others. Sums hold nothing but their own window, and nothing is updated from one session to the next.

Shapes: B windows of W sessions, P = 1 + K columns (intercept, factors), S symbols, L sessions from the first of the
first window to the last of the last one.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from assets.numerics.arrays import BoolArray, FloatArray, IntArray

ROUNDING = 1e-13
"""A sum of squares about the mean below this share of the sum about zero is rounding."""
SINGULAR = 1e-10
"""A pivot of ``C C'`` below this is rounding: a symbol's own sessions do not tell the factors apart."""
NEAR = 10.0
"""Largest by smallest eigenvalue of ``Z' Z`` up to which a window shares its block's basis."""
SOUND = 1e7
"""Condition up to which the factors of a window can be a basis for others."""


@dataclass(frozen=True)
class Windows:
    """The factor windows of a block of sessions, factorised."""

    z: FloatArray
    """(L, P) the sessions in the basis of the block; those that lack a factor are rows of zeros."""
    products: FloatArray
    """(L, P (P + 1) / 2) products of any two columns of z: what ``Z' Z`` sums."""
    gram: FloatArray
    """(B, P, P) ``Z' Z`` of each window."""
    inverse_lower: FloatArray
    """(B, P, P) ``C^-1``."""
    r: FloatArray
    """(B, P, P) upper triangle of each window."""
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
    """(B, P, S) ``C^-1 Z' y``: the returns in the orthonormal basis of the window."""
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


def factorise(factors: FloatArray, ends: IntArray, window: int) -> Windows:
    """Factorise the windows of factors (T, K) that end at the rows (B,): the first, and those after it that are near.

    The rows must lie within one window.
    """
    rows, offsets = factors[ends[0] - window + 1 : ends[-1] + 1], ends - ends[0]
    present = np.isfinite(rows)
    complete: BoolArray = np.all(present, axis=1, keepdims=True)
    design = np.where(complete, np.concatenate([np.ones((len(rows), 1)), rows], axis=1), 0.0)
    q, r = np.linalg.qr(design[:window])
    if condition(r[None])[0] > SOUND:
        z, offsets = q, offsets[:1]
    else:
        z = np.linalg.solve(r.T, design.T).T
    products = np.column_stack([z[:, i] * z[:, j] for i, j in zip(*np.triu_indices(len(r)), strict=True)])
    gram = _near(_symmetric(_window_sums(products, np.ones((len(z), 1)), offsets, window))[..., 0])
    offsets = offsets[: len(gram)]
    length = int(offsets[-1]) + window
    lower = np.linalg.cholesky(gram)
    return Windows(
        z=z[:length],
        products=products[:length],
        gram=gram,
        inverse_lower=np.linalg.inv(lower),
        r=np.swapaxes(lower, 1, 2) @ r,
        n_obs=_window_counts(complete, offsets, window)[:, 0],
        lacking=_window_counts(~present, offsets, window),
        offsets=offsets,
    )


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
    width, ones = len(values) - int(windows.offsets[-1]), np.ones((len(values), 1))
    return Projection(
        r=windows.r[..., None],
        w=_window_sums(windows.z, values, windows.offsets, width, windows.inverse_lower),
        squares=_window_sums(ones, values**2, windows.offsets, width)[:, 0],
        n_obs=windows.n_obs[:, None],
        singular=np.zeros((len(windows.r), 1), dtype=bool),
    )


def project_gaps(windows: Windows, projection: Projection, columns: IntArray, missing: BoolArray) -> Projection:
    """Correct the projection of some symbols for the sessions (L, columns) that they miss.

    With ``M`` the mask of the sessions that a symbol has and ``Z' M Z = C C'``, its own design has the triangle
    ``C' R`` and the projection ``C^-1 Z' M y``.
    """
    width = len(missing) - int(windows.offsets[-1])
    products = np.column_stack([windows.products, np.ones(len(missing))])
    lost = _window_sums(products, missing.astype(np.float64), windows.offsets, width)
    lower, singular = _cholesky(windows.gram[..., None] - _symmetric(lost[:, :-1]))
    to_basis = np.linalg.inv(windows.inverse_lower)
    return Projection(
        r=np.einsum("bkis,bkj->bijs", lower, np.swapaxes(windows.inverse_lower, 1, 2) @ windows.r),
        w=_forward(lower, to_basis @ projection.w[..., columns]),
        squares=projection.squares[:, columns],
        n_obs=windows.n_obs[:, None] - np.rint(lost[:, -1]).astype(np.int64),
        singular=singular,
    )


def inverse_triangle(r: FloatArray) -> FloatArray:
    """Inverses of upper triangles (B, P, P, 1 or S)."""
    if r.shape[3] == 1:
        return np.asarray(np.linalg.inv(r[..., 0])[..., None], dtype=np.float64)
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


def _window_sums(
    columns: FloatArray, values: FloatArray, offsets: IntArray, width: int, transform: FloatArray | None = None
) -> FloatArray:
    """(B, C, S) sums over each window of the products of columns (L, C) and values (L, S), times transform (B, C, C).

    The sessions that all windows have are summed once; beside these sums the others stand on a band, each window's own.
    """
    first = int(offsets[-1])
    edges = np.r_[:first, width : len(columns)]
    inside = (edges >= offsets[:, None]) & (edges < offsets[:, None] + width)
    n_windows, n_columns = len(offsets), columns.shape[1]
    shared = np.broadcast_to(np.eye(n_columns), (n_windows, n_columns, n_columns))
    band = np.concatenate([inside[:, None] * columns[edges].T, shared], axis=2)
    if transform is not None:
        band = transform @ band
    rows = np.concatenate([values[:first], values[width:], columns[first:width].T @ values[first:width]])
    sums: FloatArray = band.reshape(n_windows * n_columns, len(rows)) @ rows
    return sums.reshape(n_windows, n_columns, -1)


def _symmetric(upper: FloatArray) -> FloatArray:
    """(B, P, P, S) symmetric matrices of their upper triangles (B, P (P + 1) / 2, S)."""
    size = int(np.sqrt(2 * upper.shape[1]))
    i, j = np.triu_indices(size)
    matrix = np.empty((upper.shape[0], size, size, upper.shape[2]))
    matrix[:, i, j] = matrix[:, j, i] = upper
    return matrix


def _near(gram: FloatArray) -> FloatArray:
    """The leading grams (B, P, P) that are near the identity; the first is it."""
    eigenvalues = np.linalg.eigvalsh(gram)
    far = np.flatnonzero(eigenvalues[:, -1] > NEAR * eigenvalues[:, 0])
    return gram[: far[0]] if far.size else gram


def _window_counts(flags: BoolArray, offsets: IntArray, width: int) -> IntArray:
    """(B, C) how many sessions of each window have the flags (L, C)."""
    until = np.zeros((len(flags) + 1, flags.shape[1]), dtype=np.int64)
    np.cumsum(flags, axis=0, out=until[1:])
    return until[offsets + width] - until[offsets]


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
