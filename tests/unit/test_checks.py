"""The freshness check of factor proxies: asked of sources that follow the market, of each proxy by itself."""

from datetime import date

import dagster as dg
import pytest
import sqlalchemy as sa

from assets import checks
from assets.catalogue import BY_NAME
from assets.checks import MAX_SESSIONS_BEHIND, stale_proxies
from assets.factor_models import SAMPLE_5
from resources import calendar
from resources.database import prices
from resources.database.engine import Database
from resources.database.prices import Answer
from resources.database.tables import daily_price
from resources.sources.base import PriceRow, PriceSource
from sigma_dagster.orchestration.build import build_defs
from tests.support.home import LAST, Home
from tests.support.sources import LiveSource, RecordedSource

PROXIES = list(SAMPLE_5.proxies)
NAME = dg.AssetCheckKey(dg.AssetKey("proxy_prices"), "proxies_fresh")


@pytest.mark.parametrize("behind", range(MAX_SESSIONS_BEHIND + 2))
def test_trap_27_one_stale_proxy_is_named(core_home: Home, behind: int) -> None:
    """The others being fresh hides nothing: beyond the threshold it is named, with the session it ends at."""
    end = calendar.shift(LAST, -behind)
    with core_home.sql() as connection:
        connection.execute("DELETE FROM daily_price WHERE symbol = 'SIZE' AND session > ?", [end.isoformat()])
    services = core_home.environment()
    expected = [f"SIZE ({end})"] if behind > MAX_SESSIONS_BEHIND else []
    assert stale_proxies(services.database, SAMPLE_5, LAST) == expected
    services.database.engine.dispose()


def test_trap_27_a_known_absence_is_not_fresh(core_home: Home) -> None:
    """Rows that say that the source has no price make no proxy fresh; one without any close has its own words."""
    services = core_home.environment()
    late = calendar.shift(LAST, -MAX_SESSIONS_BEHIND - 1)
    price = daily_price.c
    absent = sa.update(daily_price).values(close=None, absence="no trade")
    with services.database.write() as connection:
        connection.execute(absent.where(price.symbol == "USMV", price.session > late))
        connection.execute(absent.where(price.symbol == "VLUE"))
    assert stale_proxies(services.database, SAMPLE_5, LAST) == [f"USMV ({late})", "VLUE (no price)"]
    services.database.engine.dispose()


@pytest.mark.parametrize(("source", "asked"), [(LiveSource(), True), (RecordedSource(), False)], ids=["live", "ended"])
def test_trap_27_only_a_live_source_is_expected_to_be_fresh(core_home: Home, source: PriceSource, asked: bool) -> None:
    """The check is defined and answered for a source that follows the market, and fails on prices of 2022."""
    services = core_home.environment(source)
    known = {key for made in build_defs(services).asset_checks or () for key in made.check_keys}
    assert (NAME in known) == asked
    with core_home.instance() as instance:
        checks.evaluate(instance, services.database, services.model, live=source.latest_session() is None, blocks=[])
        records = instance.event_log_storage.get_asset_check_execution_history(NAME, limit=1)
        answers = [record.event.dagster_event.asset_check_evaluation_data for record in records]
    services.database.engine.dispose()
    assert [answer.passed for answer in answers] == ([False] if asked else [])
    assert all(f"{proxy} (2022-12-28)" in answer.description for answer in answers for proxy in PROXIES)


# --- prices that nobody made

DAYS = calendar.last_sessions(12, LAST)


def bar(day: date, close: float, **more: float) -> PriceRow:
    return PriceRow(day, close, close, close, close, None, 0.0, 1.0)._replace(**more)


def test_prices_that_nobody_made_are_named(database: Database) -> None:
    """The close before all day, while another symbol moved; five equal closes; a quiet day of everybody is neither."""
    answers = []
    for name, closes in (
        ("MOVES", [100 + i if i != 4 else 103 for i in range(12)]),  # nobody moved on the fifth session
        ("STALE", [50 + i if i not in (4, 7) else 49 + i for i in range(12)]),
        ("EQUAL", [20 + min(i, 3) for i in range(12)]),
    ):
        rows = [bar(day, float(close)) for day, close in zip(DAYS, closes, strict=True)]
        if name != "STALE":
            rows = [row._replace(high=row.close + 1) for row in rows]
        answers.append(Answer(name, DAYS, rows, "test"))
    with database.write() as connection:
        prices.store(connection, answers, look_back=5)
    with database.read() as connection:
        assert checks.doubtful_prices(connection, DAYS[1], LAST) == [
            *(f"EQUAL {day} (the same for 5 sessions)" for day in DAYS[7:]),
            f"STALE {DAYS[7]} (the close before, all day)",
        ]


@pytest.mark.parametrize(("split", "named"), [(1.0, True), (2.0, False)])
def test_a_move_over_40_percent_without_a_split_is_named(core_home: Home, split: float, named: bool) -> None:
    """Half the price is a split that the source did not report, unless it did."""
    with core_home.sql() as connection:
        connection.execute(
            "UPDATE daily_price SET close = close / 2, split = ? WHERE symbol = 'KO' AND session = ?",
            (split, LAST.isoformat()),
        )
    services = core_home.environment()
    with core_home.instance() as instance:
        result = checks.CHECKS["prices_continuous"].evaluate(
            BY_NAME["daily_prices"], instance, services.database, services.model
        )
    services.database.engine.dispose()
    assert result.passed is not named
    assert (f"KO {LAST}" in (result.description or "")) is named
