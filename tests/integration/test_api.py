"""`sigma_dagster.api` and the SQL views: columns, types and units, numbers as `sigma show --json` has them."""

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from resources.database.engine import Database
from resources.database.tables import metadata
from sigma_dagster import api
from tests.support.home import LAST, Home, lot

FACTORS = ["low_volatility", "market", "momentum", "quality", "size", "value"]
TIME, TEXT, NUMBER, WHOLE = "datetime64[us]", "text", "float64", "int64"
RISK = {
    **dict.fromkeys(("portfolio", "model", "weight_basis", "quality", "forecast_model", "vol_trend"), TEXT),
    **dict.fromkeys(("weight_coverage", "entry_share", "stale_share", "gross", "net", "denominator"), NUMBER),
    **dict.fromkeys(("market_total", "r_squared", "split_vol", "share_specific", "split_ratio"), NUMBER),
    **dict.fromkeys(("diversifiable_share", "realized_vol_21d", "realized_vol_63d", "ewma_vol"), NUMBER),
    **dict.fromkeys(("forecast_vol_21d", "vol_trend_p", "vol_percentile", "var_95_1d", "var_99_1d"), NUMBER),
    **dict.fromkeys(("es_975_1d", "var_95_1d_historical", "var_99_1d_historical", "var_95_1d_normal"), NUMBER),
    **dict.fromkeys(("var_99_1d_normal", "return_1d", "return_coverage", "covered_value"), NUMBER),
    "session": TIME,
    "low_coverage": WHOLE,
}
#: What each function gives: its columns, and their types.
FRAMES: dict[str, dict[str, str]] = {
    "portfolios": {
        "portfolio": TEXT,
        "lots": WHOLE,
        "symbols": WHOLE,
        "first_entry": TIME,
        "equity": NUMBER,
        "shares_as_of": TIME,
    },
    "lots": {
        "symbol": TEXT,
        "quantity": NUMBER,
        "entry_price": NUMBER,
        "entry_date": TIME,
        "exit_date": TIME,
        "asset_class": TEXT,
    },
    "exposures": {
        "portfolio": TEXT,
        "session": TIME,
        "model": TEXT,
        "factor": TEXT,
        "exposure": NUMBER,
        "se": NUMBER,
        "share": NUMBER,
    },
    "risk": RISK,
    "volatility": {
        "symbol": TEXT,
        "session": TIME,
        "realized_vol_21d": NUMBER,
        "realized_vol_63d": NUMBER,
        "ewma_vol": NUMBER,
        "forecast_vol_21d": NUMBER,
        "forecast_model": TEXT,
        "vol_trend": TEXT,
        "vol_trend_p": NUMBER,
        "vol_percentile": NUMBER,
        "n_obs": WHOLE,
        "reason": TEXT,
    },
    "betas": {"symbol": TEXT, "session": TIME, "factor": TEXT, "beta": NUMBER, "se": NUMBER},
    "fits": {
        "symbol": TEXT,
        "session": TIME,
        "market_total": NUMBER,
        "r_squared": NUMBER,
        "residual_vol": NUMBER,
        "n_obs": WHOLE,
        "condition": NUMBER,
        "max_vif": NUMBER,
        "quality": TEXT,
        "reason": TEXT,
    },
    "prices": {
        "symbol": TEXT,
        "session": TIME,
        "open": NUMBER,
        "high": NUMBER,
        "low": NUMBER,
        "close": NUMBER,
        "volume": NUMBER,
        "dividend": NUMBER,
        "split": NUMBER,
        "source": TEXT,
        "absence": TEXT,
    },
    "positions": {
        "symbol": TEXT,
        "asset_class": TEXT,
        "weight": NUMBER,
        "price_basis": TEXT,
        "quality": TEXT,
        "n_obs": WHOLE,
        "r_squared": NUMBER,
        "unvalued": "bool",
        "share_of_risk": NUMBER,
    },
    "explain": {"from": TIME, "to": TIME, "part": TEXT, "variance": NUMBER},
    "stress": {
        "scenario": TEXT,
        "symbol": TEXT,
        "asset_class": TEXT,
        "value": NUMBER,
        "pnl": NUMBER,
        "by": TEXT,
    },
}
OF_SYMBOLS = ("volatility", "betas", "fits", "prices")


@pytest.fixture
def here(read_home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The environment of a notebook that reads this home."""
    monkeypatch.setenv("SIGMA_HOME", str(read_home.path))
    return read_home


def shown(home: Home, name: str) -> dict[str, Any]:
    found = json.loads(home.sigma_here("show", name, "--json").stdout)
    assert isinstance(found, dict)
    return found


def asked(function: str) -> pd.DataFrame:
    arguments = () if function == "portfolios" else ("AAPL",) if function in OF_SYMBOLS else ("growth",)
    found = getattr(api, function)(*arguments)
    assert isinstance(found, pd.DataFrame)
    return found


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("function", FRAMES)
def test_each_function_gives_its_columns_in_their_types(function: str) -> None:
    """Promise: dates are dates and numbers are numbers, also where none is known; texts are the rest."""
    found = asked(function)
    types = {
        name: FRAMES[function][name] if str(kind) in ("str", "object") else str(kind)
        for name, kind in found.dtypes.items()
    }
    assert types == FRAMES[function]
    assert not {name for name, kind in found.dtypes.items() if str(kind) == "object"} & {
        name for name, kind in FRAMES[function].items() if kind != TEXT
    }
    assert list(found.index) == list(range(len(found)))
    assert len(found) > 0


def test_every_function_of_the_api_is_among_them() -> None:
    """Promise: none is left out of these tests, and each says what a row is."""
    public = {name for name, what in vars(api).items() if getattr(what, "__module__", "") == api.__name__}
    functions = {name for name in public if not name.startswith("_") and callable(getattr(api, name))}
    assert functions == FRAMES.keys()
    assert all((getattr(api, name).__doc__ or "").startswith("Give ") for name in functions)


def test_numbers_are_those_of_sigma_show(here: Home) -> None:
    """Promise: the newest session of each frame, number by number and unit by unit, is what the command says."""
    said = shown(here, "growth")
    newest = api.risk("growth").iloc[-1]
    assert newest["session"] == pd.Timestamp(said["as_of"])
    both = newest.index.intersection(list(said)).difference(["portfolio", "quality"])
    assert len(both) >= 28
    for name in both:
        assert newest[name] == said[name], name
    exposures = api.exposures("growth").query("session == @LAST").set_index("factor")
    assert exposures["exposure"].to_dict() == said["exposures"]
    assert exposures["se"].to_dict() == said["standard_errors"]
    assert exposures["share"].to_dict() == said["risk_split"]["factors"]
    positions = api.positions("growth").set_index("symbol")
    assert positions["share_of_risk"].to_dict() == said["risk_split"]["positions"]
    assert positions["weight"].to_dict() == {one["symbol"]: one["weight"] for one in said["positions"]}


def test_explain_and_stress_are_the_commands(here: Home) -> None:
    """Promise: the parts of `sigma explain`, the losses of `sigma stress`; a number that is not known is NaN."""
    parts = json.loads(here.sigma_here("explain", "growth", "--json").stdout)["parts"]
    found = api.explain("growth")
    assert dict(zip(found["part"], found["variance"], strict=True)) == parts
    earlier = api.explain("growth", date(2022, 10, 3), date(2022, 11, 1))
    assert {str(day.date()) for day in earlier["to"]} == {"2022-11-01"}
    scenarios = json.loads(here.sigma_here("stress", "growth", "--json").stdout)["scenarios"]
    losses = api.stress("growth").groupby("scenario")["pnl"].sum(min_count=1)
    for one in scenarios:
        pnl = losses[one["scenario"]]
        assert math.isnan(pnl) if one["pnl"] is None else pnl == pytest.approx(one["pnl"], rel=1e-12)


def test_prices_lots_and_betas_are_those_stored(here: Home) -> None:
    """Promise: several symbols at once, in any case of letters, a row for each session (and factor)."""
    lots = api.lots("core").sort_values(["symbol", "entry_date"], ignore_index=True)
    assert lots.loc[0, ["symbol", "quantity"]].tolist() == ["AAPL", 150.0]
    assert lots["exit_date"].isna().all()
    betas = api.betas(["aapl", "KO"])
    assert set(betas["symbol"]) == {"AAPL", "KO"}
    assert betas["factor"].drop_duplicates().tolist() == FACTORS
    assert not betas.duplicated(["symbol", "session", "factor"]).any()
    prices = api.prices("AAPL")
    assert prices["session"].is_monotonic_increasing
    ((close,),) = here.query("SELECT close FROM daily_price WHERE symbol = 'AAPL' AND session = ?", str(LAST))
    assert prices["close"].iloc[-1] == close


@pytest.mark.usefixtures("here")
def test_what_is_not_stored_is_named() -> None:
    """Promise: LookupError with the names that there are, for portfolios and for symbols."""
    for function in ("lots", "exposures", "risk", "positions", "explain", "stress"):
        with pytest.raises(LookupError, match="portfolio 'nobody' is not stored; known: core, growth"):
            getattr(api, function)("nobody")
    for function in OF_SYMBOLS:
        with pytest.raises(LookupError, match="nothing is stored of 'NVDA'"):
            getattr(api, function)(["AAPL", "NVDA"])
    with pytest.raises(LookupError, match="nothing is computed of portfolio 'core'"):
        api.positions("core", date(2001, 1, 2))


def test_it_changes_nothing(here: Home) -> None:
    """Promise: read-only: all rows are as before."""
    before = here.rows()
    for function in FRAMES:
        asked(function)
    assert here.rows() == before


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: a slip in SIGMA_HOME is an error with the way out, and no empty folder."""
    monkeypatch.setenv("SIGMA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(Exception, match="there is no such file; a sigma command"):
        api.portfolios()
    assert not (tmp_path / "nowhere").exists()


def test_cash_and_private_positions_have_no_share_of_risk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: shares of risk are of public positions; the others are NaN, never 0."""
    private, cash = lot("AAPL", 1, price=500.0, asset_class="private"), lot("USD", 1_000, price=1.0, asset_class="cash")
    home.onboard([lot("AAPL"), private, cash], equity=4_000.0)
    monkeypatch.setenv("SIGMA_HOME", str(home.path))
    found = api.positions("book").set_index("asset_class")
    assert found["share_of_risk"].to_dict() == {
        "public": pytest.approx(1.0),
        "private": pytest.approx(math.nan, nan_ok=True),
        "cash": pytest.approx(math.nan, nan_ok=True),
    }
    assert found.loc[["private", "cash"], "weight"].tolist() == [0.125, 0.25]
    assert api.portfolios()["equity"].tolist() == [4_000.0]


# --- the views, on SQLite and on Postgres


@pytest.fixture
def both(database: Database, prepared_core: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The rows of a home with `core`, in either database, and the environment of a notebook that reads it."""
    source = Database(sa.make_url(f"sqlite:///{prepared_core / 'sigma.db'}"), read_only=True)
    with source.read() as old, database.write() as new:
        for table in metadata.sorted_tables:
            new.execute(sa.delete(table))
            if rows := [dict(row) for row in old.execute(sa.select(table)).mappings()]:
                new.execute(sa.insert(table), rows)
    source.engine.dispose()
    url = database.url.set(drivername=database.url.get_backend_name())
    monkeypatch.setenv("SIGMA_DATABASE_URL", url.render_as_string(hide_password=False))
    return database


def test_the_views_and_the_api_say_the_same_on_both_databases(both: Database, core_home: Home) -> None:
    """Promise: each view as documented, its newest numbers those of `sigma show --json`."""
    said = shown(core_home, "core")
    with both.read() as connection:

        def ask(query: str) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(sa.text(query)).mappings()]

        (risk,) = ask("SELECT * FROM portfolio_risk WHERE portfolio = 'core' AND session = '2022-12-28'")
        assert risk.keys() == RISK.keys()
        for name in risk.keys() & said.keys() - {"low_coverage"}:
            assert risk[name] == (pytest.approx(said[name], rel=1e-14) if isinstance(said[name], float) else said[name])
        exposures = ask("SELECT * FROM portfolio_exposure_by_factor WHERE session = '2022-12-28' ORDER BY factor")
        assert [one["factor"] for one in exposures] == FACTORS
        assert {one["factor"]: one["exposure"] for one in exposures} == said["exposures"]
        assert {one["factor"]: one["se"] for one in exposures} == said["standard_errors"]
        betas = ask(
            "SELECT factor, beta FROM factor_exposure_by_factor WHERE symbol = 'AAPL' AND session = '2022-12-28'"
        )
        (lots,) = ask("SELECT * FROM lot_factor_exposure WHERE symbol = 'AAPL' AND session = '2022-12-28'")
        assert {one["factor"]: one["beta"] for one in betas} == {name: lots[f"beta_{name}"] for name in FACTORS}
        assert (lots["portfolio"], lots["quantity"]) == ("core", 150.0)
        sessions = ask("SELECT DISTINCT session FROM lot_factor_exposure")
        assert len(sessions) == 5
    newest = api.risk("core").iloc[-1]
    assert {name: newest[name] for name in ("gross", "market_total", "var_99_1d", "covered_value")} == {
        name: pytest.approx(said[name], rel=1e-14) for name in ("gross", "market_total", "var_99_1d", "covered_value")
    }
    assert {
        name: str(kind) for name, kind in api.risk("core").dtypes.items() if str(kind) not in ("str", "object")
    } == {name: kind for name, kind in RISK.items() if kind != TEXT}


def test_a_lot_counts_in_the_view_while_it_is_held(home: Home) -> None:
    """Promise: `lot_factor_exposure` has a row for each lot and session from its entry to before its exit."""
    home.onboard([lot("AAPL", entry="2022-12-22", exit="2022-12-27"), lot("AAPL", 5, exit="2022-12-22")])
    found = home.query("SELECT quantity, session FROM lot_factor_exposure ORDER BY session")
    assert found == [(5.0, "2022-12-21"), (10.0, "2022-12-22"), (10.0, "2022-12-23")]
