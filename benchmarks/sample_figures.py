"""The figures of docs/numerics.md: how good forecast, risk split and trend are, not how fast.

    python -m benchmarks.sample_figures

prints them as they stand in the document; `tests/unit/test_docs_numerics.py` holds the document to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from assets.factor_models import SAMPLE_5
from assets.numerics import regression, risk
from assets.numerics.arrays import BoolArray, DateArray, FloatArray, IntArray
from assets.numerics.constants import LOOKBACK_RETURNS, MONTH, SESSIONS_A_YEAR, TREND_WINDOW
from assets.numerics.factor_windows import factor_windows
from assets.numerics.portfolio import Positions, Weights, weigh
from assets.numerics.residuals import Residuals, residuals
from assets.numerics.returns import simple_returns
from assets.numerics.risk import ReturnSeries, RiskSplit
from assets.numerics.value_at_risk import value_at_risk
from assets.numerics.volatility import volatility
from resources.sources.sample import SampleSource

STOCKS = 20
FIRST = np.datetime64("2018-12-31")
BOOKS = 100
SERIES = 20_000
KINDS = ("long", "long and short", "one industry", "pairs")
INDUSTRIES = (
    ("AAPL", "AMD", "MSFT"),
    ("CVX", "RRC", "XOM"),
    ("JNJ", "LLY", "MRK", "PFE", "UNH"),
    ("KO", "PEP", "PG"),
    ("BBY", "HD", "WMT"),
    ("BAC", "JPM"),
)
AT_RISK = {"normal": "var_99_1d_normal", "historical": "var_99_1d_historical", "filtered": "var_99_1d"}
METHODS = {"realized 21": "realized_vol_21d", "EWMA 0.94": "ewma_vol", "forecast": "forecast_vol_21d"}


def main() -> None:
    """Print all figures."""
    for table in (forecast_table(), split_table(), ratio_table(), coverage_table(), trend_table()):
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
    """Mean QLIKE of what the split, and the book's own series, say of the variance of the next 21 sessions."""
    lines = [
        _row("books", "as if independent", "own residuals", "scaled to now", "forecast"),
        _row("---", *["---:"] * 4),
    ]
    return [*lines, *(_row(kind, *_best_bold(list(split_losses(kind).values()), 3)) for kind in KINDS)]


def split_losses(kind: str) -> dict[str, float]:
    """Mean QLIKE by method, of random books of a kind at every month-end of the sample with 21 sessions after it."""
    losses, _, _ = _split(kind)
    return {name: float(np.mean(loss)) for name, loss in losses.items()}


def ratio_table() -> list[str]:
    """Variance of the split by realized variance, of random books: the range of the middle 98%."""
    lines = [_row("books", "as if independent", "own residuals"), _row("---", "---:", "---:")]
    return [*lines, *(_row(kind, *map(_middle, ratios(kind))) for kind in KINDS)]


def ratios(kind: str) -> tuple[FloatArray, FloatArray]:
    """Split by realized variance, as if independent and by the book's own residuals."""
    _, old, new = _split(kind)
    return np.concatenate(old), np.concatenate(new)


@cache
def _split(kind: str) -> tuple[dict[str, list[FloatArray]], list[FloatArray], list[FloatArray]]:
    """What `split_losses` and `ratios` take together, book by book."""
    losses: dict[str, list[FloatArray]] = {}
    old, new = [], []
    for found in _books(kind):
        known = found.ends + MONTH < len(found.returns)
        ahead = np.stack([_ahead(found, d) for d in np.flatnonzero(known)])
        split, own = found.split, found.residuals.variance
        independent = split.equal_weighted.vol**2 + SESSIONS_A_YEAR * (split.diversifiable_share - 1) * own
        forecast = volatility(found.series.returns, [LOOKBACK_RETURNS - 1]).forecast_vol_21d[0]
        methods = {
            "as if independent": independent,
            "own residuals": split.equal_weighted.vol**2,
            "scaled to now": split.now.vol**2,
            "forecast": forecast**2,
        }
        for name, variance in methods.items():
            losses.setdefault(name, []).append(_qlike(ahead, variance[known]))
        new.append(split.split_ratio)
        share = SESSIONS_A_YEAR * own / split.equal_weighted.vol**2
        old.append(split.split_ratio * (1 + (split.diversifiable_share - 1) * share))
    return losses, old, new


def _middle(ratios: FloatArray) -> str:
    low, high = np.quantile(ratios, (0.01, 0.99))
    return f"{low:.2f} to {high:.2f}"


@dataclass(frozen=True)
class _Book:
    """A random book of constant weights at the sample's month-ends."""

    returns: FloatArray
    ends: IntArray
    weights: Weights
    residuals: Residuals
    series: ReturnSeries
    split: RiskSplit


def _books(kind: str) -> Iterator[_Book]:
    rng = np.random.default_rng(1)
    days, returns, factors = _sample()
    ends, stocks = _month_ends(days), returns[:, :STOCKS]
    fits = regression.fit(stocks, factors, ends, factor_names=SAMPLE_5.factor_names)
    windows = factor_windows(factors, ends)
    for _ in range(BOOKS):
        weights = _weights(_random_values(rng, kind), len(ends))
        found = residuals(weights, fits.beta, stocks, windows)
        series = risk.return_series(weights, stocks, ends)
        split = risk.split_risk(found, windows, fits.r_squared, stocks, series)
        yield _Book(stocks, ends, weights, found, series, split)


def _ahead(found: _Book, d: int) -> float:
    """Annual variance of the 21 sessions after month-end d, zero mean."""
    after = slice(found.ends[d] + 1, found.ends[d] + 1 + MONTH)
    return float(SESSIONS_A_YEAR * np.mean((found.returns[after] @ found.weights.weight[d]) ** 2))


# --- value at risk


def coverage_table() -> list[str]:
    """How often 99% value at risk was exceeded, by method and year, over all random books and sessions."""
    counted = {kind: exceeded(kind) for kind in ("long", "long and short")}
    years = counted["long"][0].astype("datetime64[Y]").astype(int) + 1970
    lines = [_row("99% exceeded in", *(f"{kind}: {name}" for kind in counted for name in AT_RISK))]
    lines.append(_row("---", *["---:"] * (2 * len(AT_RISK))))
    for label, chosen in [*((str(year), years == year) for year in np.unique(years)), ("all", years > 0)]:
        shares = (lost[chosen].mean() for _, found in counted.values() for lost in found.values())
        lines.append(_row(label, *(f"{share:.2%}" for share in shares)))
    return lines


@cache
def exceeded(kind: str) -> tuple[DateArray, dict[str, BoolArray]]:
    """(D,) sessions, and by method (D, books) whether more was lost than the value at risk of the day before."""
    rng = np.random.default_rng(1)
    days, returns, _ = _sample()
    targets = np.arange(LOOKBACK_RETURNS, len(days))
    found: dict[str, list[BoolArray]] = {name: [] for name in AT_RISK}
    for _ in range(BOOKS):
        weights = _weights(_random_values(rng, kind), len(targets))
        series = risk.return_series(weights, returns[:, :STOCKS], targets)
        forecast = volatility(series.returns, [LOOKBACK_RETURNS - 1]).forecast_vol_21d[0]
        at_risk = value_at_risk(series.returns, forecast)
        for name, field in AT_RISK.items():
            found[name].append(-series.returns[-1, 1:] > getattr(at_risk, field)[:-1])
    return days[targets[1:]], {name: np.column_stack(books) for name, books in found.items()}


# --- books


def _month_ends(days: DateArray) -> IntArray:
    """(D,) rows of the last session of each month that has all of its look-back."""
    months = days.astype("datetime64[M]")
    last = np.append(months[1:] != months[:-1], True)
    return np.flatnonzero(last & (np.arange(len(days)) >= LOOKBACK_RETURNS))


def _random_values(rng: np.random.Generator, kind: str) -> FloatArray:
    """(S,) values of a random book: of 10 to 20 stocks, of all, of one industry, or of two stocks of one."""
    value = np.zeros(STOCKS)
    names = np.array(_symbols())
    if kind == "long":
        chosen = rng.permutation(STOCKS)[: rng.integers(10, STOCKS, endpoint=True)]
    elif kind == "long and short":
        chosen = np.arange(STOCKS)
    else:
        industry = INDUSTRIES[rng.integers(len(INDUSTRIES))]
        chosen = rng.permutation(np.flatnonzero(np.isin(names, industry)))[: 2 if kind == "pairs" else None]
    value[chosen] = rng.uniform(0.5, 1.5, len(chosen))
    if kind == "long and short":
        value *= rng.choice([-1.0, 1.0], STOCKS)
    if kind == "pairs":
        value[chosen] = 1.0, -1.0
    return value


def _weights(value: FloatArray, n_sessions: int) -> Weights:
    """The same values on every session."""
    shape = (n_sessions, STOCKS)
    no = np.zeros(shape, dtype=bool)
    values = np.broadcast_to(value, shape)
    return weigh(Positions(values, np.ones(shape), values != 0.0, no, no, no, np.zeros(STOCKS, dtype=bool)))


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


@cache
def _symbols() -> tuple[str, ...]:
    return tuple(SampleSource().symbols())


@cache
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
