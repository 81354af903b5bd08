"""Portfolio returns and what the split of risk is a split of, by hand and by numpy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from assets.numerics.constants import LOOKBACK_RETURNS
from assets.numerics.factor_windows import factor_windows
from assets.numerics.portfolio import Positions, Weights, weigh
from assets.numerics.regression import fit
from assets.numerics.residuals import residuals, standard_errors
from assets.numerics.risk import ReturnSeries, position_shares, return_series, session_returns, split_risk
from assets.numerics.volatility import volatility

Array = NDArray[np.float64]
NAMES = ("market", "value", "size")
SESSIONS, SYMBOLS = 330, 6
LAST = SESSIONS - 1


def make_weights(value: Array, cash: object = None, equity: float | None = None) -> Weights:
    """Weights of signed values (sessions, symbols), all at market."""
    no = np.zeros(value.shape, dtype=bool)
    is_cash = np.zeros(value.shape[1], dtype=bool) if cash is None else np.array(cash)
    return weigh(Positions(value, np.abs(value), value != 0, no, no, no, is_cash), equity)


def make_returns(seed: int = 0) -> tuple[Array, Array]:
    """Returns (330, 6) on a market and two spreads that lean on it, (330, 3)."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 0.01, (SESSIONS, 3))
    factors[:, 1:] = 0.5 * factors[:, 1:] - 0.2 * factors[:, :1]
    return factors @ rng.normal([1, 0, 0], 0.4, (SYMBOLS, 3)).T + rng.normal(0, 0.01, (SESSIONS, SYMBOLS)), factors


BOOK = np.array([[300.0, 200, -150, 100, -50, 200]])


def test_portfolio_returns_worked_by_hand() -> None:
    """Promise: R_t adds w r over what has a return on t and divides by its share of gross, with today's weights."""
    returns = np.full((SESSIONS, 3), 0.01)
    returns[:, 1], returns[:, 2] = 0.02, 0.04
    returns[300, 2] = returns[301, 1] = np.nan
    returns[302] = np.nan
    series = return_series(make_weights(np.array([[50.0, 30, -20]])), returns, [LAST])
    ago = {session: LOOKBACK_RETURNS - 1 - (LAST - session) for session in (299, 300, 301, 302)}
    found = [float(series.returns[row, 0]) for row in ago.values()]
    assert found == pytest.approx(
        [0.5 * 0.01 + 0.3 * 0.02 - 0.2 * 0.04, 0.011 / 0.8, (0.005 - 0.008) / 0.7, np.nan], nan_ok=True
    )
    assert [float(series.coverage[row, 0]) for row in ago.values()] == pytest.approx([1.0, 0.8, 0.7, 0.0])


def test_each_session_has_the_series_of_its_own_weights() -> None:
    """Promise: D sessions are D separate look-backs, the same whether asked together or one by one."""
    returns, _ = make_returns()
    returns[:200, 1] = np.nan
    values = np.abs(np.random.default_rng(1).normal(size=(3, SYMBOLS))) + 0.1
    targets = [100, 280, LAST]
    together = return_series(make_weights(values), returns, targets)
    assert np.isnan(together.returns[: LOOKBACK_RETURNS - 101, 0]).all()
    for d, target in enumerate(targets):
        alone = return_series(make_weights(values[[d]]), returns[: target + 1], [target])
        assert together.returns[:, [d]] == pytest.approx(alone.returns, rel=1e-12, abs=1e-16, nan_ok=True)
        plain = (returns[target - 50 : target + 1] @ values[d]) / values[d].sum()
        full = np.isfinite(plain)
        assert together.returns[-51:, d][full] == pytest.approx(plain[full], rel=1e-10, abs=1e-14)


def test_a_new_listing_does_not_make_the_portfolio_null() -> None:
    """Promise: a young listing joins on its first return and shortens nobody's window."""
    returns, _ = make_returns()
    returns[: SESSIONS - 3, 5] = np.nan
    series = return_series(make_weights(BOOK), returns, [LAST])
    found = volatility(series.returns, [LOOKBACK_RETURNS - 1])
    assert found.reason[0, 0] is None
    assert found.n_obs[0, 0] == 252
    others = return_series(make_weights(BOOK[:, :5]), returns[:, :5], [LAST])
    assert series.returns[:-3] == pytest.approx(others.returns[:-3], rel=1e-12)


def test_missing_returns_do_not_dilute_the_risk() -> None:
    """Promise: half the book without returns leaves the volatility of the other half, and a low coverage flag."""
    returns, _ = make_returns()
    returns[:, 1] = np.nan
    series = return_series(make_weights(np.array([[1.0, 1, 0, 0, 0, 0]])), returns, [LAST])
    vol = volatility(series.returns, [LOOKBACK_RETURNS - 1]).realized_vol_63d[0, 0]
    assert vol == pytest.approx(np.sqrt(252) * returns[-63:, 0].std(ddof=1), rel=1e-9)
    assert series.return_coverage[0] == pytest.approx(0.5)
    assert series.low_coverage(np.array([1.0])).tolist() == [True]


def test_low_coverage_is_the_worst_of_a_quarter_or_the_exposures() -> None:
    """Promise: one session of the last 63 below 80%, or exposures below 80%, raises the flag; older sessions do not."""
    coverage = np.ones((LOOKBACK_RETURNS, 3))
    coverage[-63, 0] = coverage[-64, 1] = 0.79
    series = ReturnSeries(np.zeros((LOOKBACK_RETURNS, 3)), coverage)
    assert series.low_coverage(np.array([1.0, 1.0, 0.79])).tolist() == [True, False, True]
    assert series.low_coverage(np.array([0.80, 0.80, 0.80])).tolist() == [True, False, False]
    assert series.return_coverage == pytest.approx([1 - 0.21 / 63, 1, 1])


def test_cash_earns_nothing_and_is_no_gap() -> None:
    """Promise: cash beside equity dilutes through the denominator alone; nothing but cash returns 0."""
    returns = np.full((SESSIONS, 2), np.nan)
    returns[:, 0] = 0.02
    half = return_series(make_weights(np.array([[50.0, 50]]), [False, True], 100.0), returns, [LAST])
    assert half.returns[-1, 0] == pytest.approx(0.01)
    assert half.coverage[-1, 0] == 1.0
    idle = return_series(make_weights(np.array([[0.0, 50]]), [False, True], 100.0), returns, [LAST])
    assert (idle.returns[-1, 0], idle.coverage[-1, 0]) == (0.0, 1.0)
    nothing = return_series(make_weights(np.zeros((1, 2)), [False, True], 100.0), returns, [LAST])
    assert np.isnan(nothing.returns).all()


def split_of(value: Array, seed: int = 0, market: int | None = 0, gone: int | None = None):  # type: ignore[no-untyped-def]
    """The split of a book at the last session; symbol `gone` has no betas."""
    returns, factors = make_returns(seed)
    fits = fit(returns, factors, [LAST], factor_names=NAMES)
    if gone is not None:
        fits.beta[:, gone] = np.nan
    weights, windows = make_weights(value), factor_windows(factors, [LAST])
    found = residuals(weights, fits.beta, returns, windows)
    series = return_series(weights, returns, [LAST])
    split = split_risk(found, windows, fits.r_squared, returns, series, market)
    return found, windows, split, position_shares(found, windows, returns)


def test_factor_shares_are_those_of_the_component_series() -> None:
    """Promise: the market with its total beta, styles net of the market: shares are covariances of these series."""
    found, _, split, _ = split_of(BOOK)
    _, factors = make_returns()
    window, b = factors[-252:], found.exposure[0]
    market = np.column_stack([np.ones(252), window[:, 0]])
    slopes = np.linalg.lstsq(market, window[:, 1:], rcond=None)[0]
    components = np.column_stack([(b[0] + slopes[1] @ b[1:]) * window[:, 0], b[1:] * (window[:, 1:] - market @ slopes)])
    shares = np.array([np.cov(c, components.sum(axis=1))[0, 1] for c in components.T])
    total = split.equal_weighted.vol[0] ** 2 / 252
    assert split.equal_weighted.by_factor[0] == pytest.approx(shares / total, rel=1e-9)


def test_the_split_is_of_the_covered_part() -> None:
    """Promise: a symbol without betas neither dilutes the split nor shares in it: weights are rescaled by coverage."""
    _, _, whole, shares = split_of(np.array([[300.0, 200, -150, 100, -50, 0]]))
    _, _, split, covered = split_of(np.array([[300.0, 200, -150, 100, -50, 800]]), gone=5)
    assert covered[0, :5] == pytest.approx(shares[0, :5], rel=1e-12)
    assert covered[0, 5] == 0.0
    assert split.now.vol == pytest.approx(whole.now.vol, rel=1e-12)


def test_without_a_market_factors_share_by_euler() -> None:
    """Promise: no market in the model, no total beta: factor k has b_k (F b)_k, and all still add up to 1."""
    found, windows, split, _ = split_of(BOOK, market=None)
    b = found.exposure[0]
    assert split.now.by_factor[0] == pytest.approx(b * (windows.scaled[0] @ b) * 252 / split.now.vol[0] ** 2, rel=1e-12)
    assert split.now.by_factor.sum() + split.now.specific[0] == pytest.approx(1.0, abs=1e-12)


def test_no_risk_has_no_split() -> None:
    """Promise: nothing covered, or a book of cash, gives missing shares, not a division by zero."""
    returns, factors = make_returns()
    windows = factor_windows(factors, [LAST])
    beta = np.full((1, SYMBOLS, 3), np.nan)
    idle = make_weights(np.full((1, SYMBOLS), 1.0), [True] * SYMBOLS, 10.0)
    for weights in (make_weights(BOOK), idle):
        found = residuals(weights, beta, returns, windows)
        split = split_risk(found, windows, beta[..., 0], returns, return_series(weights, returns, [LAST]))
        for part in (*vars(split.now).values(), *vars(split.equal_weighted).values(), split.r_squared):
            assert np.isnan(part).all()
        assert np.isnan(position_shares(found, windows, returns)).all()
        assert (standard_errors(found, windows) == 0).all()


def test_the_ratio_needs_half_a_year() -> None:
    """Promise: 126 portfolio returns make a variance, 125 do not."""
    returns, factors = make_returns()
    fits, windows = fit(returns, factors, [LAST], factor_names=NAMES), factor_windows(factors, [LAST])
    found = residuals(make_weights(BOOK), fits.beta, returns, windows)
    for n_obs in (125, 126):
        series = return_series(make_weights(BOOK), returns, [LAST])
        series.returns[:-n_obs] = np.nan
        split = split_risk(found, windows, fits.r_squared, returns, series)
        assert np.isfinite(split.split_ratio[0]) == (n_obs == 126)


def test_the_return_of_a_session_is_by_the_values_of_the_day_before() -> None:
    """Promise: sum of w r over what has a return, by its share of gross; nothing held is no return."""
    weights = make_weights(np.array([[50.0, 30, -20], [0, 0, 0]]))
    returns = np.array([[0.01, np.nan, 0.04], [0.01, 0.01, 0.01]])
    assert session_returns(weights, returns) == pytest.approx([(0.005 - 0.008) / 0.7, np.nan], nan_ok=True)


def test_a_short_book_loses_when_prices_rise() -> None:
    """Promise: the series of the short book is the long book's with the other sign."""
    returns, _ = make_returns()
    long, short = (return_series(make_weights(sign * BOOK), returns, [LAST]) for sign in (1, -1))
    assert short.returns == pytest.approx(-long.returns, rel=1e-12)
