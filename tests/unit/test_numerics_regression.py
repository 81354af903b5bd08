"""Factor regressions against statsmodels, scikit-learn and lstsq, and the rules of what is not fitted and why."""

from collections.abc import Sequence

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from statsmodels.regression.rolling import RollingOLS

from assets.numerics.regression import QUALITY_LABELS, Fits, Method, Quality, factor_covariance, fit

NAMES = ("market", "value", "momentum", "size")
NUMBERS = ("beta", "se", "r_squared", "residual_vol", "market_total")
SESSIONS, SYMBOLS = 420, 12
Array = NDArray[np.float64]


def make_returns(seed: int = 0, n_symbols: int = SYMBOLS, n_sessions: int = SESSIONS) -> tuple[Array, Array]:
    """Returns (sessions, symbols) and factors (sessions, 4): a market and three smaller, correlated spreads."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0.0003, 0.01, (n_sessions, 4))
    factors[:, 1:] = 0.4 * factors[:, 1:] - 0.1 * factors[:, :1]
    loadings = rng.normal([1.0, 0.0, 0.0, 0.0], 0.5, (n_symbols, 4)).T
    return factors @ loadings + rng.normal(0.0002, 0.012, (n_sessions, n_symbols)), factors


def with_gaps(returns: Array, seed: int = 0) -> Array:
    """A young listing, a fresh one, one that stopped, single gaps, a hole and an often missing symbol."""
    rng = np.random.default_rng(seed)
    gappy = returns.copy()
    gappy[:300, 0] = np.nan
    gappy[:380, 1] = np.nan
    gappy[330:, 2] = np.nan
    gappy[rng.random(len(gappy)) < 0.02, 3] = np.nan
    gappy[310:340, 4] = np.nan
    gappy[rng.random(len(gappy)) < 0.5, 5] = np.nan
    return gappy


def fit_model(returns: Array, factors: Array, targets: Sequence[int], method: Method = "ols") -> Fits:
    return fit(returns, factors, targets, factor_names=NAMES, method=method)


def assert_same(one: Fits, other: Fits, tolerance: float = 1e-12) -> None:
    for name in (*NUMBERS, "condition", "max_vif"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=tolerance, abs=tolerance, nan_ok=True), (
            name
        )
    for name in ("n_obs", "quality", "reason"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def cells(
    fits: Fits, symbols: Sequence[int] | slice = slice(None), sessions: Sequence[int] | slice = slice(None)
) -> Fits:
    """The part of fits that belongs to some symbols and sessions."""
    return Fits(
        **{
            name: values[sessions] if values.ndim == 1 else values[sessions][:, symbols]
            for name, values in vars(fits).items()
        }
    )


def least_squares(returns: Array, factors: Array, end: int, window: int = 252):  # type: ignore[no-untyped-def]
    """The statsmodels regression over the window that ends at a row, on its complete sessions."""
    y, x = returns[max(end - window + 1, 0) : end + 1], factors[max(end - window + 1, 0) : end + 1]
    complete = np.isfinite(y) & np.isfinite(x).all(axis=1)
    return sm.OLS(y[complete], sm.add_constant(x[complete])).fit()


def test_every_number_agrees_with_statsmodels() -> None:
    """Promise: betas, standard errors, R2 and residual volatility are those of OLS on the symbol's own sessions."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    factors[350:353, 2] = np.nan
    targets = [251, 290, 349, 351, 352, 419]
    fits = fit_model(returns, factors, targets)
    fitted = np.argwhere(fits.quality > Quality.INSUFFICIENT_HISTORY)
    assert len(fitted) > 50
    for d, s in fitted:
        oracle = least_squares(returns[:, s], factors, targets[d])
        assert fits.beta[d, s] == pytest.approx(oracle.params[1:], rel=1e-9, abs=1e-9)
        assert fits.se[d, s] == pytest.approx(oracle.bse[1:], rel=1e-9)
        assert fits.r_squared[d, s] == pytest.approx(oracle.rsquared, abs=1e-9)
        assert fits.residual_vol[d, s] == pytest.approx(np.sqrt(252 * oracle.mse_resid), rel=1e-9)
        assert fits.n_obs[d, s] == oracle.nobs


def test_rolling_betas_agree_with_statsmodels_rolling_ols() -> None:
    """Promise: over consecutive sessions the betas are those of RollingOLS."""
    returns, factors = make_returns()
    fits = fit_model(returns[:, :2], factors, range(251, SESSIONS))
    for s in range(2):
        rolling = RollingOLS(returns[:, s], sm.add_constant(factors), window=252).fit()
        assert fits.beta[:, s] == pytest.approx(rolling.params[251:, 1:], rel=1e-9, abs=1e-9)
        assert fits.se[:, s] == pytest.approx(rolling.bse[251:, 1:], rel=1e-7)


@pytest.mark.parametrize(("closeness", "condition", "tolerance"), [(2e-3, 1e3, 1e-12), (4e-5, 5e4, 1e-10)])
def test_accuracy_holds_when_factors_are_nearly_dependent(closeness: float, condition: float, tolerance: float) -> None:
    """Promise: the error against lstsq grows with the condition, not with its square; with gaps the same."""
    returns, factors = make_returns()
    factors[:, 3] = factors[:, 2] + closeness * factors[:, 3]
    returns = with_gaps(returns + factors[:, 3:])
    fits = fit_model(returns, factors, [419])
    assert condition / 2 < fits.condition[0] < condition * 2
    for s in np.flatnonzero(fits.quality[0] > Quality.INSUFFICIENT_HISTORY):
        complete = np.flatnonzero(np.isfinite(returns[168:, s])) + 168
        scale = np.linalg.norm(factors[complete], axis=0)
        design = np.column_stack([np.ones(len(complete)), factors[complete] / scale])
        oracle = np.linalg.lstsq(design, returns[complete, s], rcond=None)[0][1:] / scale
        assert np.abs(fits.beta[0, s] - oracle).max() < tolerance * np.abs(oracle).max()
    assert (fits.quality[0][6:] == Quality.COLLINEAR).all()


@pytest.mark.parametrize("k", range(4))
def test_a_symbol_that_is_a_factor_has_its_loading(k: int) -> None:
    """Promise: beta 1 to it and 0 to the others, R2 1, standard errors and residual volatility 0."""
    _, factors = make_returns()
    fits = fit_model(factors[:, k : k + 1], factors, range(251, SESSIONS))
    assert fits.beta[:, 0] == pytest.approx(np.tile(np.eye(4)[k], (len(fits.beta), 1)), abs=1e-10)
    assert fits.r_squared == pytest.approx(np.ones((len(fits.beta), 1)), abs=1e-12)
    assert fits.se.max() < 1e-7
    assert fits.residual_vol.max() < 1e-7


def test_market_total_is_the_simple_beta_on_a_full_window() -> None:
    """Promise: whatever the styles take of the market, the total is what a regression on the market alone says."""
    returns, factors = make_returns()
    for method in ("ols", "ridge", "univariate"):
        fits = fit_model(returns, factors, [300, 419], method)
        for d, end in enumerate([300, 419]):
            for s in range(SYMBOLS):
                simple = least_squares(returns[:, s], factors[:, :1], end).params[1]
                assert fits.market_total[d, s] == pytest.approx(simple, rel=1e-10)


@pytest.mark.parametrize("method", ["ols", "ridge", "univariate", "bayes"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=4)
def test_batch_is_one_by_one_is_day_by_day(method: Method, seed: int) -> None:
    """Promise: nobody's result depends on who shares the batch, which sessions are asked or where arrays begin."""
    returns, factors = make_returns(seed)
    returns = with_gaps(returns, seed)
    targets = sorted({*np.random.default_rng(seed).integers(240, SESSIONS, 25).tolist(), 380, 381, 419})
    batch = fit_model(returns, factors, targets, method)
    for s in range(0, SYMBOLS, 3):
        assert_same(fit_model(returns[:, [s]], factors, targets, method), cells(batch, symbols=[s]))
    for i, target in enumerate(targets[::4]):
        first = max(target - 251, 0)
        day = fit_model(returns[first : target + 1], factors[first : target + 1], [target - first], method)
        assert_same(day, cells(batch, sessions=[4 * i]))


@given(order=st.permutations(range(SYMBOLS)))
@settings(max_examples=10)
def test_permuting_symbols_permutes_results(order: list[int]) -> None:
    """Promise: a symbol's place in the batch does not matter."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    assert_same(fit_model(returns[:, order], factors, [419]), cells(fit_model(returns, factors, [419]), symbols=order))


@given(scale=st.sampled_from([2.0**-20, 1024.0]))
@settings(deadline=None)
def test_scaling_returns_and_factors_changes_no_beta(scale: float) -> None:
    """Promise: units do not matter: per cent give the betas of decimals."""
    returns, factors = make_returns()
    fits, scaled = fit_model(returns, factors, [419]), fit_model(returns * scale, factors * scale, [419])
    assert scaled.beta == pytest.approx(fits.beta, rel=1e-12)
    assert scaled.residual_vol == pytest.approx(fits.residual_vol * scale, rel=1e-12)


def test_trap_14_a_gap_in_one_symbol_moves_no_other() -> None:
    """Promise: no frame-wide dropna: gaps, holes and young listings change only their own betas, to 1e-12."""
    returns, factors = make_returns()
    clean, gappy = (
        fit_model(returns, factors, range(251, SESSIONS)),
        fit_model(with_gaps(returns), factors, range(251, 420)),
    )
    others = list(range(6, SYMBOLS))
    assert_same(cells(gappy, symbols=others), cells(clean, symbols=others))
    assert (gappy.n_obs[-1, :6] < 252).all()


def test_a_bad_tick_that_has_left_the_window_leaves_no_trace() -> None:
    """Promise: no running sums: 1e6 in a symbol and in a factor are forgotten with their session."""
    returns, factors = make_returns()
    bad_returns, bad_factors = returns.copy(), factors.copy()
    bad_returns[100, 3], bad_factors[100, 1] = 1e6, 1e6
    after = range(100 + 252, SESSIONS)
    assert_same(fit_model(bad_returns, bad_factors, after), fit_model(returns, factors, after))
    touched = fit_model(bad_returns, factors, [351])
    assert abs(touched.beta[0, 3]).max() > 1e3


def test_crashes_and_ticks_of_a_factor_are_the_same_in_a_batch() -> None:
    """Promise: windows that share no basis with their neighbours are told apart: batch is day by day, to 1e-11."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    factors[345:366] *= 12.0
    factors[400, 2] = 1e6
    targets = list(range(330, SESSIONS))
    batch = fit_model(returns, factors, targets)
    for i, target in enumerate(targets):
        first = target - 251
        day = fit_model(returns[first : target + 1], factors[first : target + 1], [251])
        assert_same(day, cells(batch, sessions=[i]), tolerance=1e-11)


def test_thousands_of_symbols_are_fitted_like_a_few() -> None:
    """Promise: a symbol's numbers do not depend on how many others are fitted with it, first, last or between."""
    returns, factors = make_returns(n_symbols=5_000, n_sessions=300)
    returns[280, ::3] = np.nan
    together = fit_model(returns, factors, [270, 299])
    for first in (0, 2_046, 4_094, 4_996):
        some = slice(first, first + 4)
        assert_same(cells(together, some), fit_model(returns[:, some], factors, [270, 299]))
    expected = least_squares(returns[:, 4_998], factors, 299)
    assert together.beta[1, 4_998] == pytest.approx(expected.params[1:], rel=1e-10)


def test_symbols_without_enough_history_say_so() -> None:
    """Promise: below 60 sessions there are no numbers but a reason; the count is always there; 60 are enough."""
    returns, factors = make_returns()
    returns[: 420 - 25, 0], returns[: 420 - 60, 1], returns[: 420 - 239, 2], returns[: 420 - 240, 3] = [np.nan] * 4
    fits = fit_model(returns, factors, [419])
    assert fits.n_obs[0, :5].tolist() == [25, 60, 239, 240, 252]
    assert fits.reason[0, 0] == "Insufficient history: 25 < 60"
    assert QUALITY_LABELS[fits.quality[0, :5]].tolist() == [
        "insufficient_history", "limited_history", "limited_history", "full_history", "full_history",
    ]  # fmt: skip
    assert all(np.isnan(getattr(fits, name)[0, 0]).all() for name in NUMBERS)
    assert all(np.isfinite(getattr(fits, name)[0, 1:]).all() for name in NUMBERS)


def test_many_factors_need_more_sessions_than_the_minimum() -> None:
    """Promise: n >= K + 10, whatever min_obs says."""
    returns, factors = make_returns()
    returns[: 420 - 13] = np.nan
    fits = fit(returns, factors, [419], factor_names=NAMES, min_obs=5)
    assert set(fits.reason[0]) == {"Insufficient history: 13 < 14"}


def test_a_failed_fit_has_a_status_and_a_reason_and_no_number() -> None:
    """Promise: silent symbols, frozen prices and dependent factors are failures, never a beta of 0."""
    returns, factors = make_returns()
    returns[415:, 0] = np.nan
    returns[416:, 1] = np.nan
    returns[:, 2] = 0.0
    returns[:, 3] = 0.001
    fits = fit_model(returns, factors, [419])
    silent, flat = "No return in the last 5 sessions", "Price did not move in the window"
    assert fits.reason[0, :5].tolist() == [silent, None, flat, flat, None]
    factors[:, 3] = factors[:, 0] + 2 * factors[:, 1]
    dependent = fit_model(returns, factors, [419])
    assert dependent.reason[0, 4] == "Factors are linearly dependent"
    assert dependent.condition[0] > 1e6
    for failed, d, s in ((fits, 0, 0), (fits, 0, 2), (fits, 0, 3), (dependent, 0, 4)):
        assert failed.quality[d, s] == Quality.FAILED
        assert all(np.isnan(getattr(failed, name)[d, s]).all() for name in NUMBERS)


@pytest.mark.parametrize("method", ["ols", "ridge", "univariate", "bayes"])
def test_a_factor_that_does_not_move_fails_the_fit(method: Method) -> None:
    """Promise: a constant factor is the intercept over again, for each method."""
    returns, factors = make_returns()
    factors[:, 2] = 0.0004
    fits = fit_model(returns, factors, [300, 419], method)
    assert np.isinf(fits.condition).all()
    assert set(fits.reason.ravel()) == {"Factors are linearly dependent"}


def test_a_symbol_whose_own_sessions_cannot_tell_factors_apart_fails_alone() -> None:
    """Promise: factors that are dependent over one symbol's sessions, not over the window, fail that symbol only."""
    returns, factors = make_returns()
    factors[340:, 3] = factors[340:, 2]
    returns[:340, 0] = np.nan
    fits = fit_model(returns, factors, [419])
    assert fits.reason[0, :2].tolist() == ["Factors are linearly dependent", None]


def test_factors_may_lack_twelve_sessions_and_no_more() -> None:
    """Promise: without a factor on 13 sessions of 252 the fit fails, naming the factor."""
    returns, factors = make_returns()
    factors[300:312, 1] = np.nan
    assert set(fit_model(returns, factors, [419]).reason[0]) == {None}
    factors[312, 1] = np.nan
    fits = fit_model(returns, factors, [311, 419])
    assert set(fits.reason[0]) == {None}
    assert set(fits.reason[1]) == {"Factor returns missing in the last 252 sessions: value 13"}
    assert (fits.quality[1] == Quality.FAILED).all()


def test_a_short_look_back_is_a_failure_not_a_shorter_window() -> None:
    """Promise: a target with fewer than 240 sessions before it is failed for want of factors, never fitted on less."""
    returns, factors = make_returns()
    fits = fit_model(returns, factors, [100, 238, 239, 251])
    assert np.isnan(fits.beta[:2]).all()
    assert "market 13" in fits.reason[1, 0]
    assert (fits.quality[2:] == Quality.FULL_HISTORY).all()


def test_collinear_is_said_above_a_variance_inflation_of_ten() -> None:
    """Promise: max_vif is that of statsmodels; above 10 the fit is marked, and keeps its numbers."""
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    returns, factors = make_returns()
    for closeness, quality in ((0.2, Quality.COLLINEAR), (0.5, Quality.FULL_HISTORY)):
        mixed = factors.copy()
        mixed[:, 3] = factors[:, 2] + closeness * factors[:, 3]
        fits = fit_model(returns, mixed, [419])
        design = sm.add_constant(mixed[168:])
        assert fits.max_vif[0] == pytest.approx(
            max(variance_inflation_factor(design, k) for k in range(1, 5)), rel=1e-9
        )
        assert fits.condition[0] == pytest.approx(
            np.linalg.cond((mixed[168:] - mixed[168:].mean(0)) / mixed[168:].std(0))
        )
        assert (fits.quality == quality).all()
        assert np.isfinite(fits.beta).all()


def test_ridge_agrees_with_scikit_learn() -> None:
    """Promise: styles net of the market at unit variance, kappa 0.2, market and intercept free (sklearn Ridge on Z)."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    fits = fit_model(returns, factors, [419], "ridge")
    for s in np.flatnonzero(fits.quality[0] > Quality.INSUFFICIENT_HISTORY):
        have = np.isfinite(returns[168:, s])
        y, x = returns[168:, s][have], factors[168:][have]
        market = sm.add_constant(x[:, 0])
        net = x[:, 1:] - market @ np.linalg.lstsq(market, x[:, 1:], rcond=None)[0]
        ridge = Ridge(alpha=0.2 * len(y)).fit(net / net.std(axis=0), y)
        styles = ridge.coef_ / net.std(axis=0)
        left = sm.OLS(y - x[:, 1:] @ styles, market).fit()
        assert fits.beta[0, s] == pytest.approx([left.params[1], *styles], rel=1e-9)
        assert fits.r_squared[0, s] == pytest.approx(1 - left.ssr / ((y - y.mean()) ** 2).sum(), rel=1e-9)


def test_ridge_standard_errors_are_those_of_a_simulation() -> None:
    """Promise: over 8,000 draws the betas spread as their standard errors say, to 3%; residuals to 0.5%."""
    _, factors = make_returns(1, n_sessions=252)
    rng = np.random.default_rng(2)
    returns = factors @ np.array([[1.0], [0.3], [-0.2], [0.5]]) + rng.normal(0, 0.01, (252, 8000))
    fits = fit_model(returns, factors, [251], "ridge")
    assert np.sqrt((fits.se[0] ** 2).mean(axis=0)) == pytest.approx(fits.beta[0].std(axis=0), rel=0.03)
    assert (fits.residual_vol**2).mean() == pytest.approx(252 * 0.01**2, rel=0.005)


#: What is expected of betas before any return is seen: the fixed prior, by factor.
PRIOR_MEAN, PRIOR_SD = np.array([1.0, 0, 0, 0]), np.array([0.15, 0.55, 0.58, 0.23])


def test_bayes_is_least_squares_with_the_prior_as_observations() -> None:
    """Promise: the posterior given s^2 is that of a regression whose further rows say beta = prior with its spread."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    fits = fit_model(returns, factors, [300, 419], "bayes")
    fitted = np.argwhere(fits.quality > Quality.INSUFFICIENT_HISTORY)
    assert len(fitted) > 15
    for d, s in fitted:
        target = (300, 419)[d]
        ols = least_squares(returns[:, s], factors, target)
        sigma = np.sqrt(ols.mse_resid)
        prior = np.column_stack([np.zeros(4), np.diag(1 / PRIOR_SD)])
        rows = np.vstack([ols.model.exog / sigma, prior])
        posterior = sm.OLS(np.concatenate([ols.model.endog / sigma, PRIOR_MEAN / PRIOR_SD]), rows).fit()
        assert fits.beta[d, s] == pytest.approx(posterior.params[1:], rel=1e-9, abs=1e-10)
        assert fits.se[d, s] == pytest.approx(np.sqrt(np.diag(posterior.normalized_cov_params))[1:], rel=1e-9)
        left = ols.model.endog - ols.model.exog[:, 1:] @ posterior.params[1:]
        rss = ((left - left.mean()) ** 2).sum()
        assert fits.r_squared[d, s] == pytest.approx(1 - rss / ols.centered_tss, rel=1e-9)
        assert fits.residual_vol[d, s] == pytest.approx(np.sqrt(252 * rss / ols.df_resid), rel=1e-9)
        assert fits.n_obs[d, s] == ols.nobs


def test_bayes_lies_between_data_and_prior_and_leaves_a_proxy_alone() -> None:
    """Promise: standard errors are smaller than either's, little data means little change; a proxy has beta 1, se 0."""
    returns, factors = make_returns()
    returns[:340, 0] = np.nan
    returns[:, 1] = factors[:, 0]
    ols, bayes = (fit_model(returns, factors, [419], method) for method in ("ols", "bayes"))
    assert (bayes.se[0, 2:] < ols.se[0, 2:]).all()
    assert (bayes.se[0, 2:] < PRIOR_SD).all()
    distance = np.abs(bayes.beta - PRIOR_MEAN) / np.abs(ols.beta - PRIOR_MEAN)
    assert np.median(distance[0, 0]) < np.median(distance[0, 2:])
    assert bayes.beta[0, 1] == pytest.approx([1, 0, 0, 0], abs=1e-10)
    assert (bayes.se[0, 1] < 1e-7).all()


def test_bayes_forecasts_returns_better_than_least_squares() -> None:
    """Promise: where true betas spread as the prior says, the posterior is nearer to them, most with short windows."""
    rng = np.random.default_rng(3)
    _, factors = make_returns()
    true = PRIOR_MEAN + PRIOR_SD * rng.normal(size=(300, 4))
    returns = factors @ true.T + rng.normal(0, 0.02, (SESSIONS, 300))
    for start, gain in ((0, 0.9), (350, 0.5)):
        young = returns.copy()
        young[:start] = np.nan
        error = {
            method: ((fit_model(young, factors, [419], method).beta[0] - true) ** 2).mean()
            for method in ("ols", "bayes")
        }
        assert error["bayes"] < gain * error["ols"]


def test_a_misprint_is_flagged_in_the_windows_that_hold_it() -> None:
    """Promise: |return| above 5 without a split is kept and said: outlier from its session on until it has left."""
    returns, factors = make_returns()
    returns[160, 0] = returns[165, 1] = 10.0
    returns[165, 2] = np.nan
    outliers = np.zeros(returns.shape, dtype=bool)
    outliers[160, 0] = outliers[165, 1] = True
    factors[165] = np.nan  # not a session of anybody's window
    targets = [409, 411, 412, 419]
    fits = fit(returns, factors, targets, factor_names=NAMES, outliers=outliers)
    assert [QUALITY_LABELS[code] for code in fits.quality[:, 0]] == ["outlier"] * 2 + ["full_history"] * 2
    assert (fits.quality[:, 1:] == Quality.FULL_HISTORY).all()
    plain = fit(returns, factors, targets, factor_names=NAMES)
    assert np.array_equal(fits.beta, plain.beta)
    returns[416:, 0] = np.nan
    returns[:365, 3] = np.nan
    outliers[370, 0] = outliers[370, 3] = True
    fits = fit(returns, factors, [419], factor_names=NAMES, outliers=outliers)
    assert fits.quality[0, [0, 3]].tolist() == [Quality.OUTLIER, Quality.INSUFFICIENT_HISTORY]


def test_univariate_is_one_regression_a_factor() -> None:
    """Promise: K simple regressions on the joint sessions; fit and residuals are the market's, condition 1."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    fits = fit_model(returns, factors, [419], "univariate")
    for s in np.flatnonzero(fits.quality[0] > Quality.INSUFFICIENT_HISTORY):
        simple = [least_squares(returns[:, s], factors[:, [k]], 419) for k in range(4)]
        assert fits.beta[0, s] == pytest.approx([one.params[1] for one in simple], rel=1e-9)
        assert fits.se[0, s] == pytest.approx([one.bse[1] for one in simple], rel=1e-9)
        assert fits.r_squared[0, s] == pytest.approx(simple[0].rsquared, rel=1e-9)
        assert fits.residual_vol[0, s] == pytest.approx(np.sqrt(252 * simple[0].mse_resid), rel=1e-9)
    assert fits.condition.tolist() == fits.max_vif.tolist() == [1.0]


def test_one_factor_alone_can_be_fitted() -> None:
    """Promise: K = 1 works for every method, and those without a prior agree."""
    returns, factors = make_returns()
    for method in ("ols", "ridge", "univariate"):
        fits = fit(returns, factors[:, :1], [419], factor_names=["market"], method=method)
        assert fits.beta[0, 0, 0] == pytest.approx(
            least_squares(returns[:, 0], factors[:, :1], 419).params[1], rel=1e-10
        )


def test_a_model_without_a_market_has_no_market_total() -> None:
    """Promise: what is not defined is missing, not 0."""
    returns, factors = make_returns()
    fits = fit(returns, factors[:, 1:], [419], factor_names=NAMES[1:])
    assert np.isnan(fits.market_total).all()
    assert np.isfinite(fits.beta).all()


def test_shapes_hold_for_nothing_at_all() -> None:
    """Promise: no targets or no symbols give empty results, not errors."""
    returns, factors = make_returns()
    assert fit_model(returns, factors, []).beta.shape == (0, SYMBOLS, 4)
    assert fit_model(returns[:, :0], factors, [419]).beta.shape == (1, 0, 4)
    assert factor_covariance(factors, []).shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor_names": NAMES[:3]}, "must name 4 different factors"),
        ({"factor_names": ("value", "market", "momentum", "size")}, "first factor must be 'market'"),
        ({"factor_names": ("value", "growth", "momentum", "size"), "method": "ridge"}, "first factor must be 'market'"),
        ({"factor_names": ("market", "value", "oil", "size"), "method": "bayes"}, "has a prior for .* got .*'oil'"),
        ({"factor_names": NAMES, "window": 59}, "window must be at least 60 sessions for 4 factors, got 59"),
    ],
)
def test_a_model_that_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    """Promise: a mistake in the model is an error that names the value and the rule."""
    returns, factors = make_returns()
    with pytest.raises(ValueError, match=message):
        fit(returns, factors, [419], **arguments)  # type: ignore[arg-type]


def test_inputs_are_not_changed_and_may_be_read_only() -> None:
    """Promise: pure functions."""
    returns, factors = make_returns()
    returns = with_gaps(returns)
    copies = returns.copy(), factors.copy()
    for array in (returns, factors):
        array.flags.writeable = False
    for method in ("ols", "ridge", "univariate", "bayes"):
        fit_model(returns, factors, range(240, SESSIONS), method)
    assert np.array_equal(returns, copies[0], equal_nan=True)
    assert np.array_equal(factors, copies[1])


def test_factor_covariance_is_that_of_the_complete_sessions() -> None:
    """Promise: np.cov of the window's sessions that have every factor."""
    _, factors = make_returns()
    factors[400, 1] = factors[405, 2] = np.nan
    covariance = factor_covariance(factors, [300, 419])
    assert covariance[0] == pytest.approx(np.cov(factors[49:301].T), rel=1e-12)
    window = factors[168:]
    assert covariance[1] == pytest.approx(np.cov(window[np.isfinite(window).all(axis=1)].T), rel=1e-12)
