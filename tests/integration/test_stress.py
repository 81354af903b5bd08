"""`sigma stress`: the book's own returns over windows of the past, moves of factors, what is not covered, bad files."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import statsmodels.api as sm

from tests.support.home import LAST, ROOT, Home, lot
from tests.support.sources import RecordedSource, without

SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"
#: A built-in window, within the look-back of a small home.
AUTUMN = ("autumn_2022", date(2022, 8, 16), date(2022, 10, 12))
MIXED = {"AAPL": 10.0, "KO": -20.0, "XOM": 5.0}
EQUITY = 10_000.0


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    return pd.read_csv(SAMPLE, index_col="date")


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """`mixed` has every price; of `gaps` PFE lacks the window's first close, MRK is young, LOFT-7 private."""
    home = Home(tmp_path_factory.mktemp("stress") / "sigma", {"SIGMA_HISTORY_SESSIONS": "5"})
    home.onboard([*(lot(name, shares) for name, shares in MIXED.items())], "mixed")
    cash = lot("USD", 5_000, price=1.0, asset_class="cash")
    private = lot("LOFT-7", 1, price=900.0, asset_class="private")
    source = RecordedSource(without("PFE", lambda day: day == AUTUMN[1]))
    home.onboard([lot("AAPL"), lot("PFE"), private, cash], "gaps", source=source, equity=EQUITY)
    home.onboard([private], "private")
    home.onboard([cash], "cash")
    return home


def stressed(home: Home, book: str, *arguments: str | Path) -> dict[str, Any]:
    """The answer for one scenario."""
    done = home.sigma_here("stress", book, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["scenarios"]
    assert isinstance(found, dict)
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- windows of the past


def test_a_window_is_the_book_s_own_return_on_it(books: Home, prices: pd.DataFrame) -> None:
    """Promise: by pandas, to 1e-12: each position's own return from close to close, shorts the other way."""
    name, first, last = AUTUMN
    value = prices.loc[str(LAST), list(MIXED)] * pd.Series(MIXED)
    own = prices.loc[str(last), list(MIXED)] / prices.loc[str(first), list(MIXED)] - 1
    found = stressed(books, "mixed", "--only", name)
    assert (found["from"], found["to"], found["kind"]) == (str(first), str(last), "window")
    assert found["pnl"] == pytest.approx((value * own).sum(), rel=1e-12)
    assert found["return"] == pytest.approx((value * own).sum() / value.abs().sum(), rel=1e-12)
    assert {one["symbol"]: one["pnl"] for one in found["positions"]} == pytest.approx(
        (value * own).to_dict(), rel=1e-12
    )
    assert {one["by"] for one in found["positions"]} == {"returns"}
    assert (found["coverage"], found["not_covered"]) == (pytest.approx(1.0, abs=1e-12), [])
    assert sum(found["factors"].values()) + found["specific"] == pytest.approx(found["pnl"], rel=1e-12)
    assert found["moves"]["market"] == pytest.approx(
        prices.loc[str(last), "SP500"] / prices.loc[str(first), "SP500"] - 1, rel=1e-12
    )


def test_what_has_no_return_of_the_window_moves_with_its_betas(books: Home, prices: pd.DataFrame) -> None:
    """Promise: PFE by its stored betas and the factors' moves; the private position is named, cash makes nothing."""
    name, first, last = AUTUMN
    move = prices.loc[str(last)] / prices.loc[str(first)] - 1
    styles = {"momentum": "MTUM", "quality": "QUAL", "size": "SIZE", "low_volatility": "USMV", "value": "VLUE"}
    moves = {"market": move["SP500"], **{style: move[proxy] - move["SP500"] for style, proxy in styles.items()}}
    ((*betas,),) = books.query(
        f"SELECT {', '.join(f'beta_{factor}' for factor in moves)} FROM factor_exposure "  # noqa: S608 - names from above
        "WHERE symbol = 'PFE' AND session = ?", str(LAST),
    )  # fmt: skip
    close = prices.loc[str(LAST)]
    by_hand = {
        "AAPL": 10 * close["AAPL"] * move["AAPL"],
        "PFE": 10 * close["PFE"] * sum(beta * moved for beta, moved in zip(betas, moves.values(), strict=True)),
        "USD": 0.0,
    }
    found = stressed(books, "gaps", "--only", name)
    assert {one["symbol"]: one["pnl"] for one in found["positions"]} == {
        **{symbol: pytest.approx(pnl, rel=1e-12) for symbol, pnl in by_hand.items()},
        "LOFT-7": None,
    }
    assert {one["symbol"]: (one["asset_class"], one["by"]) for one in found["positions"]} == {
        "AAPL": ("public", "returns"),
        "PFE": ("public", "factors"),
        "LOFT-7": ("private", None),
        "USD": ("cash", "cash"),
    }
    assert found["not_covered"] == ["LOFT-7"]
    public = 10 * (close["AAPL"] + close["PFE"])
    assert found["coverage"] == pytest.approx(public / (public + 900), rel=1e-12)
    assert found["return"] == pytest.approx(sum(by_hand.values()) / EQUITY, rel=1e-12)
    shown = books.sigma_here("stress", "gaps", "--only", name).stdout
    assert "Not covered: LOFT-7" in shown
    assert books.sigma_here("report", "gaps", "-o", books.path / "gaps.html").returncode == 0
    assert "not covered: LOFT-7" in (books.path / "gaps.html").read_text()


def test_windows_without_prices_say_so_and_are_fetched_on_request(books: Home, prices: pd.DataFrame) -> None:
    """Promise: neither 0 nor a guess: the message names --fetch; then the window is the book's own return on it."""
    first, last = "2020-02-19", "2020-03-23"
    before = stressed(books, "mixed", "--only", "pandemic_2020")
    assert (before["pnl"], before["return"], before["coverage"]) == (None, None, 0.0)
    assert before["not_covered"] == list(MIXED)
    assert before["reason"] == "no prices of this window are stored: sigma stress mixed --fetch asks for them"
    assert f"pandemic_2020: {before['reason']}" in books.sigma_here("stress", "mixed").stdout
    done = books.sigma_here("stress", "mixed", "--only", "pandemic_2020", "--fetch", "--json")
    (found,) = json.loads(done.stdout)["scenarios"]
    value = prices.loc[str(LAST), list(MIXED)] * pd.Series(MIXED)
    own = prices.loc[last, list(MIXED)] / prices.loc[first, list(MIXED)] - 1
    assert found["pnl"] == pytest.approx((value * own).sum(), rel=1e-12)
    assert "pandemic_2020: prices of 2020-02-19..2020-03-23, 9 provider calls" in done.stderr
    again = books.sigma_here("stress", "mixed", "--only", "pandemic_2020", "--fetch", "--json")
    assert (json.loads(again.stdout)["scenarios"], again.stderr) == ([found], "")


# --- moves of factors


def test_a_fall_of_the_market_moves_each_position_by_its_beta_to_it(books: Home, prices: pd.DataFrame) -> None:
    """Promise: the other factors follow: by statsmodels, each position's slope on the market alone, times -20%."""
    year = prices.pct_change().loc[: str(LAST)].tail(252)
    slope = {name: sm.OLS(year[name], sm.add_constant(year["SP500"])).fit().params["SP500"] for name in MIXED}
    by_hand = {name: shares * prices.loc[str(LAST), name] * slope[name] * -0.2 for name, shares in MIXED.items()}
    found = stressed(books, "mixed", "--only", "market_down_20")
    assert (found["kind"], found["from"], found["moves"]["market"]) == ("factors", None, -0.2)
    assert {one["symbol"]: one["pnl"] for one in found["positions"]} == pytest.approx(by_hand, rel=1e-10)
    assert found["pnl"] == pytest.approx(sum(by_hand.values()), rel=1e-10)
    assert sum(found["factors"].values()) == pytest.approx(found["pnl"], rel=1e-12)
    assert found["specific"] == 0


def test_factors_that_stand_still_are_left_out(books: Home, prices: pd.DataFrame, tmp_path: Path) -> None:
    """Promise: `others = "still"`: value x partial beta x move, of the factors named and no others."""
    file = write(
        tmp_path / "mine.toml",
        '[stress.mine]\ntitle = "Mine"\nfactors = { market = -0.1, value = 0.05 }\nothers = "still"\n',
    )
    found = stressed(books, "mixed", "--scenarios", file, "--only", "mine")
    query = "SELECT symbol, beta_market, beta_value FROM factor_exposure WHERE session = ? AND symbol <> 'PFE'"
    by_hand = {
        symbol: MIXED[symbol] * prices.loc[str(LAST), symbol] * (-0.1 * market + 0.05 * value)
        for symbol, market, value in books.query(query, str(LAST))
    }
    assert {one["symbol"]: one["pnl"] for one in found["positions"]} == pytest.approx(by_hand, rel=1e-12)
    assert [found["moves"][name] for name in ("market", "size", "value")] == [-0.1, 0.0, 0.05]
    assert "Mine" in books.sigma_here("stress", "mixed", stress=str(file)).stdout


@pytest.mark.parametrize(
    ("book", "scenario", "pnl", "said"),
    [
        ("mixed", "rates", None, "the factor model sample-5 has no factor interest_rate"),
        ("private", "market_down_20", None, "no position has exposures"),
        ("private", "autumn_2022", None, "no position has a market price"),
        ("cash", "autumn_2022", 0.0, None),
        ("cash", "market_down_20", 0.0, None),
    ],
)
def test_a_scenario_that_says_nothing_of_a_book_says_why(
    books: Home, tmp_path: Path, book: str, scenario: str, pnl: float | None, said: str | None
) -> None:
    """Promise: null with its reason; cash alone makes nothing, which is known."""
    file = write(tmp_path / "rates.toml", "[stress.rates]\nfactors = { interest_rate = 0.1 }\n")
    found = stressed(books, book, "--scenarios", file, "--only", scenario)
    assert (found["pnl"], found["reason"]) == (pnl, said)


# --- files of scenarios


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[stress", "no TOML"),
        ("[other]\na = 1", "a table [stress.NAME] is needed"),
        ("stress = 3", "a table [stress.NAME] is needed"),
        ("[stress]\na = 3", "stress.a: a table is needed"),
        ("[stress.a]\nfactor = { market = 1 }", "stress.a: 'factor' is no key of a scenario"),
        ("[stress.a]\ntitle = 3\nfactors = { market = 1 }", "stress.a: title = 3 is no text of up to 80"),
        ("[stress.a]\ntitle = 'x'", "stress.a: needed is either factors"),
        ("[stress.a]\nfactors = { market = -0.1 }\nto = 2020-03-23", "stress.a: needed is either factors"),
        ("[stress.a]\nfactors = { oil = -0.1 }", "stress.a: 'oil' is no factor; the catalogue has market"),
        ("[stress.a]\nfactors = { market = -1.5 }", "stress.a: market = -1.5 is no move from -1"),
        ("[stress.a]\nfactors = { market = nan }", "stress.a: market = nan is no move"),
        ("[stress.a]\nfactors = { market = true }", "stress.a: market = True is no move"),
        ("[stress.a]\nfactors = {}", "stress.a: factors = {} is no table"),
        ("[stress.a]\nfactors = { market = 0.1 }\nothers = 'fly'", "stress.a: others = 'fly' is neither"),
        ("[stress.a]\nfrom = '2020-02-19'\nto = 2020-03-23", "stress.a: from = '2020-02-19' is no date"),
        ("[stress.a]\nfrom = 2020-03-23\nto = 2020-02-19", "stress.a: to = 2020-02-19 is not after from = 2020-03-23"),
        ("[stress.a]\nfrom = 1700-01-01\nto = 2020-02-19", "stress.a: "),
        ("[stress.a]\nfactors = { market = 0.1 }\n[stress.a]\nfactors = { market = 0.2 }", "each scenario stands once"),
        ("# " + "x" * 70_000, "larger than 64 KB"),
    ],
)
def test_a_broken_file_is_refused_by_name(books: Home, tmp_path: Path, text: str, said: str) -> None:
    """Promise: file, scenario, value and rule in one line; exit status 2; the same for the setting."""
    file = write(tmp_path / "broken.toml", text)
    done = books.sigma_here("stress", "mixed", "--scenarios", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"scenarios {file}" in done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert books.sigma_here("stress", "mixed", stress=str(file)).stderr == done.stderr


def test_a_file_that_is_not_there_and_a_scenario_that_there_is_not(books: Home, tmp_path: Path) -> None:
    """Promise: named, with those that there are."""
    done = books.sigma_here("stress", "mixed", "--scenarios", tmp_path / "none.toml")
    assert (done.returncode, "none.toml cannot be read: No such file or directory" in done.stderr) == (2, True)
    done = books.sigma_here("stress", "mixed", "--only", "nothing")
    assert (done.returncode, "--only nothing: no such scenario; known: market_down_20" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "title", "said"),
    [
        ("evil", "\\u001b[31m", "no text of up to 80 printable characters"),
        ("evil", "\\u202e321", "no text of up to 80 printable characters"),
        ("evil", "x" * 81, "no text of up to 80 printable characters"),
        ("\\u001b[31m", "x", "the name is not of up to 40 letters"),
        ("<script>", "x", "the name is not of up to 40 letters"),
    ],
)
def test_hostile_text_in_a_file_of_scenarios_is_refused(
    books: Home, tmp_path: Path, name: str, title: str, said: str
) -> None:
    """Promise: no control sequence and no right-to-left mark reaches the terminal or the page."""
    file = write(tmp_path / "evil.toml", f'[stress."{name}"]\ntitle = "{title}"\nfactors = {{ market = -0.1 }}\n')
    done = books.sigma_here("stress", "mixed", "--scenarios", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.strip().isprintable()


def test_a_title_is_text_on_the_page_in_any_script(books: Home, tmp_path: Path) -> None:
    """Promise: markup is not obeyed, and words that the charts' font lacks are no warning."""
    title = "<script>alert(1)</script> \u5e02\u5834\u306e\u4e0b\u843d =cmd()"
    file = write(tmp_path / "evil.toml", f'[stress.evil]\ntitle = "{title}"\nfactors = {{ market = -0.1 }}\n')
    done = books.sigma_here("report", "mixed", "-o", tmp_path / "page.html", stress=str(file))
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("\u5e02\u5834\u306e\u4e0b\u843d") >= 2
