"""What Dagster knows after an onboarding: every row recorded once, whatever happened on the way; logs and numbers."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Barrier

import dagster as dg
import pytest

from assets.catalogue import ASSETS as CATALOGUE
from assets.checks import OF_LIVE_SOURCES
from assets.shared.block import Block
from resources.dagster_storage.event_log import forget_materializations
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.runs import heal, request
from tests.support.home import CORE, LAST, PORTFOLIO_TABLES, ROOT, TABLES, Home, holdings, lot, lots

ASSETS = (*TABLES, *PORTFOLIO_TABLES)
PROXIES = ["SP500", "MTUM", "QUAL", "SIZE", "USMV", "VLUE"]


# --- growth after core, at all 365 sessions


def test_rows_and_records_are_the_same(read_home: Home) -> None:
    """A partition is materialized exactly where a row is, recorded once, over both onboardings."""
    read_home.assert_records_are_rows()
    for asset, partitions in (("factor_exposures", 15 * 365), ("symbol_volatility", 15 * 365)):
        assert len(read_home.recorded(asset)) == partitions
    for asset in PORTFOLIO_TABLES:
        assert len(read_home.recorded(asset)) == 2 * 365


def test_recorded_prices_cover_every_target_session(read_home: Home) -> None:
    """Prices are recorded for the target sessions, of the 15 held symbols and of the 6 proxies, and for no others."""
    held = read_home.recorded("factor_exposures").keys()
    targets, symbols = ({key.split("|")[i] for key in held} for i in (0, 1))
    assert (len(targets), len(symbols)) == (365, 15)
    assert read_home.recorded("daily_prices").keys() == held
    assert read_home.recorded("proxy_prices").keys() == {f"{day}|{proxy}" for day in targets for proxy in PROXIES}


def test_dagster_lists_the_partitions_as_materialized(read_home: Home) -> None:
    """Dagster's own question, the one behind the UI's bars, gives the same answer as the event log."""
    with read_home.instance() as instance:
        for asset in ASSETS:
            assert instance.get_materialized_partitions(dg.AssetKey(asset)) == read_home.partitions_with_row(asset)
        assert set(instance.get_dynamic_partitions("portfolio")) == {"core", "growth"}


def test_the_run_pages_say_what_was_found_and_done(read_home: Home) -> None:
    """The lines that an operator looks for stand in the event log of growth's runs, a few a step."""
    symbols = read_home.run_logs("symbol_block")[-1]
    portfolios = read_home.run_logs("portfolio_block")[-1]
    for line in (
        "Granular cache check: 10/15 symbols fully cached",
        "  5 symbols need fetching (missing current data or insufficient history)",
        "Incremental: Fetching 638 sessions for 5 symbols",
        "Storing factor exposures for 15 symbols (force=False)",
        "Found 10/15 symbols with existing factor betas for 2021-07-20..2022-12-28 (skipping recalculation)",
        "Stored 1825 NEW factor exposure records",
        "Skipped 3650 records with cached betas (optimization)",
    ):
        assert ("INFO", line) in symbols, line
    assert len(symbols) <= 15
    assert len(portfolios) <= 10
    assert {level for level, _ in symbols + portfolios} == {"INFO"}


def test_entry_values_are_announced(core_home: Home) -> None:
    """Positions without a market price are weighed by entry value, and the log says how many of how many."""
    book = [*lots("AAPL KO"), lot("LOFT-7", asset_class="private")]
    core_home.onboard(book, "mixed")
    logged = core_home.run_logs("portfolio_block")[-1]
    assert ("INFO", "No market value for 1 of 3 positions, using entry values for weights (new portfolio)") in logged


def test_the_numbers_of_an_onboarding_travel_with_its_run(read_home: Home) -> None:
    """Dagster plots them: the latest materialization of portfolio_factor_exposures has growth's whole onboarding."""
    metadata = read_home.latest_metadata("portfolio_factor_exposures")
    assert {name: metadata[name] for name in ("held", "computed", "cached")} == {
        "held": 15,
        "computed": 5,
        "cached": 10,
    }
    assert (metadata["records_stored"], metadata["records_skipped_cached"]) == (1825, 3650)
    assert metadata["cache_hit_rate"] == 0.6667
    assert (metadata["symbols_fetched"], metadata["api_calls"], metadata["api_calls_saved"]) == (5, 5, 10)
    assert metadata["seconds"].keys() >= {"fetch", "compute", "write"}
    assert metadata["seconds"]["fetch"] > 0


@pytest.mark.parametrize("asset", ASSETS)
def test_a_partition_shows_its_row_as_text(read_home: Home, asset: str) -> None:
    """Dagster would draw the numbers of all keys as one line; `onboardings` is what it can plot."""
    with read_home.instance() as instance:
        found = instance.fetch_materializations(dg.AssetKey(asset), limit=50).records
    shown = [record.asset_materialization.metadata for record in found if record.asset_materialization]
    assert all(shown)
    named = {name: value.value for metadata in shown[1:] for name, value in metadata.items()}  # the newest has totals
    assert named
    assert {type(value) for value in named.values()} == {str}


def test_checks_have_answers(read_home: Home) -> None:
    """After an onboarding every asset check has been asked, and passed."""
    with read_home.instance() as instance:
        keys = [dg.AssetCheckKey(dg.AssetKey(asset.name), name) for asset in CATALOGUE for name in asset.checks]
        keys = [key for key in keys if key.name not in OF_LIVE_SOURCES]
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {key: record.status.value for key, record in found.items()} == dict.fromkeys(keys, "SUCCEEDED")


# --- what may go wrong

#: Runs a command of ours in a process where recording the materializations of one asset is the last thing it does.
KILLED = """
import os, signal, sys
from assets.shared import recorder
record, (fatal, count, *arguments) = recorder.record_materializations, sys.argv[1:]
def record_or_die(instance, run, asset_key, partitions, **more):
    if asset_key.to_user_string() == fatal:
        record(instance, run, asset_key, list(partitions)[:int(count)], **more)
        os.kill(os.getpid(), signal.SIGKILL)
    return record(instance, run, asset_key, partitions, **more)
recorder.record_materializations = record_or_die
sys.argv = ["sigma", *arguments]
from sigma_dagster.cli.main import main
main()
"""

SIGMA = "from sigma_dagster.cli.main import main; main()"

#: Runs a command of ours with a provider that answers only once a file exists.
SLOW = """
import sys, time
from pathlib import Path
from resources.sources import sample
from resources.sources.sample import SampleSource
go, *arguments = sys.argv[1:]
class Slow(SampleSource):
    def fetch(self, symbol, first, last):
        while not Path(go).exists():
            time.sleep(0.05)
        return super().fetch(symbol, first, last)
sample.SampleSource = Slow
sys.argv = ["sigma", *arguments]
from sigma_dagster.cli.main import main
main()
"""


def script(home: Home, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start Python code on the home."""
    _, environment = home.command()
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


# Killed after no partition was recorded, and after some.
@pytest.mark.parametrize(
    ("asset", "recorded"), [pytest.param("daily_prices", 0, marks=pytest.mark.slow), ("factor_exposures", 3)]
)
def test_trap_29_a_killed_onboarding_is_finished_by_the_next(
    core_home: Home, tmp_path: Path, asset: str, recorded: int
) -> None:
    """SIGKILL between rows and records: the next command marks the run failed, records its rows, does the rest."""
    file = holdings(tmp_path / "new.csv", "AMD", "LLY", "KO")
    child = script(core_home, KILLED, asset, str(recorded), "onboard", str(file))
    assert_killed(child)
    lost = core_home.partitions_with_row(asset) - core_home.recorded(asset).keys()
    assert lost  # rows without records: what is to be healed
    assert core_home.statuses()["STARTED"] == 1
    computed = core_home.query("SELECT * FROM factor_exposure")

    again = core_home.onboard(file)
    core_home.assert_records_are_rows()
    assert core_home.statuses() == {"SUCCESS": core_home.statuses()["SUCCESS"], "FAILURE": 1}
    assert {f"{LAST}|{symbol}" for symbol in ("AMD", "LLY")} <= core_home.recorded("factor_exposures").keys()
    assert set(computed) <= set(core_home.query("SELECT * FROM factor_exposure"))  # nothing was computed twice
    assert again.tally.records_stored == (10 if asset == "daily_prices" else 0)


def assert_killed(child: subprocess.Popen[str]) -> None:
    said = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, said


@pytest.mark.slow
def test_a_killed_run_is_healed_even_if_nothing_is_left_to_do(core_home: Home, tmp_path: Path) -> None:
    """All rows are there, only records are lost: the next command has no block to run and heals all the same."""
    file = holdings(tmp_path / "new.csv", "KO", "AAPL")
    child = script(core_home, KILLED, "portfolio_volatility", "2", "onboard", str(file))
    assert_killed(child)
    core_home.onboard(file)
    core_home.assert_records_are_rows()
    runs = core_home.statuses()
    core_home.onboard(file)
    assert core_home.statuses() == runs


def test_healing_waits_for_a_run_that_is_at_work_on_the_block(core_home: Home) -> None:
    """It may have stored rows that it is about to record: what a dead run left there is recorded after it, once."""
    block = Block.of_keys(["factor_exposures"], ["KO"], LAST, LAST)
    services, partition = core_home.environment(), dg.MultiPartitionKey({"date": f"{LAST}", "symbol": "KO"})

    def run(status: dg.DagsterRunStatus) -> dg.DagsterRun:
        told = request.run_tags(block, onboarding={}, launched_by=request.LAUNCHED_BY_COMMAND)
        return dg.DagsterRun(
            "symbol_block",
            status=status,
            run_config=request.run_config(block),
            tags={**told, request.DEFER_TAG: "true", **request.TO_RECONCILE},
            asset_selection=frozenset(request.selection(block)),
        )

    def recorded() -> int:
        return core_home.recorded("factor_exposures")[f"{LAST}|KO"]

    with core_home.instance() as instance:
        while forget_materializations(instance, dg.AssetKey("factor_exposures"), [partition]):
            pass
        instance.add_run(run(dg.DagsterRunStatus.FAILURE))
        at_work = instance.add_run(run(dg.DagsterRunStatus.STARTED))
        graph = build_defs(services).resolve_asset_graph()
        assert heal.heal(instance, graph, services) == []
        assert recorded() == 0
        instance.delete_run(at_work.run_id)
        assert heal.heal(instance, graph, services) == [block]
        assert heal.heal(instance, graph, services) == []
        assert recorded() == 1
    services.database.engine.dispose()


@pytest.mark.slow
def test_two_processes_with_the_same_file_share_the_work(home: Home) -> None:
    """Started together, both succeed; the provider is called once a symbol in total, each partition recorded once."""
    both = [script(home, SIGMA, "onboard", str(CORE), "--json") for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    reports = [json.loads(stdout) for stdout, _ in answers]
    assert sum(report["api_calls"] for report in reports) == 16
    assert sum(report["regressions_run"] for report in reports) == 50
    assert reports[0]["risk"] == reports[1]["risk"]
    home.assert_records_are_rows()


def test_two_processes_may_register_the_same_partitions_at_once(home: Home) -> None:
    """Dagster looks which keys exist and then inserts the others: who comes second in between does not fail."""
    day = date(2022, 12, 28)
    rounds = [Block("symbol", tuple(f"S{i}-{j}" for j in range(20)), day, day, ()) for i in range(15)]
    together = Barrier(2)

    def register_all(_who: int) -> None:
        for block in rounds:
            together.wait(timeout=30)
            request.register(instance, block)

    with home.instance() as instance, ThreadPoolExecutor(2) as threads:
        list(threads.map(register_all, range(2)))
        found = instance.get_dynamic_partitions("symbol")
    assert sorted(found) == sorted(key for block in rounds for key in block.keys)


def test_who_comes_second_waits_and_finds_it_done(core_home: Home, tmp_path: Path) -> None:
    """While a run covers a part of the work, another process says that it waits, and then computes none of it again.

    Cached is what existed when it asked: KO, of the portfolio that was there before.
    """
    go, file = tmp_path / "go", holdings(tmp_path / "new.csv", "AMD", "LLY", "KO")
    first = script(core_home, SLOW, str(go), "onboard", str(file), "--name", "first")
    wait_for(lambda: core_home.statuses()["STARTED"] == 1, first)
    second = script(core_home, SIGMA, "onboard", str(file), "--name", "second", "--json")
    assert second.stderr is not None
    said = [second.stderr.readline(), second.stderr.readline()]
    go.touch()
    stdout, rest = second.communicate(timeout=60)
    first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), rest
    assert said[0] == "Stored: portfolio second, 3 lots\n"
    assert said[1].startswith("Waiting for run ")
    report = json.loads(stdout)
    assert (report["api_calls"], report["regressions_run"], report["symbols"]["cached"]) == (0, 0, 1)
    core_home.assert_records_are_rows()
    assert core_home.count("portfolio") == 3


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
