"""Trailing windows: their sums are those of their own sessions, whatever lies before and wherever the array begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.numerics import constants
from assets.numerics.windows import checked_targets, first_reason, session_rows, trailing_sum, windowed_product


@given(st.integers(1, 300), st.integers(1, 260), st.sampled_from([1.0, 0.94, 0.5]))
def test_trailing_sum_is_the_weighted_sum_of_its_window(n_sessions: int, window: int, decay: float) -> None:
    """Promise: doubling partial sums gives the sum (oracle: np.convolve)."""
    values = np.random.default_rng(n_sessions).normal(size=(n_sessions, 2))
    kernel = decay ** np.arange(window)
    expected = np.column_stack([np.convolve(series, kernel)[:n_sessions] for series in values.T])
    assert trailing_sum(values, window, decay) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.integers(1, 60), st.integers(0, 200))
def test_trailing_sum_has_the_same_bits_wherever_the_array_begins(window: int, start: int) -> None:
    """Promise: batch and day by day agree to the bit, so ties are ties in both."""
    values = np.random.default_rng(window).normal(size=(300, 1))
    tail = trailing_sum(values[start:], window)
    assert np.array_equal(trailing_sum(values, window)[start + window :], tail[window:])


def test_a_bad_value_leaves_no_trace_once_it_is_out() -> None:
    """Promise: no running sums, so 1e12 that has left the window changes not one bit."""
    values = np.random.default_rng(0).normal(size=(100, 1))
    bad = values.copy()
    bad[50] = 1e12
    assert np.array_equal(trailing_sum(bad, 21)[71:], trailing_sum(values, 21)[71:])


def test_sessions_before_the_first_are_missing() -> None:
    """Promise: a window that begins before the array is padded with NaN."""
    assert session_rows(np.array([[1.0], [2.0]]), -2, 1) == pytest.approx(
        np.array([[np.nan], [np.nan], [1.0]]), nan_ok=True
    )


@pytest.mark.parametrize("targets", [[1, 1], [2, 1], [-1, 0], [3, 10], [[1, 2]]])
def test_targets_that_are_not_ascending_rows_are_refused(targets: list[int]) -> None:
    """Promise: a mistake in the caller's rows is an error that says what was expected."""
    with pytest.raises(ValueError, match=r"strictly ascending rows in 0\.\.9"):
        checked_targets(targets, 10)


def test_a_windowed_product_is_the_product_with_its_own_window() -> None:
    """Promise: sessions one after the other or far apart, each has the window that is its own."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(170, 4)), rng.normal(size=(400, 4))
    offsets = np.delete(np.arange(200), [0, 3, 4, *range(100, 127)])
    found = windowed_product(left, right, offsets, 20)
    for d, offset in enumerate(offsets):
        assert found[d] == pytest.approx(right[offset : offset + 20] @ left[d], rel=1e-12, abs=1e-12)


def test_the_first_reason_stands() -> None:
    """Promise: of several reasons the first that applies is given, none where none applies."""
    reasons = first_reason((3,), (np.array([True, False, False]), "first"), (np.array([True, True, False]), "second"))
    assert reasons.tolist() == ["first", "second", None]


def test_the_look_back_is_derived_from_the_longest_window() -> None:
    """Promise: 252 percentiles of a 21-session volatility need 273 returns, and nothing needs more."""
    longest = max(constants.BETA_WINDOW, constants.VOL_WINDOW, constants.RISK_WINDOW, constants.TREND_WINDOW)
    assert constants.LOOKBACK_RETURNS == max(longest, constants.PERCENTILE_HISTORY + constants.MONTH) == 273


def test_forecast_weights_sum_to_one() -> None:
    """Promise: the forecast is unbiased on constant variance."""
    assert sum(constants.FORECAST_WEIGHTS.values()) == pytest.approx(1.0, abs=1e-15)
