"""A live source from the settings to the rows, over HTTP: what a vendor is asked day by day, counted by its server."""

import json
import logging
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from assets.factor_models import SAMPLE_5, US_6
from resources import calendar
from resources.database import portfolios
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration.compute import compute
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
from tests.conftest_sources import everything_said
from tests.support.home import PORTFOLIO_TABLES, RESULT_TABLES, TABLES, Home, assert_same, holdings
from tests.support.live import Live, asked_of
from tests.support.vendors import alpha_vantage as answers
from tests.support.vendors import tiingo as tiingo_answers
from tests.support.vendors.alpha_vantage import AlphaVantage, Anything
from tests.support.vendors.market import Market, simulated
from tests.support.vendors.server import KEY
from tests.support.vendors.tiingo import Tiingo

#: `make test-slow`.
pytestmark = pytest.mark.slow

THURSDAY, FRIDAY = date(2022, 12, 22), date(2022, 12, 23)
PROXIES = set(SAMPLE_5.proxies)
CORE = "AAPL BAC BBY CVX GE HD JNJ JPM KO LLY"
GROWTH = f"{CORE} MRK MSFT PEP PFE PG"


def market() -> Market:
    """Simulated prices up to the end of January 2023, shown up to Thursday."""
    names = {*GROWTH.split(), *SAMPLE_5.proxies, *US_6.proxies}
    made = simulated(sorted(names), date(2021, 9, 1), date(2023, 1, 31))
    made.through = THURSDAY
    return made


@pytest.fixture
def premium() -> Iterator[AlphaVantage]:
    with AlphaVantage(market()) as server:
        yield server


@pytest.fixture(params=["alpha_vantage", "tiingo"])
def vendor(request: pytest.FixtureRequest) -> Iterator[AlphaVantage | Tiingo]:
    with AlphaVantage(market()) if request.param == "alpha_vantage" else Tiingo(market(), KEY) as server:
        yield server


def forget(home: Home, symbol: str, *days: date) -> None:
    """Take price rows away past all of the product's code."""
    for day in days:
        home.query("DELETE FROM daily_price WHERE symbol = ? AND session = ?", symbol, day.isoformat())


def numbers(home: Home, table: str) -> list[dict[str, object]]:
    return home.numbers(table, "book" if table.startswith("portfolio") else None)


# --- what is asked


def test_each_symbol_is_asked_for_once_and_a_new_session_in_the_short_form(home: Home, premium: AlphaVantage) -> None:
    """Ten stocks and eight proxies, then five stocks; a session later the fifteen and the eight; then nothing."""
    live = Live(home, premium, THURSDAY, US_6)
    first, second = live.onboard(CORE, "core"), live.onboard(GROWTH, "growth")
    assert (len(first), len(second)) == (18, 5)
    assert set(asked_of([*first, *second]).values()) == {"full"}
    live.today = premium.market.through = FRIDAY
    asked, tally = live.refresh()
    assert asked_of(asked) == dict.fromkeys([*GROWTH.split(), *US_6.proxies], "compact")
    assert tally.regressions_run == 15
    assert live.refresh()[0] == []
    home.assert_records_are_rows()


def test_trap_08_09_10_exactly_what_is_missing_is_asked_for(home: Home, vendor: AlphaVantage | Tiingo) -> None:
    """A young listing, a vendor's own hole, one hole and two, an evening without any row, one row missing, Saturday."""
    short = isinstance(vendor, AlphaVantage)

    def of(first: date, last: date, *, full: bool = False) -> str:
        return ("full" if full else "compact") if short else f"{first}..{last}"

    may, august = date(2022, 5, 10), date(2022, 8, 10)
    series = vendor.market.rows
    series["BAC"] = [row for row in series["BAC"] if row.session >= date(2022, 11, 1)]
    vendor.market.without("GE", date(2022, 8, 24))
    live = Live(home, vendor, THURSDAY)
    assert asked_of(live.onboard("KO GE BAC")).keys() == {"KO", "GE", "BAC", *PROXIES}
    assert live.refresh()[0] == [], "a young listing and the vendor's own hole are known"

    forget(home, "KO", august)
    assert asked_of(live.refresh()[0]) == {"KO": of(august, august)}
    forget(home, "KO", may, august)
    assert asked_of(live.refresh()[0]) == {"KO": of(may, august, full=True)}

    live.today = FRIDAY  # an evening on which no row of it is there yet
    everybody = dict.fromkeys(["KO", "GE", "BAC", *PROXIES], of(FRIDAY, FRIDAY))
    assert asked_of(live.refresh()[0]) == everybody
    assert home.query("SELECT * FROM daily_price WHERE session = ?", FRIDAY.isoformat()) == []
    vendor.market.through = FRIDAY
    kept = series["KO"]
    vendor.market.without("KO", FRIDAY)
    assert asked_of(live.refresh()[0]) == everybody
    assert live.pending() == {"KO": "late"}
    vendor.market.rows["KO"] = kept
    assert asked_of(live.refresh()[0]) == {"KO": of(FRIDAY, FRIDAY)}

    services, saturday = live.services(), datetime(2022, 12, 24, 12, tzinfo=calendar.NEW_YORK)
    with services.database.read() as connection:
        stored = portfolios.load(connection)
    assert services.plan(stored, services.as_of(None, saturday)).blocks == ()
    services.database.engine.dispose()
    assert home.query("SELECT session, absence FROM daily_price WHERE symbol = 'GE' AND close IS NULL") == [
        ("2022-08-24", "no trade")
    ]
    assert home.query("SELECT DISTINCT absence FROM daily_price WHERE symbol = 'BAC' AND close IS NULL") == [
        ("not listed yet",)
    ]
    home.assert_records_are_rows()


def test_a_late_session_keeps_only_its_own_symbols_waiting(home: Home, premium: AlphaVantage) -> None:
    """Three of fifteen have no row: the others are computed, the three are asked for again, alone; after ten sessions
    the hole of the one that never came is recorded. Nothing is computed twice."""
    late = ["KO", "PEP", "PG"]
    live = Live(home, premium, THURSDAY)
    live.onboard(GROWTH)
    live.today = premium.market.through = FRIDAY
    whole = dict(premium.market.rows)
    for name in late:
        premium.market.without(name, FRIDAY)
    asked, tally = live.refresh()
    assert (len(asked), tally.regressions_run) == (15 + len(PROXIES), 12)
    assert live.pending() == dict.fromkeys(late, "late")
    premium.market.rows |= {name: whole[name] for name in ("PEP", "PG")}
    asked, tally = live.refresh()
    assert asked_of(asked) == dict.fromkeys(late, "compact")
    assert tally.regressions_run == 2
    for days in (9, 10):
        live.today = premium.market.through = calendar.shift(FRIDAY, days)
        live.refresh()
        hole = home.query("SELECT absence FROM daily_price WHERE symbol = 'KO' AND session = ?", FRIDAY.isoformat())
        assert hole == ([("no trade",)] if days == 10 else [])
    assert live.pending() == {}
    assert live.refresh()[0] == []
    home.assert_records_are_rows()  # each row has one record: nothing was made twice


def test_what_a_spent_quota_leaves_is_fetched_after_its_reset(home: Home) -> None:
    """The vendor refuses the tenth request of the day: nine symbols are kept, and later only the others asked for."""
    with AlphaVantage(market(), a_day=9) as vendor:
        live = Live(home, vendor, THURSDAY)
        with pytest.raises(BlockFailedError, match="takes no more requests before"):
            live.onboard("KO PEP PG MSFT PFE MRK")
        had = [asked.params["symbol"] for asked in vendor.asked[:9]]
        left = {*PROXIES, "KO", "PEP", "PG", "MSFT", "PFE", "MRK"} - set(had)
        assert live.pending() == dict.fromkeys(left, "left")
        assert {name for (name,) in home.query("SELECT DISTINCT symbol FROM daily_price")} == set(had)
        vendor._a_day = 0
        asked, _ = live.refresh()
        assert asked_of(asked).keys() == left
    home.assert_records_are_rows()


# --- corrections


def test_trap_12_a_correction_computes_exactly_its_rows_again(
    home: Home, other_home: Home, premium: AlphaVantage
) -> None:
    """A close, a dividend, a split that becomes known late, a factor's close: asked for again, what rests on them is
    computed anew, and all numbers are those of a home that saw nothing else."""
    live, sessions = Live(home, premium, THURSDAY), calendar.last_sessions(5, THURSDAY)
    live.onboard("KO PEP")

    def close(symbol: str, day: date) -> float:
        return next(row.close for row in premium.market.rows[symbol] if row.session == day)

    changes = [
        ("KO", sessions[2], {"close": close("KO", sessions[2]) * 1.003}, 3),
        ("PEP", sessions[3], {"dividend": 0.25}, 2),
        ("KO", sessions[1], {"split": 1.002}, 4),
        ("MTUM", sessions[3], {"close": close("MTUM", sessions[3]) * 1.002}, 4),
    ]
    for symbol, day, values, regressions in changes:
        premium.market.replace(symbol, day, **values)
        asked, tally = live.refresh([symbol])
        assert asked_of(asked) == {symbol: "full"}
        assert (tally.corrected, tally.regressions_run) == (1, regressions)
        assert live.refresh([symbol])[1].regressions_run == 0
    for asset in (*TABLES, *PORTFOLIO_TABLES):
        assert home.recorded(asset).keys() == home.partitions_with_row(asset)
    Live(other_home, premium, THURSDAY).onboard("KO PEP")
    for table in RESULT_TABLES:
        assert_same(numbers(home, table), numbers(other_home, table), 1e-12)


# --- keys


@pytest.mark.parametrize("kind", ["alpha_vantage", "tiingo"])
def test_the_key_is_nowhere(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Through the commands, well and badly: not in what they print, in logs at DEBUG, in events, or in any file."""
    caplog.set_level(logging.DEBUG)
    of_key = AlphaVantage(Anything()) if kind == "alpha_vantage" else Tiingo(Anything(), KEY)
    with of_key as vendor:
        url = vendor.address if isinstance(vendor, AlphaVantage) else vendor.url
        variables = {
            "SIGMA_HISTORY_SESSIONS": "3",
            "SIGMA_PRICE_SOURCES": kind,
            "ALPHAVANTAGE_API_KEY": KEY,
            "SIGMA_TIINGO_KEY": KEY,
            f"SIGMA_{kind.upper()}_URL": url,
        }
        home = Home(tmp_path / "sigma", variables)
        book = holdings(tmp_path / "book.csv", "KO")
        said = [home.sigma_here("plan", book, "--json"), home.sigma_here("onboard", book, "--json")]
        assert [one.returncode for one in said] == [0, 0], said[-1].stderr
        bad = [answers.e4(KEY), answers.E2] if kind == "alpha_vantage" else [tiingo_answers.NO_KEY]
        for reply in bad[::-1]:
            vendor.say("*", always=reply)
            said.append(home.sigma_here("fetch", "KO", "--json"))
            assert said[-1].returncode == 1
        said += [home.sigma_here("symbols", "--json"), home.sigma_here("symbols"), home.sigma_here("plan")]
        listed = json.loads(said[-3].stdout)
        assert {one["symbol"]: one["pending"] for one in listed["symbols"]}["KO"] == "left"
        assert listed["calls_today"][0]["calls"] == len(vendor.asked)
        services = Services.of(Settings.from_environment({**variables, "SIGMA_HOME": str(home.path)}))
        again = services.blocks_again(["KO"], vendor.market.through)
        with pytest.raises(BlockFailedError) as failed:
            compute(services, None, vendor.market.through, again=again, say=home.said.append)
        services.database.engine.dispose()
    told = [everything_said(failed.value), *(f"{record.getMessage()} {vars(record)}" for record in caplog.records)]
    told += [f"{one.stdout} {one.stderr}" for one in said]
    files = [file.read_bytes() for file in home.path.rglob("*") if file.is_file()]
    for form in (KEY, quote(KEY, safe=""), quote(KEY)):
        assert not any(form in text for text in told)
        assert not any(form.encode() in content for content in files)
