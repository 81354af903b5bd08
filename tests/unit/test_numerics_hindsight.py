"""Drawdowns, forecasts against what followed, and correlations, against pandas and by hand."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from assets.numerics.hindsight import correlations, drawdowns, followed_volatility, qlike

Array = NDArray[np.float64]


def make_returns(sessions: int = 300, series: int = 4) -> Array:
    return np.random.default_rng(7).normal(0.0003, 0.01, (sessions, series))


def test_a_drawdown_by_hand() -> None:
    """Promise: below the highest value so far, the start among these; a session without a return changes nothing."""
    returns = np.array([-0.1, 0.5, np.nan, -0.2, 0.25])
    # The value: 1, 0.9, 1.35, 1.35, 1.08, 1.35.
    assert drawdowns(returns) == pytest.approx([-0.1, 0, 0, -0.2, 0], abs=1e-15)


def test_drawdowns_are_those_of_pandas() -> None:
    """Promise: cumulated value against its running highest."""
    returns = make_returns()[:, 0]
    value = (1 + pd.Series(np.concatenate([[0.0], returns]))).cumprod()
    assert drawdowns(returns) == pytest.approx((value / value.cummax() - 1)[1:].to_numpy(), abs=1e-13)


def test_what_followed_looks_forward_only() -> None:
    """Promise: the mean square of the next sessions, none of today; missing where one of them is missing."""
    returns = make_returns()[:, 1]
    returns[100] = np.nan
    squares = pd.Series(returns**2)
    oracle = np.sqrt(252 * squares.rolling(21).mean().shift(-21)).to_numpy()
    found = followed_volatility(returns, 21)
    assert found == pytest.approx(oracle, rel=1e-12, nan_ok=True)
    assert np.isnan(found[79:100]).all()
    assert np.isfinite(found[[78, 100]]).all()
    assert np.isnan(followed_volatility(returns[:21], 21)).all()


def test_a_perfect_forecast_costs_nothing_and_too_low_a_one_more() -> None:
    """Promise: v/h - ln(v/h) - 1, in variances: half the volatility costs 3 - ln 4, double it -3/4 + ln 4."""
    found = qlike(np.array([0.2, 0.1, 0.4, np.nan, 0.2, 0.0]), np.array([0.2, 0.2, 0.2, 0.2, np.nan, 0.2]))
    assert found[:3] == pytest.approx([0.0, 3 - np.log(4), -0.75 + np.log(4)], abs=1e-15)
    assert np.isnan(found[3:]).all()


def test_correlations_are_those_of_pandas_on_the_sessions_of_both() -> None:
    """Promise: pairwise complete; none for too few sessions, or a series that does not move."""
    returns = make_returns()
    returns[:50, 1] = np.nan
    returns[250:, 2] = np.nan
    returns[:, 3] = 0.0
    oracle = pd.DataFrame(returns[:, :3]).corr(min_periods=63).to_numpy()
    found = correlations(returns, 63)
    assert found[:3, :3] == pytest.approx(oracle, abs=1e-12)
    assert np.isnan(found[3, :3]).all()
    assert found[3, 3] == 1.0
    assert np.isnan(correlations(returns, 201)[1, 2])
