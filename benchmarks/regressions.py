"""Rolling factor regressions, cases ``ols`` and ``ridge``: W = 252 sessions, K = 5 factors and an intercept.

Every method gets the same returns and gives the betas of every symbol and session; ours gives standard errors, R2,
residual volatility, condition, VIF and quality as well. The others are spared what they would need beyond that: there
are no gaps, nothing is read or stored, and the factors' share of the work is done once where a library allows it.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import statsmodels.api as sm
from sklearn.linear_model import Ridge
from statsmodels.regression.rolling import RollingOLS

from assets.numerics import regression
from assets.numerics.arrays import FloatArray
from assets.numerics.constants import BETA_WINDOW, RIDGE_KAPPA
from benchmarks.measure import Method, Row, compare, pure
from benchmarks.simulated import FACTORS, Panel, simulate, with_gaps

Betas = Callable[[Panel], FloatArray]
"""(D, S, K) betas of a panel."""

#: Symbols x sessions, and what the slow methods do of them: so many symbols, on so many sessions (None: all).
OLS_SIZES: dict[tuple[int, int], dict[str, tuple[int, int | None]]] = {
    (15, 365): {"per_date_loop": (3, 20), "rolling_ols": (15, None), "polars_ols": (15, None)},
    (500, 1250): {"per_date_loop": (3, 20), "rolling_ols": (5, None), "polars_ols": (500, None)},
    (5000, 252): {"per_date_loop": (3, 20), "rolling_ols": (20, None), "polars_ols": (1000, None)},
    (5000, 1): {"per_date_loop": (60, 1), "rolling_ols": (250, 1), "polars_ols": (1000, 1)},
}


def ols() -> Iterator[Row]:
    """Compare ours with the ways people do it, and with the matrix products that ours comes down to (``floor``)."""
    slow = {"per_date_loop": per_date_loop, "rolling_ols": rolling_ols, "polars_ols": polars_ols}
    for (symbols, sessions), samples in OLS_SIZES.items():
        panel = simulate(symbols, sessions, BETA_WINDOW)
        methods = [_sampled(name, fit, panel, *samples[name]) for name, fit in slow.items()]
        methods += [pure("lstsq", _work(lstsq, panel)), pure("ours", _work(ours, panel))]
        if (symbols, sessions) == (500, 1250):
            methods.append(pure("ours_with_gaps", _work(ours, with_gaps(panel))))
        yield from compare("ols", panel.size, [*methods, pure("floor", matrix_products(panel))])


def ridge() -> Iterator[Row]:
    """Compare ours with scikit-learn a symbol and session (``sklearn``) and a session at a time (``naive``)."""
    panel = simulate(500, 1250, BETA_WINDOW)
    methods = [
        _sampled("sklearn", sklearn_ridge, panel, 3, 20),
        _sampled("naive", sklearn_ridge, panel, 500, 20),
        pure("ours", _work(ours_ridge, panel)),
    ]
    yield from compare("ridge", panel.size, methods)


def _sampled(name: str, betas: Betas, panel: Panel, symbols: int, sessions: int | None) -> Method:
    sample = panel.sample(symbols, sessions)
    return pure(name, _work(betas, sample), sample.share(panel))


def _work(betas: Betas, panel: Panel) -> Callable[[], FloatArray]:
    return lambda: betas(panel)


def ours(panel: Panel) -> FloatArray:
    """Everything that a row of `factor_exposure` has."""
    return regression.fit(panel.returns, panel.factors, panel.targets, factor_names=FACTORS).beta


def ours_ridge(panel: Panel) -> FloatArray:
    """The same, by ridge regression."""
    return regression.fit(panel.returns, panel.factors, panel.targets, factor_names=FACTORS, method="ridge").beta


def per_date_loop(panel: Panel) -> FloatArray:
    """The way it used to be done: a position and date at a time, returns and factors aligned by pandas, one OLS."""
    days = pd.bdate_range("2000-01-03", periods=len(panel.returns))
    factors = pd.DataFrame(panel.factors, index=days, columns=list(FACTORS))
    betas = np.empty((len(panel.targets), panel.returns.shape[1], len(FACTORS)))
    for s in range(panel.returns.shape[1]):
        returns = pd.Series(panel.returns[:, s], index=days, name="return")
        for d, end in enumerate(panel.targets):
            betas[d, s] = fit_one(returns[: end + 1], factors).params[list(FACTORS)]
    return betas


def fit_one(returns: "pd.Series[float]", factors: pd.DataFrame) -> sm.regression.linear_model.RegressionResults:
    """Fit the newest returns of one symbol on the factors of the same days."""
    aligned = pd.concat([returns.tail(BETA_WINDOW).rename("return"), factors], axis=1, join="inner").dropna()
    return sm.OLS(aligned["return"], sm.add_constant(aligned.drop(columns="return"))).fit()


def rolling_ols(panel: Panel) -> FloatArray:
    """statsmodels' RollingOLS a symbol: betas, standard errors and R2."""
    first = panel.targets[0] - BETA_WINDOW + 1
    design = sm.add_constant(panel.factors[first:])
    betas = np.empty((len(panel.targets), panel.returns.shape[1], len(FACTORS)))
    for s in range(panel.returns.shape[1]):
        fitted = RollingOLS(panel.returns[first:, s], design, window=BETA_WINDOW).fit()
        betas[:, s] = fitted.params[BETA_WINDOW - 1 :, 1:]
        _ = fitted.bse, fitted.rsquared  # computed when asked for
    return betas


def polars_ols(panel: Panel) -> FloatArray:
    """polars-ols, all symbols in one query: betas only, it has no rolling standard errors or R2."""
    import polars as pl
    from polars_ols import RollingKwargs, compute_least_squares, compute_rolling_least_squares

    first = panel.targets[0] - BETA_WINDOW + 1
    frame = pl.DataFrame(panel.factors[first:], list(FACTORS)).hstack(
        pl.DataFrame(panel.returns[first:], [f"s{s}" for s in range(panel.returns.shape[1])])
    )
    shape = {"add_intercept": True, "mode": "coefficients"}
    if len(panel.targets) == 1:  # faster than a rolling fit of one window
        fit = compute_least_squares
    else:
        fit = compute_rolling_least_squares
        shape["rolling_kwargs"] = RollingKwargs(window_size=BETA_WINDOW, min_periods=BETA_WINDOW, null_policy="ignore")
    symbols = frame.columns[len(FACTORS) :]
    fitted = frame.select([fit(pl.col(name), *map(pl.col, FACTORS), **shape).alias(name) for name in symbols])
    betas = [fitted[name].struct.unnest().select(FACTORS).to_numpy()[-len(panel.targets) :] for name in symbols]
    return np.stack(betas, axis=1)


def lstsq(panel: Panel) -> FloatArray:
    """numpy's lstsq a session, all symbols at once: betas only. What an array programmer would write."""
    design = np.concatenate([np.ones((len(panel.factors), 1)), panel.factors], axis=1)
    betas = np.empty((len(panel.targets), panel.returns.shape[1], len(FACTORS)))
    for d, end in enumerate(panel.targets):
        rows = slice(end - BETA_WINDOW + 1, end + 1)
        betas[d] = np.linalg.lstsq(design[rows], panel.returns[rows])[0][1:].T
    return betas


def sklearn_ridge(panel: Panel) -> FloatArray:
    """The same model by scikit-learn, a session at a time for as many symbols as there are: betas only."""
    betas = np.empty((len(panel.targets), panel.returns.shape[1], len(FACTORS)))
    for d, end in enumerate(panel.targets):
        rows = slice(end - BETA_WINDOW + 1, end + 1)
        market, styles, y = panel.factors[rows, :1], panel.factors[rows, 1:], panel.returns[rows]
        base = np.concatenate([np.ones_like(market), market], axis=1)
        net = styles - base @ np.linalg.lstsq(base, styles)[0]
        sd = net.std(axis=0)
        b = Ridge(alpha=RIDGE_KAPPA * BETA_WINDOW).fit(net / sd, y).coef_ / sd
        betas[d, :, 1:] = b
        betas[d, :, 0] = np.linalg.lstsq(base, y - styles @ b.T)[0][1]
    return betas


def matrix_products(panel: Panel) -> Callable[[], None]:
    """The two matrix products a block of 32 sessions that the sums of all windows need, and nothing else."""
    random, columns, block = np.random.default_rng(3), 1 + len(FACTORS), min(32, len(panel.targets))
    edges, shared = 2 * (block - 1), BETA_WINDOW - block + 1
    band, basis = random.random((block * columns, edges)), random.random((columns, shared))
    slab = random.random((edges + shared, panel.returns.shape[1]))
    n_blocks = -(-len(panel.targets) // block)

    def multiply() -> None:
        for _ in range(n_blocks):
            _ = band @ slab[:edges], basis @ slab[edges:]

    return multiply
