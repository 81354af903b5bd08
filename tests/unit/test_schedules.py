"""The schedules, evaluated without their daemon: they alone buy a new session, and say why there is nothing to buy."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from assets.factor_models import SAMPLE_5
from resources import calendar
from resources.database import portfolios
from resources.sources.base import PriceSource
from sigma_dagster.orchestration.schedules import EVERY_ASSET, build_schedules
from sigma_dagster.services import Services
from tests.support.home import LAST, Home, lots
from tests.support.sources import LiveSource

PROXIES = list(SAMPLE_5.proxies)
NEXT = date(2022, 12, 29)  # the session after the last that is stored


def at(day: date) -> datetime:
    """The moment of the day at which `daily_refresh` ticks."""
    return datetime(day.year, day.month, day.day, 17, 15, tzinfo=calendar.NEW_YORK)


@dataclass
class Schedule:
    """A schedule of a home."""

    services: Services
    instance: dg.DagsterInstance
    name: str

    def tick(self, now: datetime) -> list[dg.RunRequest]:
        """Evaluate it as the daemon does, and give the requests."""
        ticked = self._evaluate(now)
        assert not ticked.skip_message
        return list(ticked.run_requests or ())

    def reason(self, now: datetime) -> str:
        """Evaluate it as the daemon does, and give the reason why there is no request."""
        ticked = self._evaluate(now)
        assert not ticked.run_requests
        return str(ticked.skip_message)

    def _evaluate(self, now: datetime) -> ScheduleExecutionData:
        (definition,) = [made for made in build_schedules(self.services) if made.name == self.name]
        with dg.build_schedule_context(self.instance, scheduled_execution_time=now) as context:
            return definition.evaluate_tick(context)

    def add(self, name: str, symbols: str) -> None:
        """Store a portfolio as `sigma add` does."""
        with self.services.database.write() as connection:
            portfolios.store(connection, name, lots(symbols), None, LAST)


@contextmanager
def schedule(home: Home, name: str, source: PriceSource | None = None, **settings: str) -> Iterator[Schedule]:
    services = home.environment(source, **settings)
    with home.instance() as instance:
        yield Schedule(services, instance, name)
    services.database.engine.dispose()


def steps(request: dg.RunRequest) -> dict[str, tuple[list[str], str, str]]:
    """By asset, the keys and the first and last session that a run is to compute."""
    configs = {asset: op["config"] for asset, op in request.run_config["ops"].items()}
    return {asset: (config["keys"], config["first"], config["last"]) for asset, config in configs.items()}


@pytest.mark.parametrize(("source", "daily"), [(None, "STOPPED"), (LiveSource(), "RUNNING")], ids=["sample", "live"])
def test_the_daily_one_is_on_for_a_source_that_follows_the_market(
    home: Home, source: PriceSource | None, daily: str
) -> None:
    """`make dev` with a live source is complete; where there is never a new session nothing ticks in vain."""
    made = {
        one.name: (one.default_status.value, one.execution_timezone)
        for one in build_schedules(home.environment(source))
    }
    assert made == {"daily_refresh": (daily, "America/New_York"), "preload": ("STOPPED", "America/New_York")}


def test_the_daily_one_asks_again_the_same_evening_and_the_next_morning(home: Home) -> None:
    """After the close, later that evening, and on the morning after each session; a Friday's is Saturday."""
    (daily,) = [one for one in build_schedules(home.environment(LiveSource())) if one.name == "daily_refresh"]
    ticks = daily.execution_timezone and daily.cron_schedule
    assert ticks == ["15 17 * * 1-5", "15 21 * * 1-5", "15 7 * * 2-6"]


# --- daily_refresh


def test_the_new_session_is_bought_once_for_everything_held(core_home: Home) -> None:
    """After the close that session alone is asked for, first of the factor proxies, then of all held symbols."""
    with schedule(core_home, "daily_refresh", LiveSource()) as daily:
        proxies, symbols = daily.tick(at(NEXT))
        assert steps(proxies) == {"proxy_prices": (PROXIES, "2022-12-29", "2022-12-29")}
        prices, exposures, volatility = steps(symbols).values()
        assert prices == exposures == volatility
        assert len(exposures[0]) == 10
        assert exposures[1:] == ("2022-12-29", "2022-12-29")


@pytest.mark.parametrize(
    ("today", "newest"),
    [
        (date(2022, 12, 28), "2022-12-28"),  # a Wednesday
        (date(2022, 12, 26), "2022-12-23"),  # Christmas, observed on the Monday
    ],
)
def test_without_a_newer_session_it_says_so(core_home: Home, today: date, newest: str) -> None:
    """A holiday brings no session: the tick names the one that everything is computed for."""
    with schedule(core_home, "daily_refresh", LiveSource(), history_sessions="3") as daily:
        assert daily.reason(at(today)) == f"Nothing is missing as of {newest}"


def test_the_end_of_the_source_is_told(core_home: Home) -> None:
    """The sample ends in 2022: years later the reason is that it has no more."""
    with schedule(core_home, "daily_refresh") as daily:
        expected = "Nothing is missing as of 2022-12-28, the last session of the sample"
        assert daily.reason(at(date(2026, 3, 2))).startswith(expected)


@pytest.mark.parametrize(
    ("today", "newest"),
    [
        (date(2022, 11, 25), "2022-11-25"),  # the half-day after Thanksgiving
        (date(2022, 11, 24), "2022-11-23"),  # Thanksgiving
    ],
)
def test_a_half_day_is_a_session_and_a_holiday_is_none(home: Home, today: date, newest: str) -> None:
    """The tick of a half-day asks for that day; the tick of a holiday ends with the session before it."""
    with schedule(home, "daily_refresh", LiveSource(), start_date="2022-11-01") as daily:
        daily.add("book", "KO")
        assert {last for request in daily.tick(at(today)) for _, _, last in steps(request).values()} == {newest}


def test_a_run_in_progress_is_not_doubled(core_home: Home) -> None:
    """A second tick, while the runs of the first are being started, names those runs."""
    with schedule(core_home, "daily_refresh", LiveSource()) as daily:
        runs = [
            dg.DagsterRun(
                EVERY_ASSET,
                run_config=request.run_config,
                tags=request.tags,
                status=dg.DagsterRunStatus.STARTING,
                asset_selection=frozenset(request.asset_selection or ()),
            )
            for request in daily.tick(at(NEXT))
        ]
        for run in runs:
            daily.instance.add_run(run)
        reason = daily.reason(at(NEXT))
        assert len(runs) == 2
        assert all(f"run {run.run_id[:8]} is in progress" in reason for run in runs)


def test_several_runs_can_be_asked_for_in_one_tick(core_home: Home) -> None:
    """More symbols than a run takes: Dagster accepts the requests, each with a key of its own."""
    with schedule(core_home, "daily_refresh", max_symbols_per_run="2") as daily:
        daily.add("book", "AMD BAC BBY CVX GE")
        requests = daily.tick(at(NEXT))
        assert [steps(request)["daily_prices"][0] for request in requests] == [["AMD", "BAC"], ["BBY", "CVX"], ["GE"]]
        assert len({request.run_key for request in requests}) == 3


# --- preload


def test_the_watch_list_is_computed_before_anybody_holds_it(home: Home) -> None:
    """Its symbols are asked for with the factor proxies, as if a portfolio held them."""
    with schedule(home, "preload", preload_symbols="amd, ko") as preload:
        proxies, request = preload.tick(at(NEXT))
        assert steps(proxies)["proxy_prices"][0] == PROXIES
        assert steps(request)["daily_prices"][0] == steps(request)["factor_exposures"][0] == ["AMD", "KO"]


def test_unknown_symbols_of_the_watch_list_are_named(core_home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    """They keep nobody from the others, and are named whether there is something to do or not."""
    with schedule(core_home, "preload", preload_symbols="KO,NOPE,AAPL") as preload:
        assert preload.reason(at(NEXT)).endswith("; not in the sample: NOPE")
    with schedule(core_home, "preload", preload_symbols="AMD,NOPE") as preload:
        (request,) = preload.tick(at(NEXT))
        assert steps(request)["daily_prices"][0] == ["AMD"]
    assert "not in the sample: NOPE" in capfd.readouterr().err
