"""The numerics on the shipped sample: golden answers of other software, and what the method promises of real prices."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from assets.numerics.regression import Fits, Quality, fit
from assets.numerics.returns import simple_returns
from assets.numerics.volatility import volatility

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"
SPREADS = {"momentum": "MTUM", "quality": "QUAL", "size": "SIZE", "low_volatility": "USMV", "value": "VLUE"}
NAMES = ("market", *SPREADS)
N_STOCKS = 20
Array = NDArray[np.float64]


class Sample(NamedTuple):
    """Closes and returns (2264, 26), factors (2264, 6), their dates and symbols."""

    sessions: NDArray[np.datetime64]
    symbols: list[str]
    close: Array
    returns: Array
    factors: Array


@pytest.fixture(scope="module")
def sample() -> Sample:
    table = np.genfromtxt(SAMPLE, delimiter=",", names=True, dtype=None, encoding="utf-8")
    symbols = list(table.dtype.names[1:])
    close = np.column_stack([table[symbol] for symbol in symbols])
    returns = simple_returns(close, np.zeros_like(close), np.ones_like(close))
    of = dict(zip(symbols, returns.T, strict=True))
    factors = np.column_stack([of["SP500"], *(of[etf] - of["SP500"] for etf in SPREADS.values())])
    return Sample(table["date"].astype("datetime64[D]"), symbols, close, returns, factors)


@pytest.fixture(scope="module")
def month_ends(sample: Sample) -> NDArray[np.int64]:
    """Rows of the last session of each month, from the first with all look-back on."""
    months = sample.sessions.astype("datetime64[M]")
    rows = np.append(np.flatnonzero(months[1:] != months[:-1]), len(months) - 1)
    return rows[rows >= 273]


@pytest.fixture(scope="module")
def fits(sample: Sample, month_ends: NDArray[np.int64]) -> Fits:
    return fit(sample.returns[:, :N_STOCKS], sample.factors, month_ends, factor_names=NAMES)


def golden(name: str) -> list[dict[str, str]]:
    with (ROOT / "tests" / "golden" / f"numerics_{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_exposures_are_the_golden_ones(sample: Sample) -> None:
    """Promise: betas, errors and fit on the dates worth remembering are statsmodels' (golden/make_numerics.py)."""
    for row in golden("exposures"):
        end, s = int(np.searchsorted(sample.sessions, np.datetime64(row["date"]))), sample.symbols.index(row["symbol"])
        found = fit(sample.returns[:, [s]], sample.factors, [end], factor_names=NAMES)
        assert found.quality[0, 0] == Quality.FULL_HISTORY
        for name in ("r_squared", "residual_vol", "market_total"):
            assert getattr(found, name)[0, 0] == pytest.approx(float(row[name]), rel=1e-9, abs=1e-7), (
                row["reason"],
                name,
            )
        for k, factor in enumerate(NAMES):
            assert found.beta[0, 0, k] == pytest.approx(float(row[f"beta_{factor}"]), rel=1e-9, abs=1e-9), row["reason"]
            assert found.se[0, 0, k] == pytest.approx(float(row[f"se_{factor}"]), rel=1e-9, abs=1e-7), row["reason"]


def test_volatilities_are_the_golden_ones(sample: Sample) -> None:
    """Promise: every number of volatility on the dates worth remembering is pandas' or scipy's."""
    for row in golden("volatility"):
        end, s = int(np.searchsorted(sample.sessions, np.datetime64(row["date"]))), sample.symbols.index(row["symbol"])
        found = volatility(sample.returns[:, [s]], [end])
        for name in list(row)[3:]:
            assert getattr(found, name)[0, 0] == pytest.approx(float(row[name]), rel=1e-9), (row["reason"], name)


def test_an_index_fund_has_a_market_total_of_one(sample: Sample) -> None:
    """Promise: SP500 on the sample model is beta 1 and nothing else, on every month end."""
    market = sample.symbols.index("SP500")
    found = fit(sample.returns[:, [market]], sample.factors, range(252, 2264, 50), factor_names=NAMES)
    assert found.market_total == pytest.approx(np.ones_like(found.market_total), abs=1e-12)
    assert found.beta[..., 0] == pytest.approx(np.ones_like(found.market_total), abs=1e-10)
    assert found.beta[..., 1:] == pytest.approx(np.zeros((*found.market_total.shape, 5)), abs=1e-10)


def test_the_sample_model_can_tell_its_factors_apart(fits: Fits) -> None:
    """Promise: variance inflation stays far below the limit of 10, so no sample fit is collinear."""
    assert 1.5 < fits.max_vif.min() < fits.max_vif.max() < 6
    assert (fits.quality == Quality.FULL_HISTORY).all()


def test_the_forecast_beats_realized_volatility_and_ewma(sample: Sample) -> None:
    """Promise: out of sample (last 4 years, 20 stocks) mean QLIKE is at most 0.50; realized 21d and EWMA are worse."""
    targets = np.arange(2264 - 1 - 4 * 252, 2264 - 21)
    returns = sample.returns[:, :N_STOCKS]
    found = volatility(returns, targets)
    ahead = np.stack([(returns[t + 1 : t + 22] ** 2).mean(axis=0) for t in targets])

    def qlike(forecast: Array) -> float:
        ratio = 252 * ahead / forecast**2
        return float((ratio - np.log(ratio) - 1).mean())

    losses = [qlike(vol) for vol in (found.forecast_vol_21d, found.ewma_vol, found.realized_vol_21d)]
    assert losses == pytest.approx([0.492, 0.556, 0.623], abs=0.005)
    assert losses[0] <= 0.50
