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

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np

from assets.numerics.arrays import BoolArray, FloatArray, IntArray

ROUNDING = 1e-13
"""A sum of squares about the mean below this share of the sum about zero is rounding."""
SINGULAR = 1e-10
"""A pivot of ``C C'`` below this is rounding: a symbol's own sessions do not tell the factors apart."""
NEAR = 10.0
"""Largest by smallest eigenvalue of ``Z' Z`` up to which a window shares its block's basis."""
SOUND = 1e7
"""Largest norm of a factor by what is left of it beside those before it, up to which it can be part of a basis."""


@dataclass(frozen=True)
class Windows:
    """The factor windows of a block of sessions, factorised."""

    z: FloatArray
    """(P, L) the sessions in the basis of the block; those that lack a factor are columns of zeros."""
    products: FloatArray
    """(P (P + 1) / 2, L) products of any two rows of z: what ``Z' Z`` sums."""
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

    triangle: Callable[[], FloatArray]
    """Makes r, which not every method asks for."""
    inverse: FloatArray
    """(B, P, P, 1 or S) ``R^-1``."""
    w: FloatArray
    """(B, P, S) ``C^-1 Z' y``: the returns in the orthonormal basis of the window."""
    squares: FloatArray
    """(B, S) ``y' y``."""
    n_obs: IntArray
    """(B, 1 or S)."""
    singular: BoolArray
    """(B, 1 or S) the symbol's own sessions do not tell the factors apart: r and w are finite and mean nothing."""

    @cached_property
    def r(self) -> FloatArray:
        """(B, P, P, 1 or S) triangle of the sessions that the symbol has."""
        return self.triangle()

    @cached_property
    def tss(self) -> FloatArray:
        """(B, S) sum of squares about the mean."""
        tss: FloatArray = self.squares - self.w[:, 0] ** 2
        return tss

    @cached_property
    def flat(self) -> BoolArray:
        """(B, S) the returns do not vary: tss is rounding."""
        flat: BoolArray = self.tss <= ROUNDING * self.squares
        return flat

    @cached_property
    def rss(self) -> FloatArray:
        """(B, S) residual sum of squares of the joint least-squares fit."""
        explained = np.einsum("bks,bks->bs", self.w[:, 1:], self.w[:, 1:])
        rss: FloatArray = np.maximum(self.tss - explained, 0.0)
        return rss


def factorise(factors: FloatArray, ends: IntArray, window: int) -> Windows:
    """Factorise the windows of factors (T, K) that end at the rows (B,): the first, and those after it that are near.

    The rows must lie within one window.
    """
    rows, offsets = factors[ends[0] - window + 1 : ends[-1] + 1].T, ends - ends[0]
    present = np.isfinite(rows)
    complete: BoolArray = np.all(present, axis=0, keepdims=True)
    design = np.concatenate([complete, np.where(complete, rows, 0.0)])
    r: FloatArray = np.linalg.qr(design[:, :window].T, mode="r")  # type: ignore[assignment]  # R alone
    if _sound(r):
        z = np.linalg.solve(r.T, design)
    else:
        z, offsets = np.zeros_like(design), offsets[:1]
        z[:, :window] = np.linalg.qr(design[:, :window].T).Q.T
    i, j = _upper(len(r))
    products = z[i] * z[j]
    sums = _members(offsets, z.shape[1], window) @ np.concatenate([products, complete, ~present]).T
    gram = _near(_symmetric(sums[:, : len(i), None])[..., 0])
    counts, offsets = sums[: len(gram), len(i) :].astype(np.int64), offsets[: len(gram)]
    length = int(offsets[-1]) + window
    lower = np.linalg.cholesky(gram)
    return Windows(
        z=z[:, :length],
        products=products[:, :length],
        gram=gram,
        inverse_lower=np.linalg.inv(lower),
        r=np.swapaxes(lower, 1, 2) @ r,
        n_obs=counts[:, 0],
        lacking=counts[:, 1:],
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


def max_vif(r: FloatArray, inverse: FloatArray) -> FloatArray:
    """(B,) largest variance inflation factor (Belsley, Kuh & Welsch 1980) of independent factors."""
    largest: FloatArray = ((r[:, 1:, 1:] ** 2).sum(axis=1) * (inverse[:, 1:, 1:] ** 2).sum(axis=2)).max(axis=1)
    return largest


def project(
    windows: Windows, r: FloatArray, inverse: FloatArray, values: FloatArray, squares: FloatArray
) -> Projection:
    """Project returns (L, S), 0 where missing, and their squares, as if every symbol had every session.

    The triangles (B, P, P), inverse beside them, are those of the windows, or others where these are of no use.
    """
    return Projection(
        triangle=lambda: r[..., None],
        inverse=inverse[..., None],
        w=_window_sums(windows.z, values, windows.offsets, windows.inverse_lower),
        squares=_window_sums(np.ones((1, len(squares))), squares, windows.offsets)[:, 0],
        n_obs=windows.n_obs[:, None],
        singular=np.zeros((len(windows.r), 1), dtype=bool),
    )


def project_gaps(windows: Windows, projection: Projection, columns: IntArray, missing: BoolArray) -> Projection:
    """Correct the projection of some symbols for the sessions (L, columns) that they miss.

    With ``M`` the mask of the sessions that a symbol has and ``Z' M Z = C C'``, its own design has the triangle
    ``C' R`` and the projection ``C^-1 Z' M y``.
    """
    products = np.concatenate([windows.products, np.ones((1, len(missing)))])
    lost = _window_sums(products, missing.astype(np.float64), windows.offsets)
    lower = windows.gram[(slice(None), *_upper(len(windows.z)))][..., None] - lost[:, :-1]
    singular = _cholesky(lower, len(windows.z))
    to_basis = np.linalg.inv(windows.inverse_lower)
    inverse_lower, w = _forward(lower, to_basis @ projection.w[..., columns])
    return Projection(
        triangle=partial(_triangle, lower, np.swapaxes(windows.inverse_lower, 1, 2) @ projection.r[..., 0]),
        inverse=_inverse(inverse_lower, projection.inverse[..., 0] @ np.swapaxes(to_basis, 1, 2)),
        w=w,
        squares=projection.squares[:, columns],
        n_obs=windows.n_obs[:, None] - np.rint(lost[:, -1]).astype(np.int64),
        singular=singular,
    )


def _triangle(lower: FloatArray, basis: FloatArray) -> FloatArray:
    """(B, P, P, S) ``C' R`` of packed C (B, P (P + 1) / 2, S) and R (B, P, P)."""
    r = np.zeros((*basis.shape, lower.shape[2]))
    for i, column in enumerate(_columns(basis.shape[1])):
        np.matmul(np.swapaxes(basis[:, i:], 1, 2), lower[:, column], out=r[:, i])
    return r


def _inverse(inverse_lower: FloatArray, basis: FloatArray) -> FloatArray:
    """(B, P, P, S) ``R^-1 C'^-1`` of C^-1 (B, P, P, S) and R^-1 (B, P, P)."""
    inverse = np.empty_like(inverse_lower)
    for j in range(basis.shape[1]):
        np.matmul(basis[:, :, : j + 1], inverse_lower[:, j, : j + 1], out=inverse[:, j])
    return np.swapaxes(inverse, 1, 2)


def inverse_triangle(r: FloatArray) -> FloatArray:
    """Inverses of upper triangles (B, P, P, S)."""
    inverse = np.zeros_like(r)
    for j in range(r.shape[1]):
        inverse[:, j, j] = 1.0 / r[:, j, j]
        for i in reversed(range(j)):
            known = r[:, i, i + 1 : j + 1] * inverse[:, i + 1 : j + 1, j]
            inverse[:, i, j] = -known.sum(axis=1) / r[:, i, i]
    return inverse


def times(matrix: FloatArray, vector: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """(B, I, S) product of (B, I, J, 1 or S) and (B, J, S), written to out if given."""
    if matrix.shape[3] == 1:
        product: FloatArray = np.matmul(matrix[..., 0], vector, out=out)
        return product
    product = np.multiply(matrix[:, :, 0], vector[:, 0, None], out=out)
    for j in range(1, matrix.shape[2]):
        product += matrix[:, :, j] * vector[:, j, None]
    return product


def _window_sums(
    columns: FloatArray, values: FloatArray, offsets: IntArray, transform: FloatArray | None = None
) -> FloatArray:
    """(B, C, S) sums over each window of the products of columns (C, L) and values (L, S), times transform (B, C, C).

    The sessions that all windows have are summed once; beside these sums the others stand on a band, each window's own.
    """
    first, (n_columns, length) = int(offsets[-1]), columns.shape
    width = length - first
    if transform is None:
        transform = np.broadcast_to(np.eye(n_columns), (len(offsets), n_columns, n_columns))
    left = np.arange(first) < offsets[:, None]  # and as many sessions at the other end have come
    edges = np.concatenate([columns[:, :first], columns[:, width:]], axis=1)
    band = np.empty((len(offsets), n_columns, 2 * first + n_columns))
    own = (transform.reshape(-1, n_columns) @ edges).reshape(len(offsets), n_columns, -1)
    np.multiply(own, np.concatenate([~left, left], axis=1)[:, None], out=band[..., : 2 * first])
    band[..., 2 * first :] = transform
    rows = np.concatenate([values[:first], values[width:], columns[:, first:width] @ values[first:width]])
    sums: FloatArray = band.reshape(-1, len(rows)) @ rows
    return sums.reshape(len(offsets), n_columns, -1)


def _members(offsets: IntArray, length: int, window: int) -> FloatArray:
    """(B, length) 1 for the sessions of each window, 0 for the others."""
    since = np.arange(length) - offsets[:, None]
    return ((since >= 0) & (since < window)).astype(np.float64)


def _sound(r: FloatArray) -> bool:
    """Whether every column of r (P, P) adds to those before it, so that the factors can be a basis for others."""
    return bool((SOUND * np.abs(np.diagonal(r)) > np.linalg.norm(r, axis=0)).all())


@cache
def _upper(size: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of an upper triangle."""
    return np.triu_indices(size)


def _symmetric(upper: FloatArray) -> FloatArray:
    """(B, P, P, S) symmetric matrices of their upper triangles (B, P (P + 1) / 2, S)."""
    size = int(np.sqrt(2 * upper.shape[1]))
    i, j = _upper(size)
    matrix = np.empty((upper.shape[0], size, size, upper.shape[2]))
    matrix[:, i, j] = matrix[:, j, i] = upper
    return matrix


def _near(gram: FloatArray) -> FloatArray:
    """The leading grams (B, P, P) that are near the identity; the first is it."""
    eigenvalues = np.linalg.eigvalsh(gram)
    far = np.flatnonzero(eigenvalues[:, -1] > NEAR * eigenvalues[:, 0])
    return gram[: far[0]] if far.size else gram


@cache
def _columns(size: int) -> list[slice]:
    """Where the columns of a lower triangle stand in its packed form, one after the other, each from the diagonal."""
    begins = np.cumsum([0, *range(size, 0, -1)]).tolist()
    return [slice(*ends) for ends in itertools.pairwise(begins)]


def _cholesky(gram: FloatArray, size: int) -> BoolArray:
    """Put the lower factors in the place of packed grams (B, P (P + 1) / 2, S).

    :returns: (B, S) which of them are singular: these are finite and mean nothing.
    """
    singular = np.zeros((gram.shape[0], gram.shape[2]), dtype=bool)
    columns = [gram[:, column] for column in _columns(size)]
    for j, column in enumerate(columns):
        singular |= column[:, 0] < SINGULAR
        if singular.any():
            column[:, 0][singular] = 1.0
        column[:, 0] = np.sqrt(column[:, 0])
        column[:, 1:] /= column[:, :1]
        for k, later in enumerate(columns[j + 1 :], 1):
            later -= column[:, k:] * column[:, k, None]
    return singular


def _forward(lower: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve ``C x = [I, w]`` for packed C: the inverse (B, P, P, S), and (B, P, S)."""
    size = w.shape[1]
    x = np.zeros((len(w), size, size + 1, w.shape[2]))  # w first, then the inverse: what is not zero stands together
    x[:, :, 0] = w
    for j, column in enumerate(lower[:, column] for column in _columns(size)):
        x[:, j, j + 1] = 1.0
        x[:, j, : j + 2] /= column[:, :1]
        for i in range(j + 1, size):
            x[:, i, : j + 2] -= column[:, i - j, None] * x[:, j, : j + 2]
    return x[:, :, 1:], x[:, :, 0]
