"""Onboarding with the domain and Dagster on Postgres: the same work is done, and the same numbers come out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol_volatility,
)
from sigma_dagster.planning.planner import Force
from tests.conftest import SMALL
from tests.support.contents import rows
from tests.support.home import CORE, GROWTH, Home, assert_same, lots
from tests.support.sources import RecordedSource

#: `make test-slow`.
pytestmark = pytest.mark.slow

TABLES = (daily_price, factor_exposure, symbol_volatility, portfolio_factor_exposure, portfolio_volatility)


@pytest.fixture
def postgres_home(tmp_path: Path, new_postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home with both databases on Postgres."""
    variables = dict(SMALL)
    for name in ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"):
        variables[name] = (
            sa.make_url(new_postgres_url()).set(drivername="postgresql").render_as_string(hide_password=False)
        )
        monkeypatch.setenv(name, variables[name])  # dagster.yaml names the variable, not the password
    return Home(tmp_path / "postgres", variables)


def test_the_same_is_done_and_the_same_comes_out_on_both_databases(postgres_home: Home, home: Home) -> None:
    """Two portfolios, force, and a replaced one: after each step the reports and all numbers agree to 1e-12."""
    # Each step is what `Home.onboard` is called with.
    steps: list[dict[str, Any]] = [
        {"book": CORE},
        {"book": GROWTH},
        {"book": GROWTH, "force": Force(symbol_results=True, portfolio_results=True)},
        {"book": lots("AAPL AMD"), "name": "growth"},
        {"book": lots("AAPL AMD"), "name": "growth"},
    ]
    for step in steps:
        reports, sources = [], []
        for one in (home, postgres_home):
            sources.append(RecordedSource())
            reports.append(one.onboard(**step, source=sources[-1]).to_json())
        assert sources[0].asked == sources[1].asked
        for report in reports:
            del report["seconds"]
        risks = [report.pop("risk") for report in reports]
        assert reports[0] == reports[1]
        ours, theirs = ({**risk, **risk.pop("exposures")} for risk in risks)
        assert_same([ours], [theirs], 1e-12)
        for table in TABLES:
            assert_same(rows(postgres_home, table), rows(home, table), 1e-12)
