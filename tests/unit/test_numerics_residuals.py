"""A book's residuals, standard errors and split of risk against statsmodels and the definition, worked plainly."""

from dataclasses import dataclass

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assets.numerics.factor_windows import factor_windows
from assets.numerics.portfolio import Positions, Weights, weigh
from assets.numerics.regression import Fits, Method, fit
from assets.numerics.residuals import Residuals, residuals, standard_errors
from assets.numerics.risk import RiskSplit, position_shares, return_series, split_risk

Array = NDArray[np.float64]
NAMES = ("market", "value", "size")
SESSIONS, SYMBOLS = 330, 6
TARGETS = (270, 300, 329)
WINDOW = 252


@dataclass(frozen=True)
class Book:
    """A portfolio with everything that its split rests on."""

    returns: Array
    factors: Array
    weights: Weights
    fits: Fits
    residuals: Residuals
    se: Array
    split: RiskSplit
    shares: Array
    equal_shares: Array


def make_returns(seed: int = 0) -> tuple[Array, Array]:
    """Returns (330, 6) on a market and two spreads, with an industry that the factors do not see."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 0.01, (SESSIONS, 3))
    factors[:, 1:] = 0.5 * factors[:, 1:] - 0.2 * factors[:, :1]
    industry = rng.normal(0, 0.008, SESSIONS)[:, None] * np.array([1, 1, 1, 0, 0, -1])
    own = rng.standard_t(5, (SESSIONS, SYMBOLS)) * 0.008
    return factors @ rng.normal([1, 0, 0], 0.4, (SYMBOLS, 3)).T + industry + own, factors


def make_weights(value: Array, equity: float | None = None) -> Weights:
    no = np.zeros(value.shape, dtype=bool)
    return weigh(Positions(value, np.abs(value), value != 0, no, no, no, np.zeros(value.shape[1], dtype=bool)), equity)


def with_gaps(returns: Array, seed: int = 1) -> Array:
    """A young listing, single gaps, and a hole."""
    gappy = returns.copy()
    gappy[:190, 0] = np.nan
    gappy[np.random.default_rng(seed).random(SESSIONS) < 0.05, 1] = np.nan
    gappy[260:285, 2] = np.nan
    return gappy


def make_book(
    value: Array,
    returns: Array,
    factors: Array,
    targets: tuple[int, ...] = TARGETS,
    equity: float | None = None,
    method: Method = "ols",
) -> Book:
    values = np.broadcast_to(value, (len(targets), returns.shape[1]))
    weights = make_weights(values, equity)
    fits = fit(returns, factors, targets, factor_names=NAMES, method=method)
    windows = factor_windows(factors, targets)
    found = residuals(weights, fits.beta, returns, windows)
    series = return_series(weights, returns, targets)
    return Book(
        returns,
        factors,
        weights,
        fits,
        found,
        standard_errors(found, windows),
        split_risk(found, windows, fits.r_squared, returns, series),
        position_shares(found, windows, returns),
        position_shares(found, windows, returns, equal_weighted=True),
    )


VALUE = np.array([300.0, 200, -150, 100, -50, 200])


def regressed(book: Book, d: int, target: int) -> sm.regression.linear_model.RegressionResults:
    """statsmodels' regression of the book's own returns."""
    window = slice(target - WINDOW + 1, target + 1)
    return sm.OLS(book.returns[window] @ book.weights.weight[d], sm.add_constant(book.factors[window])).fit()


def test_standard_errors_are_statsmodels_hc3_of_the_books_own_regression() -> None:
    """Promise: on a book without gaps the standard errors are HC3 of the regression of its returns, and so is R2."""
    book = make_book(VALUE, *make_returns())
    for d, target in enumerate(TARGETS):
        oracle = regressed(book, d, target)
        assert book.se[d] == pytest.approx(oracle.get_robustcov_results("HC3").bse[1:], rel=1e-9)
        assert book.residuals.exposure[d] == pytest.approx(oracle.params[1:], rel=1e-9, abs=1e-12)
        assert book.residuals.series[d] == pytest.approx(oracle.resid, rel=1e-7, abs=1e-14)
        assert book.split.r_squared[d] == pytest.approx(oracle.rsquared, rel=1e-9)
    assert (book.residuals.n_obs == WINDOW).all()


def test_with_equity_and_an_uncovered_position_errors_are_of_the_whole() -> None:
    """Promise: the covered part's HC3 errors, times its share of gross; equity's leverage scales both alike."""
    returns, factors = make_returns()
    returns[:, 5] = np.nan  # no betas
    book = make_book(VALUE, returns, factors, equity=500.0)
    covered = make_book(VALUE[:5], returns[:, :5], factors, equity=500.0)
    for d, target in enumerate(TARGETS):
        oracle = regressed(covered, d, target).get_robustcov_results("HC3")
        assert book.se[d] == pytest.approx(oracle.bse[1:], rel=1e-9)  # weight_coverage undoes the rescaling
    assert book.residuals.coverage == pytest.approx(np.full(3, 0.8))
    assert book.shares[:, 5].tolist() == [0, 0, 0]
    assert book.split.r_squared == pytest.approx(covered.split.r_squared, rel=1e-12)


def plain_residuals(book: Book, d: int, target: int) -> tuple[Array, Array]:
    """The definition, symbol by symbol: (252, S) residuals e_it, (252,) the book's, NaN where there is none."""
    window = slice(target - WINDOW + 1, target + 1)
    r, x = book.returns[window], book.factors[window]
    complete = np.isfinite(x).all(axis=1)
    own = np.full(r.shape, np.nan)
    for i in range(r.shape[1]):
        used = complete & np.isfinite(r[:, i])
        left = r[used, i] - x[used] @ book.fits.beta[d, i]
        own[used, i] = left - left.mean()
    u = book.residuals.weight[d]
    there = np.isfinite(own) & (u != 0)
    share = (there * np.abs(u)).sum(axis=1) / np.abs(u).sum()
    total = np.where(there, own * u, 0.0).sum(axis=1)
    return own, np.where(complete & (share >= 0.5), total / np.where(share > 0, share, 1.0), np.nan)


@pytest.mark.parametrize("method", ["ols", "ridge", "bayes"])
def test_residuals_with_gaps_are_those_of_the_definition(method: Method) -> None:
    """Promise: each symbol's residual about its own sessions' fit, divided by what is there; too little: left out."""
    returns, factors = make_returns()
    returns, factors = with_gaps(returns), factors.copy()
    factors[205:208, 1] = np.nan
    returns[240:245, 3] = returns[240:243, 5] = np.nan  # with the hole in 2 the share falls below a half
    value = np.array([100.0, 80, 0, 300, -60, 250])
    book = make_book(value, returns, factors, method=method)
    left_out = 0
    for d, target in enumerate(TARGETS):
        own, series = plain_residuals(book, d, target)
        known = np.isfinite(series)
        assert book.residuals.known is not None
        assert np.array_equal(book.residuals.known[d], known)
        assert book.residuals.series[d][known] == pytest.approx(series[known], rel=1e-9, abs=1e-15)
        assert book.residuals.variance[d] == pytest.approx(series[known].var(ddof=1), rel=1e-9)
        left_out += int((~known).sum())
        u = book.residuals.weight[d]
        independent = sum(u[i] ** 2 * np.nanvar(own[:, i], ddof=1) for i in np.flatnonzero(u))
        share = independent / series[known].var(ddof=1)
        assert book.split.diversifiable_share[d] == pytest.approx(share, rel=1e-9)
        x = np.column_stack([np.ones(WINDOW), factors[target - WINDOW + 1 : target + 1]])[known]
        inverse = np.linalg.inv(x.T @ x)
        leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
        sandwich = inverse @ (x.T * (series[known] / (1 - leverage)) ** 2) @ x @ inverse
        assert book.se[d] == pytest.approx(np.sqrt(np.diag(sandwich)[1:]) * book.residuals.coverage[d], rel=1e-9)
    assert left_out == 3 * 3 + 3 * 3  # sessions without a factor, and with 3 and 5 (of 550 of 790) missing


def test_positions_share_the_variance_with_what_they_have_in_common() -> None:
    """Promise: u_i (b_i' F b + cov(e_i, e)), pairwise, the specific parts rescaled to add up to the book's."""
    book = make_book(VALUE, with_gaps(make_returns()[0]), make_returns()[1])
    for d, target in enumerate(TARGETS):
        own, series = plain_residuals(book, d, target)
        u, b = book.residuals.weight[d], np.nan_to_num(book.fits.beta[d])
        specific = np.zeros(SYMBOLS)
        for i in np.flatnonzero(u):  # one falls silent before the first session
            both = np.isfinite(own[:, i]) & np.isfinite(series)
            specific[i] = u[i] * np.cov(own[both, i], series[both])[0, 1]
        known = series[np.isfinite(series)]
        specific *= known.var(ddof=1) / specific.sum()
        covariance = np.cov(book.factors[target - WINDOW + 1 : target + 1].T)
        parts = u * (b @ covariance @ (u @ b)) + specific
        assert book.equal_shares[d] == pytest.approx(parts / parts.sum(), rel=1e-9)
        assert book.split.equal_weighted.vol[d] == pytest.approx(np.sqrt(252 * parts.sum()), rel=1e-9)


def har(series: Array) -> float:
    """0.02 r^2 + 0.15 m_5 + 0.37 m_21 + 0.46 m_252 of a series without gaps."""
    squares = series[-WINDOW:] ** 2
    mean = {k: float(squares[-k:].mean()) for k in (1, 5, 21, 252)}
    return 0.02 * mean[1] + 0.15 * mean[5] + 0.37 * mean[21] + 0.46 * mean[252]


def test_the_split_of_now_scales_factors_and_residual_each_by_its_forecast() -> None:
    """Promise: F by sqrt(HAR / mean square) of each factor, the residual by its own HAR and degrees of freedom."""
    returns, factors = make_returns()
    factors[-30:, 1] *= 3
    book = make_book(VALUE, returns, factors)
    for d, target in enumerate(TARGETS):
        window = factors[target - WINDOW + 1 : target + 1]
        scale = [np.sqrt(har(x) / (x**2).mean()) for x in window.T]
        covariance = np.cov(window.T) * np.outer(scale, scale)
        b, own = book.residuals.exposure[d], har(regressed(book, d, target).resid) * 252 / (252 - 3 - 1)
        variance = b @ covariance @ b + own
        assert book.split.now.vol[d] == pytest.approx(np.sqrt(252 * variance), rel=1e-9)
        assert book.split.now.specific[d] == pytest.approx(own / variance, rel=1e-9)
        total = (covariance @ b)[0] ** 2 / covariance[0, 0]
        assert book.split.now.by_factor[d, 0] == pytest.approx(total / variance, rel=1e-9)


def test_without_gaps_the_ratio_is_one() -> None:
    """Promise: what is left for split_ratio to say is what gaps and coverage do: a full book has 1."""
    book = make_book(VALUE, *make_returns())
    assert book.split.split_ratio == pytest.approx(np.ones(3), rel=1e-10)


def test_diversifiable_share_tells_common_movement_from_hedges() -> None:
    """Promise: below 1 where positions share what the factors do not see, above 1 where they hedge it, else near 1."""
    returns, factors = make_returns()
    together, hedged, apart = (
        make_book(np.array(value, dtype=float), returns, factors).split.diversifiable_share
        for value in ([1, 1, 1, 0, 0, 0], [1, -1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0])
    )
    assert (together < 0.7).all()
    assert (hedged > 1.3).all()
    assert (np.abs(apart - 1) < 0.15).all()


@given(seed=st.integers(0, 10_000), gaps=st.booleans(), equity=st.sampled_from([None, 700.0]))
@settings(max_examples=25, deadline=None)
def test_shares_add_up_to_one(seed: int, gaps: bool, equity: float | None) -> None:
    """Promise: by factor with the residual, and by position, to 1e-12: long or short, gaps, low coverage, equity."""
    rng = np.random.default_rng(seed)
    returns, factors = make_returns(seed % 5)
    if gaps:
        returns = with_gaps(returns, seed)
        returns[:, 3] = np.nan
    book = make_book(rng.normal(size=SYMBOLS) * 1000, returns, factors, equity=equity)
    for shares in (book.split.now, book.split.equal_weighted):
        assert shares.by_factor.sum(axis=1) + shares.specific == pytest.approx(np.ones(3), abs=1e-12)
    for by_position in (book.shares, book.equal_shares):
        assert by_position.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-12)


@pytest.mark.parametrize("gaps", [False, True])
def test_sessions_together_are_each_alone_and_order_does_not_matter(gaps: bool) -> None:
    """Promise: batch == day by day to 1e-12, permuting symbols permutes shares, flipping the book changes no share."""
    returns, factors = make_returns()
    returns = with_gaps(returns) if gaps else returns
    together = make_book(VALUE, returns, factors)
    order = np.array([3, 5, 1, 0, 4, 2])
    moved = make_book(VALUE[order], returns[:, order], factors)
    flipped = make_book(-VALUE, returns, factors)
    for d, target in enumerate(TARGETS):
        alone = make_book(VALUE, returns[: target + 1], factors[: target + 1], (target,))
        assert together.se[d] == pytest.approx(alone.se[0], rel=1e-11)
        assert together.shares[d] == pytest.approx(alone.shares[0], rel=1e-11)
        assert together.split.now.vol[d] == pytest.approx(alone.split.now.vol[0], rel=1e-12)
        assert together.split.diversifiable_share[d] == pytest.approx(alone.split.diversifiable_share[0], rel=1e-11)
    assert moved.shares == pytest.approx(together.shares[:, order], rel=1e-11)
    assert moved.se == pytest.approx(together.se, rel=1e-11)
    assert flipped.shares == pytest.approx(together.shares, rel=1e-11)
    assert flipped.se == pytest.approx(together.se, rel=1e-11)


def test_a_book_of_a_factor_has_no_residual_risk() -> None:
    """Promise: rounding is no risk: the market's own proxy has standard errors below 1e-7 and a specific share of 0."""
    returns, factors = make_returns()
    returns[:, 0] = factors[:, 0]
    book = make_book(np.array([100.0, 0, 0, 0, 0, 0]), returns, factors)
    assert (book.se < 1e-7).all()
    assert book.split.now.specific.tolist() == [0, 0, 0]
    assert book.shares[:, 0] == pytest.approx(np.ones(3))
    assert np.isnan(book.split.diversifiable_share).all()
