"""Real commands against a pretended vendor: killed while they fetch, two at once, one source after another.

Counted by what the server wrote down.
"""

import os
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from assets.factor_models import US_6
from tests.support.home import RESULT_TABLES, Home, assert_same, holdings
from tests.support.live import asked_of
from tests.support.vendors.alpha_vantage import AlphaVantage, Anything
from tests.support.vendors.server import FAULTS, KEY, Vendor
from tests.support.vendors.tiingo import Tiingo

#: `make test-slow`.
pytestmark = pytest.mark.slow

HELD = ["KO", "PEP", "PG"]


def settings(vendor: AlphaVantage, plan: str = "premium") -> dict[str, str]:
    return {
        "SIGMA_HISTORY_SESSIONS": "3",
        "SIGMA_PRICE_SOURCES": "alpha_vantage",
        "SIGMA_ALPHA_VANTAGE_URL": vendor.address,
        "SIGMA_ALPHA_VANTAGE_PLAN": plan,
        "ALPHAVANTAGE_API_KEY": KEY,
    }


def start(home: Home, *arguments: str | Path) -> "subprocess.Popen[str]":
    command, environment = home.command(*arguments)
    return subprocess.Popen(  # noqa: S603 - our own command
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_until_asked(vendor: Vendor, symbol: str, process: "subprocess.Popen[str]") -> None:
    while symbol not in [vendor.symbol(asked) for asked in list(vendor.asked)]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("at", [US_6.proxies[0], US_6.proxies[5], "KO", "PG"])
def test_trap_29_a_kill_while_fetching_loses_and_doubles_nothing(at: str, tmp_path: Path) -> None:
    """The command is killed while it waits for a symbol: all that came before is stored, the next command asks for
    exactly the rest, and the numbers are those of a home that saw nothing else."""
    book = holdings(tmp_path / "book.csv", *HELD)
    with AlphaVantage(Anything()) as vendor:
        home, other = (Home(tmp_path / name, settings(vendor)) for name in ("killed", "other"))
        vendor.say(at, FAULTS["stall"])
        process = start(home, "onboard", book)
        wait_until_asked(vendor, at, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        before = asked_of(vendor.asked).keys()
        stored = {symbol for (symbol,) in home.query("SELECT DISTINCT symbol FROM daily_price")}
        assert stored == before - {at}
        vendor.hush()
        told = home.sigma("onboard", book)
        assert told.returncode == 0, told.stderr
        assert asked_of(vendor.asked).keys() == {*US_6.proxies, *HELD} - stored
        home.assert_records_are_rows()
        assert other.sigma_here("onboard", book).returncode == 0
    for table in ("daily_price", *RESULT_TABLES):
        name = "book" if table.startswith("portfolio") else None
        assert_same(home.numbers(table, name), other.numbers(table, name), 1e-12)


def test_two_commands_together_keep_the_limits_of_a_free_key(tmp_path: Path) -> None:
    """One request a second and 25 a day, as the vendor sees them: neither it nor a command has to refuse one before."""
    books = [holdings(tmp_path / f"{names[0]}.csv", *names) for names in (["KO", "PEP"], ["PG", "JPM"])]
    with AlphaVantage(Anything(), "free", a_second=1, a_day=25) as vendor:
        home = Home(tmp_path / "sigma", settings(vendor, "free"))
        home.create()
        started = [start(home, "onboard", book) for book in books]
        ended = [process.communicate(timeout=300)[1] for process in started]
        times = [asked.at for asked in vendor.asked]
    assert len(times) == 25
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1.0
    assert all(process.returncode == 1 for process in started)
    assert all("25 requests a day with a free key" in error for error in ended), ended
    # What was fetched is kept, and nothing was asked for twice: three requests for each symbol.
    requests = [(asked.params["function"], asked.params["symbol"]) for asked in vendor.asked]
    assert len(set(requests)) == 25
    assert home.query("SELECT count(DISTINCT symbol) FROM daily_price") == [(8,)]


def test_a_symbol_moves_from_one_vendor_to_another(tmp_path: Path) -> None:
    """By `sigma fetch --from`, and when its source leaves the chain: all that is stored is compared, a close that
    differs is corrected, each row says whose it is. The numbers are those of a home that knew the second one only."""
    market = Anything()
    for symbol in (*HELD, *US_6.proxies):
        market.series(symbol)
    theirs = Anything()
    theirs.rows = {symbol: list(series) for symbol, series in market.rows.items()}
    day = market.rows["KO"][-2].session
    (row,) = [row for row in market.rows["KO"] if row.session == day]
    theirs.replace("KO", day, close=row.close * 1.003)
    with AlphaVantage(market) as first, Tiingo(theirs, KEY) as second:
        base = settings(first) | {"SIGMA_TIINGO_KEY": KEY, "SIGMA_TIINGO_URL": second.url}
        chain = base | {"SIGMA_PRICE_SOURCES": "alpha_vantage,tiingo"}
        home, book = Home(tmp_path / "sigma", chain), holdings(tmp_path / "book.csv", "KO", "PEP")
        assert home.sigma_here("onboard", book).returncode == 0
        assert second.asked == []

        told = home.sigma_here("fetch", "KO", "--from", "tiingo")
        assert told.returncode == 0, told.stderr
        assert asked_of(second.asked).keys() == {"KO"}
        moved = home.query("SELECT session FROM daily_price WHERE symbol = 'KO' AND source = 'tiingo'")
        assert moved == [(day.isoformat(),)]
        assert home.query("SELECT source FROM symbol WHERE symbol = 'KO'") == [("tiingo",)]

        # Alpha Vantage leaves; what is stored of PEP was its own.
        alone = Home(home.path, base | {"SIGMA_PRICE_SOURCES": "tiingo"})
        second.asked.clear()
        told = alone.sigma_here("fetch", "PEP")
        assert told.returncode == 0, told.stderr
        assert asked_of(second.asked).keys() == {"PEP"}
        assert home.query("SELECT source FROM symbol WHERE symbol = 'PEP'") == [("tiingo",)]
        assert {name for (name,) in home.query("SELECT source FROM daily_price")} == {"alpha_vantage", "tiingo"}

        other = Home(tmp_path / "other", base | {"SIGMA_PRICE_SOURCES": "tiingo"})
        assert other.sigma_here("onboard", book).returncode == 0
    for table in RESULT_TABLES:
        name = "book" if table.startswith("portfolio") else None
        assert_same(home.numbers(table, name), other.numbers(table, name), 1e-12)


def test_a_symbol_moves_from_files_to_a_vendor_and_back(tmp_path: Path) -> None:
    """By `sigma fetch --from`, one request of the vendor: the close in which they differ follows the source, and at
    last every number is again that of a home with the files alone."""
    market, folder = Anything(), tmp_path / "files"
    folder.mkdir()
    lines = ["symbol,date,close,dividend,split"]
    for symbol in (*HELD, *US_6.proxies):
        rows = market.series(symbol) or []
        lines += [f"{symbol},{row.session},{row.close!r},{row.dividend!r},{row.split!r}" for row in rows]
    (folder / "prices.csv").write_text("\n".join(lines) + "\n")
    theirs = market.rows["KO"][-2]
    market.replace("KO", theirs.session, close=theirs.close * 1.003)
    book = holdings(tmp_path / "book.csv", "KO", "PEP")

    with AlphaVantage(market) as vendor:
        base = settings(vendor) | {"SIGMA_PRICE_FILES": str(folder)}
        home = Home(tmp_path / "sigma", base | {"SIGMA_PRICE_SOURCES": "files,alpha_vantage"})
        other = Home(tmp_path / "other", base | {"SIGMA_PRICE_SOURCES": "files"})
        for one in (home, other):
            assert one.sigma_here("onboard", book).returncode == 0
        assert vendor.asked == []
        query = "SELECT source, close FROM daily_price WHERE symbol = 'KO' AND session = ?"

        told = home.sigma_here("fetch", "KO", "--from", "alpha_vantage")
        assert told.returncode == 0, told.stderr
        assert asked_of(vendor.asked).keys() == {"KO"}
        assert home.query(query, f"{theirs.session}") == [("alpha_vantage", theirs.close * 1.003)]
        assert home.query("SELECT source FROM symbol WHERE symbol = 'KO'") == [("alpha_vantage",)]
        assert home.numbers("factor_exposure") != other.numbers("factor_exposure")

        vendor.asked.clear()
        told = home.sigma_here("fetch", "KO", "--from", "files")
        assert told.returncode == 0, told.stderr
        assert vendor.asked == []
        assert home.query(query, f"{theirs.session}") == [("files", theirs.close)]
    for table in RESULT_TABLES:
        name = "book" if table.startswith("portfolio") else None
        assert_same(home.numbers(table, name), other.numbers(table, name), 1e-12)
