"""Books that rest on few prices or none, lots of little value, portfolios that are replaced while they are computed."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from resources import calendar
from resources.database import portfolios, prices
from resources.database.engine import Database
from resources.database.portfolios import Lot
from resources.database.prices import Answer
from resources.sources.base import PriceRow
from resources.sources.sample import SampleSource
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.portfolio.entry_prices import Misfit, misfits
from tests.support.home import LAST, Home, holdings, lot, lots


@pytest.mark.parametrize(
    "book",
    [
        [lot("LOFT", 1, price=250_000.0, asset_class="private")],
        [lot("AAPL", exit="2021-06-16"), lot("KO", exit="2021-06-15")],
    ],
    ids=["all private", "all sold before the window"],
)
def test_a_book_without_public_symbols_is_onboarded_on_a_fresh_home(home: Home, book: Sequence[Lot]) -> None:
    """B12: its rows need no price, not even of a factor proxy; nothing is bought, and refresh works for everybody."""
    done = home.onboard(book)
    assert (done.tally.api_calls, done.risk.as_of) == (0, LAST)
    assert done.risk.reason
    assert len(home.numbers("portfolio_volatility", "book")) == 5
    again = json.loads(home.sigma_here("refresh", "--json").stdout)
    assert (again["held"], again["api_calls"]) == (0, 0)
    assert home.sigma_here("show", "book").returncode == 0


def test_runs_smaller_than_the_factor_model_with_a_held_proxy(home: Home) -> None:
    """B12: SIGMA_MAX_SYMBOLS_PER_RUN=2 with a held proxy fetches all proxies first, and gives the usual rows."""
    done = home.onboard(lots("SP500 AAPL"), max_symbols_per_run="2")
    assert (done.tally.api_calls, done.tally.regressions_run) == (7, 10)
    assert home.statuses()["SUCCESS"] > 3
    assert home.statuses()["FAILURE"] == 0


def test_equity_is_kept_until_it_is_taken_away(core_home: Home, tmp_path: Path) -> None:
    """B11: the same file without --equity is the same portfolio, for plan and add; `none` and an amount are others."""
    file = holdings(tmp_path / "new.csv", "KO", "AAPL")

    def rows(*options: str) -> dict[str, int]:
        found: dict[str, int] = json.loads(core_home.sigma_here("plan", file, "--json", *options).stdout)["portfolios"]
        return found

    core_home.sigma_here("onboard", file, "--equity", "5000")
    assert rows() == rows("--equity", "5000") == {}
    assert rows("--equity", "none") == rows("--equity", "6000") == {"new": 10}
    assert core_home.sigma_here("add", file).stdout.startswith("Stored before: portfolio new, 2 lots.")
    assert core_home.query("SELECT equity FROM portfolio WHERE name = 'new'") == [(5000.0,)]
    assert core_home.sigma_here("add", file, "--equity", "none").stdout.startswith("Stored: portfolio new")
    assert core_home.query("SELECT equity FROM portfolio WHERE name = 'new'") == [(None,)]


def test_plan_counts_the_runs_that_the_setting_makes(core_home: Home, tmp_path: Path) -> None:
    """B11: `sigma plan` splits as onboarding does."""
    file = holdings(tmp_path / "new.csv", "AMD", "LLY", "PEP")
    one = json.loads(core_home.sigma_here("plan", file, "--json").stdout)["runs"]
    many = json.loads(core_home.sigma_here("plan", file, "--json", max_symbols_per_run="1").stdout)["runs"]
    assert (one, many) == (2, 4)


class _Replacing(SampleSource):
    """The sample, during whose first call somebody else stores a portfolio of the same name."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def fetch(self, symbol: str, first: date, last: date) -> list[PriceRow]:
        if not self.calls:
            with self._database.write() as connection:
                portfolios.store(connection, "book", lots("KO"), None, LAST)
        return super().fetch(symbol, first, last)


def test_a_portfolio_that_is_replaced_meanwhile_is_not_reported(core_home: Home) -> None:
    """F2: the command holds the id of what it stored, and says that it was replaced instead of another's numbers."""
    source = _Replacing(core_home.environment().database)
    with pytest.raises(BlockFailedError, match="portfolio book was replaced by other lots while it was computed"):
        core_home.onboard(lots("AMD"), source=source)


def test_show_right_after_add_says_what_computes_it(core_home: Home, tmp_path: Path) -> None:
    """D3: a stored portfolio of which nothing is computed yet names the command that does, also after a change."""
    for symbol in ("KO", "AAPL"):
        core_home.sigma_here("add", holdings(tmp_path / "core.csv", symbol))
        ended = core_home.sigma_here("show", "core")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "nothing is computed of portfolio core" in ended.stderr
        assert "sigma refresh computes it" in ended.stderr


@pytest.mark.parametrize(
    ("price", "warned"), [(100.0, False), (34.0, False), (299.0, False), (301.0, True), (33.0, True)]
)
def test_an_entry_price_far_from_the_close_of_its_day_is_named(database: Database, price: float, warned: bool) -> None:
    """D6: more than three times off is a warning with both numbers; within that, nothing is said."""
    days = calendar.last_sessions(30, LAST)
    rows = [PriceRow(day, None, None, None, 100.0, None, 0.0, 1.0) for day in days]
    found = _misfits(database, rows, lot("KO", entry=str(days[3]), price=price), days)
    assert bool(found) is warned
    assert all(f"{price:g} on {days[3]}" in str(one) and "is 100" in str(one) for one in found)


@pytest.mark.parametrize(("price", "warned"), [(50.0, False), (52.0, False), (100.0, True), (104.0, True)])
def test_an_entry_price_in_shares_of_before_a_split_is_named(database: Database, price: float, warned: bool) -> None:
    """D6: $100 fits the day's own shares only, where a split of 2 for 1 makes them $50 in shares of today."""
    days = calendar.last_sessions(30, LAST)
    rows = [PriceRow(day, None, None, None, 100.0, None, 0.0, 1.0) for day in days[:10]]
    rows += [PriceRow(day, None, None, None, 50.0, None, 0.0, 2.0 if day == days[10] else 1.0) for day in days[10:]]
    found = _misfits(database, rows, lot("KO", entry=str(days[3]), price=price), days)
    assert bool(found) is warned
    assert all("50" in str(one) and "100" in str(one) for one in found)


def _misfits(database: Database, rows: Sequence[PriceRow], book: Lot, days: Sequence[date]) -> list[Misfit]:
    with database.write() as connection:
        prices.store(connection, [Answer("KO", days, rows, "test")], look_back=5)
        stored = portfolios.store(connection, "book", [book], None, LAST)
    with database.read() as connection:
        return list(misfits(connection, stored.portfolio))
