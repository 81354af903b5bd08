"""The daily schedule in the real daemon, with a source that follows the market. Slow: `make test-daemon`."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster._core.scheduler.instigation import ScheduleInstigatorData

from benchmarks.web import free_port, wait_for
from resources import calendar
from tests.support.home import Home, holdings
from tests.support.live import asked_of
from tests.support.ui import running
from tests.support.vendors.alpha_vantage import AlphaVantage, Anything
from tests.support.vendors.server import KEY

pytestmark = pytest.mark.daemon

PROXIES = {"SPY", "VTV", "VUG", "MTUM", "QUAL", "IWM", "USMV", "TLT"}

#: The schedule's last tick was a quarter of an hour after the session that it bought.
NEW = calendar.last_completed_session(datetime.now(UTC) - timedelta(minutes=16))
BEFORE = calendar.last_sessions(2, NEW)[0]


@pytest.fixture
def vendor() -> Iterator[AlphaVantage]:
    """An Alpha Vantage that has any symbol, and no row of KO for the newest session."""
    market = Anything()
    market.series("KO")
    market.without("KO", NEW)
    with AlphaVantage(market) as started:
        yield started


@pytest.fixture
def home(vendor: AlphaVantage, tmp_path: Path) -> Home:
    """An empty home whose prices the vendor sells."""
    variables = {
        "SIGMA_HISTORY_SESSIONS": "40",
        "SIGMA_PRICE_SOURCES": "alpha_vantage",
        "SIGMA_ALPHA_VANTAGE_URL": vendor.address,
        "SIGMA_ALPHA_VANTAGE_PLAN": "premium",
        "ALPHAVANTAGE_API_KEY": KEY,
    }
    return Home(tmp_path / "sigma", variables)


def _miss_a_tick(home: Home) -> None:
    """Let the schedule have been on for a week without a tick, as if the machine had slept."""
    with home.instance() as instance:
        (state,) = [one for one in instance.all_instigator_state() if one.name == "daily_refresh"]
        data = state.instigator_data
        assert isinstance(data, ScheduleInstigatorData)
        week_ago = datetime.now(UTC).timestamp() - 7 * 86_400
        instance.update_instigator_state(state.with_data(ScheduleInstigatorData(data.cron_schedule, week_ago)))


def _has_started(home: Home) -> bool:
    with home.instance() as instance:
        return any(one.name == "daily_refresh" for one in instance.all_instigator_state())


def _newest(home: Home, portfolio: str) -> date:
    """The newest session that a portfolio's risk is computed of."""
    return date.fromisoformat(json.loads(home.sigma("show", portfolio, "--json").stdout)["as_of"])


def test_a_new_session_comes_without_a_click(home: Home, vendor: AlphaVantage, tmp_path: Path) -> None:
    """The daemon makes up for a missed tick: one request for each symbol; what is late is asked for again, alone."""
    for name, symbols in {"early": ["AAPL", "MSFT"], "late": ["AAPL", "KO"]}.items():
        lots = (f"{symbol},10,100,{BEFORE}" for symbol in symbols)
        done = home.sigma("onboard", holdings(tmp_path / f"{name}.csv", *lots), "--as-of", f"{BEFORE}")
        assert done.returncode == 0, done.stderr
    vendor.asked.clear()
    port = free_port()
    with running(home, port, tmp_path / "terminal"):
        wait_for(lambda: _has_started(home), 120, "the schedule is on without a click")
    assert vendor.asked == []
    _miss_a_tick(home)

    with running(home, port, tmp_path / "terminal"):
        wait_for(lambda: _newest(home, "early") == NEW, 240, "the portfolio whose prices are there has its session")
        # FAILURE: a page's run that the end of the first daemon cut off; another one makes it.
        wait_for(lambda: set(home.statuses()) <= {"SUCCESS", "FAILURE"}, 120, "the runs have ended")
        assert asked_of(vendor.asked) == dict.fromkeys({*PROXIES, "AAPL", "MSFT", "KO"}, "compact")
        assert _newest(home, "late") == BEFORE

        vendor.asked.clear()
        vendor.market.rows = {name: rows for name, rows in vendor.market.rows.items() if name != "KO"}
        assert home.query("SELECT symbol, outcome FROM pending_fetch") == [("KO", "late")]
        with home.sql() as connection:
            connection.execute("UPDATE pending_fetch SET retry_at = '2000-01-01 00:00:00.000000'")
        wait_for(lambda: _newest(home, "late") == NEW, 240, "the other one has it when its price has come")
        assert asked_of(vendor.asked) == {"KO": "compact"}
        assert home.count("pending_fetch") == 0
