"""Runs in processes of their own, as the daemon starts them: who lives, who is dead, and what stored runs may do."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.shared.block import Block
from resources.database import portfolios
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.sensors import Memory, evaluate
from sigma_dagster.planning.planner import Force
from sigma_dagster.runs import claims, liveness, request
from sigma_dagster.services import Services
from tests.support.home import LAST, ROOT, Home, lots
from tests.support.sources import RecordedSource

NOW = datetime(2022, 12, 29, tzinfo=UTC)

#: Executes a stored run as the process does that the daemon starts, and stays after a message until it may go on.
WORKER = """
import os, sys, time
from pathlib import Path
import sqlite3
import sqlalchemy as sa
@sa.event.listens_for(sa.Engine, "connect")
def without_waiting_for_the_disk(connection, _record):
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
run_id, message, folder = sys.argv[1:]
services = Services.of(Settings.from_environment(os.environ))
job = InMemoryJob(build_defs(services).resolve_job_def("symbol_block"))
with open_instance(services.settings) as instance:
    for event in execute_run_iterator(job, instance.get_run_by_id(run_id), instance):
        if (event.message or "").startswith(message):
            Path(folder, "at").touch()
            while not Path(folder, "go").exists():
                time.sleep(0.02)
"""


@dataclass
class Parts:
    """What a run of the home is made with."""

    services: Services
    instance: dg.DagsterInstance
    defs: dg.Definitions

    def block(self) -> Block:
        """What the stored portfolios lack first."""
        with self.services.database.read() as connection:
            stored = portfolios.load(connection)
        return self.services.plan(stored, LAST).blocks[0]

    def store_run(self, block: Block) -> str:
        """Store a run of the block that nobody executes yet."""
        request.register(self.instance, block)
        job = self.defs.resolve_job_def("symbol_block")
        subset = job.get_subset(asset_selection=set(request.selection(block)), asset_check_selection=set())
        run = self.instance.create_run_for_job(
            subset,
            run_config=request.run_config(block),
            tags={**job.run_tags, **request.partition_tags(block)},
            asset_selection=frozenset(request.selection(block)),
        )
        return run.run_id

    def kinds(self, run_id: str) -> list[str]:
        """The kinds of the run's events that say how it ended."""
        ends = {"PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED"}
        found = (entry.dagster_event for entry in self.instance.all_logs(run_id))
        return [event.event_type_value for event in found if event and event.event_type_value in ends]


@contextmanager
def parts_of(home: Home) -> Iterator[Parts]:
    services = home.environment()
    with home.instance() as instance:
        yield Parts(services, instance, build_defs(services))
    services.database.engine.dispose()


@pytest.fixture
def parts(core_home: Home) -> Iterator[Parts]:
    """Of a home whose second portfolio lacks a symbol."""
    with parts_of(core_home) as made:
        with made.services.database.write() as connection:
            portfolios.store(connection, "new", lots("AMD KO"), None, LAST)
        yield made


def worker(home: Home, run_id: str, message: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Start the run's process and wait until it has said the message."""
    _, environment = home.command()
    process = subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", WORKER, run_id, message, str(folder)], env=environment, cwd=ROOT
    )
    end = time.monotonic() + 300
    while not (folder / "at").exists():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)
    return process


#: After all of our code: the resources have been torn down, and Dagster has its last events yet to write.
LAST_MOMENT = "Finished steps in process"


def test_a_run_lives_until_its_last_event(core_home: Home, parts: Parts, tmp_path: Path) -> None:
    """Whoever looks after the last step sees a run that lives: it ends as a success and as nothing else."""
    block = parts.block()
    run_id = parts.store_run(block)
    process = worker(core_home, run_id, LAST_MOMENT, tmp_path)
    assert [run.run_id for run in claims.rivals(parts.instance, parts.services, block)] == [run_id]
    (tmp_path / "go").touch()
    assert process.wait(60) == 0
    assert claims.rivals(parts.instance, parts.services, block) == []
    assert parts.kinds(run_id) == ["PIPELINE_SUCCESS"]


def test_who_asks_for_what_a_run_computes_is_told_which_run(core_home: Home, parts: Parts, tmp_path: Path) -> None:
    """D3: while a run computes a portfolio that has no number yet, `sigma show` names the run; then it shows them."""
    run_id = parts.store_run(parts.block())
    process = worker(core_home, run_id, LAST_MOMENT, tmp_path)
    asked = core_home.sigma("show", "new")
    (tmp_path / "go").touch()
    assert process.wait(60) == 0
    assert asked.returncode == 2
    assert f"run {run_id[:8]} computes it now; ask again when it is done" in asked.stderr
    assert "computes it now" not in core_home.sigma_here("show", "new").stderr


def test_a_dead_run_is_found_at_once(core_home: Home, parts: Parts, tmp_path: Path) -> None:
    """Killed at the same moment, it is no rival to the first who looks, and has failed."""
    block = parts.block()
    run_id = parts.store_run(block)
    process = worker(core_home, run_id, LAST_MOMENT, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert claims.rivals(parts.instance, parts.services, block) == []
    assert parts.kinds(run_id) == ["PIPELINE_FAILURE"]


def test_a_run_that_was_given_up_is_not_executed(parts: Parts) -> None:
    """Marked as failed before its process had begun, it must not succeed afterwards."""
    run_id = parts.store_run(parts.block())
    run = parts.instance.get_run_by_id(run_id)
    assert run
    parts.instance.report_run_failed(run)
    with pytest.raises(dg.Failure, match="marked as FAILURE"):
        claims.begin(parts.instance, parts.services, run_id)


def test_a_process_that_executes_many_runs_keeps_the_lock_of_the_last_alone(parts: Parts) -> None:
    """A worker lives long: what has ended is released when the next run begins."""
    first, second = (parts.store_run(parts.block()) for _ in range(2))
    claims.begin(parts.instance, parts.services, first)
    run = parts.instance.get_run_by_id(first)
    assert run
    parts.instance.report_run_failed(run)
    claims.begin(parts.instance, parts.services, second)
    assert liveness.living(parts.services) == {second: True}
    liveness.release(parts.services, second)


# --- claims


def test_a_run_waits_for_what_another_has_claimed_and_then_does_nothing_twice(
    core_home: Home, parts: Parts, tmp_path: Path
) -> None:
    """A command claimed the block first: the daemon's run of it begins when that has ended, and finds all done."""
    block = parts.block()
    run_id = parts.store_run(block)
    with liveness.alive(parts.services, "of a command"):
        assert claims.claim(parts.instance, parts.services, "of a command", block)
        process = worker(core_home, run_id, "Starting initialization of resources", tmp_path)
        (tmp_path / "go").touch()
        time.sleep(1)
        assert process.poll() is None
        assert not claims.claim(parts.instance, parts.services, "of nobody", block)
    assert process.wait(60) == 0
    assert parts.kinds(run_id) == ["PIPELINE_SUCCESS"]


def test_a_run_that_is_ended_while_it_waits_is_canceled(core_home: Home, parts: Parts, tmp_path: Path) -> None:
    """Ended by a user before it got its claim: it stops waiting, and computes nothing."""
    block = parts.block()
    run_id = parts.store_run(block)
    with liveness.alive(parts.services, "of a command"):
        assert claims.claim(parts.instance, parts.services, "of a command", block)
        process = worker(core_home, run_id, "Starting initialization of resources", tmp_path)
        (tmp_path / "go").touch()
        run = parts.instance.get_run_by_id(run_id)
        assert run
        parts.instance.report_run_canceling(run)
        process.wait(60)
    assert parts.kinds(run_id) == ["PIPELINE_CANCELED"]
    assert core_home.query("SELECT count(*) FROM symbol WHERE symbol = 'AMD'") == [(0,)]


def test_the_claim_of_a_killed_run_is_taken_over(core_home: Home, parts: Parts, tmp_path: Path) -> None:
    """Its process is gone: the next who asks gets the block, and the run has failed."""
    block = parts.block()
    run_id = parts.store_run(block)
    process = worker(core_home, run_id, "Started execution of step", tmp_path)
    with liveness.alive(parts.services, "next"):
        assert not claims.claim(parts.instance, parts.services, "next", block)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert claims.claim(parts.instance, parts.services, "next", block)
    assert parts.kinds(run_id) == ["PIPELINE_FAILURE"]


# --- stored runs of any kind

KEYS = {"keys": ["KO"], "first": "2022-12-23", "last": "2022-12-23"}
CONFIGS: list[Any] = [
    {"ops": []},
    {"ops": "daily_prices"},
    {"ops": {"daily_prices": 7}},
    {"ops": {"daily_prices": {"config": ["keys"]}}},
    {"ops": {"daily_prices": {"config": {"keys": ["KO"]}}}},
    {"ops": {"daily_prices": {"config": {**KEYS, "keys": {"KO": 1}}}}},
    {"ops": {"daily_prices": {"config": {**KEYS, "first": ["2022-12-23"]}}}},
    {"ops": {"daily_prices": {"config": {**KEYS, "cached_keys": "many"}}}},
    {"ops": {"daily_prices": {"config": {**KEYS, "first": "0001-01-01", "last": "9999-12-31"}}}},
    {"ops": {"daily_prices": {"config": {**KEYS, "first": "2022-12-24", "last": "2022-12-25"}}}},
    {"ops": {"daily_prices": {"config": {**KEYS, "first": "2022-12-24", "last": "2022-12-27"}}}},
    {"ops": {"no_asset": {"config": KEYS}}},
]
RANGES: list[Mapping[str, str]] = [
    {ASSET_PARTITION_RANGE_START_TAG: "nonsense", ASSET_PARTITION_RANGE_END_TAG: "nonsense"},
    {ASSET_PARTITION_RANGE_START_TAG: "|", ASSET_PARTITION_RANGE_END_TAG: "|"},
    {ASSET_PARTITION_RANGE_START_TAG: "2022-12-23|GONE", ASSET_PARTITION_RANGE_END_TAG: "2022-12-23|GONE"},
    {ASSET_PARTITION_RANGE_START_TAG: "2022-13-45|KO", ASSET_PARTITION_RANGE_END_TAG: "2022-13-45|KO"},
]
SELECTIONS = [None, frozenset({dg.AssetKey("daily_prices")}), frozenset({dg.AssetKey("no_asset")}), frozenset()]
STATUSES = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]


def test_no_stored_run_stops_the_sensor_or_a_command(core_home: Home) -> None:
    """Whatever is written in a run's config, tags and selection: the sensor asks, and a command computes."""
    with parts_of(core_home) as parts:
        tags = parts.defs.resolve_job_def("symbol_block").run_tags
        kinds = [(config, {}) for config in CONFIGS] + [({}, found) for found in RANGES]
        for job in ("symbol_block", "no_job"):
            for selection in SELECTIONS:
                for number, (config, more) in enumerate(kinds):
                    parts.instance.add_run(
                        dg.DagsterRun(
                            job,
                            run_config=config,
                            tags={**tags, **more},
                            status=STATUSES[number % len(STATUSES)],
                            asset_selection=selection,
                        )
                    )
        context = dg.build_sensor_context(instance=parts.instance, definitions=parts.defs)
        assert evaluate(context, parts.services, NOW, Memory()).skip_reason
    done = core_home.onboard(lots("AMD KO"))
    assert done.tally.records_stored == 5


def test_a_run_that_no_daemon_will_start_is_not_waited_for(core_home: Home, parts: Parts) -> None:
    """Nothing starts it while no daemon runs: a command does the work itself."""
    block = parts.block()
    run = parts.instance.get_run_by_id(parts.store_run(block))
    assert run
    parts.instance.add_run(
        dg.DagsterRun(
            run.job_name,
            run_config=run.run_config,
            tags=run.tags,
            status=dg.DagsterRunStatus.STARTING,
            asset_selection=run.asset_selection,
        )
    )
    done = core_home.onboard(lots("AMD KO"), "new")
    assert done.tally.records_stored == 5
    assert not any(line.startswith("Waiting") for line in core_home.said)


def test_a_run_that_was_looked_after_is_never_read_again(core_home: Home) -> None:
    """The sensor looks every five seconds, and failed runs are kept for ever: it reads only those that are due."""
    with parts_of(core_home) as parts:
        tags = parts.defs.resolve_job_def("symbol_block").run_tags
        failed = dg.DagsterRun("symbol_block", tags=tags, status=dg.DagsterRunStatus.FAILURE)
        parts.instance.add_run(failed)
        context = dg.build_sensor_context(instance=parts.instance, definitions=parts.defs)
        cursor = evaluate(context, parts.services, NOW, Memory()).cursor
        with parts.instance.run_storage.connect() as connection:
            connection.exec_driver_sql("UPDATE runs SET run_body = 'unreadable' WHERE run_id = ?", (failed.run_id,))
        context = dg.build_sensor_context(instance=parts.instance, definitions=parts.defs, cursor=cursor)
        assert evaluate(context, parts.services, NOW, Memory()).skip_reason


# --- force


def test_what_was_forced_is_not_forced_again_after_a_wait(core_home: Home) -> None:
    """The second block waits for another's run; the first is not bought a second time when the wait is over."""
    source = RecordedSource()
    with parts_of(core_home) as parts:
        with parts.services.database.read() as connection:
            stored = portfolios.load(connection)
        settings = {"max_symbols_per_run": "4"}
        planned = core_home.environment(**settings).plan(stored, LAST, force=Force(prices=True)).blocks
        blocks = [block for block in planned if block.dimension != "portfolio"]
        assert [block.dimension for block in blocks] == ["proxy", "proxy", "symbol", "symbol", "symbol"]
        run_id = parts.store_run(blocks[3])
        liveness.hold(parts.services, run_id)

        def end_the_other() -> None:
            while not any(line.startswith("Waiting for run") for line in core_home.said):
                time.sleep(0.05)
            run = parts.instance.get_run_by_id(run_id)
            assert run
            parts.instance.report_run_failed(run)
            liveness.release(parts.services, run_id)

        other = threading.Thread(target=end_the_other)
        other.start()
        core_home.onboard(stored[0].lots, "core", source=source, force=Force(prices=True), **settings)
        other.join(60)
    assert sorted(source.fetched) == sorted(key for block in blocks for key in block.keys)
