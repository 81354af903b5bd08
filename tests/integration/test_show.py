"""`sigma show`: what it says of a portfolio, held against pandas, numpy and statsmodels on the shipped prices."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from assets import model_file
from assets.factor_models import SAMPLE_5, FactorModel
from resources.database import portfolios
from resources.sources.base import PriceRow
from sigma_dagster.portfolio import risk
from sigma_dagster.portfolio.risk import Risk
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
        self.specific = pd.Series({name: fit.mse_resid for name, fit in self.fits.items()})
        self.variance = self.b @ self.covariance @ self.b + (self.weight**2 * self.specific).sum()


@pytest.fixture(scope="module")
def oracle(returns: pd.DataFrame) -> Oracle:
    return Oracle(returns)


# --- the JSON


def test_json_has_every_name(shown: dict[str, Any]) -> None:
    assert shown.keys() >= NAMED_BY_THE_ISSUE
    assert (shown["portfolio"], shown["as_of"], shown["reason"]) == ("core", "2022-12-28", None)
    assert shown["factor_model"] == SAMPLE_5.key
    assert shown["risk_split"].keys() == {"factors", "specific", "positions"}
    for by_factor in (shown["exposures"], shown["standard_errors"], shown["risk_split"]["factors"]):
        assert tuple(by_factor) == SAMPLE_5.factor_names
    for position in shown["positions"]:
        assert position.keys() == {"symbol", "weight", "price_basis", "quality", "n_obs", "r_squared"}


def test_exposures_are_the_regressions_of_the_weighted_positions(shown: dict[str, Any], oracle: Oracle) -> None:
    for name, value in shown["exposures"].items():
        assert value == pytest.approx(oracle.b[name], abs=1e-9)
        errors = pd.Series({symbol: fit.bse[name] for symbol, fit in oracle.fits.items()})
        assert shown["standard_errors"][name] == pytest.approx(np.sqrt((oracle.weight**2 * errors**2).sum()), abs=1e-9)
    alone = sm.OLS(oracle.series.iloc[-252:], sm.add_constant(oracle.factors["market"])).fit()
    assert shown["market_total"] == pytest.approx(alone.params["market"], abs=1e-9)
    assert (shown["quality"], shown["weight_coverage"], shown["weight_basis"]) == ("full_history", 1.0, "market")


def test_volatility_is_that_of_todays_weights(shown: dict[str, Any], oracle: Oracle) -> None:
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
        "var_95_1d": -np.quantile(series.iloc[-252:], 0.05, method="weibull"),
        "var_99_1d": -np.quantile(series.iloc[-252:], 0.01, method="weibull"),
        "var_95_1d_normal": stats.norm.ppf(0.95) * forecast / np.sqrt(252),
        "var_99_1d_normal": stats.norm.ppf(0.99) * forecast / np.sqrt(252),
    }
    assert {name: shown[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert shown["forecast_model"] == "har-fixed-1"
    assert shown["vol_trend"] == ("stable" if trend.pvalue >= 0.10 else shown["vol_trend"])


def test_values_at_risk_stand_in_dollars_too(shown: dict[str, Any], oracle: Oracle) -> None:
    assert shown["gross"] == shown["net"] == shown["denominator"] == pytest.approx(oracle.gross, rel=1e-12)
    for name in ("var_95_1d", "var_99_1d", "var_95_1d_normal", "var_99_1d_normal"):
        assert shown[f"{name}_usd"] == pytest.approx(shown[name] * oracle.gross, rel=1e-12)


def test_the_risk_split_adds_up_and_is_that_of_the_model(shown: dict[str, Any], oracle: Oracle) -> None:
    split = shown["risk_split"]
    assert sum(split["factors"].values()) + split["specific"] == pytest.approx(1, abs=1e-12)
    assert sum(split["positions"].values()) == pytest.approx(1, abs=1e-12)
    pull = oracle.covariance @ oracle.b
    by_position = oracle.weight * (oracle.beta.T @ pull + oracle.weight * oracle.specific) / oracle.variance
    assert split["positions"] == pytest.approx(by_position.to_dict(), abs=1e-9)
    assert split["specific"] == pytest.approx((oracle.weight**2 * oracle.specific).sum() / oracle.variance, abs=1e-9)
    market = pull["market"] ** 2 / oracle.covariance.loc["market", "market"] / oracle.variance
    assert split["factors"]["market"] == pytest.approx(market, abs=1e-9)
    assert shown["r_squared"] == pytest.approx(1 - split["specific"], abs=1e-12)
    assert shown["split_ratio"] == pytest.approx(oracle.variance / oracle.series.iloc[-252:].var(), abs=1e-9)


def test_positions_are_those_held_the_largest_first(shown: dict[str, Any], oracle: Oracle) -> None:
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
    lines = read_home.sigma("show", "growth").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("growth as of 2022-12-28")
    factors = lines[lines.index("") + 1 :]
    assert factors[0].split() == ["factor", "(sample-5)", "exposure", "std.", "error", "share", "of", "risk"]
    assert factors[1].startswith("market, in total ")
    assert factors[2].startswith("market ")
    assert sum("99% value at risk rests on a year's 2-3 worst days" in line for line in lines) == 1
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
    found = read(mixed, "sold")
    assert (found.as_of, found.reason, found.positions) == (LAST, "No active position", ())
    assert set(found.exposures.values()) == {None}
    assert read(mixed, "sold", up_to=date(2022, 12, 26)).positions[0].weight == 1.0
    done = mixed.sigma("show", "sold")
    assert (done.returncode, "Not known: No active position" in done.stdout) == (0, True)


def test_what_has_no_exposures_says_so_and_is_not_zero(mixed: Home) -> None:
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
    found = read(mixed, "mixed")
    covered = sum(abs(one.weight or 0) for one in found.positions if one.symbol in ("AAPL", "KO"))
    assert found.weight_coverage == pytest.approx(covered, abs=1e-12)
    assert found.weight_basis == "mixed"
    assert found.low_coverage is True
    lines = mixed.sigma("show", "mixed").stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("Low coverage"))
    assert f"{covered:.1%}" in line
    assert max(map(len, lines)) <= 100
    (private,) = (line.split() for line in lines if line.startswith("LOFT-7"))
    assert private[2:] == ["entry", "-", "-", "-", "-"]


def test_rows_that_are_gone_end_in_a_message(core_home: Home) -> None:
    for table, condition in (("daily_price", "symbol = 'SP500' AND session = '2022-12-28'"), ("factor_exposure", "1")):
        with core_home.sql() as connection:
            connection.execute(f"DELETE FROM {table} WHERE {condition}")  # noqa: S608
        done = core_home.sigma("show", "core")
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


@pytest.mark.parametrize("method", ["ridge", "univariate"])
def test_two_models_live_side_by_side(core_home: Home, tmp_path: Path, method: str) -> None:
    """Rows of both stay; the new model's are missing until they are computed, and `show` reads the chosen one's."""
    setting = write_model(tmp_path / "model.toml", method)
    model = model_file.read(setting)
    before = core_home.rows("factor_exposure", "symbol_volatility", "portfolio_volatility")

    refused = core_home.sigma("show", "core", factor_model=setting)
    assert refused.returncode == 2
    assert f"nothing is computed of portfolio core with the factor model my-{method}" in refused.stderr
    plan = json.loads(core_home.sigma("plan", "--json", factor_model=setting).stdout)
    assert plan["exposures"] == {"symbols": 10, "rows": 50}
    assert (plan["volatility"]["rows"], plan["portfolios"], plan["api_calls"]) == (0, {"core": 5}, 0)

    done = core_home.onboard(CORE, model=model).to_json()
    assert (done["regressions_run"], done["api_calls"]) == (50, 0)
    after = core_home.rows("factor_exposure", "symbol_volatility", "portfolio_volatility")
    assert set(before["factor_exposure"]) < set(after["factor_exposure"])
    assert {name: after[name] for name in ("symbol_volatility", "portfolio_volatility")} == {
        name: before[name] for name in ("symbol_volatility", "portfolio_volatility")
    }
    shown = json.loads(core_home.sigma("show", "core", "--json", factor_model=setting).stdout)
    assert shown["factor_model"] == model.key
    assert shown["exposures"] != json.loads(core_home.sigma("show", "core", "--json").stdout)["exposures"]


def test_univariate_betas_are_not_split(core_home: Home, tmp_path: Path) -> None:
    setting = write_model(tmp_path / "model.toml", "univariate")
    core_home.onboard(CORE, model=model_file.read(setting))
    found = read(core_home, "core", model_file.read(setting))
    assert found.reason == "Univariate betas do not add up"
    assert set(found.risk_split.factors.values()) == {None}
    assert (found.risk_split.specific, found.risk_split.positions) == (None, {})
    assert (found.r_squared, found.split_vol, found.split_ratio) == (None, None, None)
    assert found.market_total == pytest.approx(found.exposures["market"], abs=1e-12)
    lines = core_home.sigma("show", "core", factor_model=setting).stdout.splitlines()
    assert "Not known: Univariate betas do not add up" in lines
    assert next(line.split()[-1] for line in lines if line.startswith("momentum")) == "-"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("us-6", "the sample has no prices of SPY, VTV, VUG, IWM, TLT"),
        ("us-7", "SIGMA_FACTOR_MODEL=us-7 is no built-in model (sample-5, us-6) nor a file that can be read"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_before_anything_is_stored(home: Home, setting: str, said: str) -> None:
    home.create()
    for command in (("onboard", CORE), ("plan", CORE), ("plan",)):
        done = home.sigma(*command, factor_model=setting)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not any(home.rows("portfolio", "position", "daily_price", "symbol").values())


class Listings(RecordedSource):
    """The sample under the names of the live model's proxies, with JNJ for bonds."""

    def fetch(self, symbol: str, first: date, last: date) -> Any:
        names = {"SPY": "SP500", "VTV": "VLUE", "VUG": "QUAL", "IWM": "SIZE", "TLT": "JNJ"}
        return super().fetch(names.get(symbol, symbol), first, last)


def test_the_live_model_computes_from_its_own_proxies(home: Home) -> None:
    model = model_file.choose("us-6", ())
    done = home.onboard([lot("AAPL"), lot("KO")], "pair", source=Listings(), model=model).to_json()
    assert done["api_calls"] == 2 + len(model.proxies)
    found = read(home, "pair", model)
    assert tuple(found.exposures) == model.factor_names
    assert all(value is not None for value in found.exposures.values())
    assert found.quality == "full_history"
