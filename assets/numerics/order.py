"""Order statistics of trailing windows: medians, and places among earlier values; no moments.

Values are replaced by their ranks within the series first. Ranks are small whole numbers, compared without rounding
and many at a time, and nothing is kept from one window to the next.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from assets.numerics.arrays import FloatArray, IntArray

_Ranks = npt.NDArray[Any]
"""Ranks (T, S) in the smallest whole type that holds them."""


def trailing_medians(values: FloatArray, windows: Iterable[int]) -> dict[int, FloatArray]:
    """Medians of every whole trailing window.

    :param values: (T, S) without NaN.
    :returns: (T - n + 1, S) for each window of n sessions; the first row ends at session n - 1.
    """
    ranks, ordered = _ranked(values)
    lists = {1: [ranks]}
    return {window: _median(lists, window, ordered) for window in windows}


def trailing_place(values: FloatArray, window: int, rounding: float) -> FloatArray:
    """How many of the ``window`` values before each are smaller, those that are equal counted half.

    :param values: (T, S); NaN is neither smaller nor equal.
    :param rounding: values that differ by a smaller share are equal.
    :returns: (T - window, S) for the sessions from ``window`` on.
    """
    missing = np.isnan(values)
    values = np.where(missing, np.inf, values)  # numpy sorts NaN four times slower
    ranks, ordered = _ranked(values)
    ranks[missing] = len(values)
    low, high = _equal_ranks(ranks[window:], ordered, values[window:], rounding)
    smaller = _count_below(ranks, low, window)
    not_larger = smaller if high is low else _count_below(ranks, high, window)
    return (smaller.astype(np.float64) + not_larger) / 2


def _ranked(values: FloatArray) -> tuple[_Ranks, FloatArray]:
    """Ranks (T, S) within each series, 0 the smallest, and the values in their order (S, T)."""
    series = np.ascontiguousarray(values.T)
    orders = np.argsort(series, axis=1)
    every = np.arange(len(values), dtype=np.min_scalar_type(-len(values) - 1))
    ranks = np.empty(orders.shape, dtype=every.dtype)
    for row, order in zip(ranks, orders, strict=True):
        row[order] = every
    return np.ascontiguousarray(ranks.T), series.ravel()[orders + _begins(orders)[:, None]]


def _begins(series: npt.NDArray[Any]) -> IntArray:
    """(S,) where each series (S, T) begins in memory."""
    return np.arange(0, series.size, series.shape[1])


def _sorted_windows(lists: dict[int, list[_Ranks]], window: int) -> list[_Ranks]:
    """The sorted ranks of every whole window: the smallest of each, the second smallest, and so on.

    Windows are merged of their halves, whose sorted ranks neighbouring windows share; ``lists`` keeps those made.
    """
    if window not in lists:
        recent = window // 2 if window % 2 == 0 else 1
        earlier, later = _sorted_windows(lists, window - recent), _sorted_windows(lists, recent)
        n_windows = len(lists[1][0]) - window + 1
        lists[window] = _merged([r[:n_windows] for r in earlier], [r[window - recent :][:n_windows] for r in later])
    return lists[window]


def _merged(a: list[_Ranks], b: list[_Ranks]) -> list[_Ranks]:
    """Two sorted lists of arrays as one, cell by cell: odd-even merge (Batcher 1968)."""
    if not a or not b:
        return [*a, *b]
    if len(a) == len(b) == 1:
        return [np.minimum(*a, *b), np.maximum(*a, *b)]
    even, odd = _merged(a[::2], b[::2]), _merged(a[1::2], b[1::2])
    merged = even[:1]
    for one, other in zip(odd, even[1:], strict=False):
        merged += [np.minimum(one, other), np.maximum(one, other)]
    return [*merged, *odd[len(even) - 1 :], *even[len(odd) + 1 :]]


def _median(lists: dict[int, list[_Ranks]], window: int, ordered: FloatArray) -> FloatArray:
    """(T - window + 1, S) medians, of ranks and the values in their order."""
    if window % 2:
        return _values(_sorted_windows(lists, window)[window // 2], ordered)
    half = _sorted_windows(lists, window // 2)
    earlier, later = [r[: -(window // 2)] for r in half], [r[window // 2 :] for r in half]
    # Of the smallest and the largest, the second and the second largest, ...: the smaller ones are the lower half.
    low, high = np.minimum(earlier[0], later[-1]), np.maximum(earlier[0], later[-1])
    for one, other in zip(earlier[1:], later[-2::-1], strict=True):
        np.maximum(low, np.minimum(one, other), out=low)
        np.minimum(high, np.maximum(one, other), out=high)
    return (_values(low, ordered) + _values(high, ordered)) / 2


def _values(ranks: _Ranks, ordered: FloatArray) -> FloatArray:
    """The values of ranks (D, S)."""
    values: FloatArray = ordered.ravel()[ranks + _begins(ordered)]
    return values


def _equal_ranks(ranks: _Ranks, ordered: FloatArray, values: FloatArray, rounding: float) -> tuple[_Ranks, _Ranks]:
    """Lowest, and one above the highest, of the ranks (D, S) that are equal to each value.

    Where no two values of a series are equal both are the rank itself: it is not compared with itself.
    """
    equal = (ordered[:, 1:] * (1.0 - rounding) <= ordered[:, :-1]) & (ordered[:, 1:] < np.inf)
    ties = np.flatnonzero(equal.any(axis=1))
    if not ties.size:
        return ranks, ranks
    low, high = ranks.copy(), ranks.copy()
    for s in ties:
        low[:, s] = np.searchsorted(ordered[s], values[:, s] * (1.0 - rounding), side="left")
        high[:, s] = np.searchsorted(ordered[s], values[:, s] * (1.0 + rounding), side="right")
    return low, high


def _count_below(ranks: _Ranks, bound: _Ranks, window: int) -> IntArray:
    """(D, S) how many of the ``window`` ranks before each session are below its bound."""
    count = np.zeros(bound.shape, dtype=np.min_scalar_type(window))
    below = np.empty(bound.shape, dtype=bool)
    for first in range(window):
        np.less(ranks[first : first + len(bound)], bound, out=below)
        np.add(count, below.view(np.uint8), out=count)
    return count
