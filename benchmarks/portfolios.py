"""Case ``portfolio``: every number of 500 books of 30 names on 365 sessions, from symbols' betas and prices.

What is stored of symbols is given; what is stored of portfolios is computed, book by book, as the assets do. The other
way is the one a person would take: a statsmodels regression with HC3 errors and pandas a book and session, which gives
exposures, their errors, R2, volatility and value at risk, and no shares of risk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from numpy.typing import NDArray

from assets.numerics import portfolio as weighing
from assets.numerics import regression, residuals, risk
from assets.numerics.arrays import FloatArray, IntArray
from assets.numerics.constants import BETA_WINDOW, LOOKBACK_RETURNS
from assets.numerics.factor_windows import FactorWindows, factor_windows
from assets.numerics.portfolio import Lots
from assets.numerics.value_at_risk import value_at_risk
from assets.numerics.volatility import volatility
from benchmarks.measure import Row, compare, pure
from benchmarks.simulated import FACTORS, Panel, simulate, with_gaps

BOOKS, NAMES, SESSIONS, SYMBOLS = 500, 30, 365, 500
_LOOP_SESSIONS = 20
_OF_FITS = ("beta", "market_total", "r_squared", "quality")


@dataclass(frozen=True)
class Market:
    """What is known of the symbols."""

    panel: Panel
    days: FloatArray
    stored: dict[str, NDArray[Any]]
    """(S, sessions, ...) as rows of tables come, a symbol after the other: closes, returns, fields of the fits."""
    books: list[IntArray]
    """The symbols of each book."""

    def of(self, name: str, names: IntArray) -> NDArray[Any]:
        """(sessions, N, ...) of a book's symbols."""
        return np.ascontiguousarray(np.swapaxes(self.stored[name][names], 0, 1))


def portfolio() -> Iterator[Row]:
    """Compare ours with a loop; ``new_parts``: what residuals, HC3 errors, split and filtered losses take of it."""
    market, gappy = make_market(), make_market(gaps=True)
    methods = [
        pure("per_book_loop", partial(loop, market), _LOOP_SESSIONS / (SESSIONS * BOOKS)),
        pure("ours", _all_books(market, ours)),
        pure("ours_with_gaps", _all_books(gappy, ours)),
        pure("new_parts", _new_parts(market)),
    ]
    yield from compare("portfolio", f"{BOOKS}x{NAMES}x{SESSIONS}", methods, rounds=3)


def make_market(*, gaps: bool = False) -> Market:
    """Simulate prices of 500 symbols; with gaps, each misses sessions of its own."""
    panel = simulate(SYMBOLS, SESSIONS, LOOKBACK_RETURNS)
    panel = with_gaps(panel) if gaps else panel
    close = 50 * np.cumprod(1 + np.nan_to_num(panel.returns), axis=0)
    days = np.datetime64("2020-01-01") + np.arange(len(close))
    fits = regression.fit(panel.returns, panel.factors, panel.targets, factor_names=FACTORS)
    known = {"close": close, "returns": panel.returns} | {name: getattr(fits, name) for name in _OF_FITS}
    stored = {name: np.ascontiguousarray(np.swapaxes(values, 0, 1)) for name, values in known.items()}
    random = np.random.default_rng(4)
    books = [random.permutation(SYMBOLS)[:NAMES] for _ in range(BOOKS)]
    return Market(panel, days, stored, books)


def _all_books(market: Market, work: Callable[[Market, IntArray, FactorWindows], object]) -> Callable[[], None]:
    def run() -> None:
        windows = factor_windows(market.panel.factors, market.panel.targets)
        for names in market.books:
            work(market, names, windows)

    return run


def ours(market: Market, names: IntArray, windows: FactorWindows) -> tuple[FloatArray, ...]:
    """Every number that the two portfolio tables have."""
    weights = weighing.weigh(_positions(market, names))
    returns = market.of("returns", names)
    beta, market_total, r_squared, quality = (market.of(name, names) for name in _OF_FITS)
    exposures = weighing.expose(weights, beta, market_total, quality)
    series = risk.return_series(weights, returns, market.panel.targets)
    found = residuals.residuals(weights, beta, returns, windows)
    se = residuals.standard_errors(found, windows)
    split = risk.split_risk(found, windows, r_squared, returns, series)
    vol = volatility(series.returns, [LOOKBACK_RETURNS - 1])
    losses = value_at_risk(series.returns, vol.forecast_vol_21d[0])
    return exposures.exposure, se, split.r_squared, vol.realized_vol_63d[0], losses.var_99_1d


def _new_parts(market: Market) -> Callable[[], None]:
    """The second step alone: the first book's weights and returns, known before, stand for those of every book."""
    targets, first = market.panel.targets, market.books[0]
    weights = weighing.weigh(_positions(market, first))
    series = risk.return_series(weights, market.of("returns", first), targets)

    def run() -> None:
        windows = factor_windows(market.panel.factors, targets)
        for names in market.books:
            returns, beta, r_squared = (market.of(name, names) for name in ("returns", "beta", "r_squared"))
            found = residuals.residuals(weights, beta, returns, windows)
            residuals.standard_errors(found, windows)
            risk.split_risk(found, windows, r_squared, returns, series)
            value_at_risk(series.returns, np.full(len(targets), np.nan))

    return run


def _positions(market: Market, names: IntArray) -> weighing.Positions:
    close = market.of("close", names)
    count = len(names)
    lots = Lots(
        symbol=np.arange(count),
        quantity=np.where(np.arange(count) % 5, 10.0, -10.0),
        entry_price=np.full(count, 50.0),
        entry_date=np.full(count, market.days[0]),
        exit_date=np.full(count, np.datetime64("NaT", "D")),
        shares_as_of=np.full(count, market.days[-1]),
        private=np.zeros(count, dtype=bool),
        cash=np.zeros(count, dtype=bool),
    )
    return weighing.value_positions(lots, close, np.ones_like(close), market.days, market.panel.targets)


def loop(market: Market, sessions: int = _LOOP_SESSIONS) -> tuple[FloatArray, ...]:
    """One book on the last sessions: exposures, HC3 errors, R2, volatility and value at risk, a session at a time."""
    names, found = market.books[0], []
    close = pd.DataFrame(market.of("close", names))
    returns, factors = close.pct_change(), pd.DataFrame(market.panel.factors, columns=list(FACTORS))
    returns.iloc[0] = market.panel.returns[0, names]
    quantity = np.where(np.arange(len(names)) % 5, 10.0, -10.0)
    for end in market.panel.targets[-sessions:]:
        value = quantity * close.iloc[end]
        weight = value / value.abs().sum()
        series = (returns.iloc[end - LOOKBACK_RETURNS + 1 : end + 1] * weight).sum(axis=1)
        design = sm.add_constant(factors.iloc[end - BETA_WINDOW + 1 : end + 1])
        fitted = sm.OLS(series.iloc[-BETA_WINDOW:], design).fit(cov_type="HC3")
        realized = np.sqrt(252) * series.iloc[-63:].std()
        found.append((fitted.params[1:], fitted.bse[1:], fitted.rsquared, realized, _filtered(series)))
    return tuple(np.array(each) for each in zip(*found, strict=True))


def _filtered(series: "pd.Series[float]") -> float:
    """Filtered 99% value at risk of one series."""
    squares = (series**2).to_numpy()
    variance = np.empty(len(squares) + 1)
    variance[0] = squares[:21].mean()
    for i, square in enumerate(squares):
        variance[i + 1] = 0.94 * variance[i] + 0.06 * square
    z = series.to_numpy()[21:] / np.sqrt(variance[21:-1])
    return float(-np.sqrt(variance[-1]) * np.quantile(z, 0.01, method="weibull"))
