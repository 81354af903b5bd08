"""`sigma show`: what it says of a portfolio, held against pandas, numpy and statsmodels on the shipped prices."""

import json
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from assets import model_file
from assets.factor_models import SAMPLE_5, FactorModel
from assets.numerics.value_at_risk import LOSSES
from resources.database import portfolios
from resources.sources.base import PriceRow
from sigma_dagster.analysis import risk
from sigma_dagster.analysis.risk import Risk
from tests.support.home import CORE, LAST, ROOT, Home, lot
from tests.support.sources import RecordedSource, at_price, without

SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"
SPREADS = {"momentum": "MTUM", "quality": "QUAL", "size": "SIZE", "low_volatility": "USMV", "value": "VLUE"}
NAMED_BY_THE_ISSUE = {
    *("portfolio", "as_of", "weight_basis", "weight_coverage", "exposures", "realized_vol_21d", "realized_vol_63d"),
    *("market_total", "forecast_vol_21d", "forecast_model", "ewma_vol", "vol_trend", "vol_trend_p", "vol_percentile"),
    *("risk_split", "split_ratio", "var_95_1d", "var_99_1d", "standard_errors", "r_squared", "quality", "positions"),
}


def read(home: Home, name: str, model: FactorModel = SAMPLE_5, up_to: date | None = None) -> Risk:
    with home.environment().database.read() as connection:
        (one,) = portfolios.load(connection, [name])
        found = risk.read(connection, one, model, up_to)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def shown(read_home: Home) -> dict[str, Any]:
    """What `sigma show core --json` prints."""
    done = read_home.sigma("show", "core", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def returns() -> pd.DataFrame:
    return prices().pct_change()


def prices() -> pd.DataFrame:
    return pd.read_csv(SAMPLE, index_col="date")


class Oracle:
    """The risk of `core` at the last session of the sample, by other software."""

    def __init__(self, returns: pd.DataFrame) -> None:
        lots = pd.read_csv(CORE)
        close = prices().loc[str(LAST)]
        value = pd.Series({row.symbol: row.quantity * close[row.symbol] for row in lots.itertuples()})
        self.gross = value.sum()
        self.weight = value / self.gross
        self.window = returns.iloc[-252:]
        self.series = (returns[self.weight.index] * self.weight).sum(axis=1, skipna=False)
        market = self.window["SP500"]
        self.factors = pd.DataFrame(
            {"market": market} | {name: self.window[etf] - market for name, etf in SPREADS.items()}
        )
        self.fits = {name: sm.OLS(self.window[name], sm.add_constant(self.factors)).fit() for name in self.weight.index}
        self.beta = pd.DataFrame({name: fit.params.drop("const") for name, fit in self.fits.items()})
        self.b = self.beta @ self.weight
        self.covariance = self.factors.cov()
        self.fit = sm.OLS(self.series.iloc[-252:], sm.add_constant(self.factors)).fit()
        self.residuals = pd.DataFrame({name: fit.resid for name, fit in self.fits.items()})
        scale = pd.Series({name: np.sqrt(har(x) / (x**2).mean()) for name, x in self.factors.items()})
        self.covariance = {False: self.factors.cov(), True: self.factors.cov() * np.outer(scale, scale)}
        own = self.fit.resid
        self.specific = {False: own.var(), True: har(own) * 252 / (252 - 6 - 1)}
        self.variance = {now: self.b @ self.covariance[now] @ self.b + self.specific[now] for now in (False, True)}


def har(series: pd.Series) -> float:
    """The forecast variance of a session."""
    squares = series.iloc[-252:] ** 2
    weights = {1: 0.02, 5: 0.15, 21: 0.37, 252: 0.46}
    return float(sum(weight * squares.iloc[-k:].mean() for k, weight in weights.items()))


@pytest.fixture(scope="module")
def oracle(returns: pd.DataFrame) -> Oracle:
    return Oracle(returns)


# --- the JSON


def test_json_has_every_name(shown: dict[str, Any]) -> None:
    """`sigma show --json` has every name that docs/json.md lists."""
    assert shown.keys() >= NAMED_BY_THE_ISSUE
    assert (shown["portfolio"], shown["as_of"], shown["reason"]) == ("core", "2022-12-28", None)
    assert shown["factor_model"] == SAMPLE_5.key
    splits = shown["risk_split"], shown["risk_split_equal_weighted"]
    assert all(split.keys() == {"factors", "specific", "positions"} for split in splits)
    for by_factor in (shown["exposures"], shown["standard_errors"], *(split["factors"] for split in splits)):
        assert tuple(by_factor) == SAMPLE_5.factor_names
    for position in shown["positions"]:
        named = {"symbol", "asset_class", "weight", "price_basis", "unvalued", "quality", "n_obs", "r_squared"}
        assert position.keys() == named


def test_exposures_are_the_regressions_of_the_weighted_positions(shown: dict[str, Any], oracle: Oracle) -> None:
    """A portfolio's exposures are its weights times the betas of its symbols."""
    for name, value in shown["exposures"].items():
        assert value == pytest.approx(oracle.b[name], abs=1e-9)
    robust = oracle.fit.get_robustcov_results("HC3").bse[1:]
    assert list(shown["standard_errors"].values()) == pytest.approx(list(robust), rel=1e-9)
    alone = sm.OLS(oracle.series.iloc[-252:], sm.add_constant(oracle.factors["market"])).fit()
    assert shown["market_total"] == pytest.approx(alone.params["market"], abs=1e-9)
    assert (shown["quality"], shown["weight_coverage"], shown["weight_basis"]) == ("full_history", 1.0, "market")


def test_volatility_is_that_of_todays_weights(shown: dict[str, Any], oracle: Oracle) -> None:
    """Volatility is that of the returns which today's weights would have had."""
    series = oracle.series.iloc[-273:]
    year = series.iloc[-252:] ** 2
    mean = {k: year.iloc[-k:].mean() for k in (1, 5, 21, 252)}
    forecast = np.sqrt(252 * (0.02 * mean[1] + 0.15 * mean[5] + 0.37 * mean[21] + 0.46 * mean[252]))
    trend = stats.levene(series.iloc[-21:], series.iloc[-63:-21], center="median")
    month = series.rolling(21).std()
    expected = {
        "realized_vol_21d": np.sqrt(252) * series.iloc[-21:].std(),
        "realized_vol_63d": np.sqrt(252) * series.iloc[-63:].std(),
        "ewma_vol": np.sqrt(252 * year.ewm(alpha=0.06).mean().iloc[-1]),
        "forecast_vol_21d": forecast,
        "vol_trend_p": trend.pvalue,
        "vol_percentile": stats.percentileofscore(month.iloc[20:-1], month.iloc[-1], kind="mean") / 100,
        "var_95_1d_historical": -np.quantile(series.iloc[-252:], 0.05, method="weibull"),
        "var_99_1d_historical": -np.quantile(series.iloc[-252:], 0.01, method="weibull"),
        "var_95_1d_normal": stats.norm.ppf(0.95) * forecast / np.sqrt(252),
        "var_99_1d_normal": stats.norm.ppf(0.99) * forecast / np.sqrt(252),
    }
    variance = [(series.iloc[:21] ** 2).mean()]
    for value in series:
        variance.append(0.94 * variance[-1] + 0.06 * value**2)
    z, now = (series / np.sqrt(variance[:-1])).iloc[21:], np.sqrt(variance[-1])
    tail = np.quantile(z, (0.05, 0.01, 0.025), method="weibull")
    expected |= {"var_95_1d": -now * tail[0], "var_99_1d": -now * tail[1], "es_975_1d": -now * z[z <= tail[2]].mean()}
    assert {name: shown[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert shown["forecast_model"] == "har-fixed-1"
    assert shown["vol_trend"] == ("stable" if trend.pvalue >= 0.10 else shown["vol_trend"])


def test_values_at_risk_stand_in_dollars_too(shown: dict[str, Any], oracle: Oracle) -> None:
    """Every value at risk stands in dollars beside its share."""
    assert shown["gross"] == shown["net"] == shown["denominator"] == pytest.approx(oracle.gross, rel=1e-12)
    assert shown["covered_value"] == pytest.approx(oracle.gross, rel=1e-12)
    for name in LOSSES:
        assert shown[f"{name}_usd"] == pytest.approx(shown[name] * oracle.gross, rel=1e-12)


@pytest.mark.parametrize(("name", "now"), [("risk_split", True), ("risk_split_equal_weighted", False)])
def test_the_risk_split_adds_up_and_is_that_of_the_model(
    shown: dict[str, Any], oracle: Oracle, name: str, now: bool
) -> None:
    """Promise: factors and the book's own residuals, positions with their covariance with these, each to 1."""
    split, variance = shown[name], oracle.variance[now]
    assert sum(split["factors"].values()) + split["specific"] == pytest.approx(1, abs=1e-12)
    assert sum(split["positions"].values()) == pytest.approx(1, abs=1e-12)
    pull = oracle.covariance[now] @ oracle.b
    own = oracle.residuals.apply(lambda e: e.cov(oracle.fit.resid)) * oracle.specific[now] / oracle.specific[False]
    by_position = oracle.weight * (oracle.beta.T @ pull + own) / variance
    assert split["positions"] == pytest.approx(by_position.to_dict(), abs=1e-9)
    assert split["specific"] == pytest.approx(oracle.specific[now] / variance, abs=1e-9)
    market = pull["market"] ** 2 / oracle.covariance[now].loc["market", "market"] / variance
    assert split["factors"]["market"] == pytest.approx(market, abs=1e-9)
    vol = shown["split_vol"] if now else shown["split_vol_equal_weighted"]
    assert vol == pytest.approx(np.sqrt(252 * variance), abs=1e-9)


def test_fit_and_ratio_are_those_of_the_window(shown: dict[str, Any], oracle: Oracle) -> None:
    """Promise: R2 is the regression's of the book, every session alike; a full book has a split ratio of 1."""
    assert shown["r_squared"] == pytest.approx(oracle.fit.rsquared, abs=1e-9)
    assert shown["split_ratio"] == pytest.approx(1, abs=1e-9)
    independent = (oracle.weight**2 * oracle.residuals.var()).sum()
    assert shown["diversifiable_share"] == pytest.approx(independent / oracle.specific[False], abs=1e-9)


def test_exceedances_are_counted_from_the_stored_rows(read_home: Home, shown: dict[str, Any]) -> None:
    """Promise: yesterday's value at risk against the return since, of all rows that have both."""
    rows = sorted(read_home.numbers("portfolio_volatility", "core"), key=lambda row: row["session"])
    for name, tail in (("var_95_1d", 0.05), ("var_99_1d", 0.01)):
        pairs = list(pairwise(rows))[-252:]
        lost = sum(-after["return_1d"] > before[name] for before, after in pairs)
        told = shown["exceedances"][name]
        assert (told["sessions"], told["count"]) == (len(pairs), lost)
        assert told["expected"] == pytest.approx(tail * len(pairs))
        assert told["low"] <= told["expected"] <= told["high"]


def test_returns_are_those_of_the_lots_held_since_the_day_before(read_home: Home, returns: pd.DataFrame) -> None:
    """Promise: today's return by yesterday's values, whatever was bought today."""
    rows = read_home.numbers("portfolio_volatility", "core")
    lots, close = pd.read_csv(CORE), prices()
    for row in rows[1:]:
        at = close.index.get_loc(row["session"])
        value = pd.Series({lot.symbol: lot.quantity * close[lot.symbol].iloc[at - 1] for lot in lots.itertuples()})
        assert row["return_1d"] == pytest.approx((value * returns[value.index].iloc[at]).sum() / value.sum(), rel=1e-9)


def test_positions_are_those_held_the_largest_first(shown: dict[str, Any], oracle: Oracle) -> None:
    """Positions held at the session are listed, the largest first."""
    ordered = oracle.weight.sort_values(ascending=False)
    assert [one["symbol"] for one in shown["positions"]] == list(ordered.index)
    for one in shown["positions"]:
        assert one["weight"] == pytest.approx(ordered[one["symbol"]], rel=1e-12)
        assert one["r_squared"] == pytest.approx(oracle.fits[one["symbol"]].rsquared, abs=1e-9)
        assert (one["price_basis"], one["quality"], one["n_obs"]) == ("market", "full_history", 252)


def test_an_earlier_session_is_read_as_it_was(read_home: Home) -> None:
    """A day without trading means the session before it; positions bought later are not there yet."""
    found = read(read_home, "growth", up_to=date(2021, 10, 3))
    assert found.as_of == date(2021, 10, 1)
    assert found.realized_vol_21d != read(read_home, "growth").realized_vol_21d
    assert sum(one.weight or 0 for one in found.positions) == pytest.approx(1, abs=1e-12)
    assert sum(found.risk_split.positions.values()) == pytest.approx(1, abs=1e-12)


# --- the table


def test_the_table_is_narrow_and_begins_with_the_market_in_total(read_home: Home) -> None:
    """The page fits 100 columns and opens with the total market exposure."""
    lines = read_home.sigma_here("show", "growth").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("growth as of 2022-12-28")
    factors = lines[lines.index("") + 1 :]
    assert factors[0].split() == ["factor", "(sample-5)", "exposure", "std.", "error", "share", "of", "risk"]
    assert factors[1].startswith("market, in total ")
    assert factors[2].startswith("market ")
    assert sum(line.startswith("expected shortfall, worst 2.5%") for line in lines) == 1
    assert not any("Low coverage" in line or "Not known" in line for line in lines)


def test_show_imports_neither_dagster_nor_the_calendar_nor_statsmodels(read_home: Home) -> None:
    """They take from half a second to seconds each."""
    code = (
        "import sys; from sigma_dagster.cli.main import main; sys.argv = ['sigma', 'show', 'growth']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end\n"
        "print(*sorted({'dagster', 'pandas', 'exchange_calendars', 'statsmodels'} & set(sys.modules)), 'none')"
    )
    _, environment = read_home.command()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.splitlines()[-1] == "none"


# --- positions of every kind


SPLIT = date(2022, 12, 5)  # KO, two for one
HALTED = date(2022, 12, 1)  # GE, the last close


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two lots of a symbol, a short one, a split, a private one, a young listing, one halted, one without prices."""
    home = Home(tmp_path_factory.mktemp("mixed") / "sigma", {"SIGMA_HISTORY_SESSIONS": "20"})

    def edit(symbol: str, rows: list[PriceRow]) -> list[PriceRow]:
        rows = without("PFE", lambda day: day < date(2022, 11, 1))(symbol, rows)
        rows = without("GE", lambda day: day > HALTED)(symbol, rows)
        rows = without("CVX", lambda _: True)(symbol, rows)
        rows = at_price("KO", lambda row: row.close / (1 if row.session < SPLIT else 2))(symbol, rows)
        return [row._replace(split=2.0) if (symbol, row.session) == ("KO", SPLIT) else row for row in rows]

    book = [
        lot("AAPL", 10),
        lot("AAPL", 5, "2022-01-03"),
        lot("KO", -20),
        lot("LOFT-7", 1, price=900.0, asset_class="private"),
        lot("PFE", 10),
        lot("GE", 10),
        lot("CVX", 10),
        lot("WMT", 10, exit="2022-12-28"),
    ]
    home.onboard(book, "mixed", source=RecordedSource(edit))
    home.onboard([lot("AAPL", 10, exit="2022-12-27")], "sold", source=RecordedSource(edit))
    return home


def test_the_basis_of_each_price_is_said(mixed: Home) -> None:
    """Each position says whether its price is the market's, stale, or that of its entry."""
    found = {one.symbol: one for one in read(mixed, "mixed").positions}
    assert {name: one.price_basis for name, one in found.items()} == {
        "AAPL": "market",
        "KO": "market",
        "PFE": "market",
        "GE": "stale",
        "CVX": "entry",
        "LOFT-7": "entry",
    }
    close = prices().loc[str(LAST)]
    gross = 15 * close["AAPL"] + 10 * close["KO"] + 10 * close["PFE"] + 900 + 1000
    gross += 10 * prices().loc[str(HALTED), "GE"]
    assert found["AAPL"].weight == pytest.approx(15 * close["AAPL"] / gross, rel=1e-12)
    assert found["KO"].weight == pytest.approx(-10 * close["KO"] / gross, rel=1e-12)
    assert found["LOFT-7"].weight == pytest.approx(900 / gross, rel=1e-12)


@pytest.mark.parametrize("day", [date(2022, 12, 28), *(date(2022, 12, d) for d in (9, 8, 5, 2)), date(2022, 11, 30)])
def test_positions_are_the_ones_that_the_stored_row_was_made_of(mixed: Home, day: date) -> None:
    """Also before and at a split, when shares are counted in those of the import."""
    found = read(mixed, "mixed", up_to=day)
    assert found.as_of == day
    rows = {row["symbol"]: row for row in mixed.numbers("factor_exposure") if row["session"] == day.isoformat()}
    for factor, exposure in found.exposures.items():
        parts = [(one.weight or 0) * (rows.get(one.symbol, {}).get(f"beta_{factor}") or 0) for one in found.positions]
        assert exposure == pytest.approx(sum(parts), abs=1e-12)
    assert found.denominator is not None
    assert sum(one.weight or 0 for one in found.positions) * found.denominator == pytest.approx(found.net, rel=1e-12)
    ko = next(one for one in found.positions if one.symbol == "KO")
    assert ko.weight == pytest.approx(-10 * prices().loc[str(day), "KO"] / found.denominator, rel=1e-12)
    stale = {one.symbol for one in found.positions if one.price_basis == "stale"}
    assert stale == ({"GE"} if day > date(2022, 12, 8) else set())
    assert sum(found.risk_split.positions.values()) == pytest.approx(1, abs=1e-12)


def test_a_portfolio_that_sold_everything_says_so(mixed: Home) -> None:
    """A portfolio without positions says so and has no numbers."""
    found = read(mixed, "sold")
    assert (found.as_of, found.reason, found.positions) == (LAST, "No active position", ())
    assert set(found.exposures.values()) == {None}
    assert read(mixed, "sold", up_to=date(2022, 12, 26)).positions[0].weight == 1.0
    done = mixed.sigma_here("show", "sold")
    assert (done.returncode, "Not known: No active position" in done.stdout) == (0, True)


def test_what_has_no_exposures_says_so_and_is_not_zero(mixed: Home) -> None:
    """What has no beta is shown as unknown, never as 0."""
    found = read(mixed, "mixed")
    one = {position.symbol: position for position in found.positions}
    assert (one["LOFT-7"].quality, one["LOFT-7"].n_obs, one["LOFT-7"].r_squared) == (None, None, None)
    assert (one["PFE"].quality, one["PFE"].r_squared) == ("insufficient_history", None)
    assert one["PFE"].n_obs == len(prices().loc["2022-11-02":"2022-12-28"])
    assert (one["CVX"].quality, one["CVX"].n_obs, one["CVX"].r_squared) == ("failed", 0, None)
    assert one["GE"].quality == "failed"
    assert found.risk_split.positions.keys() == {"AAPL", "KO"}
    assert sum(found.risk_split.positions.values()) == pytest.approx(1, abs=1e-12)


def test_low_coverage_is_shown_in_a_line(mixed: Home) -> None:
    """When numbers describe a part of the value only, a line says so."""
    found = read(mixed, "mixed")
    covered = sum(abs(one.weight or 0) for one in found.positions if one.symbol in ("AAPL", "KO"))
    assert found.weight_coverage == pytest.approx(covered, abs=1e-12)
    assert found.weight_basis == "mixed"
    assert found.low_coverage is True
    lines = mixed.sigma_here("show", "mixed").stdout.splitlines()
    assert lines[1].startswith(f"Exposures cover {covered:.1%} of value")
    assert any(line.startswith("Low coverage") for line in lines)
    assert max(map(len, lines)) <= 100
    (private,) = (line.split() for line in lines if line.startswith("LOFT-7"))
    assert private[2:] == ["entry", "-", "private", "-", "-"]


def test_rows_that_are_gone_end_in_a_message(core_home: Home) -> None:
    """Rows that were deleted meanwhile are a message, not a traceback."""
    for table, condition in (("daily_price", "symbol = 'SP500' AND session = '2022-12-28'"), ("factor_exposure", "1")):
        with core_home.sql() as connection:
            connection.execute(f"DELETE FROM {table} WHERE {condition}")  # noqa: S608
        done = core_home.sigma_here("show", "core")
        assert (done.returncode, done.stdout) == (2, "")
        assert "onboard the portfolio" in done.stderr
        assert "Traceback" not in done.stderr


# --- models


def write_model(path: Path, method: str) -> str:
    factors = [
        f"{f.name} = {{ proxy = '{f.proxy}'{f', minus = {f.minus!r}' if f.minus else ''} }}" for f in SAMPLE_5.factors
    ]
    path.write_text("\n".join([f'name = "my-{method}"', f'method = "{method}"', "[factors]", *factors]))
    return str(path)


@pytest.mark.parametrize("method", ["ridge", "univariate", "bayes"])
def test_two_models_live_side_by_side(core_home: Home, tmp_path: Path, method: str) -> None:
    """Rows of both stay; the new model's are missing until they are computed, and `show` reads the chosen one's."""
    setting = write_model(tmp_path / "model.toml", method)
    model = model_file.read(setting)
    before = core_home.rows("factor_exposure", "symbol_volatility", "portfolio_volatility")

    refused = core_home.sigma_here("show", "core", factor_model=setting)
    assert refused.returncode == 2
    assert f"nothing is computed of portfolio core with the factor model my-{method}" in refused.stderr
    plan = json.loads(core_home.sigma_here("plan", "--json", factor_model=setting).stdout)
    assert plan["exposures"] == {"symbols": 10, "rows": 50}
    assert (plan["volatility"]["rows"], plan["portfolios"], plan["api_calls"]) == (0, {"core": 5}, 0)

    done = core_home.onboard(CORE, model=model).to_json()
    assert (done["regressions_run"], done["api_calls"]) == (50, 0)
    after = core_home.rows("factor_exposure", "symbol_volatility", "portfolio_volatility")
    assert set(before["factor_exposure"]) < set(after["factor_exposure"])
    assert {name: after[name] for name in ("symbol_volatility", "portfolio_volatility")} == {
        name: before[name] for name in ("symbol_volatility", "portfolio_volatility")
    }
    shown = json.loads(core_home.sigma_here("show", "core", "--json", factor_model=setting).stdout)
    assert shown["factor_model"] == model.key
    assert shown["exposures"] != json.loads(core_home.sigma_here("show", "core", "--json").stdout)["exposures"]


def test_univariate_betas_are_not_split(core_home: Home, tmp_path: Path) -> None:
    """Betas that do not add up are not added up: the split is unknown, with the reason."""
    setting = write_model(tmp_path / "model.toml", "univariate")
    core_home.onboard(CORE, model=model_file.read(setting))
    found = read(core_home, "core", model_file.read(setting))
    assert found.reason == "Univariate betas do not add up"
    assert set(found.risk_split.factors.values()) == {None}
    assert (found.risk_split.specific, found.risk_split.positions) == (None, {})
    assert (found.r_squared, found.split_vol, found.split_ratio) == (None, None, None)
    assert found.risk_split_equal_weighted == found.risk_split
    window = prices().pct_change().iloc[-252:]
    series, market = Oracle(prices().pct_change()).series.iloc[-252:], window["SP500"]
    for factor, proxy in {"momentum": "MTUM", "value": "VLUE"}.items():
        alone = sm.OLS(series, sm.add_constant(window[proxy] - market)).fit().get_robustcov_results("HC3")
        assert found.standard_errors[factor] == pytest.approx(alone.bse[1], rel=1e-9)
    assert found.market_total == pytest.approx(found.exposures["market"], abs=1e-12)
    lines = core_home.sigma_here("show", "core", factor_model=setting).stdout.splitlines()
    assert "Not known: Univariate betas do not add up" in lines
    assert next(line.split()[-1] for line in lines if line.startswith("momentum")) == "-"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("us-6", "the sample has no prices of SPY, VTV, VUG, IWM, TLT"),
        ("us-7", "SIGMA_FACTOR_MODEL=us-7 is no built-in model (sample-5, us-6, us-6b) nor a file that can be read"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_before_anything_is_stored(home: Home, setting: str, said: str) -> None:
    """A model whose proxies the source lacks is refused, and nothing is stored."""
    home.create()
    for command in (("onboard", CORE), ("plan", CORE), ("plan",)):
        done = home.sigma_here(*command, factor_model=setting)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not any(home.rows("portfolio", "lot", "daily_price", "symbol").values())


class Listings(RecordedSource):
    """The sample under the names of the live model's proxies, with JNJ for bonds."""

    def fetch(self, symbol: str, first: date, last: date) -> Any:
        names = {"SPY": "SP500", "VTV": "VLUE", "VUG": "QUAL", "IWM": "SIZE", "TLT": "JNJ"}
        return super().fetch(names.get(symbol, symbol), first, last)


def test_the_live_model_computes_from_its_own_proxies(home: Home) -> None:
    """The model `us-6` is computed from the prices of its own proxies."""
    model = model_file.choose("us-6", ())
    done = home.onboard([lot("AAPL"), lot("KO")], "pair", source=Listings(), model=model).to_json()
    assert done["api_calls"] == 2 + len(model.proxies)
    found = read(home, "pair", model)
    assert tuple(found.exposures) == model.factor_names
    assert all(value is not None for value in found.exposures.values())
    assert found.quality == "full_history"


@pytest.mark.parametrize("command", [("show", "core"), ("plan",), ("portfolios",)])
def test_a_command_that_reads_imports_nothing_heavy(read_home: Home, command: tuple[str, ...]) -> None:
    """The answer is there before Dagster, pandas, scipy or pydantic (which typer would ask) could be imported."""
    _, environment = read_home.command()
    code = (
        "import atexit, sys; from sigma_dagster.cli.entry import main\n"
        "heavy = {'dagster', 'pandas', 'scipy', 'pydantic', 'alembic', 'statsmodels'}\n"
        "atexit.register(lambda: print(sorted(heavy & sys.modules.keys()), file=sys.stderr))\n"
        "main()"
    )
    arguments = [sys.executable, "-c", code, *command]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stderr == "[]\n"
