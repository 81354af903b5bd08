"""The asset checks: the freshness of each factor proxy, and what is asked after runs that wrote a part of the rows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date

import dagster as dg
import pytest
import sqlalchemy as sa

from assets import checks, questions
from assets.catalogue import BY_NAME
from assets.factor_models import SAMPLE_5
from assets.questions import MAX_SESSIONS_BEHIND, Asked, stale_proxies
from assets.shared.block import Block
from resources import calendar
from resources.database import deletions, prices
from resources.database.engine import Database
from resources.database.prices import Answer
from resources.database.tables import daily_price, factor_exposure
from resources.sources.base import PriceRow, PriceSource
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.services import Services
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
        assert questions.doubtful_prices(connection, DAYS[1], LAST) == [
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
        asset, check = BY_NAME["daily_prices"], checks.CHECKS["prices_continuous"]
        result = check.answer(asset, check.question(Asked(asset, instance, services.database, services.model)))
    services.database.engine.dispose()
    assert result.passed is not named
    assert (f"KO {LAST}" in (result.description or "")) is named


CONTINUOUS = dg.AssetCheckKey(dg.AssetKey("daily_prices"), "prices_continuous")
KO, AAPL, OLD = "KO", "AAPL", date(2022, 6, 1)


class Answers:
    """The check of price moves in a home, and its latest answer."""

    def __init__(self, services: Services, instance: dg.DagsterInstance) -> None:
        self._services, self._instance = services, instance

    def jump(self, symbol: str, session: date, factor: float) -> None:
        """Multiply a stored close."""
        price = daily_price.c
        change = sa.update(daily_price).values(close=price.close * factor)
        with self._services.database.write() as connection:
            connection.execute(change.where(price.symbol == symbol, price.session == session))

    def after(self, *symbols: str, first: date = LAST, last: date = LAST) -> tuple[bool, str | None]:
        """Answer the checks as after runs of blocks of prices; give whether the moves passed, and who does not."""
        blocks = [Block.of_keys(["daily_prices"], [symbol], first, last) for symbol in symbols]
        checks.evaluate(self._instance, self._services.database, self._services.model, live=False, blocks=blocks)
        (record,) = self._instance.event_log_storage.get_asset_check_execution_history(CONTINUOUS, limit=1)
        answer = record.event.dagster_event.asset_check_evaluation_data
        return answer.passed, answer.description


@pytest.fixture
def answers(core_home: Home) -> Iterator[Answers]:
    services = core_home.environment()
    with core_home.instance() as instance:
        yield Answers(services, instance)
    services.database.engine.dispose()


def test_a_failed_check_about_other_rows_stays_failed(answers: Answers) -> None:
    """What offends is remembered until it offends no more, whatever is computed elsewhere meanwhile."""
    assert answers.after(KO) == (True, None)
    answers.jump(KO, OLD, 10)
    named = "2 do not: KO 2022-06-01, KO 2022-06-02"
    assert answers.after(KO, first=OLD, last=OLD) == (False, named)
    assert answers.after(AAPL) == (False, named)
    assert answers.after() == (False, named)
    answers.jump(AAPL, LAST, 10)
    assert answers.after(AAPL) == (False, "3 do not: AAPL 2022-12-28, KO 2022-06-01, KO 2022-06-02")
    answers.jump(KO, OLD, 0.1)
    assert answers.after() == (False, "1 do not: AAPL 2022-12-28")
    answers.jump(AAPL, LAST, 0.1)
    assert answers.after() == (True, None)


def test_a_move_to_the_close_after_the_block_is_seen(answers: Answers) -> None:
    """A close that a run wrote makes two moves: from the session before it, and to the one after it."""
    assert answers.after(KO) == (True, None)
    answers.jump(KO, OLD, 10)
    assert answers.after(KO, first=OLD, last=OLD)[1] == "2 do not: KO 2022-06-01, KO 2022-06-02"


def test_a_check_that_was_never_answered_is_asked_of_all_rows(answers: Answers, core_home: Home) -> None:
    """Of an older release, say, which did not write down which keys offend."""
    assert answers.after(KO) == (True, None)
    answers.jump(KO, OLD, 10)
    with closing(sqlite3.connect(core_home.path / "dagster/event_log/event_log.db")) as connection, connection:
        connection.execute("DELETE FROM asset_check_executions")
    assert answers.after(AAPL) == (False, "2 do not: KO 2022-06-01, KO 2022-06-02")


def test_a_record_without_row_is_named_where_rows_were_deleted(answers: Answers, core_home: Home) -> None:
    """Rows that a price correction deleted are of no block: the note of the deletion says where to look."""
    key = dg.AssetCheckKey(dg.AssetKey("factor_exposures"), "recorded_partitions_have_rows")
    services = core_home.environment()
    table = factor_exposure
    with services.database.write() as connection:
        deletions.delete_results(connection, table, table.c.symbol == KO, table.c.session == LAST)
    services.database.engine.dispose()
    answers.after(AAPL)
    with core_home.instance() as instance:
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event.dagster_event.asset_check_evaluation_data.description == "1 do not: 2022-12-28|KO"
