"""Volatility of a series against numpy, pandas and scipy, its null rules, and the error rate of the trend."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from assets.numerics.constants import LOOKBACK_RETURNS
from assets.numerics.volatility import Volatility, volatility

Array = NDArray[np.float64]
NUMBERS = ("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d", "vol_trend_p", "vol_percentile")
LAST = 349


def make_returns(seed: int = 0, n_series: int = 8) -> Array:
    """350 sessions of returns whose volatility wanders."""
    rng = np.random.default_rng(seed)
    scale = 0.01 * np.exp(np.cumsum(rng.normal(0, 0.05, (LAST + 1, n_series)), axis=0))
    return scale * rng.standard_t(5, (LAST + 1, n_series))


def with_gaps(returns: Array) -> Array:
    """A fresh and a young listing, single gaps 5, 40 and 100 sessions ago."""
    gappy = returns.copy()
    gappy[: LAST + 1 - 25, 0] = np.nan
    gappy[: LAST + 1 - 150, 1] = np.nan
    for series, ago in ((2, 5), (3, 40), (4, 100)):
        gappy[LAST - ago, series] = np.nan
    return gappy


def assert_same(one: Volatility, other: Volatility, series: list[int], sessions: list[int]) -> None:
    """One equals the part of the other that belongs to some series and sessions."""
    part = np.ix_(sessions, series)
    for name in NUMBERS:
        assert getattr(one, name) == pytest.approx(getattr(other, name)[part], rel=1e-12, nan_ok=True), name
    for name in ("vol_trend", "n_obs", "reason"):
        assert np.array_equal(getattr(one, name), getattr(other, name)[part]), name


def test_realized_volatility_is_the_annualised_standard_deviation() -> None:
    """Promise: pandas' rolling std (ddof 1) of 21 and 63 sessions times sqrt(252); a gap in the window is null."""
    returns = with_gaps(make_returns())
    found = volatility(returns, range(272, LAST + 1))
    frame = pd.DataFrame(returns)
    enough = frame.rolling(252, min_periods=0).count().to_numpy()[272:] >= 63
    for window, vol in ((21, found.realized_vol_21d), (63, found.realized_vol_63d)):
        oracle = np.where(enough, frame.rolling(window).std().to_numpy()[272:] * np.sqrt(252), np.nan)
        assert vol == pytest.approx(oracle, rel=1e-9, nan_ok=True)


def test_ewma_is_pandas_weighted_mean_of_squares() -> None:
    """Promise: weights 0.94^i over the finite returns of 252 sessions, no mean (pandas ewm on the window)."""
    returns = with_gaps(make_returns())
    found = volatility(returns, [LAST])
    squares = pd.DataFrame(returns[LAST - 251 :]) ** 2
    oracle = np.sqrt(252 * squares.ewm(alpha=0.06, adjust=True, ignore_na=False).mean().iloc[-1].to_numpy())
    assert found.ewma_vol[0, [1, 3, 4, 5]] == pytest.approx(oracle[[1, 3, 4, 5]], rel=1e-12)


def test_forecast_of_a_series_worked_by_hand() -> None:
    """Promise: 0.02 today, 0.15 the week, 0.37 the month, 0.46 the year: worked out for squares 1 to 16 (per cent)."""
    # |r| is 4% today, 3% the rest of the week, 2% the rest of the month, 1% the rest of the year.
    size = np.repeat([0.01, 0.02, 0.03, 0.04], [252 - 21, 16, 4, 1])
    returns = (size * np.where(np.arange(252) % 2, 1, -1))[:, None]
    week, month, year = (16 + 4 * 9) / 5, (16 + 36 + 16 * 4) / 21, (16 + 36 + 64 + 231) / 252
    variance = 1e-4 * (0.02 * 16 + 0.15 * week + 0.37 * month + 0.46 * year)
    assert volatility(returns, [251]).forecast_vol_21d[0, 0] == pytest.approx(np.sqrt(252 * variance), rel=1e-12)


@given(size=st.floats(1e-4, 0.2), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_forecast_is_exact_on_constant_variance(size: float, seed: int) -> None:
    """Promise: when every squared return is the same, EWMA and forecast are that volatility, gaps or not."""
    rng = np.random.default_rng(seed)
    returns = size * rng.choice([-1.0, 1.0], (300, 1))
    returns[rng.integers(0, 270, 20)] = np.nan
    found = volatility(returns, [299])
    assert found.forecast_vol_21d[0, 0] == pytest.approx(size * np.sqrt(252), rel=1e-12)
    assert found.ewma_vol[0, 0] == pytest.approx(size * np.sqrt(252), rel=1e-12)


def test_trend_is_levenes_test_about_the_median() -> None:
    """Promise: p is scipy.stats.levene(last 21, 42 before, center="median"); its sign and p < 0.10 make the word."""
    returns = make_returns(n_series=40)
    found = volatility(returns, [LAST])
    for s in range(40):
        recent, before = returns[-21:, s], returns[-63:-21, s]
        p = stats.levene(recent, before, center="median").pvalue
        assert found.vol_trend_p[0, s] == pytest.approx(p, rel=1e-9)
        spread = [np.abs(part - np.median(part)).mean() for part in (recent, before)]
        expected = "stable" if p >= 0.10 else "increasing" if spread[0] > spread[1] else "decreasing"
        assert found.vol_trend[0, s] == expected
    assert set(found.vol_trend[0]) == {"increasing", "decreasing", "stable"}


@pytest.mark.parametrize("scale", [1e-3, 0.3, 3.0, 10.0, 1e3])
def test_trend_of_any_size_is_levenes_test(scale: float) -> None:
    """Promise: a p of 1e-30 is as good as one of 0.5."""
    returns = make_returns(3)
    returns[-21:] *= scale
    found = volatility(returns, [LAST]).vol_trend_p[0]
    oracle = [stats.levene(*np.split(series, [42]), center="median").pvalue for series in returns[-63:].T]
    assert found == pytest.approx(oracle, rel=1e-9, abs=0)


def test_trap_20_trend_is_seldom_said_of_constant_volatility() -> None:
    """Promise: on constant volatility, normal or t(5), 5-15% of series are called trending, up and down alike."""
    rng = np.random.default_rng(7)
    for returns in (rng.normal(0, 0.01, (63, 4000)), 0.01 * rng.standard_t(5, (63, 4000))):
        found = volatility(returns, [62]).vol_trend[0]
        shares = [(found == label).mean() for label in ("increasing", "decreasing")]
        assert 0.05 < sum(shares) < 0.15
        assert min(shares) > 0.02


def test_percentile_counts_those_below_and_half_the_equal() -> None:
    """Promise: today is compared with the 252 volatilities before it, not with itself (scipy percentileofscore)."""
    returns = make_returns()
    found = volatility(returns, [LAST])
    vols = pd.DataFrame(returns).rolling(21).std().to_numpy()
    for s in range(8):
        oracle = stats.percentileofscore(vols[LAST - 252 : LAST, s], vols[LAST, s], kind="mean") / 100
        assert found.vol_percentile[0, s] == pytest.approx(oracle, abs=1e-12)


def test_percentile_of_equal_volatilities_is_one_half() -> None:
    """Promise: ties count half, also where rounding would tell them apart."""
    returns = np.tile(make_returns()[:21, :1], (17, 1))
    assert volatility(returns, [350]).vol_percentile[0, 0] == 0.5


def test_trap_19_the_look_back_makes_every_number() -> None:
    """Promise: with exactly LOOKBACK_RETURNS returns nothing is null; percentile is not null by construction."""
    returns = make_returns()[-LOOKBACK_RETURNS:]
    found = volatility(returns, [LOOKBACK_RETURNS - 1])
    assert found.reason.tolist() == [[None] * 8]
    assert all(np.isfinite(getattr(found, name)).all() for name in NUMBERS)
    longer = volatility(make_returns(), [LAST])
    assert_same(found, longer, list(range(8)), [0])


def test_a_month_ahead_forecast_is_not_todays_return() -> None:
    """Promise: one quiet day hardly moves the forecast, and one wild day does not become it."""
    returns = make_returns()
    quiet, wild = returns.copy(), returns.copy()
    quiet[-1], wild[-1] = 0.0, 0.10
    usual = volatility(returns, [LAST]).forecast_vol_21d
    assert (volatility(quiet, [LAST]).forecast_vol_21d > 0.8 * usual).all()
    assert (volatility(wild, [LAST]).forecast_vol_21d < 0.10 * np.sqrt(252) / 2).all()


def test_every_null_carries_its_reason() -> None:
    """Promise: too few returns null the row; a gap nulls what needs that window; each null says why."""
    found = volatility(with_gaps(make_returns()), [LAST])
    assert found.reason[0].tolist() == [
        "Insufficient returns: 25 < 63",
        None,
        "1 of the last 21 sessions has no return; 1 of the last 63 sessions has no return",
        "1 of the last 63 sessions has no return",
        None, None, None, None,
    ]  # fmt: skip
    assert found.n_obs[0].tolist() == [25, 150, 251, 251, 251, 252, 252, 252]
    null = {name: np.isnan(getattr(found, name)[0]) for name in NUMBERS}
    assert [name for name in NUMBERS if null[name][0]] == list(NUMBERS)
    assert [name for name in NUMBERS if null[name][3]] == ["realized_vol_63d", "vol_trend_p"]
    assert [name for name in NUMBERS if null[name][2]] == list(NUMBERS)
    assert found.vol_trend[0, 3] is None
    assert not any(null[name][4] for name in NUMBERS)


def test_percentile_needs_half_a_year_of_history() -> None:
    """Promise: 126 earlier volatilities make a percentile, 125 a null with its reason."""
    returns = make_returns(n_series=2)
    returns[: LAST + 1 - 147, 0] = np.nan  # 147 returns: 126 volatilities before today's
    returns[: LAST + 1 - 146, 1] = np.nan
    found = volatility(returns, [LAST])
    assert found.reason[0].tolist() == [None, "Insufficient earlier volatilities: 125 < 126"]
    assert np.isfinite(found.vol_percentile[0]).tolist() == [True, False]
    assert np.isfinite(found.forecast_vol_21d).all()


def test_a_series_that_does_not_move_has_volatility_zero() -> None:
    """Promise: 0 is a number: no spread gives volatility 0, p 1, stable; a constant return too."""
    constant = np.array([0.0, 0.003, 0.0071, 0.00013, 0.019])
    found = volatility(np.tile(constant, (300, 1)), [299])
    assert not found.realized_vol_21d.any()
    assert not found.realized_vol_63d.any()
    assert (found.vol_trend_p == 1.0).all()
    assert (found.vol_trend == "stable").all()
    assert found.forecast_vol_21d[0] == pytest.approx(constant * np.sqrt(252))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_batch_is_one_by_one_is_day_by_day(seed: int) -> None:
    """Promise: the numbers do not depend on the other series, the other targets or where the array begins."""
    returns = with_gaps(make_returns(seed))
    targets = sorted({*np.random.default_rng(seed).integers(60, LAST, 12).tolist(), LAST})
    batch, everything = volatility(returns, targets), list(range(len(targets)))
    for s in range(8):
        assert_same(volatility(returns[:, [s]], targets), batch, [s], everything)
    for i, target in enumerate(targets):
        first = max(target - LOOKBACK_RETURNS + 1, 0)
        assert_same(volatility(returns[first : target + 1], [target - first]), batch, list(range(8)), [i])


@given(scale=st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_volatility_scales_with_returns(scale: float) -> None:
    """Promise: twice the returns, twice the volatility; trend and percentile stay."""
    returns = make_returns()
    found, scaled = volatility(returns, [LAST]), volatility(returns * scale, [LAST])
    for name in NUMBERS[:4]:
        assert getattr(scaled, name) == pytest.approx(getattr(found, name) * scale, rel=1e-9)
    for name in NUMBERS[4:]:
        assert getattr(scaled, name) == pytest.approx(getattr(found, name), rel=1e-6)


def test_a_bad_tick_that_has_left_the_window_leaves_no_trace() -> None:
    """Promise: no recursion: a return of 1e6 that is 273 sessions ago changes not one bit."""
    returns = make_returns()
    bad = returns.copy()
    bad[LAST - LOOKBACK_RETURNS] = 1e6
    assert_same(volatility(bad, [LAST]), volatility(returns, [LAST]), list(range(8)), [0])


def test_a_series_moves_no_other_as_of_the_same_session() -> None:
    """Promise: series that are added up together keep apart: one of 1e6 between two others leaves their bits alone."""
    returns = make_returns(n_series=3)
    wild = returns * [1.0, 1e6, 1.0]
    one, other = volatility(wild, [LAST]), volatility(returns, [LAST])
    for name in NUMBERS:
        assert np.array_equal(getattr(one, name)[:, [0, 2]], getattr(other, name)[:, [0, 2]]), name


def test_shapes_hold_for_nothing_at_all() -> None:
    """Promise: no targets or no series give empty results, not errors."""
    assert volatility(make_returns(), []).vol_trend.shape == (0, 8)
    assert volatility(make_returns()[:, :0], [LAST]).reason.shape == (1, 0)
    assert volatility(np.zeros((0, 3)), []).n_obs.shape == (0, 3)
