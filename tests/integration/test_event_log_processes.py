"""Several processes on one event log: all record at once, all start at once, one is killed.

Run as a program, this file is one of those processes.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from resources.dagster_storage.event_log import (
    BATCH_SIZE,
    BatchedEventLogStorage,
    SqliteEventLog,
    record_materializations,
)

#: `make test-slow`.
pytestmark = pytest.mark.slow

PRICES = dg.AssetKey("daily_prices")


def open_storage(location: str) -> BatchedEventLogStorage:
    if "://" not in location:
        return SqliteEventLog(location)
    from resources.dagster_storage.event_log_postgres import PostgresEventLog

    return PostgresEventLog(location)


def partitions(first: int, end: int) -> list[tuple[dg.MultiPartitionKey, dict[str, int]]]:
    numbers = range(first, end)
    return [(dg.MultiPartitionKey({"date": "2022-12-28", "symbol": f"S{i:05d}"}), {"n": i}) for i in numbers]


def main(location: str, first: int, end: int, die_at: str, occurrence: int) -> None:
    """Record partitions; in the second batch `die_at` a statement, as if the machine failed."""
    seen = 0

    def die(_conn: object, _cursor: object, sql: str, *_: object) -> None:
        nonlocal seen
        seen += die_at in sql
        if seen == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    def until_second_batch() -> Iterator[tuple[dg.MultiPartitionKey, dict[str, int]]]:
        wanted = partitions(first, end)
        yield from wanted[:BATCH_SIZE]
        if die_at:
            sa.event.listen(sa.Engine, "before_cursor_execute", die)
            sa.event.listen(sa.Engine, "commit", lambda _: die(None, None, "COMMIT"))
        yield from wanted[BATCH_SIZE:]

    instance: Any = SimpleNamespace(event_log_storage=open_storage(location))
    record_materializations(instance, dg.DagsterRun("a_job", f"run-{first}"), PRICES, until_second_batch())


def start(location: str, first: int, end: int, die_at: str = "", occurrence: int = 1) -> subprocess.Popen[bytes]:
    arguments = json.dumps([location, first, end, die_at, occurrence])
    return subprocess.Popen([sys.executable, __file__, arguments])  # noqa: S603 (this file)


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory or a database, empty."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(BATCH_SIZE))
    if request.param == "sqlite":
        return str(tmp_path / "event_log")
    return str(request.getfixturevalue("new_postgres_url")())


def counts(location: str) -> dict[str, Counter[str]]:
    """How often each partition stands in each table."""
    storage = open_storage(location)
    with storage.index_connection() as connection:
        events = connection.execute(sa.text("SELECT partition FROM event_logs")).scalars().all()
        tag = "SELECT value FROM asset_event_tags WHERE key = 'dagster/partition/symbol'"
        symbols = connection.execute(sa.text(tag)).scalars().all()
    storage.dispose()
    return {"event_logs": Counter(events), "asset_event_tags": Counter(f"2022-12-28|{symbol}" for symbol in symbols)}


def once(first: int, end: int) -> dict[str, Counter[str]]:
    expected = Counter(str(key) for key, _ in partitions(first, end))
    return {"event_logs": expected, "asset_event_tags": expected}


DEATHS = [
    ("INSERT INTO event_logs", 2),  # a part of the events is inserted
    ("INSERT INTO asset_event_tags", 1),
    ("INSERT INTO asset_keys", 1),
    ("COMMIT", 1),
]


@pytest.mark.parametrize(("statement", "occurrence"), DEATHS)
def test_a_killed_process_leaves_whole_batches_and_repeating_the_rest_doubles_nothing(
    location: str, statement: str, occurrence: int
) -> None:
    """A kill while recording leaves whole batches; writing the rest leaves each partition recorded once."""
    open_storage(location).dispose()
    total = BATCH_SIZE * 2 + 500
    assert start(location, 0, total, statement, occurrence).wait(60) == -signal.SIGKILL
    assert counts(location) == once(0, BATCH_SIZE)

    storage = open_storage(location)
    done = len(storage.get_materialized_partitions(PRICES))
    assert start(location, done, total).wait(60) == 0
    assert counts(location) == once(0, total)
    latest = storage.get_latest_materialization_events([PRICES])[PRICES]
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == f"2022-12-28|S{total - 1:05d}"
    storage.dispose()


def test_four_processes_start_and_record_at_once(location: str) -> None:
    """Four processes that record at once lose and double nothing."""
    share = BATCH_SIZE + 500
    processes = [start(location, i * share, (i + 1) * share) for i in range(4)]
    assert [process.wait(90) for process in processes] == [0, 0, 0, 0]
    assert counts(location) == once(0, 4 * share)


def test_a_process_killed_while_it_makes_the_database_leaves_none(tmp_path: Path) -> None:
    """A kill while the event log is made leaves no half-made one behind."""
    location = str(tmp_path / "event_log")
    code = (
        "import os, signal, pathlib; pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        f"from resources.dagster_storage.event_log import SqliteEventLog; SqliteEventLog({location!r})"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603 (the lines above)
    assert killed.returncode == -signal.SIGKILL
    assert counts(location) == once(0, 0)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
