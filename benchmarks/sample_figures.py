"""The figures of docs/numerics.md: how good forecast, risk split and trend are, not how fast.

    python -m benchmarks.sample_figures

prints them as they stand in the document; `tests/unit/test_docs_numerics.py` holds the document to them.
"""

from collections.abc import Iterator

import numpy as np

from assets.factor_models import SAMPLE_5
from assets.numerics import regression, risk
from assets.numerics.arrays import DateArray, FloatArray, IntArray
from assets.numerics.constants import LOOKBACK_RETURNS, MONTH, SESSIONS_A_YEAR, TREND_WINDOW
from assets.numerics.portfolio import Positions, Weights, weigh
from assets.numerics.returns import simple_returns
from assets.numerics.volatility import volatility
from resources.sources.sample import SampleSource

STOCKS = 20
FIRST = np.datetime64("2018-12-31")
BOOKS = 100
SERIES = 20_000
METHODS = {"realized 21": "realized_vol_21d", "EWMA 0.94": "ewma_vol", "forecast": "forecast_vol_21d"}


def main() -> None:
    """Print all figures."""
    for table in (forecast_table(), split_table(), trend_table()):
        print("\n".join(table), end="\n\n")  # noqa: T201


# --- the forecast


def forecast_table() -> list[str]:
    """Mean QLIKE of each forecast by year, and over all with the mean squared error."""
    days, forecasts, ahead = _forecasts()
    losses = {name: _qlike(ahead, variance) for name, variance in forecasts.items()}
    years = days.astype("datetime64[Y]").astype(int) + 1970
    lines = [_row("sessions of", "cells", *METHODS), _row("---", *["---:"] * 4)]
    for year in np.unique(years):
        means = [loss[years == year].mean() for loss in losses.values()]
        lines.append(_row(str(year), f"{(years == year).sum() * STOCKS:,}", *_best_bold(means, 3)))
    lines.append(_row("all", f"{ahead.size:,}", *_best_bold([loss.mean() for loss in losses.values()], 3)))
    errors = [((ahead - variance) ** 2).mean() for variance in forecasts.values()]
    lines.append(_row("all, mean squared error", f"{ahead.size:,}", *_best_bold(errors, 4)))
    return lines


def _forecasts() -> tuple[DateArray, dict[str, FloatArray], FloatArray]:
    """(D,) sessions, and (D, S) annual variances: forecast by method, and of the 21 sessions that came."""
    days, returns, _ = _sample()
    targets = np.arange(np.searchsorted(days, FIRST), len(days) - MONTH)
    stocks = returns[:, :STOCKS]
    found = volatility(stocks, targets)
    ahead = np.stack([(stocks[t + 1 : t + 1 + MONTH] ** 2).mean(axis=0) for t in targets])
    forecasts = {name: getattr(found, field) ** 2 for name, field in METHODS.items()}
    return days[targets], forecasts, SESSIONS_A_YEAR * ahead


def _qlike(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Patton (2011): ``y/f - ln(y/f) - 1``."""
    ratio = actual / forecast
    loss: FloatArray = ratio - np.log(ratio) - 1.0
    return loss


# --- the risk split


def split_table() -> list[str]:
    """Variance of the split by realized variance, of random books at every month-end."""
    lines = [_row("random books", "0.85-1.15", "0.70-1.30", "1% to 99%"), _row("---", *["---:"] * 3)]
    for label, long_only in (("long, 10 to 20 stocks", True), ("long and short, 20 stocks", False)):
        ratio = np.concatenate(list(_split_ratios(np.random.default_rng(1), long_only=long_only)))
        near, wide = (np.mean((ratio > low) & (ratio < high)) for low, high in ((0.85, 1.15), (0.70, 1.30)))
        low, high = np.quantile(ratio, (0.01, 0.99))
        lines.append(_row(label, f"{near:.1%}", f"{wide:.1%}", f"{low:.2f} to {high:.2f}"))
    return lines


def _split_ratios(rng: np.random.Generator, *, long_only: bool) -> Iterator[FloatArray]:
    days, returns, factors = _sample()
    ends = _month_ends(days)
    names = SAMPLE_5.factor_names
    fits = regression.fit(returns[:, :STOCKS], factors, ends, factor_names=names)
    covariance = regression.factor_covariance(factors, ends)
    for _ in range(BOOKS):
        weights = _random_book(rng, len(ends), long_only=long_only)
        series = risk.return_series(weights, returns[:, :STOCKS], ends)
        yield risk.split_risk(weights, fits.beta, fits.residual_vol, covariance, series).split_ratio


def _month_ends(days: DateArray) -> IntArray:
    """(D,) rows of the last session of each month that has all of its look-back."""
    months = days.astype("datetime64[M]")
    last = np.append(months[1:] != months[:-1], True)
    return np.flatnonzero(last & (np.arange(len(days)) >= LOOKBACK_RETURNS))


def _random_book(rng: np.random.Generator, n_sessions: int, *, long_only: bool) -> Weights:
    """Stocks of random value, the same on every session."""
    count = rng.integers(10, STOCKS, endpoint=True) if long_only else STOCKS
    value = np.zeros(STOCKS)
    value[rng.permutation(STOCKS)[:count]] = rng.uniform(0.5, 1.5, count)
    if not long_only:
        value *= rng.choice([-1.0, 1.0], STOCKS)
    shape = (n_sessions, STOCKS)
    no = np.zeros(shape, dtype=bool)
    values = np.broadcast_to(value, shape)
    return weigh(Positions(values, np.ones(shape), values != 0.0, no, no, np.zeros(STOCKS, dtype=bool)))


# --- the trend


def trend_table() -> list[str]:
    """How often a series of constant volatility is said to have a trend."""
    rng = np.random.default_rng(1)
    lines = [_row("simulated returns", "increasing", "decreasing"), _row("---", *["---:"] * 2)]
    shape = (TREND_WINDOW, SERIES)
    for label, returns in (("normal", rng.normal(size=shape)), ("Student t(5)", rng.standard_t(5, size=shape))):
        said = volatility(0.01 * returns, [TREND_WINDOW - 1]).vol_trend
        lines.append(_row(label, f"{np.mean(said == 'increasing'):.1%}", f"{np.mean(said == 'decreasing'):.1%}"))
    return lines


# --- shared


def _sample() -> tuple[DateArray, FloatArray, FloatArray]:
    """The sample's sessions (T,), the returns of its stocks first (T, S), and the factors of its model (T, K)."""
    source = SampleSource()
    symbols, last = source.symbols(), source.latest_session()
    rows = [source.fetch(symbol, last.replace(year=1990), last) for symbol in symbols]
    close = np.array([[row.close for row in column] for column in rows]).T
    returns = simple_returns(close, np.zeros_like(close), np.ones_like(close))
    days = np.array([row.session for row in rows[0]], dtype="datetime64[D]")
    return days, returns, SAMPLE_5.factor_returns(returns, symbols)


def _best_bold(losses: list[float], digits: int) -> list[str]:
    texts = [f"{loss:.{digits}f}" for loss in losses]
    best = min(texts)
    return [f"**{text}**" if text == best else text for text in texts]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
