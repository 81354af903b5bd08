"""Order statistics of trailing windows against numpy and scipy, ties, gaps and long series."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import stats

from assets.numerics.order import trailing_medians, trailing_place


@pytest.mark.parametrize("digits", [1, 12])
@pytest.mark.parametrize("n_sessions", [90, 40_000])  # ranks that need two bytes, and four
def test_medians_are_numpys(n_sessions: int, digits: int) -> None:
    """Promise: the median of every whole window, odd or even, ties or none, is np.median's to the bit."""
    values = np.random.default_rng(digits).normal(size=(n_sessions, 3)).round(digits)
    found = trailing_medians(values, (1, 2, 5, 21, 42))
    for window, medians in found.items():
        oracle = np.median(sliding_window_view(values, window, axis=0), axis=-1)
        assert np.array_equal(medians[-50:], oracle[-50:])
        assert medians.shape == oracle.shape


def test_place_counts_smaller_and_half_the_equal() -> None:
    """Promise: scipy's percentileofscore (mean) among the finite values before; NaN is nowhere, and so is today."""
    values = np.random.default_rng(1).normal(size=(120, 4))
    values[:, :2] = values[:, :2].round(1)
    values[40:55, 1] = values[::9, 3] = np.nan
    found = trailing_place(values, 60, 1e-9)
    for row, s in np.argwhere(np.isfinite(values[60:])):
        before = values[row : row + 60, s]
        before = before[np.isfinite(before)]
        oracle = stats.percentileofscore(before, values[60 + row, s], kind="mean") / 100 * len(before)
        assert found[row, s] == pytest.approx(oracle, abs=1e-9)


def test_values_that_differ_by_rounding_are_equal() -> None:
    """Promise: a share of less than the rounding makes no order, in either direction."""
    values = np.array([1.0, 1.0 + 1e-12, 1.0 - 1e-12, 2.0, 1.0])[:, None]
    assert trailing_place(values, 4, 1e-9)[0, 0] == 1.5
