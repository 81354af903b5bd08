"""The stored numbers against other software: statsmodels and plain numpy, from the stored prices and positions."""

from itertools import pairwise

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from tests.support.home import Home

# The first and the last target session, two between, and the one after a holiday.
SESSIONS = ["2021-07-20", "2021-12-27", "2022-03-16", "2022-11-25", "2022-12-28"]
SPREADS = {"momentum": "MTUM", "quality": "QUAL", "size": "SIZE", "low_volatility": "USMV", "value": "VLUE"}
FACTORS = ["market", *SPREADS]
Array = NDArray[np.float64]


@pytest.fixture(scope="session")
def returns(read_home: Home) -> dict[str, dict[str, float]]:
    """Close-to-close returns by symbol and session, from the stored prices."""
    closes: dict[str, list[tuple[str, float]]] = {}
    for symbol, session, close in read_home.query("SELECT symbol, session, close FROM daily_price ORDER BY session"):
        closes.setdefault(symbol, []).append((session, close))
    return {
        symbol: {day: close / before - 1 for (_, before), (day, close) in pairwise(rows)}
        for symbol, rows in closes.items()
    }


def window(returns: dict[str, float], session: str, length: int) -> Array:
    return np.array([value for day, value in returns.items() if day <= session][-length:])


@pytest.mark.parametrize("session", SESSIONS)
def test_betas_are_those_of_statsmodels(read_home: Home, returns: dict[str, dict[str, float]], session: str) -> None:
    """Every symbol's row equals an OLS on its 252 sessions to 1e-9: betas, standard errors, R2, residual volatility."""
    market = window(returns["SP500"], session, 252)
    styles = [window(returns[proxy], session, 252) - market for proxy in SPREADS.values()]
    x = sm.add_constant(np.column_stack([market, *styles]))
    rows = [row for row in read_home.numbers("factor_exposure") if row["session"] == session]
    assert len(rows) == 15
    for row in rows:
        fit = sm.OLS(window(returns[row["symbol"]], session, 252), x).fit()
        stored = [row[f"beta_{factor}"] for factor in FACTORS] + [row[f"se_{factor}"] for factor in FACTORS]
        assert stored == pytest.approx([*fit.params[1:], *fit.bse[1:]], rel=1e-9, abs=1e-9)
        assert row["r_squared"] == pytest.approx(fit.rsquared, rel=1e-9)
        assert row["residual_vol"] == pytest.approx(np.sqrt(252 * fit.mse_resid), rel=1e-9)
        assert (row["n_obs"], row["reason"]) == (252, None)


def test_realized_volatility_is_that_of_numpy(read_home: Home, returns: dict[str, dict[str, float]]) -> None:
    """Sample standard deviation of the last 21 and 63 returns, times sqrt(252), to 1e-12, for every symbol."""
    rows = [row for row in read_home.numbers("symbol_volatility") if row["session"] in SESSIONS]
    assert len(rows) == 15 * len(SESSIONS)
    for row in rows:
        for length in (21, 63):
            last = window(returns[row["symbol"]], row["session"], length)
            expected = np.std(last, ddof=1) * np.sqrt(252)
            assert row[f"realized_vol_{length}d"] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("portfolio", ["core", "growth"])
def test_portfolio_rows_follow_from_symbol_rows_and_positions(
    read_home: Home, returns: dict[str, dict[str, float]], portfolio: str, session: str
) -> None:
    """Weights are quantity times close by gross value; exposures and volatility follow by hand.

    Standard errors are HC3 of the regression of the returns that these weights would have had (statsmodels).
    """
    held = read_home.query(
        "SELECT p.symbol, quantity * close FROM lot p JOIN portfolio f ON f.id = portfolio_id "
        "JOIN daily_price d ON d.symbol = p.symbol AND d.session = ? WHERE f.name = ? AND entry_date <= d.session",
        session,
        portfolio,
    )
    gross = sum(value for _, value in held)
    weights = {symbol: value / gross for symbol, value in held}
    assert len(weights) == {"core": 10, "growth": 15}[portfolio]
    betas = {row["symbol"]: row for row in read_home.numbers("factor_exposure") if row["session"] == session}
    (row,) = [r for r in read_home.numbers("portfolio_factor_exposure", portfolio) if r["session"] == session]
    market = window(returns["SP500"], session, 252)
    styles = [window(returns[proxy], session, 252) - market for proxy in SPREADS.values()]
    book = sum(weight * window(returns[symbol], session, 252) for symbol, weight in weights.items())
    robust = sm.OLS(book, sm.add_constant(np.column_stack([market, *styles]))).fit().get_robustcov_results("HC3")
    for factor, error in zip(FACTORS, robust.bse[1:], strict=True):
        by_hand = sum(weight * betas[symbol][f"beta_{factor}"] for symbol, weight in weights.items())
        assert row[f"exposure_{factor}"] == pytest.approx(by_hand, rel=1e-12, abs=1e-12)
        assert row[f"se_{factor}"] == pytest.approx(error, rel=1e-9)
    assert (row["gross"], row["net"], row["denominator"]) == pytest.approx((gross, gross, gross), rel=1e-12)
    assert (row["weight_basis"], row["entry_share"]) == ("market", 0.0)
    assert row["weight_coverage"] == pytest.approx(1.0, abs=1e-14)

    (volatility,) = [r for r in read_home.numbers("portfolio_volatility", portfolio) if r["session"] == session]
    for length in (21, 63):
        series = sum(weight * window(returns[symbol], session, length) for symbol, weight in weights.items())
        expected = np.std(series, ddof=1) * np.sqrt(252)
        assert volatility[f"realized_vol_{length}d"] == pytest.approx(expected, rel=1e-12)
