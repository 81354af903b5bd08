"""Ten portfolios at once that share most of their symbols: nothing is computed twice, and nothing is left out.

Slow: `make test-slow`.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol_volatility,
)
from tests.conftest import SMALL
from tests.support.contents import assert_records_are_rows, rows
from tests.support.home import Home, assert_same, holdings

pytestmark = pytest.mark.slow

SHARED = ("KO", "PEP", "PG", "JNJ")
OWN = ("AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JPM", "LLY", "MSFT")
SESSIONS = 5


@pytest.fixture(params=["sqlite", "postgres", "postgres, two homes"])
def homes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Home]:
    """One home, or two on the same databases, as two hosts have them."""
    variables = dict(SMALL)
    if request.param != "sqlite":
        new_url: Callable[[], str] = request.getfixturevalue("new_postgres_url")
        for name in ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"):
            variables[name] = sa.make_url(new_url()).set(drivername="postgresql").render_as_string(hide_password=False)
            monkeypatch.setenv(name, variables[name])  # dagster.yaml names the variable, not the password
    names = ("one", "two") if "two" in request.param else ("one",)
    return [Home(tmp_path / name, variables) for name in names]


def test_ten_onboardings_that_share_symbols_compute_each_symbol_and_session_once(
    homes: list[Home], home: Home, tmp_path: Path
) -> None:
    """By their own count, by Dagster's records and by the rows; the numbers are those of one after the other."""
    books = [holdings(tmp_path / f"book{number}.csv", *SHARED, own) for number, own in enumerate(OWN)]
    started = []
    for number, book in enumerate(books):
        command, environment = homes[number % len(homes)].command("onboard", book, "--json")
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command
        )
    ended = [process.communicate(timeout=580) for process in started]
    assert [process.returncode for process in started] == [0] * len(books), ended
    told = [json.loads(out) for out, _ in ended]

    computed = len({*SHARED, *OWN})
    assert sum(one["symbols_fetched"] for one in told) == computed + 6
    assert sum(one["regressions_run"] for one in told) == computed * SESSIONS
    assert_records_are_rows(homes[0])
    for book in books:
        home.onboard(book)
    for table in (daily_price, factor_exposure, symbol_volatility, portfolio_factor_exposure, portfolio_volatility):
        assert_same(rows(homes[-1], table), rows(home, table), 1e-12)
