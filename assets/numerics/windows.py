"""Trailing windows over consecutive sessions: their rows and their sums; no statistics.

Sessions before the first row are missing, like any session without a value.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from assets.numerics.arrays import BoolArray, FloatArray, IntArray, TextArray

_SHARING = 73
"""Windows whose products are computed together."""
Number = TypeVar("Number", bound=np.generic)


def checked_targets(targets: npt.ArrayLike, n_sessions: int) -> IntArray:
    """Target sessions as (D,) row numbers.

    :raises ValueError: unless they are strictly ascending rows of the array.
    """
    rows = np.asarray(targets, dtype=np.int64)
    if rows.ndim != 1 or (np.diff(rows) <= 0).any() or (rows.size and (rows[0] < 0 or rows[-1] >= n_sessions)):
        raise ValueError(f"targets must be strictly ascending rows in 0..{n_sessions - 1}, got {rows}")
    return rows


def session_rows(values: FloatArray, start: int, stop: int) -> FloatArray:
    """Rows ``start`` to ``stop`` of values (T, ...); the rows before 0 are NaN."""
    if start >= 0:
        return values[start:stop]
    return np.concatenate([np.full((-start, *values.shape[1:]), np.nan), values[:stop]])


def windowed_product(left: FloatArray, right: FloatArray, offsets: IntArray, length: int) -> FloatArray:
    """(..., D, length) row d of left (..., D, N) times each row of right in the window that begins at offset d.

    Of right (L, N), or (L, ..., N) where each product has one of its own.

    Neighbouring windows share a product: what lies beyond a window is computed in vain, so they are few at a time.
    """
    products = np.empty((*left.shape[:-1], length))
    by_row = np.moveaxis(right, 0, -1)
    for first, stop in _neighbours(offsets):
        begin = int(offsets[first])
        shared = left[..., first:stop, :] @ by_row[..., begin : begin + stop - first - 1 + length]
        # Each window begins one later than that of the row above.
        *others, row, item = shared.strides
        shape = *shared.shape[:-2], stop - first, length
        products[..., first:stop, :] = as_strided(shared, shape, (*others, row + item, item))
    return products


def _neighbours(offsets: IntArray) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of offsets one after the other, a few at a time."""
    begins = np.flatnonzero(np.diff(offsets, prepend=-2) != 1).tolist()
    for begin, end in pairwise([*begins, len(offsets)]):
        for first in range(begin, end, _SHARING):
            yield first, min(first + _SHARING, end)


def trailing_sum(values: npt.NDArray[Number], window: int, decay: float = 1.0, stride: int = 1) -> npt.NDArray[Number]:
    """Sum over the last ``window`` sessions, ``sum_i decay**i values[t-i]``, for every t.

    Sums of 1, 2, 4, ... sessions are doubled and joined. So a sum holds nothing but the values of its own window (a bad
    value leaves no trace once it is out) and has the same bits wherever the array begins.

    :param values: (T, S) without NaN.
    :param stride: only every so many sessions are summed, ``sum_i decay**i values[t - i * stride]``: sums of ``stride``
        sessions become one of ``window * stride``.
    :returns: (T, S) of the same type; the first rows sum the sessions there are.
    """
    total: npt.NDArray[Number] | None = None
    power, length, reach = values, 1, 0
    while True:
        if window & length:
            total = power if total is None else _joined(total, power, reach, decay, stride)
            reach += length
        if total is not None and reach == window:
            return total
        power, length = _joined(power, power, length, decay, stride), 2 * length


def window_sums(values: npt.NDArray[Number], offsets: IntArray, window: int) -> npt.NDArray[Number]:
    """(D, ...) the sums of values (L, ...) over the windows that begin at offsets (D,); many share what they add up."""
    if len(offsets) != 1:
        return trailing_sum(values, window)[offsets + window - 1]
    sums: npt.NDArray[Number] = values[offsets[0] :][:window].sum(axis=0, keepdims=True, dtype=values.dtype)
    return sums


def trailing_sums(values: npt.NDArray[Number], windows: Sequence[int]) -> dict[int, npt.NDArray[Number]]:
    """Sums over several windows, ascending: one that is a multiple of the one before is made of its sums."""
    sums, done = {1: values}, 1
    for window in windows:
        part = done if window % done == 0 else 1
        sums[window] = trailing_sum(sums[part], window // part, stride=part)
        done = window
    return sums


def _joined(
    recent: npt.NDArray[Any], earlier: npt.NDArray[Any], shift: int, decay: float, stride: int
) -> npt.NDArray[Any]:
    """``recent[t] + decay**shift earlier[t - shift * stride]``."""
    rows = min(shift * stride, len(recent))
    shifted = earlier[: len(recent) - rows]
    total = np.empty_like(recent)
    total[:rows] = recent[:rows]
    np.add(recent[rows:], shifted if decay == 1.0 else shifted * decay**shift, out=total[rows:])
    return total


def count_texts(template: str, highest: int) -> TextArray:
    """The reasons for counts 0..highest, to be picked by count: ``template.format(n=count)``."""
    return np.array([template.format(n=n) for n in range(highest + 1)], dtype=object)


def first_reason(shape: tuple[int, ...], *reasons: tuple[BoolArray, TextArray | str]) -> TextArray:
    """The first reason whose condition holds, cell by cell; None where none does."""
    chosen = np.full(shape, None, dtype=object)
    for condition, text in reversed(reasons):
        if condition.any():
            where = np.broadcast_to(condition, shape)
            chosen[where] = text if isinstance(text, str) else np.broadcast_to(text, shape)[where]
    return chosen


def in_any_row(cells: BoolArray) -> BoolArray:
    """(S,) the columns of cells (..., S) with a true one."""
    some: BoolArray = np.any(cells, axis=tuple(range(cells.ndim - 1)))
    return some


def has_reason(reason: TextArray) -> BoolArray:
    """Cells that have a reason."""
    return reason.astype(bool)
