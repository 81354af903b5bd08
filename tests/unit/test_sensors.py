"""The sensor, evaluated without its daemon: what it asks for, what it does not ask for, and the reason it gives."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from assets.catalogue import ASSETS as CATALOGUE
from assets.checks import OF_LIVE_SOURCES
from assets.daily_prices import ASK_AGAIN
from assets.factor_models import SAMPLE_5
from assets.shared.run_block import FOUND_TAG
from resources import calendar
from resources.database import portfolios
from resources.database.engine import Database
from resources.database.portfolios import Lot
from resources.database.tables import daily_price, factor_exposure, symbol_volatility
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.sensors import COOL_DOWN, LOOK_HOLDS, WAIT_HOLDS, Memory, evaluate
from sigma_dagster.services import Services
from tests.support.home import LAST, Home, lots
from tests.support.sources import LiveSource, RecordedSource

PROXIES = list(SAMPLE_5.proxies)
FIRST = date(2022, 12, 21)  # the first of the 5 target sessions
AFTER_CLOSE = calendar.complete_at(date(2022, 12, 29))  # of the session after the last that is stored


@dataclass
class Sensor:
    """The sensor of a home, with the parts that it works with."""

    services: Services
    instance: dg.DagsterInstance
    defs: dg.Definitions
    cursor: str | None = None
    memory: Memory = field(default_factory=Memory)

    def tick(self, now: datetime | None = None, patience: float = 0.0) -> dg.SensorResult:
        """Evaluate it as the daemon does, the cursor of the last time given back."""
        context = dg.build_sensor_context(instance=self.instance, definitions=self.defs, cursor=self.cursor)
        result = evaluate(context, self.services, now or datetime.now(UTC), self.memory, patience=patience)
        self.cursor = result.cursor or self.cursor
        return result

    def add(self, name: str, book: Sequence[Lot]) -> None:
        """Store a portfolio as `sigma add` does."""
        with self.services.database.write() as connection:
            portfolios.store(connection, name, book, None, LAST)

    def submit(self, request: dg.RunRequest) -> dg.DagsterRun:
        """Put the requested run on record as one whose process is being started."""
        assert request.job_name
        tags = {**self.defs.resolve_job_def(request.job_name).tags, **request.tags}
        run = dg.DagsterRun(
            request.job_name,
            run_config=request.run_config,
            tags=tags,
            status=dg.DagsterRunStatus.STARTING,
            asset_selection=frozenset(request.asset_selection or ()),
        )
        self.instance.add_run(run)
        return run

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what was requested."""
        assert request.job_name
        return self.defs.resolve_job_def(request.job_name).execute_in_process(
            instance=self.instance,
            run_config={**request.run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags=dict(request.tags),
            asset_selection=list(request.asset_selection or ()),
            raise_on_error=False,
        )

    def delete(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> None:
        """Delete rows past all of the product's code."""
        with self.services.database.write() as connection:
            connection.execute(sa.delete(table).where(*where))


@contextmanager
def sensor_of(home: Home, source: RecordedSource | None = None, **settings: str) -> Iterator[Sensor]:
    services = home.environment(source, **settings)
    with home.instance() as instance:
        yield Sensor(services, instance, build_defs(services))
    services.database.engine.dispose()


@pytest.fixture
def sensor(home: Home) -> Iterator[Sensor]:
    with sensor_of(home) as made:
        yield made


@pytest.fixture
def core(core_home: Home) -> Iterator[Sensor]:
    """The sensor of a home that lacks nothing, over a source that follows the market."""
    with sensor_of(core_home, LiveSource()) as made:
        yield made


def asked(result: dg.SensorResult) -> list[dict[str, Any]]:
    """By request, the keys that each asset is to compute."""
    return [
        {asset: op["config"]["keys"] for asset, op in request.run_config["ops"].items()}
        for request in result.run_requests or ()
    ]


def span(request: dg.RunRequest) -> set[tuple[str, str]]:
    """The first and last session of a request."""
    return {(op["config"]["first"], op["config"]["last"]) for op in request.run_config["ops"].values()}


def reason(result: dg.SensorResult) -> str:
    """Why nothing was requested."""
    assert not result.run_requests
    assert result.skip_reason
    return str(result.skip_reason.skip_message)


# --- what is asked for


def test_without_a_portfolio_it_says_how_to_store_one(sensor: Sensor) -> None:
    """An empty home asks for nothing, not even factor proxies."""
    assert "No portfolio is stored: sigma add FILE" in reason(sensor.tick())


def test_a_new_portfolio_is_asked_for_symbols_first_and_each_thing_once(sensor: Sensor) -> None:
    """Proxies, then symbol rows, then portfolio rows when their inputs exist, then nothing: four ticks, three runs."""
    sensor.add("book", lots("AAPL KO"))
    first = sensor.tick()
    held = ["AAPL", "KO"]
    assert asked(first) == [{"proxy_prices": PROXIES}]
    assert span(first.run_requests[0]) == {(FIRST.isoformat(), LAST.isoformat())}
    assert sensor.execute(first.run_requests[0]).success
    symbols = sensor.tick()
    assert asked(symbols) == [{"daily_prices": held, "factor_exposures": held, "symbol_volatility": held}]
    assert span(symbols.run_requests[0]) == {(FIRST.isoformat(), LAST.isoformat())}
    assert sensor.execute(symbols.run_requests[0]).success
    second = sensor.tick()
    assert asked(second) == [{"portfolio_factor_exposures": ["book"], "portfolio_volatility": ["book"]}]
    assert sensor.execute(second.run_requests[0]).success
    assert reason(sensor.tick()) == "Nothing is missing as of 2022-12-28"


def test_exactly_what_is_missing_is_asked_for(core: Sensor) -> None:
    """One deleted row of one symbol is one key, one asset and one session."""
    day = date(2022, 12, 23)
    core.delete(factor_exposure, factor_exposure.c.symbol == "KO", factor_exposure.c.session == day)
    result = core.tick()
    assert asked(result) == [{"factor_exposures": ["KO"]}]
    assert span(result.run_requests[0]) == {("2022-12-23", "2022-12-23")}


def test_a_home_that_lacks_nothing_is_planned_once_until_something_changes(core: Sensor) -> None:
    """5 of 5: a tick with nothing to do costs no plan; what another process deletes is asked for by the next one."""
    now = datetime.now(UTC)
    core.tick(now)  # passes on what the command left for Dagster, which changes the database
    assert reason(core.tick(now)) == "Nothing is missing as of 2022-12-28"
    look = core.memory.look
    assert look
    assert reason(core.tick(now + LOOK_HOLDS / 2)) == "Nothing is missing as of 2022-12-28"
    assert core.memory.look is look
    day = date(2022, 12, 23)
    other = Database(core.services.database.url)
    with other.write() as connection:
        connection.execute(
            sa.delete(factor_exposure).where(factor_exposure.c.symbol == "KO", factor_exposure.c.session == day)
        )
    other.engine.dispose()
    assert asked(core.tick(now + LOOK_HOLDS / 2)) == [{"factor_exposures": ["KO"]}]
    assert core.memory.look is None


def test_a_key_that_is_added_in_the_ui_is_noticed_within_a_minute(core: Sensor) -> None:
    """5 of 5: what the domain database does not tell, Dagster's keys, is looked at again in time."""
    now = datetime.now(UTC)
    core.tick(now)
    core.instance.add_dynamic_partitions("symbol", ["NOBODY"])
    assert "sigma symbols --forget NOBODY" in reason(core.tick(now + LOOK_HOLDS))


def test_symbols_that_are_stored_are_not_asked_for_again(core: Sensor) -> None:
    """The second portfolio asks for its new symbols alone; the run is told how much of it was there."""
    core.add("growth", lots("AAPL KO AMD"))
    (request,) = core.tick().run_requests
    assert asked(dg.SensorResult([request])) == [
        {"daily_prices": ["AMD"], "factor_exposures": ["AMD"], "symbol_volatility": ["AMD"]}
    ]
    assert json.loads(request.tags[FOUND_TAG])["cached"]["factor_exposures"] == [10, 50]


def test_new_partition_keys_are_registered(sensor: Sensor) -> None:
    """What is requested is known to Dagster as a partition before the run starts."""
    sensor.add("book", lots("AAPL KO"))
    (request,) = sensor.tick().run_requests
    assert list(sensor.instance.get_dynamic_partitions("proxy")) == PROXIES
    assert list(sensor.instance.get_dynamic_partitions("symbol")) == []
    assert request.tags["dagster/asset_partition_range_start"] == f"2022-12-28|{PROXIES[0]}"
    assert request.tags["dagster/asset_partition_range_end"] == f"2022-12-28|{PROXIES[0]}"


def test_a_large_onboarding_is_split_and_the_proxies_come_first(home: Home) -> None:
    """No run takes more symbols than allowed; the others wait until all factor prices are there, then come together."""
    with sensor_of(home, max_symbols_per_run="4") as sensor:
        sensor.add("core", lots("AAPL MSFT JNJ JPM PG KO XOM HD UNH WMT"))
        proxies = sensor.tick()
        assert [len(keys["proxy_prices"]) for keys in asked(proxies)] == [4, 2]
        assert all(sensor.execute(request).success for request in proxies.run_requests)
        symbols = [keys["daily_prices"] for keys in asked(sensor.tick())]
        assert [len(keys) for keys in symbols] == [4, 4, 2]
        assert sorted(key for keys in symbols for key in keys) == sorted(
            ["AAPL", "MSFT", "JNJ", "JPM", "PG", "KO", "XOM", "HD", "UNH", "WMT"]
        )


def test_the_numbers_of_the_onboarding_reach_the_portfolio_run(sensor: Sensor) -> None:
    """What the runs before it found and fetched is reported by the portfolio run, which comes ticks later."""
    sensor.add("book", lots("AAPL KO"))
    for _ in ("proxies", "symbols"):
        sensor.execute(sensor.tick().run_requests[0])
    (request,) = sensor.tick().run_requests
    told = json.loads(request.tags[FOUND_TAG])["onboarding"]
    expected = {"held": 2, "computed": 2, "cached": 0, "records_stored": 10, "api_calls": 8, "api_calls_saved": 0}
    assert expected.items() <= told.items()
    sensor.execute(request)
    sensor.tick()
    assert json.loads(sensor.cursor or "")["onboarding"] == {}


def test_checks_answer_after_the_last_of_its_runs(sensor: Sensor) -> None:
    """No check stays unanswered, none is asked again without a run, and no failure is wiped by what comes after."""
    sensor.add("book", lots("AAPL KO"))
    for _ in ("proxies", "symbols", "portfolios"):
        (request,) = sensor.tick().run_requests
        assert sensor.execute(request).success
    names = [
        dg.AssetCheckKey(dg.AssetKey(asset.name), check)
        for asset in CATALOGUE
        for check in asset.checks
        if check not in OF_LIVE_SOURCES
    ]

    def answers() -> dict[dg.AssetCheckKey, list[bool]]:
        history = {
            key: sensor.instance.event_log_storage.get_asset_check_execution_history(key, limit=9) for key in names
        }
        return {
            key: [record.event.dagster_event.asset_check_evaluation_data.passed for record in records if record.event]
            for key, records in history.items()
        }

    with sensor.services.database.write() as connection:
        wrong = sa.update(daily_price).values(close=1e13)
        connection.execute(wrong.where(daily_price.c.symbol == "KO", daily_price.c.session == FIRST))
    positive = dg.AssetCheckKey(dg.AssetKey("daily_prices"), "prices_positive")
    reason(sensor.tick())
    after = answers()
    assert all(after.values())
    assert after[positive][0] is False
    reason(sensor.tick())
    assert answers() == after
    sensor.delete(factor_exposure, factor_exposure.c.symbol == "KO", factor_exposure.c.session == LAST)
    (request,) = sensor.tick().run_requests
    assert sensor.execute(request).success
    reason(sensor.tick())
    assert answers()[positive][0] is False


def test_runs_say_who_asked_for_them(sensor: Sensor) -> None:
    """The list of runs of the UI shows it, with the keys and the sessions; plumbing is hidden there."""
    sensor.add("book", lots("AAPL KO"))
    (request,) = sensor.tick().run_requests
    told = {key: value for key, value in request.tags.items() if not key.startswith((".dagster/", "dagster/"))}
    assert told == {
        "proxy": "SP500, MTUM, QUAL ... (6)",
        "sessions": "2022-12-21..2022-12-28",
        "launched_by": "sensor new_portfolio",
    }


# --- what is not asked for


def test_what_a_run_in_progress_covers_is_not_asked_for_again(sensor: Sensor) -> None:
    """A queued run keeps its block from being requested, and the reason names the run."""
    sensor.add("book", lots("AAPL KO"))
    run = sensor.submit(sensor.tick().run_requests[0])
    assert reason(sensor.tick()) == f"6 proxies 2022-12-21..2022-12-28: run {run.run_id[:8]} is in progress"
    sensor.instance.report_run_canceled(run)
    assert reason(sensor.tick()).endswith(f": run {run.run_id[:8]} was ended less than 5 minutes ago")


def test_what_follows_a_run_is_asked_for_when_it_ends(core: Sensor) -> None:
    """The tick that finds a run in progress waits for its end, and asks at once for what the run did not do."""
    core.delete(symbol_volatility, symbol_volatility.c.symbol == "KO")
    run = core.submit((core.tick().run_requests or ())[0])
    core.delete(factor_exposure, factor_exposure.c.symbol == "JPM")
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(lambda: (time.sleep(1), core.instance.report_run_failed(run)))
        result = core.tick(patience=60.0)
        assert ended.done()
    assert asked(result) == [{"factor_exposures": ["JPM"], "symbol_volatility": ["KO"]}]


def test_no_tick_plans_again_what_is_in_progress(sensor: Sensor) -> None:
    """Promise: while runs are at work the daemon leaves them the machine, but for who brings or changes a portfolio."""
    sensor.add("book", lots("AAPL KO"))
    run = sensor.submit(sensor.tick().run_requests[0])
    said, now = reason(sensor.tick()), datetime.now(UTC)
    statements: list[str] = []
    sa.event.listen(sensor.services.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    def planned(at: datetime) -> bool:
        statements.clear()
        assert reason(sensor.tick(at)) == said
        return any("daily_price" in one for one in statements)

    assert not planned(now)
    assert planned(now + WAIT_HOLDS)
    sensor.add("book", lots("AAPL"))
    assert planned(now + WAIT_HOLDS)
    assert not planned(now + WAIT_HOLDS)
    sensor.instance.report_run_canceled(run)
    assert "was ended" in reason(sensor.tick())


def test_other_symbols_do_not_wait_for_a_run_in_progress(core_home: Home) -> None:
    """A portfolio that comes while another is computed gets a run of its own for its own symbols."""
    with sensor_of(core_home, max_symbols_per_run="1") as core:
        core.add("one", lots("AMD"))
        core.submit(core.tick().run_requests[0])
        core.add("two", lots("AMD MU"))
        assert [keys["daily_prices"] for keys in asked(core.tick())] == [["MU"]]


def test_after_a_failure_it_waits(sensor: Sensor) -> None:
    """A block that failed is left alone for the cool-down, and then asked for again."""
    sensor.add("book", lots("AAPL KO"))
    run = sensor.submit(sensor.tick().run_requests[0])
    sensor.instance.report_run_failed(run)
    now = datetime.now(UTC)
    assert "failed less than 5 minutes ago" in reason(sensor.tick(now))
    assert len(sensor.tick(now + COOL_DOWN + timedelta(seconds=5)).run_requests) == 1


def test_what_a_user_ended_is_not_asked_for_in_another_block(core: Sensor) -> None:
    """A run that was ended in the UI is left alone for the cool-down, though its keys are grouped with others now."""
    core.add("one", lots("AMD"))
    core.instance.report_run_canceled(core.submit((core.tick().run_requests or ())[0]))
    core.add("two", lots("MU"))
    now = datetime.now(UTC)
    assert "was ended less than 5 minutes ago" in reason(core.tick(now))
    (request,) = core.tick(now + COOL_DOWN + timedelta(seconds=5)).run_requests or ()
    assert request.run_config["ops"]["daily_prices"]["config"]["keys"] == ["AMD", "MU"]


def test_other_work_on_the_same_keys_and_sessions_does_not_wait(core: Sensor) -> None:
    """What failed rests; other assets of the same symbols and sessions are asked for at once."""
    of_ko = factor_exposure.c.symbol == "KO", symbol_volatility.c.symbol == "KO"
    core.delete(factor_exposure, of_ko[0], factor_exposure.c.session == LAST)
    (request,) = core.tick().run_requests or ()
    core.instance.report_run_failed(core.submit(request))
    assert "failed less than 5 minutes ago" in reason(core.tick())
    core.delete(symbol_volatility, of_ko[1], symbol_volatility.c.session == LAST)
    assert asked(core.tick()) == [{"factor_exposures": ["KO"], "symbol_volatility": ["KO"]}]


def test_a_failure_half_way_is_waited_for_too(core_home: Home) -> None:
    """A run that failed for one symbol is followed by one for the others; the symbol is asked for again when its time
    has come, and the portfolio that holds it waits."""
    with sensor_of(core_home, RecordedSource(broken=["MU"])) as core:
        core.add("book", lots("AMD MU"))
        (request,) = core.tick().run_requests
        assert not core.execute(request).success
        assert core_home.query("SELECT DISTINCT symbol FROM daily_price WHERE symbol IN ('AMD', 'MU')") == [("AMD",)]
        (rest,) = core.tick().run_requests
        assert asked(dg.SensorResult([rest])) == [{"factor_exposures": ["AMD"], "symbol_volatility": ["AMD"]}]
        assert core.execute(rest).success
        assert reason(core.tick()) == "Nothing is missing as of 2022-12-28, but for what waits for prices: MU"
        assert not core.tick(datetime.now(UTC) + ASK_AGAIN / 2).run_requests
        (again,) = core.tick(datetime.now(UTC) + ASK_AGAIN * 1.01).run_requests
        assert asked(dg.SensorResult([again]))[0]["daily_prices"] == ["MU"]


def test_it_never_buys_a_new_session(core: Sensor) -> None:
    """The close of another session changes nothing: the plan ends with the newest session of the factor proxies."""
    assert reason(core.tick(AFTER_CLOSE)) == "Nothing is missing as of 2022-12-28"
    core.add("late", lots("AMD"))
    (request,) = core.tick(AFTER_CLOSE).run_requests
    assert span(request) == {("2022-12-21", "2022-12-28")}


def test_a_first_portfolio_is_computed_up_to_the_last_completed_session(home: Home) -> None:
    """Where nothing is stored there is nothing to go by but the calendar."""
    with sensor_of(home, LiveSource()) as sensor:
        sensor.add("book", lots("KO"))
        (request,) = sensor.tick(AFTER_CLOSE).run_requests
        assert {last for _, last in span(request)} == {"2022-12-29"}


# --- one symbol is not everybody's watermark


@pytest.mark.parametrize("behind", [PROXIES[0], PROXIES[-1], "KO"])
def test_trap_24_a_symbol_far_behind_keeps_nobody_back(core: Sensor, behind: str) -> None:
    """The sessions that it lacks are asked for it alone, and a new portfolio is computed up to the newest session."""
    long_ago = calendar.shift(LAST, -100)
    core.delete(daily_price, daily_price.c.symbol == behind, daily_price.c.session > long_ago)
    (request,) = core.tick().run_requests
    assert next(iter(asked(dg.SensorResult([request]))[0].values())) == [behind]
    core.add("late", lots("AMD"))
    if behind in PROXIES:
        assert core.execute(request).success
    (request,) = core.tick().run_requests
    assert asked(dg.SensorResult([request]))[0]["daily_prices"] == ["AMD"] if behind in PROXIES else ["KO", "AMD"]
    assert {last for _, last in span(request)} == {"2022-12-28"}


def test_trap_24_a_symbol_far_ahead_pulls_nobody_along(core: Sensor) -> None:
    """A held symbol with prices of later sessions neither has them bought for the others nor hides what they lack."""
    later = calendar.sessions(date(2022, 12, 29), date(2023, 3, 1))
    with core.services.database.write() as connection:
        rows = [{"symbol": "KO", "session": day, "close": 60.0, "source": "test"} for day in later]
        connection.execute(sa.insert(daily_price), rows)
    now = calendar.complete_at(date(2023, 3, 1))
    assert reason(core.tick(now)) == "Nothing is missing as of 2022-12-28"
    core.delete(factor_exposure, factor_exposure.c.symbol == "HD")
    assert asked(core.tick(now)) == [{"factor_exposures": ["HD"]}]
