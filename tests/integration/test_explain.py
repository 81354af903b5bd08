"""`sigma explain`: what changed the variance, each part held against pandas and statsmodels on a book of three."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from tests.support.home import LAST, ROOT, Home, lot

SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"
FROM = date(2022, 12, 21)
NAMES = ["AAPL", "KO", "XOM"]
#: Shares at both ends: AAPL is held, KO is bought more of on the way, of XOM a part is closed.
HELD = {"long": ([10, 20, 30], [10, 45, 12]), "mixed": ([10, 20, -30], [10, 45, -12])}
BOOKS = {
    kind: [
        lot("AAPL", 10),
        lot("KO", 20),
        lot("KO", 25, entry="2022-12-27"),
        lot("XOM", then[2] - now[2], exit="2022-12-23"),
        lot("XOM", now[2]),
    ]
    for kind, (then, now) in HELD.items()
}
#: docs/numerics.md: the forecast's weights of mean squares, by how many sessions they reach back.
FORECAST = {1: 0.02, 5: 0.15, 21: 0.37, 252: 0.46}


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    return pd.read_csv(SAMPLE, index_col="date")


def forecast(squares: pd.DataFrame | pd.Series) -> "pd.Series[float]":
    return sum(weight * squares.tail(sessions).mean() for sessions, weight in FORECAST.items())


class Window:
    """The year that ends with a session, by pandas and statsmodels: betas, covariance of now, residuals."""

    def __init__(self, prices: pd.DataFrame, day: date) -> None:
        year = prices.pct_change().loc[: str(day)].tail(252)
        market = year["SP500"]
        self.x = pd.DataFrame(
            {"market": market, **{name: year[name] - market for name in ("MTUM", "QUAL", "SIZE", "USMV", "VLUE")}}
        )
        self.y = year[NAMES]
        self.close = prices.loc[str(day), NAMES]
        self.beta = pd.DataFrame(
            {name: sm.OLS(self.y[name], sm.add_constant(self.x)).fit().params[1:] for name in NAMES}
        )
        growth = np.sqrt(forecast(self.x**2) / (self.x**2).mean())
        self.covariance = self.x.cov() * np.outer(growth, growth)

    def specific(self, weight: "pd.Series[float]") -> float:
        """The forecast variance of the residuals of the book's own regression, with its degrees of freedom."""
        left = sm.OLS(self.y @ weight, sm.add_constant(self.x)).fit().resid
        return float(forecast(left**2) * 252 / (252 - 7))


def by_hand(prices: pd.DataFrame, then: list[float], now: list[float]) -> dict[str, float]:
    """The parts in the documented order, one input after the other."""
    old, new = Window(prices, FROM), Window(prices, LAST)

    def weights(shares: list[float], close: "pd.Series[float]") -> "pd.Series[float]":
        value = close * np.array(shares)
        return value / value.abs().sum()

    first, traded, last = weights(then, old.close), weights(now, old.close), weights(now, new.close)

    def variance(exposure: "pd.Series[float]", covariance: pd.DataFrame, specific: float) -> float:
        return float(252 * (exposure @ covariance @ exposure + specific))

    path = [
        variance(old.beta @ first, old.covariance, old.specific(first)),
        variance(old.beta @ traded, old.covariance, old.specific(traded)),
        variance(old.beta @ last, old.covariance, old.specific(last)),
        variance(new.beta @ last, old.covariance, old.specific(last)),
        variance(new.beta @ last, new.covariance, old.specific(last)),
        variance(new.beta @ last, new.covariance, new.specific(last)),
    ]
    parts = dict(zip(("trades", "prices", "betas", "factors", "specific"), np.diff(path).tolist(), strict=True))
    return {"from": path[0], "to": path[-1], **parts}


@pytest.mark.parametrize("kind", BOOKS)
def test_each_part_is_the_one_by_hand_and_they_add_up(home: Home, prices: pd.DataFrame, kind: str) -> None:
    """Promise: on a book of three, each part by pandas and statsmodels; the sum is the change to 1e-12."""
    home.onboard(BOOKS[kind])
    before = home.rows()
    done = home.sigma_here("explain", "book", "--from", str(FROM), "--to", str(LAST), "--json")
    assert done.returncode == 0, done.stderr
    assert home.rows() == before
    found = json.loads(done.stdout)
    variance, parts = found["variance"], found["parts"]
    assert sum(parts.values()) == pytest.approx(variance["to"] - variance["from"], abs=1e-12)
    assert {**variance, **parts} == pytest.approx(by_hand(prices, *HELD[kind]), abs=1e-12)
    assert abs(parts["trades"]) > 1e-4
    stored = home.numbers("portfolio_factor_exposure", "book")
    assert [stored[0]["split_vol"] ** 2, stored[-1]["split_vol"] ** 2] == pytest.approx(
        [variance["from"], variance["to"]], rel=1e-12
    )


def test_positions_and_factors_add_up_to_the_variance(home: Home) -> None:
    """Promise: what each position and factor contributes at both ends; the most stand first, cash nowhere."""
    home.onboard([*BOOKS["mixed"], lot("USD", 500, price=1.0, asset_class="cash")])
    found = json.loads(home.sigma_here("explain", "book", "--from", str(FROM), "--json").stdout)
    assert [one["symbol"] for one in found["positions"]] == sorted(
        NAMES, key=lambda name: -abs(next(one["change"] for one in found["positions"] if one["symbol"] == name))
    )
    for end in ("from", "to"):
        assert sum(one[end] for one in found["positions"]) == pytest.approx(found["variance"][end], abs=1e-12)
    assert all(one["change"] == one["to"] - one["from"] for one in found["positions"] + found["factors"])
    assert len(found["factors"]) == 5


def test_the_default_is_21_sessions_and_a_date_stands_for_the_session_before_it(read_home: Home) -> None:
    """Promise: 2022-11-28 is 21 sessions before 2022-12-28; a Sunday stands for the Friday before it."""
    found = json.loads(read_home.sigma_here("explain", "growth", "--json").stdout)
    assert (found["from"], found["to"]) == ("2022-11-28", "2022-12-28")
    assert found["parts"]["trades"] == 0
    sunday = json.loads(
        read_home.sigma_here("explain", "growth", "--from", "2022-10-30", "--to", "2022-12-11", "--json").stdout
    )
    assert (sunday["from"], sunday["to"]) == ("2022-10-28", "2022-12-09")
    shown = read_home.sigma_here("explain", "growth").stdout
    assert f"{found['parts']['factors']:+.5f}" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody",), "portfolio 'nobody' is not stored"),
        (
            ("core", "--from", "2001-01-02"),
            "portfolio core has no row up to 2001-01-02: its rows are of",
        ),
        (("core", "--to", "2001-01-02"), "portfolio core has no row up to 2001-01-02"),
        (("core", "--from", "2022-12-28"), "both dates stand for the session 2022-12-28"),
        (("core", "--from", "yesterday"), "'yesterday'"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_line(read_home: Home, arguments: tuple[str, ...], said: str) -> None:
    """Promise: the dates and the rows that there are, exit status 2, no traceback."""
    done = read_home.sigma_here("explain", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_book_without_a_split_says_why(home: Home) -> None:
    """Promise: no number stands for what cannot be had: all parts are null beside the reason."""
    home.onboard([lot("LOFT-7", 1, price=900.0, asset_class="private")])
    found = json.loads(home.sigma_here("explain", "book", "--json").stdout)
    assert found["variance"] == {"from": None, "to": None}
    assert set(found["parts"].values()) == {None}
    assert found["reason"] == "no exposures at both ends"
    assert "Not known: no exposures at both ends" in home.sigma_here("explain", "book").stdout


def test_a_symbol_without_rows_at_the_start_is_named(home: Home) -> None:
    """Promise: betas that nobody computed of the first session are no betas of 0: the symbol is named."""
    home.onboard([lot("AAPL"), lot("KO", entry="2022-12-27")])
    with home.sql() as connection:
        connection.execute("DELETE FROM factor_exposure WHERE symbol = 'KO' AND session = '2022-12-21'")
    done = home.sigma_here("explain", "book", "--from", "2022-12-21")
    assert done.returncode == 2
    assert "Factor exposures of KO on 2022-12-21 are not stored: take a later date for --from" in done.stderr
