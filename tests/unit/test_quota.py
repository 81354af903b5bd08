"""The meter of provider requests: limits that hold for all processes, on SQLite and on Postgres."""

import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from resources.database.engine import Database
from resources.database.quota import DatabaseMeter
from resources.sources.base import QuotaSpentError
from resources.sources.meter import Limit, attempt

A_SECOND = Limit(1, 1.0, "1 request a second")
A_DAY = Limit(3, 86_400.0, "3 requests a day")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(database: Database, clock: Clock) -> DatabaseMeter:
    return DatabaseMeter(database, clock)


def make(meter: DatabaseMeter, *limits: Limit, account: str = "a") -> None:
    """Make an attempt that takes no time."""
    ticket = meter.begin(account, limits).ticket
    assert ticket is not None
    meter.end(ticket)


def test_a_limit_counts_from_the_end_of_an_attempt(meter: DatabaseMeter, clock: Clock) -> None:
    """Whatever held up a request on its way: the provider never sees two of them closer together than the limit."""
    turn = meter.begin("a", [A_SECOND])
    clock.now += 5
    assert turn.ticket is not None
    assert meter.begin("a", [A_SECOND]).wait == pytest.approx(1.0), "it is still under way"
    meter.end(turn.ticket)
    clock.now += 0.4
    refused = meter.begin("a", [A_SECOND])
    assert (refused.ticket, refused.rule) == (None, "1 request a second")
    assert refused.wait == pytest.approx(0.6)
    assert meter.begin("b", [A_SECOND]).ticket is not None, "another account has its own limits"
    clock.now += 0.6001
    make(meter, A_SECOND)


def test_an_attempt_whose_process_was_killed_is_over_after_a_while(meter: DatabaseMeter, clock: Clock) -> None:
    """It counts as made, and holds up nobody for good."""
    assert meter.begin("a", [A_SECOND]).ticket is not None
    clock.now += 39
    assert meter.begin("a", [A_SECOND]).ticket is None
    clock.now += 2
    make(meter, A_SECOND)
    assert meter.used("a", 86_400) == 2


def test_the_day_counts_attempts_and_says_when_it_is_over(meter: DatabaseMeter, clock: Clock) -> None:
    """The fourth of three is refused until the first is a day old, and counted by nobody."""
    for _ in range(3):
        make(meter, A_DAY)
        clock.now += 3600
    with pytest.raises(QuotaSpentError) as caught, attempt(meter, "vendor", "a", [A_DAY]):
        pytest.fail("the attempt was made")
    assert caught.value.until.timestamp() == pytest.approx(clock.now + 86_400 - 3 * 3600)
    assert "'vendor' takes no more requests before 2027-01-16" in str(caught.value)
    assert "UTC (3 requests a day)" in str(caught.value)
    assert (meter.used("a", 86_400), meter.used("a", 3_601), meter.used("a", 60)) == (3, 1, 0)
    clock.now += 86_400 - 3 * 3600 + 1
    make(meter, A_DAY)


def test_a_closed_account_gives_no_turn_until_its_time(meter: DatabaseMeter, clock: Clock, database: Database) -> None:
    """The provider has said so; it holds for every process, and for one that starts later."""
    until = meter.close("a", 3600, "50 requests an hour")
    other = DatabaseMeter(database, clock)
    turn = other.begin("a", [])
    assert (turn.ticket, turn.wait, turn.until, turn.rule) == (None, 3600, until, "50 requests an hour")
    clock.now += 3601
    make(other)


def test_notes_are_kept(meter: DatabaseMeter, database: Database) -> None:
    """By account and name; the last one counts."""
    assert meter.note("a", "plan") is None
    meter.set_note("a", "plan", "free")
    meter.set_note("a", "plan", "premium")
    meter.set_note("b", "plan", "free")
    assert DatabaseMeter(database).note("a", "plan") == "premium"


def test_old_attempts_are_forgotten(meter: DatabaseMeter, clock: Clock) -> None:
    """Two days of them are kept, however long it runs."""
    make(meter)
    clock.now += 3 * 86_400
    make(meter)
    assert meter.used("a", 30 * 86_400) == 1


PROCESS = """
import sys, time
from resources.database.engine import Database
from resources.database.quota import DatabaseMeter
from resources.sources.meter import Limit, attempt
meter = DatabaseMeter(Database(sys.argv[1]))
for _ in range(6):
    with attempt(meter, "vendor", "a", [Limit(1, 0.25, "4 a second"), Limit(11, 86400, "11 a day")]):
        print(time.time(), flush=True)
"""


def test_two_processes_keep_one_limit(database: Database) -> None:
    """Between any two attempts of either lies the limit's time, and the twelfth of eleven a day is not made."""
    url = database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", PROCESS, url]
    root = str(Path(__file__).parents[2])
    started = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own code
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    times = sorted(float(line) for out, _ in ended for line in out.split())
    assert len(times) == 11
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.25
    assert sorted(process.returncode for process in started) == [0, 1]
    assert sum("QuotaSpentError" in error for _, error in ended) == 1


def test_a_wait_of_seconds_is_waited_for(new_database: Callable[[], Database]) -> None:
    """An error is raised only for a wait that is none of seconds."""
    meter = DatabaseMeter(new_database())
    start = time.monotonic()
    for _ in range(3):
        with attempt(meter, "vendor", "a", [Limit(1, 0.1, "10 a second")]):
            pass
    assert time.monotonic() - start >= 0.2
