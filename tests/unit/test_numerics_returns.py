"""Returns: raw closes and corporate actions in, total returns of consecutive sessions out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.numerics.returns import outliers, simple_returns


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_dividend_and_split_on_one_session_follow_the_formula() -> None:
    """Promise: the dividend is a share as traded on the day, after the split that falls on it."""
    # 2-for-1 on the second session: 100 -> 49 and 1 a new share is 2 x (49 + 1) = 100 for an old one.
    returns = simple_returns(column(100, 49, 49), column(0, 1, 0), column(1, 2, 1))
    assert returns[:, 0] == pytest.approx([np.nan, 0.0, 0.0], nan_ok=True)


def test_real_split_and_dividend() -> None:
    """Promise: AAPL's 7-for-1 split of 2014-06-09 (645.57 -> 93.70) is a return of +1.6%, not of -85%."""
    returns = simple_returns(column(645.57, 93.70), column(0, 0), column(1, 7))
    assert returns[1, 0] == pytest.approx(0.0160, abs=1e-4)


def test_adjusted_closes_need_no_actions() -> None:
    """Promise: with dividend 0 and split 1 the return is the ratio of closes; NaN actions mean none."""
    close = column(10, 11, 9.9)
    plain = simple_returns(close, np.zeros((3, 1)), np.ones((3, 1)))
    assert plain[1:, 0] == pytest.approx([0.1, -0.1])
    assert np.array_equal(
        plain, simple_returns(close, np.full((3, 1), np.nan), np.full((3, 1), np.nan)), equal_nan=True
    )


def test_trap_15_a_gap_makes_no_return_over_several_days() -> None:
    """Promise: after a missing session the first return is missing; none spans the gap, no action leaks across it."""
    close = column(100, 101, np.nan, 110, 111)
    split, dividend = column(1, 1, 2, 1, 1), column(0, 0, 5, 0, 0)
    returns = simple_returns(close, dividend, split)[:, 0]
    assert np.isnan(returns[[0, 2, 3]]).all()
    assert returns[[1, 4]] == pytest.approx([0.01, 111 / 110 - 1])


def test_inputs_are_not_changed() -> None:
    """Promise: pure functions."""
    close, dividend, split = column(1, 2), column(np.nan, 0), column(1, np.nan)
    before = close.copy(), dividend.copy(), split.copy()
    simple_returns(close, dividend, split)
    for array, copy in zip((close, dividend, split), before, strict=True):
        assert np.array_equal(array, copy, equal_nan=True)


@given(st.lists(st.floats(1, 1e4), min_size=2, max_size=30), st.sampled_from([0.125, 4.0, 1024.0]))
def test_scaling_a_price_series_changes_no_return(prices: list[float], factor: float) -> None:
    """Promise: the currency's unit does not matter."""
    close, dividend, split = column(*prices), column(*prices) / 100, np.ones((len(prices), 1))
    expected = simple_returns(close, dividend, split)
    assert simple_returns(close * factor, dividend * factor, split) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_a_jump_without_a_split_is_an_outlier() -> None:
    """Promise: above 500% either a split explains it, or it is not believed; 500% itself and gaps are."""
    returns = column(5.01, 5.0, 9.0, -0.99, np.nan)
    assert outliers(returns, column(np.nan, 1, 0.1, 1, 1))[:, 0].tolist() == [True, False, False, False, False]
