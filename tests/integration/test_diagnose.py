"""`sigma diagnose`: what statsmodels says, asked of it once more in another way, beside the numbers that are stored."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from assets import model_file
from assets.factor_models import SAMPLE_5, FactorModel
from assets.shared.look_back import MissingInputsError
from sigma_dagster.analysis import diagnosis
from sigma_dagster.analysis.diagnosis import Diagnosis
from tests.support.home import ROOT, Home

SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"
SPREADS = {"momentum": "MTUM", "quality": "QUAL", "size": "SIZE", "low_volatility": "USMV", "value": "VLUE"}


@pytest.fixture(scope="module")
def window() -> pd.DataFrame:
    """The returns of the last 252 sessions, with the factors beside them."""
    returns = pd.read_csv(SAMPLE, index_col="date").pct_change().iloc[-252:]
    spreads = {name: returns[etf] - returns["SP500"] for name, etf in SPREADS.items()}
    return returns.assign(market=returns["SP500"], **spreads)


@pytest.fixture(scope="module")
def told(read_home: Home) -> dict[str, Any]:
    """What `sigma diagnose ko --json` prints."""
    done = read_home.sigma_here("diagnose", "ko", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def diagnose(home: Home, symbol: str, model: FactorModel = SAMPLE_5, up_to: date | None = None) -> Diagnosis:
    with home.environment().database.read() as connection:
        return diagnosis.diagnose(connection, symbol, model, up_to)


def test_ours_are_the_numbers_that_are_stored(read_home: Home, told: dict[str, Any]) -> None:
    """A diagnosis shows the very betas that the cache holds, not others."""
    (row,) = (
        row for row in read_home.numbers("factor_exposure") if (row["symbol"], row["session"]) == ("KO", "2022-12-28")
    )
    for name in ("n_obs", "r_squared", "residual_vol", "market_total", "condition", "quality", "reason"):
        assert told[name] == (pytest.approx(row[name], rel=1e-9) if isinstance(row[name], float) else row[name])
    for one in told["factors"]:
        assert one["beta"] == pytest.approx(row[f"beta_{one['factor']}"], abs=1e-9)
        assert one["se"] == pytest.approx(row[f"se_{one['factor']}"], abs=1e-9)
    assert max(one["vif"] for one in told["factors"]) == pytest.approx(row["max_vif"], rel=1e-9)


def test_the_second_opinion_is_that_of_statsmodels(told: dict[str, Any], window: pd.DataFrame) -> None:
    """By its formulas on the prices of the file, where the command uses arrays from the database."""
    formula = f"KO ~ market + {' + '.join(SPREADS)}"
    fit = smf.ols(formula, window).fit(cov_type="HAC", cov_kwds={"maxlags": 4})
    assert (told["symbol"], told["as_of"], told["first"], told["hac_lags"]) == ("KO", "2022-12-28", window.index[0], 4)
    for one in told["factors"]:
        name = one["factor"]
        assert one["beta_ols"] == pytest.approx(fit.params[name], abs=1e-9)
        assert one["se_hac"] == pytest.approx(fit.bse[name], rel=1e-6)
        others = " + ".join(other for other in ("market", *SPREADS) if other != name)
        assert one["vif"] == pytest.approx(1 / (1 - smf.ols(f"{name} ~ {others}", window).fit().rsquared), rel=1e-6)
    resid = fit.resid
    residuals = told["residuals"]
    assert residuals["durbin_watson"] == pytest.approx((resid.diff() ** 2).sum() / (resid**2).sum(), rel=1e-9)
    assert residuals["jarque_bera"] == pytest.approx(stats.jarque_bera(resid).statistic, rel=1e-9)
    assert residuals["jarque_bera_p"] == pytest.approx(stats.jarque_bera(resid).pvalue, rel=1e-6)
    assert residuals["skew"] == pytest.approx(stats.skew(resid), rel=1e-9)
    assert residuals["kurtosis"] == pytest.approx(stats.kurtosis(resid, fisher=False), rel=1e-9)


def test_influential_sessions_are_those_whose_omission_moves_the_fit_most(
    told: dict[str, Any], window: pd.DataFrame
) -> None:
    """Cook's distance by its definition: fit again without the session, and see how far all fitted values move."""
    formula = f"KO ~ market + {' + '.join(SPREADS)}"
    full = smf.ols(formula, window).fit()
    x, y = full.model.exog, full.model.endog
    distance = {}
    for i, day in enumerate(window.index):
        without, *_ = np.linalg.lstsq(np.delete(x, i, axis=0), np.delete(y, i), rcond=None)
        distance[day] = ((full.fittedvalues - x @ without) ** 2).sum() / (7 * full.mse_resid)
    largest = sorted(distance, key=lambda day: -distance[day])[:5]
    assert [one["session"] for one in told["influential"]] == largest
    for one in told["influential"]:
        assert one["cooks_distance"] == pytest.approx(distance[one["session"]], rel=1e-6)
        assert one["symbol_return"] == pytest.approx(window.loc[one["session"], "KO"], rel=1e-9)
        assert one["residual"] == pytest.approx(full.resid[one["session"]], rel=1e-6)


def test_an_earlier_session(read_home: Home) -> None:
    """`--as-of` examines the regression of that session."""
    found = diagnose(read_home, "KO", up_to=date(2022, 7, 4))  # a holiday, a Monday
    assert found.as_of == date(2022, 7, 1)
    assert len(found.influential) == 5
    assert all(found.first <= one.session <= found.as_of for one in found.influential)


def test_the_table_shows_both_errors_and_is_narrow(read_home: Home) -> None:
    """The table has ordinary and robust standard errors, and fits a terminal of 80 columns."""
    done = read_home.sigma_here("diagnose", "KO")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("KO, window 2021-12-29..2022-12-28, 252 sessions")
    assert "factor            beta  std. error  Newey-West  VIF" in lines
    assert any(line.startswith("2022-05-18") for line in lines)
    assert max(map(len, lines)) <= 110


# --- methods


def model_of(path: Path, method: str) -> FactorModel:
    path.write_text(
        f'name = "m"\nmethod = "{method}"\n[factors]\nmarket = {{ proxy = "SP500" }}\n'
        'value = { proxy = "VLUE", minus = "SP500" }\n'
    )
    return model_file.read(str(path))


def test_ridge_is_held_against_least_squares(read_home: Home, tmp_path: Path, window: pd.DataFrame) -> None:
    """A shrunk beta stands beside the least-squares one that it was shrunk from."""
    found = diagnose(read_home, "KO", model_of(tmp_path / "m.toml", "ridge"))
    fit = smf.ols("KO ~ market + value", window).fit()
    market, value = found.factors
    assert (market.beta_ols, value.beta_ols) == pytest.approx((fit.params["market"], fit.params["value"]), abs=1e-9)
    assert abs(value.beta) < abs(value.beta_ols)


def test_bayes_shows_prior_data_and_posterior(read_home: Home, tmp_path: Path, window: pd.DataFrame) -> None:
    """Promise: what was expected, what the data say, what is made of both: side by side, as data and as text."""
    model = model_of(tmp_path / "m.toml", "bayes")
    found = diagnose(read_home, "KO", model)
    fit = smf.ols("KO ~ market + value", window).fit()
    for one in found.factors:
        assert (one.beta_ols, one.se_ols) == pytest.approx((fit.params[one.factor], fit.bse[one.factor]), abs=1e-9)
        assert one.se < one.se_ols
    market, value = found.factors
    assert (market.prior, market.prior_sd, value.prior, value.prior_sd) == (1.0, 0.15, 0.0, 0.55)
    lines = read_home.sigma_here("diagnose", "KO", factor_model=str(tmp_path / "m.toml")).stdout.splitlines()
    assert "factor  prior    +/-   data    +/-   beta    +/-" in lines
    shown = next(line.split() for line in lines if line.startswith("market "))
    assert shown[1:] == [f"{x:.3f}" for x in (1.0, 0.15, market.beta_ols, market.se_ols, market.beta, market.se)]
    assert {one.prior for one in diagnose(read_home, "KO").factors} == {None}


def test_univariate_fits_are_looked_at_one_by_one(read_home: Home, tmp_path: Path, window: pd.DataFrame) -> None:
    """With univariate fits, every factor is examined in a regression of its own."""
    found = diagnose(read_home, "KO", model_of(tmp_path / "m.toml", "univariate"))
    for one in found.factors:
        fit = smf.ols(f"KO ~ {one.factor}", window).fit(cov_type="HAC", cov_kwds={"maxlags": 4})
        assert (one.beta, one.beta_ols) == pytest.approx((fit.params[one.factor],) * 2, abs=1e-9)
        assert one.se_hac == pytest.approx(fit.bse[one.factor], rel=1e-6)
        assert one.vif == pytest.approx(1, rel=1e-9)
    assert found.residuals is not None
    resid = smf.ols("KO ~ market", window).fit().resid
    assert found.residuals.durbin_watson == pytest.approx((resid.diff() ** 2).sum() / (resid**2).sum(), rel=1e-9)


# --- what cannot be diagnosed


def test_a_symbol_that_is_a_factor_has_no_residuals(read_home: Home) -> None:
    """A proxy is explained in full: no residual statistics of rounding errors are shown."""
    found = diagnose(read_home, "MTUM")
    assert {one.factor: round(one.beta, 9) for one in found.factors} == {
        name: float(name in ("market", "momentum")) for name in SAMPLE_5.factor_names
    }
    assert found.reason == diagnosis.NO_RESIDUALS
    assert (found.residuals, found.influential) == (None, ())


def test_a_fit_that_failed_gives_its_reason(core_home: Home) -> None:
    """A fit that was refused says why, and shows no numbers."""
    with core_home.sql() as connection:
        connection.execute(
            "UPDATE daily_price SET close = NULL, absence = 'no trade' WHERE symbol = 'KO' AND session > '2022-12-15'"
        )
    found = diagnose(core_home, "KO")
    assert (found.quality, found.reason) == ("failed", "No return in the last 5 sessions")
    assert (found.factors, found.residuals, found.r_squared) == ((), None, None)
    done = core_home.sigma_here("diagnose", "KO")
    assert "Not known: No return in the last 5 sessions" in done.stdout
    assert json.loads(core_home.sigma_here("diagnose", "KO", "--json").stdout)["r_squared"] is None


def test_a_gap_is_left_out_on_both_sides(core_home: Home, window: pd.DataFrame) -> None:
    """A session without a price costs the return into it and the one out of it, nothing else."""
    with core_home.sql() as connection:
        connection.execute(
            "UPDATE daily_price SET close = NULL, absence = 'no trade' WHERE symbol = 'KO' AND session = '2022-08-10'"
        )
    found = diagnose(core_home, "KO")
    fit = smf.ols(f"KO ~ market + {' + '.join(SPREADS)}", window.drop(index=["2022-08-10", "2022-08-11"])).fit()
    assert found.n_obs == fit.nobs == 250
    assert [one.beta for one in found.factors] == pytest.approx(list(fit.params[1:]), abs=1e-9)
    assert [one.beta_ols for one in found.factors] == pytest.approx(list(fit.params[1:]), abs=1e-9)
    assert np.isfinite([one.se_hac for one in found.factors]).all()


@pytest.mark.parametrize("symbol", ["NVDA", "", "a\x1bb", "x" * 300])
def test_a_symbol_that_is_not_stored(read_home: Home, symbol: str) -> None:
    """An unknown symbol is a message with exit status 2."""
    done = read_home.sigma_here("diagnose", symbol)
    assert (done.returncode, done.stdout) == (2, "")
    assert "are stored" in done.stderr
    assert "AAPL" in done.stderr
    assert "sigma onboard FILE" in done.stderr
    assert "\x1b" not in done.stderr


def test_before_the_first_stored_price(read_home: Home) -> None:
    """A session before the stored prices is a message with exit status 2."""
    with pytest.raises(MissingInputsError, match="no prices of 'KO' are stored up to 2015-01-02"):
        diagnose(read_home, "KO", up_to=date(2015, 1, 2))
    with pytest.raises(MissingInputsError, match=r"No prices are stored of KO, .* the rows of 2021-01-04 look back on"):
        diagnose(read_home, "KO", up_to=date(2021, 1, 4))
