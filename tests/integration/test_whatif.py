"""`sigma whatif`: against onboarding the changed book, by statsmodels where it hedges; it stores nothing."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import statsmodels.api as sm

from resources.database import portfolios
from sigma_dagster.analysis import whatif
from sigma_dagster.analysis.whatif import Question
from tests.support.home import LAST, ROOT, Ended, Home, holdings, lot
from tests.support.sources import RecordedSource

SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"


def asked(home: Home, *arguments: str | Path) -> Any:
    """The answer as data; all tables are as before it, and so is Dagster's record."""
    rows, events = home.rows(), home.events()
    done = home.sigma_here("whatif", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert (home.rows(), home.events()) == (rows, events)
    return json.loads(done.stdout)


def shown(home: Home, name: str) -> Any:
    return json.loads(home.sigma_here("show", name, "--json").stdout)


def same(one: Any, other: Any, path: str = "") -> None:
    """Hold plain data against each other: numbers to 1e-12, all else exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for name, value in one.items():
            same(value, other[name], f"{path}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for i, value in enumerate(one):
            same(value, other[i], f"{path}[{i}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-12, abs=1e-12), path
    else:
        assert one == other, path


@pytest.mark.parametrize(
    "quantities", [(100, 200, 50), (-100, -200, -50), (100, -200, 50)], ids=["long", "short", "mixed"]
)
def test_it_equals_onboarding_the_changed_book(core_home: Home, quantities: tuple[int, int, int]) -> None:
    """Promise: `after` is what `sigma show --json` says of the changed book once it is onboarded, to 1e-12.

    The rows of MSFT are there from another book.
    """
    aapl, ko, xom = quantities
    book = [lot("AAPL", aapl), lot("KO", ko), lot("XOM", xom)]
    core_home.onboard(book, "book")
    before = core_home.rows()
    asked = core_home.sigma_here(
        "whatif", "book", "--trade", "MSFT=+50", "--trade", "KO=-20", "--close", "XOM", "--json"
    )
    assert asked.returncode == 0, asked.stderr
    assert core_home.rows() == before
    answer = json.loads(asked.stdout)
    assert answer.keys() == {"before", "after"}
    assert answer["before"] == json.loads(core_home.sigma_here("show", "book", "--json").stdout)
    day = "2022-12-28"
    changed = [
        *book[:2],
        lot("XOM", xom, exit=day),
        lot("MSFT", 50, entry=day),
        lot("KO", -20, entry=day),
    ]
    core_home.onboard(changed, "book")
    same(answer["after"], json.loads(core_home.sigma_here("show", "book", "--json").stdout))


def test_it_rests_on_stored_rows(core_home: Home) -> None:
    """Promise: of held symbols, 0 calls and no regression: a beta that was changed in the database is the one used."""
    with core_home.sql() as connection:
        connection.execute("UPDATE factor_exposure SET beta_market = 7 WHERE symbol = 'AAPL'")
    source = RecordedSource()
    services = core_home.environment(source)
    with services.database.read() as connection:
        (one,) = portfolios.load(connection, ["core"])
    found, notes = whatif.answer(services, Question(one, one, LAST, {"AAPL": 1e9}))
    assert (source.calls, notes) == (0, [])
    assert found.after.exposures["market"] == pytest.approx(7, abs=1e-4)


# --- a file


def test_a_file_is_shown_as_onboarding_it_would(core_home: Home, tmp_path: Path) -> None:
    """Promise: of a new book `before` is null; of one that is stored, what is stored; `after` to 1e-12 what comes."""
    file = holdings(tmp_path / "new.csv", "AAPL,5,100,2021-06-15", "KO,-7,50,2022-12-23")
    new = asked(core_home, file)
    assert new["before"] is None
    edited = asked(core_home, file, "--name", "core")
    assert edited["before"] == shown(core_home, "core")
    shows = core_home.sigma_here("whatif", file).stdout
    assert "new as of 2022-12-28, which is not stored: what if; nothing is stored" in shows
    assert core_home.sigma_here("onboard", file).returncode == 0
    same(new["after"], shown(core_home, "new"))
    same({**edited["after"], "portfolio": "new"}, shown(core_home, "new"))


def test_a_symbol_that_nobody_has_is_priced_first_and_computed_on_request(core_home: Home) -> None:
    """Promise: without --compute the plan and nothing stored; with it the symbol's rows, and none of a portfolio."""
    told = asked(core_home, "core", "--trade", "PFE=+50")
    assert (told["before"], told["after"]) == (shown(core_home, "core"), None)
    assert told["plan"]["fetch"][0]["symbol"] == "PFE"
    assert told["plan"]["api_calls"] == 1
    shows = core_home.sigma_here("whatif", "core", "--trade", "PFE=+50").stdout
    assert "It would cost 1 provider call (PFE)" in shows
    assert "--compute does so" in shows
    kept = ("portfolio", "lot", "portfolio_factor_exposure", "portfolio_volatility")
    before = core_home.rows(*kept)
    done = core_home.sigma_here("whatif", "core", "--trade", "PFE=+50", "--compute", "--json")
    assert done.returncode == 0, done.stderr
    assert core_home.rows(*kept) == before
    assert "PFE" in {name for (name,) in core_home.query("SELECT DISTINCT symbol FROM factor_exposure")}
    after = json.loads(done.stdout)["after"]
    assert asked(core_home, "core", "--trade", "PFE=+50")["after"] == after
    with core_home.environment().database.read() as connection:
        (one,) = portfolios.load(connection, ["core"])
    core_home.onboard([*one.lots, lot("PFE", 50, entry=str(LAST))], "core")
    same(after, shown(core_home, "core"))


# --- a hedge


@pytest.mark.parametrize(("factor", "legs"), [("market", {"SP500": 1}), ("momentum", {"MTUM": 1, "SP500": -1})])
def test_a_hedge_brings_the_exposure_to_zero_and_says_how_exactly(
    home: Home, factor: str, legs: dict[str, int]
) -> None:
    """Promise: by statsmodels, the dollars are the book's own coefficient, their error its HC3 standard error."""
    shares = {"AAPL": 100.0, "KO": -200.0, "XOM": 50.0}
    home.onboard([lot(name, quantity) for name, quantity in shares.items()])
    prices = pd.read_csv(SAMPLE, index_col="date")
    year, close = prices.pct_change().loc[: str(LAST)].tail(252), prices.loc[str(LAST)]
    x = pd.DataFrame(
        {"market": year["SP500"], **{p: year[p] - year["SP500"] for p in ("MTUM", "QUAL", "SIZE", "USMV", "VLUE")}}
    )
    dollars = year[list(shares)] @ (close[list(shares)] * pd.Series(shares))
    fit = sm.OLS(dollars, sm.add_constant(x)).fit(cov_type="HC3")
    column = {"market": "market", "momentum": "MTUM"}[factor]
    found = asked(home, "book", "--hedge", factor)
    assert found["after"]["exposures"][factor] == pytest.approx(0, abs=1e-10)
    hedge = found["hedge"]
    assert hedge["factor"] == factor
    assert hedge["value"] == pytest.approx(-fit.params[column], rel=1e-9)
    assert hedge["value_se"] == pytest.approx(fit.bse[column], rel=1e-9)
    trades = {one["symbol"]: (one["quantity"], one["price"]) for one in hedge["trades"]}
    assert trades == {
        symbol: pytest.approx((-sign * fit.params[column] / close[symbol], close[symbol]), rel=1e-9)
        for symbol, sign in legs.items()
    }
    line = home.sigma_here("whatif", "book", "--hedge", factor).stdout
    assert f"(standard error ${fit.bse[column]:,.0f})" in line


# --- what is said of trades, and what is refused


def refused(done: Ended) -> str:
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("core",), "nothing to think of: give --trade SYMBOL=SHARES, --close SYMBOL or --hedge FACTOR"),
        (("core", "--trade", "NVDA=+50"), "NVDA: is not in the sample (20 symbols: AAPL, AMD, ...)"),
        (("core", "--close", "PFE"), "PFE: portfolio core does not hold it on 2022-12-28; it holds AAPL"),
        (("core", "--close", "KO", "--trade", "KO=5"), "KO: is to be traded and closed"),
        (("core", "--hedge", "growth"), "growth: is no factor of the model sample-5, which has market"),
        (("core", "--trade", "KO"), "'KO' is no trade: SYMBOL=SHARES"),
        (("core", "--trade", "KO=0"), "'KO=0' is no trade"),
        (("core", "--trade", "KO=nan"), "'KO=nan' is no trade"),
        (("core", "--trade", "KO=1_0"), "'KO=1_0' is no trade"),
        (("core", "--trade", "KO=1e13"), "'KO=1e13' is no trade"),
        (("core", "--trade", "\x1b[31m=5"), "is not a symbol"),
        (("core", "--trade", f"{'A' * 200}=5"), "is not a symbol"),
        (("core", "--close", "=cmd()"), "is not a symbol"),
        (("nobody", "--trade", "KO=5"), "portfolio 'nobody' is not stored"),
        (
            ("core", "--trade", "KO=5", "--as-of", "2001-01-02"),
            "nothing is computed of portfolio core up to 2001-01-02",
        ),
    ],
)
def test_what_cannot_be_thought_of_is_refused_in_a_line(read_home: Home, arguments: tuple[str, ...], said: str) -> None:
    """Promise: exit status 2, the value and the rule; no control character reaches the terminal."""
    told = refused(read_home.sigma_here("whatif", *arguments))
    assert said in " ".join(told.split()).replace(" │ │ ", " ")
    assert "\x1b" not in told


def test_trades_are_for_a_stored_portfolio(read_home: Home, tmp_path: Path) -> None:
    """Promise: a file says what is held itself."""
    file = holdings(tmp_path / "new.csv", "AAPL")
    told = refused(read_home.sigma_here("whatif", file, "--trade", "KO=5"))
    assert "--trade and --close are for a stored portfolio: write them into the file" in told


def test_a_trade_that_turns_a_position_is_said(home: Home) -> None:
    """Promise: to sell more than is held is not refused, but said; to sell all of it closes; private is not traded."""
    home.onboard([lot("AAPL", 10), lot("KO", 20), lot("LOFT-7", 1, price=900.0, asset_class="private")])
    done = home.sigma_here("whatif", "book", "--trade", "KO=-30", "--json")
    assert "KO: sells 30 of 20 held: short 10 after it" in done.stderr
    sold = asked(home, "book", "--trade", "KO=-20")["after"]
    assert sold == asked(home, "book", "--close", "KO")["after"]
    assert "KO" not in {one["symbol"] for one in sold["positions"]}
    told = refused(home.sigma_here("whatif", "book", "--trade", "LOFT-7=1"))
    assert "LOFT-7: is held as private, which has no market price to trade at" in told
    assert "LOFT-7" not in {one["symbol"] for one in asked(home, "book", "--close", "LOFT-7")["after"]["positions"]}
