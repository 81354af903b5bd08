"""A portfolio's life: edited by importing again, exported, renamed, removed; with cash, and files of brokers."""

import csv
import json
from pathlib import Path

import pytest

from resources.database.portfolios import Lot
from tests.support.home import LAST, RESULT_TABLES, Home, assert_same, holdings, lot
from tests.unit.test_broker_files import BROKERS, LOTS

PORTFOLIO_TABLES = ("portfolio_factor_exposure", "portfolio_volatility")
#: The target sessions of `home`.
SESSIONS = ["2022-12-21", "2022-12-22", "2022-12-23", "2022-12-27", "2022-12-28"]


def edited(home: Home, before: list[Lot], after: list[Lot]) -> list[str]:
    """Onboard both under one name; give the sessions that were computed again. No symbol row is, whatever changes."""
    home.onboard(before)
    date_back(home)
    symbols = home.rows("factor_exposure", "symbol_volatility", "daily_price")
    done = home.onboard(after).to_json()
    assert (done["api_calls"], done["regressions_run"]) == (0, 0)
    assert home.rows("factor_exposure", "symbol_volatility", "daily_price") == symbols
    home.assert_records_are_rows()
    return computed(home)


def date_back(home: Home) -> None:
    """Let the portfolio rows be of long ago, so that those computed from now on are told apart."""
    with home.sql() as connection:
        for table in PORTFOLIO_TABLES:
            connection.execute(f"UPDATE {table} SET computed_at = '2000-01-01 00:00:00.000000'")  # noqa: S608


def computed(home: Home) -> list[str]:
    """The sessions with a row, in either table, that was computed since."""
    tables = " UNION ".join(f"SELECT session, computed_at FROM {table}" for table in PORTFOLIO_TABLES)  # noqa: S608
    found = home.query(f"SELECT DISTINCT session FROM ({tables}) WHERE computed_at > '2001-01-01' ORDER BY 1")  # noqa: S608
    return [day for (day,) in found]


PUBLIC = [lot("AAPL"), lot("KO", 20)]
PRIVATE = [lot("AAPL"), lot("LOFT-7", 2, price=500.0, asset_class="private")]
CASH = [lot("AAPL"), lot("USD", 5_000, price=1.0, asset_class="cash")]


@pytest.mark.parametrize(
    ("before", "after", "sessions"),
    [
        (PUBLIC, [lot("AAPL", price=77.0), lot("KO", 20)], []),
        (PUBLIC, [lot("AAPL", 4), lot("AAPL", 6), lot("KO", 20)], []),
        (PUBLIC, [lot("AAPL", entry="2021-07-01"), lot("KO", 20)], []),
        (PUBLIC, [lot("AAPL", 11), lot("KO", 20)], SESSIONS),
        (PUBLIC, [lot("AAPL"), lot("KO", 20, exit="2022-12-27")], SESSIONS[3:]),
        (PUBLIC, [lot("AAPL"), lot("KO", 20, entry="2022-12-22")], SESSIONS[:2]),
        (PUBLIC, [lot("AAPL"), lot("KO", 20), lot("KO", 5, entry="2022-12-28")], SESSIONS[4:]),
        (PRIVATE, [lot("AAPL", price=77.0), lot("LOFT-7", 2, price=500.0, asset_class="private")], []),
        (PRIVATE, [lot("AAPL"), lot("LOFT-7", 2, price=600.0, asset_class="private")], SESSIONS),
        (
            [lot("AAPL"), lot("LOFT-7", 2, price=500.0, entry="2022-12-23", asset_class="private")],
            [lot("AAPL"), lot("LOFT-7", 2, price=600.0, entry="2022-12-23", asset_class="private")],
            SESSIONS[2:],
        ),
        (CASH, [lot("AAPL"), lot("USD", 6_000, price=1.0, asset_class="cash")], SESSIONS),
    ],
)
def test_an_edit_computes_exactly_the_portfolio_rows_that_depend_on_it(
    core_home: Home, other_core_home: Home, before: list[Lot], after: list[Lot], sessions: list[str]
) -> None:
    """0 calls, 0 regressions, no symbol row touched; the rows are those of a home that never knew the old lots."""
    assert edited(core_home, before, after) == sessions
    other_core_home.onboard(after)
    for table in PORTFOLIO_TABLES:
        assert_same(core_home.numbers(table, "book"), other_core_home.numbers(table, "book"), 1e-12)


def test_an_edit_of_a_symbol_listed_after_its_entry_changes_the_rows_before_its_first_price(home: Home) -> None:
    """At entry value its entry price counts, until the session after the first close, whose return it weighs."""
    book = [lot("AAPL"), lot("KO", 20)]
    home.onboard(book)
    with home.sql() as connection:
        connection.execute("UPDATE symbol SET first_session = '2022-12-27' WHERE symbol = 'KO'")
    date_back(home)
    home.onboard([lot("AAPL"), lot("KO", 20, price=50.0)])
    assert computed(home) == SESSIONS[:4]


def test_equity_changes_every_row(core_home: Home) -> None:
    """Weights are shares of it: no row of before stands."""
    core_home.onboard(PUBLIC)
    date_back(core_home)
    core_home.onboard(PUBLIC, equity=50_000.0)
    assert computed(core_home) == SESSIONS


def test_cash_is_in_net_and_not_in_gross_and_never_a_partition(home: Home) -> None:
    """By hand: gross is the stock's value, net that and the cash; no price is asked for, no key made."""
    found = home.onboard(CASH, equity=10_000.0).risk
    (close,) = home.query("SELECT close FROM daily_price WHERE symbol = 'AAPL' AND session = ?", str(LAST))[0]
    assert found.gross == pytest.approx(10 * close, rel=1e-12)
    assert found.net == pytest.approx(10 * close + 5_000, rel=1e-12)
    assert {one.symbol: one.weight for one in found.positions} == pytest.approx(
        {"AAPL": 10 * close / 10_000, "USD": 0.5}, rel=1e-12
    )
    assert (found.weight_coverage, found.return_coverage) == (1.0, 1.0)
    cash = next(one for one in found.positions if one.symbol == "USD")
    assert (cash.asset_class, cash.price_basis, cash.quality) == ("cash", "cash", None)
    assert "USD" not in {name for (name,) in home.query("SELECT symbol FROM symbol")}
    with home.instance() as instance:
        assert "USD" not in instance.get_dynamic_partitions("symbol")
    assert "cash" in home.sigma_here("show", "book").stdout


@pytest.mark.parametrize("broker", LOTS)
def test_a_brokers_file_is_onboarded_with_no_option_and_the_same_again_does_nothing(home: Home, broker: str) -> None:
    """From the file to the risk; costs that it does not say are the closes; the second import keeps every row."""
    done = home.sigma_here("onboard", BROKERS / f"{broker}.csv", "--json")
    assert done.returncode == 0, done.stderr
    closes = dict(home.query("SELECT symbol, close FROM daily_price WHERE session = ?", str(LAST)))
    assumed = {one.symbol for one in LOTS[broker] if not one.entry_price} - (
        {"JNJ"} if broker == "robinhood" else set()
    )
    entered = dict(home.query("SELECT symbol, entry_price FROM lot"))
    assert {name: entered[name] for name in assumed} == {name: closes[name] for name in assumed}
    before = home.rows(*RESULT_TABLES, "lot", "portfolio")
    again = home.sigma_here("onboard", BROKERS / f"{broker}.csv")
    assert again.returncode == 0
    assert f"Known: portfolio {broker}" in again.stderr
    assert home.rows(*RESULT_TABLES, "lot", "portfolio") == before


def imported(home: Home, file: Path, text: str, *options: str) -> tuple[list[tuple[object, ...]], str]:
    """Onboard a broker's file; gives the lots that are stored then, and what was said."""
    file.write_text(f"Symbol,Quantity\n{text}")
    done = home.sigma_here("onboard", file, *options)
    assert done.returncode == 0, done.stderr
    return home.query(
        "SELECT symbol, quantity, entry_date, exit_date FROM lot ORDER BY symbol, entry_date"
    ), done.stderr


def test_a_file_without_dates_says_what_is_held_now(home: Home, tmp_path: Path) -> None:
    """A session later KO is more and XOM is gone: both were held until then, and AAPL keeps its date."""
    file, first, last = tmp_path / "book.csv", "2022-12-27", "2022-12-28"
    imported(home, file, "AAPL,10\nKO,5\nXOM,3\n", "--as-of", first)
    date_back(home)
    lots, said = imported(home, file, "AAPL,10\nKO,6\n")
    assert lots == [("AAPL", 10, first, None), ("KO", 5, first, last), ("KO", 6, last, None), ("XOM", 3, first, last)]
    assert "kept as it was assumed then: AAPL" in said
    assert f"held until {last}, and kept in the portfolio's past: KO, XOM" in said
    assert computed(home) == [last]
    changes = json.loads(home.sigma_here("explain", "book", "--from", first, "--json").stdout)
    assert changes["parts"]["trades"] != 0
    before = home.rows(*RESULT_TABLES, "lot", "portfolio")
    assert imported(home, file, "AAPL,10\nKO,6\n")[0] == lots
    assert home.rows(*RESULT_TABLES, "lot", "portfolio") == before


def test_the_past_is_in_the_dry_run(home: Home, tmp_path: Path) -> None:
    """A lot that is not in the file any more has no line, and its exit is assumed."""
    file = tmp_path / "book.csv"
    imported(home, file, "AAPL,10\nKO,5\n", "--as-of", "2022-12-27")
    file.write_text("Symbol,Quantity\nAAPL,10\n")
    data = json.loads(home.sigma_here("onboard", file, "--dry-run", "--json").stdout)
    told = [(one["row"], one["symbol"], one["exit_date"], one["assumed"]) for one in data["lots"]]
    assert told == [(2, "AAPL", None, ["entry_date", "entry_price"]), (0, "KO", "2022-12-28", ["exit_date"])]


def test_a_second_file_of_a_day_corrects_the_first(home: Home, tmp_path: Path) -> None:
    """Nothing was held on no day; and a file that has dates says all that was ever held."""
    file = tmp_path / "book.csv"
    imported(home, file, "AAPL,10\nKO,5\n", "--as-of", "2022-12-27")
    lots, said = imported(home, file, "AAPL,10\nKO,6\n", "--as-of", "2022-12-27")
    assert lots == [("AAPL", 10, "2022-12-27", None), ("KO", 6, "2022-12-27", None)]
    assert "past" not in said
    assert "lost more than said" not in home.sigma_here("show", "book").stdout  # nothing was held before
    file.write_text("Symbol,Quantity,Date Acquired\nAAPL,10,2021-06-15\n")
    assert home.sigma_here("onboard", file).returncode == 0
    assert home.query("SELECT symbol, entry_date, exit_date FROM lot") == [("AAPL", "2021-06-15", None)]


def test_a_dry_run_stores_nothing(home: Home) -> None:
    """It shows the lots and what was left out, for people and as data."""
    before = home.rows()
    done = home.sigma_here("onboard", BROKERS / "fidelity.csv", "--dry-run", "--json")
    data = json.loads(done.stdout)
    assert list(data) == ["portfolio", "as_of", "lots", "left_out", "ignored_columns", "notes"]
    assert [one["entry_price"] for one in data["lots"]] == [1.0, 86.605, None, 253.131]
    assert {one["row"] for one in data["left_out"]} == {6, 7, 9, 10, 12}
    assert "Nothing was stored" in home.sigma_here("onboard", BROKERS / "fidelity.csv", "--dry-run").stdout
    assert home.rows() == before


def test_export_is_a_holdings_file_of_the_same_lots(home: Home, tmp_path: Path) -> None:
    """Onboarding the export does nothing; no cell is a formula, whatever the name of the portfolio."""
    book = [*PRIVATE, lot("USD", 1e-5, price=1.0, asset_class="cash"), lot("KO", -1 / 3, exit="2022-12-23")]
    home.onboard(book)
    shown = home.sigma_here("export", "book").stdout
    file = tmp_path / "book.csv"
    assert home.sigma_here("export", "book", "-o", file).stdout == f"Written: {file}\n"
    assert file.read_text() == shown
    assert all(cell[:1].isalnum() or cell[:1] in ("-", "") for row in csv.reader(shown.splitlines()) for cell in row)
    before = home.rows()
    done = home.sigma_here("add", file)
    assert "Stored before: portfolio book, 4 lots" in done.stdout
    assert home.rows() == before


def test_rename_keeps_everything_under_the_new_name(home: Home) -> None:
    """Rows, lots and Dagster's record; the old name is free, and a name that is taken is refused."""
    home.onboard(PUBLIC)
    home.onboard(PRIVATE, "other")
    before = home.numbers("portfolio_volatility", "book")
    assert "stored already" in home.sigma_here("rename", "book", "other").stderr
    assert home.sigma_here("rename", "book", "new name").returncode == 0
    assert home.numbers("portfolio_volatility", "new name") == before
    home.assert_records_are_rows()
    with home.instance() as instance:
        assert set(instance.get_dynamic_partitions("portfolio")) == {"new name", "other"}
    assert home.sigma_here("show", "book").returncode == 2


def test_remove_takes_the_portfolio_and_leaves_its_symbols(home: Home) -> None:
    """Its rows, their record and its key go; what is stored of its symbols stays, and serves the next portfolio."""
    home.onboard(PUBLIC)
    symbols = home.rows("factor_exposure", "symbol_volatility", "daily_price", "symbol")
    done = home.sigma_here("remove", "book")
    assert (done.returncode, done.stdout) == (0, "Removed: portfolio book; prices and results of its symbols stay\n")
    assert [home.count(table) for table in ("portfolio", "lot", *PORTFOLIO_TABLES)] == [0, 0, 0, 0]
    assert home.rows("factor_exposure", "symbol_volatility", "daily_price", "symbol") == symbols
    home.assert_records_are_rows()
    with home.instance() as instance:
        assert instance.get_dynamic_partitions("portfolio") == []
    assert home.onboard(PUBLIC, "next").to_json()["api_calls"] == 0
    assert "not stored" in home.sigma_here("remove", "book").stderr


def test_hostile_text_of_a_file_reaches_the_terminal_harmlessly(home: Home, tmp_path: Path) -> None:
    """In what is left out and in the columns that are ignored too: control characters are visible, not obeyed."""
    evil = "\x1b[31m\u202e=cmd()<script>alert(1)</script>"
    file = holdings(tmp_path / "book.csv", "AAPL,1,x", f'"{evil} and so on",,', header=f"Symbol,Quantity,{evil}")
    done = home.sigma_here("onboard", file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert evil[:3] not in done.stdout + done.stderr
    assert "\\x1b[31m\\u202e=cmd()" in done.stderr
    assert json.loads(home.sigma_here("onboard", file, "--dry-run", "--json").stdout)["left_out"][0]["row"] == 3


def test_a_cost_that_add_cannot_know_is_filled_in_by_the_next_import(home: Home, tmp_path: Path) -> None:
    """The close is not stored yet: that is said; once it is, the same file brings it, and no row is computed again."""
    file = tmp_path / "book.csv"
    file.write_text("Symbol,Quantity\nKO,5\n")
    done = home.sigma_here("add", file)
    assert "Not known before prices are there: the cost of KO" in done.stderr
    assert home.query("SELECT entry_price FROM lot") == [(0.0,)]
    assert home.sigma_here("refresh").returncode == 0
    date_back(home)
    assert home.sigma_here("add", file).stderr.count("Not known before") == 0
    close = home.query("SELECT close FROM daily_price WHERE symbol = 'KO' AND session = ?", str(LAST))
    assert home.query("SELECT entry_price FROM lot") == close
    assert home.sigma_here("refresh").returncode == 0
    assert computed(home) == []
