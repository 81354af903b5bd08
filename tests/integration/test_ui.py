"""What the Dagster UI shows, by its own GraphQL: full bars, rows of skipped partitions, launches, tags, positions."""

import json
import re
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from assets.catalogue import ASSETS
from assets.factor_models import SAMPLE_5, FactorModel
from resources import calendar
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.runs import keys
from tests.support.home import CORE, GROWTH, LAST, Home, failure, lot, lots, shown
from tests.support.sources import RecordedSource
from tests.support.ui import asked_here, bars

DAYS = ["2022-12-21", "2022-12-22", "2022-12-23", "2022-12-27", "2022-12-28"]
PROXIES = list(SAMPLE_5.proxies)

SCHEMAS = """{ assetNodes { assetKey { path } metadataEntries { label } } }"""
RUNS = "{ runsOrError { ... on Runs { results { jobName tags { key value } } } } }"
SCAFFOLD = """query Scaffold($job: String!) { runConfigSchemaOrError(selector: {repositoryName: "__repository__",
    repositoryLocationName: "sigma_dagster", pipelineName: $job}) {
    ... on RunConfigSchema { rootDefaultYaml } ... on PythonError { message } } }"""


@pytest.fixture
def fresh(tmp_path: Path) -> Home:
    """A home that decides by itself where its partitions begin."""
    return Home(tmp_path / "sigma", {"SIGMA_HISTORY_SESSIONS": "5"})


# --- every bar is full


def test_after_the_demo_every_bar_is_full(read_home: Home) -> None:
    """Partitions begin with the results; proxies, which have none, are no keys of theirs."""
    with asked_here(read_home) as ask_here:
        found = bars(ask_here)
    assert found == {
        "proxy_prices": (6 * 365,) * 2,
        "daily_prices": (15 * 365,) * 2,
        "factor_exposures": (15 * 365,) * 2,
        "symbol_volatility": (15 * 365,) * 2,
        "portfolio_factor_exposures": (2 * 365,) * 2,
        "portfolio_volatility": (2 * 365,) * 2,
        "portfolio_report": (0, 2),  # of a running daemon: its sensor renews them (test_report)
    }


ANSWERS = """{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status } } } } } }"""


def test_every_check_has_answered_about_the_latest_rows(core_home: Home) -> None:
    """E1: of the last block too, whose checks answer in the same second in which it was recorded."""
    with asked_here(core_home) as ask_here:
        nodes = ask_here(ANSWERS)["assetNodes"]
    answers = {
        (node["assetKey"]["path"][0], check["name"]): check["executionForLatestMaterialization"]
        for node in nodes
        for check in node["assetChecksOrError"].get("checks", ())
    }
    assert len(answers) >= 10
    assert {key: answer and answer["status"] for key, answer in answers.items()} == dict.fromkeys(answers, "SUCCEEDED")


def test_the_first_date_stays_while_sessions_come(fresh: Home) -> None:
    """Day after day the bars stay full: the window of the results moves on, the first partition does not."""
    first = date(2022, 12, 14)
    book = lots("AAPL KO")
    for as_of in ("2022-12-20", "2022-12-21", "2022-12-22", "2022-12-28"):
        fresh.onboard(book, as_of=date.fromisoformat(as_of))
    assert fresh.query("SELECT value FROM setting WHERE name = 'first_date'") == [(first.isoformat(),)]
    days = len(calendar.sessions(first, LAST))
    assert days == 10  # twice the window
    with asked_here(fresh) as ask_here:
        found = bars(ask_here)
        assert found.pop("portfolio_report") == (0, 1)  # for the daemon
        for name, (materialized, partitions) in found.items():
            assert materialized == partitions, name
            assert partitions == days * {"proxy_prices": 6}.get(name, 1 if name.startswith("portfolio") else 2), name


def test_a_start_date_overrides_the_home_s(fresh: Home) -> None:
    """SIGMA_START_DATE decides, for a new home and for one that has begun."""
    fresh.onboard(lots("KO"), start_date="2022-12-23")
    assert fresh.query("SELECT value FROM setting") == [("2022-12-23",)]
    services = fresh.environment(start_date="2022-12-01")
    assert services.first_date(LAST) == date(2022, 12, 1)
    assert fresh.environment().first_date(LAST) == date(2022, 12, 23)
    services.database.engine.dispose()


def test_a_symbol_that_is_a_proxy_and_held_is_fetched_once_and_recorded_twice(fresh: Home) -> None:
    """Whether it is held with the first portfolio or later, and by force too."""
    source = RecordedSource()
    fresh.onboard(lots("MTUM KO"), "one", source=source)
    assert sorted(source.fetched) == sorted([*PROXIES, "KO"])
    fresh.onboard(lots("QUAL"), "two", source=source)
    assert sorted(source.fetched) == sorted([*PROXIES, "KO"])
    assert fresh.recorded("proxy_prices").keys() == {f"{day}|{proxy}" for day in DAYS for proxy in PROXIES}
    assert fresh.recorded("daily_prices") == dict.fromkeys(
        [f"{day}|{symbol}" for day in DAYS for symbol in ("MTUM", "KO", "QUAL")], 1
    )
    fresh.assert_records_are_rows()


def test_proxies_of_another_model_are_recorded_though_they_are_stored(fresh: Home) -> None:
    """A held symbol that becomes a proxy with a switch of models is fetched by nobody again, and has both records."""
    source = RecordedSource()
    fresh.onboard(lots("KO SP500"), source=source)
    other = FactorModel("other", (SAMPLE_5.factors[0],), min_obs=60)
    asked = len(source.asked)
    fresh.onboard([*lots("KO SP500"), lot("MTUM")], source=source, model=other)
    assert source.asked[asked:] == []
    assert {f"{day}|SP500" for day in DAYS} <= fresh.recorded("proxy_prices").keys()
    assert {f"{day}|MTUM" for day in DAYS} <= fresh.recorded("daily_prices").keys()


# --- what a partition shows


@pytest.mark.parametrize(
    ("asset", "key", "facts"),
    [
        ("factor_exposures", "KO", {"beta_market", "r_squared", "n_obs", "quality"}),
        ("symbol_volatility", "KO", {"realized_vol_21d"}),
        ("daily_prices", "KO", {"close", "source"}),
        ("proxy_prices", "SIZE", {"close", "source"}),
        ("portfolio_factor_exposures", "core", {"exposure_market", "weight_coverage"}),
        ("portfolio_volatility", "core", {"realized_vol_21d"}),
    ],
)
def test_a_skipped_partition_shows_its_row_still(core_home: Home, asset: str, key: str, facts: set[str]) -> None:
    """Materialized again and skipped, a partition says so and keeps what it showed; run totals are none of its own."""
    run = core_home.materialize(asset, f"2022-12-27|{key}", f"2022-12-28|{key}")
    assert run.success
    partitions = shown(run, asset)
    assert partitions.keys() == {f"2022-12-27|{key}", f"2022-12-28|{key}"}
    for metadata in partitions.values():
        assert metadata["skipped"] is True
        assert facts <= metadata.keys()
        assert not {"requested", "records_stored", "cache_hit_rate"} & metadata.keys()
    assert core_home.totals(asset)["records_skipped_cached"] == (275 if asset.endswith("_prices") else 2)


def test_a_single_partition_that_is_skipped_shows_its_row_still(core_home: Home) -> None:
    """One partition is launched in another way than a range: by its name."""
    run = core_home.materialize("factor_exposures", "2022-12-28|KO", "2022-12-28|KO")
    assert run.success
    (metadata,) = shown(run, "factor_exposures").values()
    assert metadata["skipped"] is True
    assert {"beta_market", "r_squared"} <= metadata.keys()


def test_a_planned_run_reports_its_totals_on_its_step(core_home: Home) -> None:
    """No partition among others carries them: the step's output does, and its rates have four digits."""
    with core_home.instance() as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="symbol_block"))
        events = [
            entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
        ]
        latest = instance.get_latest_materialization_event(dg.AssetKey("factor_exposures"))
    totals = {event.step_key: event.step_output_data.metadata for event in events if event}
    assert totals["factor_exposures"]["records_stored"].value == 50
    assert latest is not None
    metadata = latest.asset_materialization.metadata
    assert "records_stored" not in metadata
    assert re.fullmatch(r"0\.\d{1,4}", metadata["r_squared"].value)


# --- launching


def test_missing_look_back_names_what_to_launch(core_home: Home) -> None:
    """The advice works: the named partitions of prices bring the look-back, which has no partitions itself."""
    with core_home.sql() as connection:
        connection.execute("DELETE FROM daily_price WHERE symbol = 'AAPL' AND session < '2022-03-03'")
        connection.execute("DELETE FROM factor_exposure WHERE symbol = 'AAPL'")
    run = core_home.materialize("factor_exposures", "2022-12-27|AAPL", "2022-12-28|AAPL")
    assert "materialize daily_prices (factor proxies: proxy_prices) of 2022-12-27..2022-12-28 for AAPL" in failure(run)
    assert core_home.materialize("daily_prices", "2022-12-27|AAPL", "2022-12-28|AAPL").success
    assert core_home.materialize("factor_exposures", "2022-12-27|AAPL", "2022-12-28|AAPL").success


def _launch(home: Home, job: str, config: dict[str, dict[str, object]]) -> dg.ExecuteInProcessResult:
    """Run a job as its launchpad does, without a partition."""
    services = home.environment()
    with home.instance() as instance:
        made = build_defs(services).resolve_job_def(job)
        try:
            return made.execute_in_process(
                instance=instance,
                run_config={"ops": {name: {"config": of_asset} for name, of_asset in config.items()}},
                raise_on_error=False,
            )
        finally:
            services.database.engine.dispose()


@pytest.mark.parametrize(
    ("job", "first"), [("symbol_block", "daily_prices"), ("portfolio_block", "portfolio_factor_exposures")]
)
def test_a_launch_without_a_choice_says_what_to_choose(core_home: Home, job: str, first: str) -> None:
    """One line, at the first step, whatever it rests on."""
    said = failure(_launch(core_home, job, {})).partition(" / ")[0]
    assert said.startswith(f"Nothing is chosen: choose partitions of {first}")
    assert "\n" not in said


def test_the_launchpad_s_scaffold_works_with_keys_filled_in(core_home: Home) -> None:
    """A block of all sessions in one run; what it shows has no field of ours that a person should leave alone."""
    with asked_here(core_home) as ask_here:
        text = ask_here(SCAFFOLD, job="symbol_block")["runConfigSchemaOrError"]["rootDefaultYaml"]
    for word in ("force", "keys", "first", "last"):
        assert word in text
    for word in ("cached_keys", "cached_rows", "onboarding", "completed"):
        assert word not in text
    names = [asset.name for asset in ASSETS if asset.dimension == "symbol"]
    # This home's partitions begin before its results, where the proxies have no look-back.
    filled = {name: {"keys": ["AMD"], "force": False, "first": DAYS[0], "last": ""} for name in names}
    assert _launch(core_home, "symbol_block", filled).success
    assert {f"{day}|AMD" for day in DAYS} <= core_home.recorded("factor_exposures").keys()


def test_an_unknown_key_is_refused_and_can_be_forgotten(core_home: Home) -> None:
    """A mistyped symbol of the Add-a-partition dialog is not bought for 5 sessions of nothing, and goes away again."""
    run = core_home.materialize("daily_prices", "2022-12-27|APPL", "2022-12-28|APPL")
    assert "Not in the sample: APPL. Take away a key that was added by mistake: sigma symbols --forget APPL" in failure(
        run
    )
    assert core_home.query("SELECT count(*) FROM daily_price WHERE symbol = 'APPL'") == [(0,)]
    services = core_home.environment()
    with core_home.instance() as instance:
        assert keys.idle(instance, services) == ["APPL"]
        assert keys.forget(instance, services, "APPL")
        assert not keys.forget(instance, services, "APPL")
        assert keys.idle(instance, services) == []
        with pytest.raises(keys.KeyInUseError, match="AAPL is held"):
            keys.forget(instance, services, "AAPL")
    services.database.engine.dispose()
    with asked_here(core_home) as ask_here:
        materialized, partitions = bars(ask_here)["factor_exposures"]
    assert (materialized, partitions % 10) == (50, 0)


# --- what a person reads


def test_the_list_of_runs_is_for_people(core_home: Home) -> None:
    """Keys, sessions and who launched it are read at a glance; plumbing has the prefix that the UI hides."""
    with asked_here(core_home) as ask_here:
        runs = ask_here(RUNS)["runsOrError"]["results"]
    for run in runs:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        told = {key: value for key, value in tags.items() if not key.startswith((".dagster/", "dagster/"))}
        dimension = run["jobName"].removesuffix("_block")
        assert told.keys() == {dimension, "sessions", "launched_by"}
        assert told["sessions"] == "2022-12-21..2022-12-28"
        assert told["launched_by"] == "sigma"
        assert (
            told[dimension]
            == {
                "proxy": "SP500, MTUM, QUAL ... (6)",
                "symbol": "AAPL, MSFT, JNJ ... (10)",
                "portfolio": "core",
            }[dimension]
        )


def test_every_stored_portfolio_is_an_event_of_positions(core_home: Home) -> None:
    """The node is alive: lots, symbols and value at entry of each portfolio, once; a replaced one comes again."""
    core_home.onboard(GROWTH)
    core_home.onboard(CORE, equity=1_000_000)
    with core_home.instance() as instance:
        records = instance.fetch_materializations(dg.AssetKey("positions"), limit=10).records
    told = [{k: v.value for k, v in one.asset_materialization.metadata.items()} for one in records]
    assert [(one["portfolio"], one["lots"], one["symbols"]) for one in told] == [
        ("core", 10, 10),
        ("growth", 15, 15),
        ("core", 10, 10),
    ]
    value = core_home.query(
        "SELECT sum(abs(quantity) * entry_price) FROM lot JOIN portfolio p ON p.id = portfolio_id WHERE name = 'growth'"
    )
    assert told[1]["gross_value_at_entry"] == pytest.approx(value[0][0], abs=1e-4)


def test_table_assets_have_their_columns(core_home: Home) -> None:
    """The Columns tab of each asset shows its table."""
    with asked_here(core_home) as ask_here:
        nodes = ask_here(SCHEMAS)["assetNodes"]
    tables = [node for node in nodes if node["assetKey"]["path"] not in (["portfolio_report"], ["onboardings"])]
    assert len(tables) == len(ASSETS) + 1
    for node in tables:
        assert "dagster/column_schema" in {entry["label"] for entry in node["metadataEntries"]}, node["assetKey"]


def test_checks_carry_numbers(core_home: Home) -> None:
    """Each evaluation says how many offend, which the UI plots."""
    key = dg.AssetCheckKey(dg.AssetKey("daily_prices"), "prices_positive")
    with core_home.instance() as instance:
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    evaluation = json.loads(
        json.dumps(record.event.dagster_event.asset_check_evaluation_data.metadata["offenders"].value)
    )
    assert evaluation == 0
