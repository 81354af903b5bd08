"""Value at risk and expected shortfall against numpy and scipy, and how exceedances are counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from assets.numerics.constants import LOOKBACK_RETURNS
from assets.numerics.value_at_risk import exceedances, kupiec_band, value_at_risk

Array = NDArray[np.float64]
FORECAST = 0.2


def make_returns(seed: int = 0, series: int = 4) -> Array:
    """Returns (273, series) whose volatility wanders."""
    rng = np.random.default_rng(seed)
    scale = np.exp(np.cumsum(rng.normal(0, 0.05, (LOOKBACK_RETURNS, series)), axis=0))
    return rng.standard_t(6, (LOOKBACK_RETURNS, series)) * 0.01 * scale


def filtered(returns: Array) -> tuple[float, float, float]:
    """VaR 95 and 99 and ES 97.5 of one series, step by step; scipy's rank quantiles."""
    finite = returns[np.isfinite(returns)]
    variance = [float((finite[:21] ** 2).mean())]
    for value in finite:
        variance.append(0.94 * variance[-1] + 0.06 * value**2)
    z = (finite / np.sqrt(variance[:-1]))[21:]
    at = {p: float(stats.mstats.mquantiles(z, p, alphap=0, betap=0)[0]) for p in (0.05, 0.01, 0.025)}
    now = -np.sqrt(variance[-1])
    return now * at[0.05], now * at[0.01], now * float(z[z <= at[0.025]].mean())


def check(returns: Array) -> None:
    found = value_at_risk(returns, np.full(returns.shape[1], FORECAST))
    for d, series in enumerate(returns.T):
        ours = found.var_95_1d[d], found.var_99_1d[d], found.es_975_1d[d]
        assert ours == pytest.approx(filtered(series), rel=1e-10)


def test_filtered_numbers_are_those_of_the_recursion() -> None:
    """Promise: EWMA variance from the first 21 squares on, Weibull quantiles of z, the mean of what lies below."""
    check(make_returns())


@given(seed=st.integers(0, 1000), lost=st.integers(1, 126))
@settings(max_examples=25, deadline=None)
def test_filtered_numbers_of_what_is_there(seed: int, lost: int) -> None:
    """Promise: gaps and a young book: the same from the finite returns in their order, down to 147 of them."""
    returns = make_returns(seed)
    returns[:lost, 0] = np.nan
    for series in (1, 2):
        returns[np.random.default_rng(seed + series).choice(LOOKBACK_RETURNS, lost, replace=False), series] = np.nan
    check(returns)


def test_a_bad_tick_does_not_outlive_its_window() -> None:
    """Promise: nothing is carried from one session to the next: a tick of 1e6 that has left leaves no trace."""
    history = np.concatenate([[1e6], make_returns(series=1)[:, 0]])
    windows = np.column_stack([history[:-1], history[1:]])
    found = value_at_risk(windows, np.full(2, FORECAST))
    alone = value_at_risk(windows[:, 1:], np.full(1, FORECAST))
    assert found.var_99_1d[1] == pytest.approx(alone.var_99_1d[0], rel=1e-12)
    check(windows)


def test_historical_value_at_risk_is_the_weibull_quantile() -> None:
    """Promise: minus np.quantile(weibull) of the finite returns of the last 252 sessions, older ones ignored."""
    returns = make_returns()
    returns[:21] = -0.5
    returns[-40:-30, 1] = np.nan
    found = value_at_risk(returns, np.full(4, FORECAST))
    for d in range(4):
        finite = returns[-252:, d][np.isfinite(returns[-252:, d])]
        assert found.var_95_1d_historical[d] == pytest.approx(-np.quantile(finite, 0.05, method="weibull"), rel=1e-12)
        assert found.var_99_1d_historical[d] == pytest.approx(-np.quantile(finite, 0.01, method="weibull"), rel=1e-12)


def test_normal_value_at_risk_is_the_forecasts_quantile() -> None:
    """Promise: zero mean, forecast volatility of a day, scipy's normal quantiles; null when there is no forecast."""
    found = value_at_risk(np.zeros((LOOKBACK_RETURNS, 2)), np.array([0.2, np.nan]))
    daily = stats.norm(scale=0.2 / np.sqrt(252))
    assert found.var_95_1d_normal == pytest.approx([-daily.ppf(0.05), np.nan], nan_ok=True)
    assert found.var_99_1d_normal == pytest.approx([-daily.ppf(0.01), np.nan], nan_ok=True)


def test_each_number_has_its_minimum_and_says_so() -> None:
    """Promise: 147 returns make the filtered numbers, 126 in the last 252 the historical ones; a null has a reason."""
    returns = make_returns(series=4)
    for series, n_obs in enumerate((147, 146, 126, 125)):
        returns[:-n_obs, series] = np.nan
    found = value_at_risk(returns, np.full(4, FORECAST))
    assert np.isfinite(found.var_99_1d).tolist() == [True, False, False, False]
    assert np.isfinite(found.es_975_1d).tolist() == [True, False, False, False]
    assert np.isfinite(found.var_99_1d_historical).tolist() == [True, True, True, False]
    assert found.reason.tolist() == [None, *(f"Insufficient portfolio returns: {n} < 147" for n in (146, 126, 125))]


def test_a_book_that_never_moves_can_lose_nothing() -> None:
    """Promise: no variance is 0 at risk, not a division by zero; and not minus zero."""
    found = value_at_risk(np.zeros((LOOKBACK_RETURNS, 1)), np.zeros(1))
    for name in ("var_95_1d", "var_99_1d", "es_975_1d", "var_99_1d_historical"):
        assert str(getattr(found, name)[0]) == "0.0"


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_losses_scale_and_deepen(seed: int, scale: float) -> None:
    """Promise: twice the book loses twice as much; 99% lies beyond 95%, and shortfall beyond the 97.5% between."""
    returns = make_returns(seed)
    found, bigger = (value_at_risk(each, np.full(4, FORECAST)) for each in (returns, scale * returns))
    assert bigger.es_975_1d == pytest.approx(scale * found.es_975_1d, rel=1e-9)
    assert bigger.var_99_1d == pytest.approx(scale * found.var_99_1d, rel=1e-9)
    assert (found.var_99_1d >= found.var_95_1d).all()
    assert (found.es_975_1d >= found.var_95_1d).all()


def test_the_other_side_of_the_book_loses_on_the_other_days() -> None:
    """Promise: flipped quantities have the same definition of value at risk, applied to the flipped returns."""
    check(-make_returns())


def test_coverage_on_returns_whose_volatility_wanders() -> None:
    """Promise: the filtered 99% VaR is exceeded as often as it says, in 95 of 100 books inside Kupiec's band."""
    sessions, books, inside = 504, 100, 0
    rng = np.random.default_rng(7)
    for _ in range(books):
        variance, returns = 1e-4, np.empty(sessions + LOOKBACK_RETURNS)
        for t in range(len(returns)):  # a GARCH(1, 1)
            returns[t] = np.sqrt(variance) * rng.normal()
            variance = 2e-6 + 0.06 * returns[t] ** 2 + 0.92 * variance
        windows = np.lib.stride_tricks.sliding_window_view(returns, LOOKBACK_RETURNS)
        at_risk = value_at_risk(windows.T, np.full(len(windows), np.nan)).var_99_1d
        count = int((-returns[LOOKBACK_RETURNS:] > at_risk[:-1]).sum())
        low, high = kupiec_band(sessions, 0.01)
        inside += low <= count <= high
    assert inside >= 95


def test_exceedances_worked_by_hand() -> None:
    """Promise: today's loss against yesterday's VaR; the last 252; what lacks either is not counted."""
    at_risk = np.full(300, 0.02)
    returns = np.zeros(300)
    returns[[10, 100, 200, 299]] = -0.03  # the first lies before the last 252
    returns[150], at_risk[149] = -0.03, np.nan
    returns[160] = np.nan
    returns[250], at_risk[249], at_risk[250] = -0.03, 0.04, 0.02  # less than yesterday's VaR
    found = exceedances(returns, at_risk, 0.01)
    assert (found.sessions, found.count) == (250, 3)
    assert found.expected == pytest.approx(2.5)
    assert (found.low, found.high) == kupiec_band(250, 0.01)


@pytest.mark.parametrize(("sessions", "tail"), [(252, 0.01), (252, 0.05), (1000, 0.01), (30, 0.01)])
def test_the_band_is_that_of_kupiecs_test(sessions: int, tail: float) -> None:
    """Promise: exactly the counts whose likelihood ratio has a p of at least 5% by scipy."""
    p = []
    for count in range(sessions + 1):
        seen = stats.binom.logpmf(count, sessions, count / sessions)
        p.append(stats.chi2.sf(2 * (seen - stats.binom.logpmf(count, sessions, tail)), 1))
    accepted = np.flatnonzero(np.array(p) >= 0.05)
    assert kupiec_band(sessions, tail) == (accepted[0], accepted[-1])
    assert kupiec_band(0, tail) == (0, 0)
