"""The command line: what each command prints for people and for programs, and that JSON is alone on stdout."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from resources.sources.sample import SampleSource
from sigma_dagster.cli import main
from sigma_dagster.cli.app import app
from tests.support.home import CORE, GROWTH, ROOT, Home, holdings, lot

FACTORS = ["market", "momentum", "quality", "size", "low_volatility", "value"]
EMPTY = {"SIGMA_HISTORY_SESSIONS": "5", "SIGMA_START_DATE": "2022-12-01"}


def test_onboard_reports_under_fixed_names(core_home: Home, tmp_path: Path) -> None:
    """Programs read `onboard --json` by these names; JSON alone is on stdout, progress on stderr."""
    done = core_home.sigma("onboard", holdings(tmp_path / "new.csv", "AMD", "KO"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == [
        *("portfolio", "as_of", "positions", "symbols", "symbols_fetched", "api_calls", "api_calls_saved"),
        *("regressions_run", "records_stored", "records_skipped_cached", "cache_hit_rate", "seconds", "risk"),
    ]
    assert report["symbols"] == {"held": 2, "computed": 1, "cached": 1}
    assert list(report["seconds"]) == ["total", "fetch", "compute", "write", "orchestrate"]
    total, *parts = report["seconds"].values()
    assert sum(parts) == pytest.approx(total, abs=1e-5)
    assert {"weight_basis", "exposures", "realized_vol_21d", "realized_vol_63d"} <= report["risk"].keys()
    assert sorted(report["risk"]["exposures"]) == sorted(FACTORS)
    assert (report["portfolio"], report["as_of"], report["positions"]) == ("new", "2022-12-28", 2)
    assert "Stored: portfolio new, 2 lots" in done.stderr
    assert "Warning" not in done.stderr


def test_onboard_for_people(core_home: Home) -> None:
    """What was computed, what was reused, what it cost, and the risk."""
    done = core_home.sigma_here("onboard", CORE)
    assert done.returncode == 0, done.stderr
    for text in ("symbols cached", "provider calls saved", "regressions run", "low volatility", "2022-12-28"):
        assert text in done.stdout


def test_onboard_takes_its_options(core_home: Home, tmp_path: Path) -> None:
    """--name, --equity, --as-of and --force do what they say, --force-prices buys again."""
    file = holdings(tmp_path / "odd name!.csv", "AAPL", "KO")
    options = ("--name", "Ours 2", "--equity", "5000", "--as-of", "2022-12-23", "--json")
    first = json.loads(core_home.sigma_here("onboard", file, *options).stdout)
    assert (first["portfolio"], first["as_of"], first["regressions_run"]) == ("Ours 2", "2022-12-23", 4)
    assert core_home.query("SELECT equity FROM portfolio WHERE name = 'Ours 2'") == [(5000.0,)]
    forced = json.loads(core_home.sigma_here("onboard", file, *options, "--force").stdout)
    assert (forced["regressions_run"], forced["api_calls"], forced["cache_hit_rate"]) == (10, 0, 0.0)
    bought = json.loads(core_home.sigma_here("onboard", file, *options, "--force-prices").stdout)
    assert (bought["regressions_run"], bought["api_calls"]) == (0, 8)


def test_an_as_of_date_on_a_weekend_is_the_friday(core_home: Home) -> None:
    """Any day names the session on or before it."""
    report = json.loads(core_home.sigma_here("onboard", CORE, "--as-of", "2022-12-26", "--json").stdout)
    assert report["as_of"] == "2022-12-23"


def test_the_as_of_setting_holds_until_an_option_says_otherwise(core_home: Home) -> None:
    """SIGMA_AS_OF is the default of --as-of, for planning and for showing."""
    plan = json.loads(core_home.sigma_here("plan", "--json", as_of="2022-12-23").stdout)
    assert plan["as_of"] == "2022-12-23"
    shown = json.loads(core_home.sigma_here("show", "core", "--json", as_of="2022-12-23").stdout)
    assert shown["as_of"] == "2022-12-23"
    over = json.loads(
        core_home.sigma_here("show", "core", "--json", "--as-of", "2022-12-22", as_of="2022-12-23").stdout
    )
    assert over["as_of"] == "2022-12-22"


def test_show_gives_the_stored_risk(core_home: Home) -> None:
    """`show` reads the rows: the same numbers as in the database, under fixed names."""
    shown = json.loads(core_home.sigma_here("show", "core", "--json").stdout)
    required = {
        "portfolio",
        "as_of",
        "weight_basis",
        "weight_coverage",
        "exposures",
        "realized_vol_21d",
        "realized_vol_63d",
    }
    assert required <= shown.keys()
    row, volatility = (
        core_home.numbers(table, "core")[-1] for table in ("portfolio_factor_exposure", "portfolio_volatility")
    )
    assert shown["exposures"] == {factor: row[f"exposure_{factor}"] for factor in FACTORS}
    assert shown["weight_coverage"] == row["weight_coverage"]
    assert shown["realized_vol_21d"] == volatility["realized_vol_21d"]
    assert shown["realized_vol_63d"] == volatility["realized_vol_63d"]


def test_trap_31_zero_is_not_missing(core_home: Home) -> None:
    """A number that is 0 is printed as 0, a number that is not known as null or a dash; neither as the other."""
    last = "WHERE session = '2022-12-28'"
    with core_home.sql() as connection:
        connection.execute(f"UPDATE portfolio_factor_exposure SET exposure_market = 0, exposure_size = NULL {last}")  # noqa: S608
        connection.execute(f"UPDATE portfolio_volatility SET realized_vol_21d = 0, realized_vol_63d = NULL {last}")  # noqa: S608
    shown = json.loads(core_home.sigma_here("show", "core", "--json").stdout)
    assert (shown["exposures"]["market"], shown["exposures"]["size"]) == (0.0, None)
    assert (shown["realized_vol_21d"], shown["realized_vol_63d"]) == (0.0, None)
    lines = core_home.sigma_here("show", "core").stdout.splitlines()
    assert any("0.0%" in line for line in lines if "realized, last 21" in line or "realized volatility, 21" in line)
    assert all("0.0%" not in line for line in lines if "realized, last 63" in line or "realized volatility, 63" in line)


def test_plan_says_what_is_missing_under_fixed_names(core_home: Home) -> None:
    """A stored portfolio that lacks rows shows up with them; nothing is changed by asking."""
    with core_home.sql() as connection:
        connection.execute("DELETE FROM factor_exposure WHERE symbol = 'KO'")
        connection.execute("DELETE FROM daily_price WHERE symbol = 'AAPL' AND session < '2022-01-01'")
        connection.execute("DELETE FROM portfolio_volatility")
    before = core_home.rows()
    plan = json.loads(core_home.sigma_here("plan", "--json").stdout)
    assert plan == {
        "as_of": "2022-12-28",
        "fetch": [{"symbol": "AAPL", "sessions": 29}],
        "api_calls": 1,
        "exposures": {"symbols": 1, "rows": 5},
        "volatility": {"symbols": 0, "rows": 0},
        "portfolios": {"core": 5},
        "runs": 2,
        "sources": [{"source": "sample", "requests": 1, "days": 1, "note": ""}],
    }
    assert core_home.rows() == before
    people = core_home.sigma_here("plan", "--portfolio", "core").stdout
    assert "1 provider call" in people
    assert "AAPL" in people


def test_plan_of_a_file_is_what_onboarding_it_then_does(core_home: Home, tmp_path: Path) -> None:
    """The dry run's purchases, rows and runs are exactly those of the onboarding that follows."""
    file = holdings(tmp_path / "new.csv", "AAPL", "AMD", "PEP", "LOFT,1,900,2022-12-23,private", header=HEADER)
    before, events = core_home.rows(), core_home.events()
    plan = json.loads(core_home.sigma_here("plan", file, "--json").stdout)
    assert core_home.rows() == before
    assert core_home.events() == events
    runs = core_home.statuses()["SUCCESS"]

    report = json.loads(core_home.sigma_here("onboard", file, "--json").stdout)
    bought = dict(
        core_home.query("SELECT symbol, count(*) FROM daily_price WHERE symbol IN ('AMD', 'PEP') GROUP BY symbol")
    )
    assert {entry["symbol"]: entry["sessions"] for entry in plan["fetch"]} == bought
    assert plan["api_calls"] == report["api_calls"] == 2
    assert plan["exposures"] == {"symbols": 2, "rows": report["records_stored"]}
    assert plan["volatility"] == {"symbols": 2, "rows": 10}
    rows = [len(core_home.numbers(table, "new")) for table in ("portfolio_factor_exposure", "portfolio_volatility")]
    assert plan["portfolios"] == {"new": sum(rows)}
    assert plan["runs"] == core_home.statuses()["SUCCESS"] - runs == 2
    after = json.loads(core_home.sigma_here("plan", file, "--json").stdout)
    assert (after["fetch"], after["api_calls"], after["portfolios"], after["runs"]) == ([], 0, {}, 0)


HEADER = "symbol,quantity,entry_price,entry_date,asset_class"


def test_plan_says_when_nothing_is_missing(core_home: Home) -> None:
    """An empty plan is a sentence, not an empty table."""
    assert "Nothing is missing as of 2022-12-28" in core_home.sigma_here("plan").stdout


def test_portfolios_are_listed(core_home: Home) -> None:
    """Every stored portfolio by name, with how much it holds since when; before the first, how to begin."""
    core_home.onboard([lot("KO"), lot("KO", 2, "2020-02-03")], "second", equity=1000.0)
    listed = json.loads(core_home.sigma_here("portfolios", "--json").stdout)["portfolios"]
    assert [one["portfolio"] for one in listed] == ["core", "second"]
    assert listed[1] == {
        "portfolio": "second",
        "positions": 2,
        "symbols": 1,
        "first_entry": "2020-02-03",
        "equity": 1000.0,
    }
    assert "second" in core_home.sigma_here("portfolios").stdout


def test_before_the_first_portfolio_every_list_is_empty(tmp_path: Path) -> None:
    """On a new machine the reading commands work, and say how to begin."""
    home = Home(tmp_path / "new", EMPTY)
    assert json.loads(home.sigma_here("portfolios", "--json").stdout) == {"portfolios": []}
    assert "sigma onboard FILE" in home.sigma_here("portfolios").stdout
    assert "Nothing is missing" in home.sigma_here("plan").stdout
    assert not (home.path / "dagster").exists()


def test_planning_on_a_new_machine_leaves_no_portfolio_behind(tmp_path: Path) -> None:
    """A dry run before anything else says the full price, and what it asked the database left no row there."""
    home = Home(tmp_path / "new", EMPTY)
    plan = json.loads(home.sigma_here("plan", GROWTH, "--json").stdout)
    assert (plan["api_calls"], plan["exposures"]) == (21, {"symbols": 15, "rows": 75})
    assert {name for name, rows in home.rows().items() if rows} <= {"alembic_version"}


def test_other_columns_are_named_and_ignored(core_home: Home, tmp_path: Path) -> None:
    """A file with columns of the user's own is accepted; what was ignored is said once, on stderr."""
    header = "Symbol,Quantity,Entry Price,Entry Date,Sector"
    file = holdings(tmp_path / "mine.csv", "KO,1,50,2021-06-15,drinks", "AAPL,1,90,2021-06-15,phones", header=header)
    done = core_home.sigma_here("plan", file, "--json")
    assert done.stderr.count("Sector") == 1
    assert json.loads(done.stdout)["portfolios"] == {"mine": 10}


def test_help_explains_the_holdings_file() -> None:
    """`sigma onboard --help` shows an example, the required columns and the rules; `sigma --help` the commands."""
    home = Home(Path("/nowhere"), {})
    text = home.sigma_here("onboard", "--help").stdout
    for word in (
        "symbol,quantity,entry_price,entry_date",
        "AAPL,120,86.605,2020-06-10",
        "asset_class",
        "YYYY-MM-DD",
        "10 MB",
    ):
        assert word in text
    overview = home.sigma_here("--help").stdout
    for command in ("onboard", "plan", "show", "portfolios"):
        assert command in overview


def test_each_command_is_found_where_the_command_line_looks_for_it() -> None:
    """Only one module is imported for a command: the table that says which one names all commands, each rightly."""
    for module in dict.fromkeys(main.COMMANDS.values()):
        import_module(f"sigma_dagster.cli.{module}")
    registered = [
        (each.name or each.callback.__name__, each.callback) for each in app.registered_commands if each.callback
    ]
    found = {name: callback.__module__.rpartition(".")[2] for name, callback in registered}
    assert {**found, "symbols": "symbols", "db": "operating"} == main.COMMANDS  # groups


@pytest.mark.parametrize(
    "arguments", [["onboard", "--help"], ["plan", str(GROWTH)], ["show", "core"], ["onboard", str(CORE)]]
)
def test_commands_that_run_nothing_do_not_import_dagster(core_home: Home, arguments: list[str]) -> None:
    """Dagster takes a second to import: help, plan, show, and onboarding what is complete answer without it."""
    code = (
        "import sys\nfrom sigma_dagster.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended\n"
        "assert 'dagster' not in sys.modules"
    )
    _, environment = core_home.command()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_version_short_help_and_completion() -> None:
    """D4: what every command line has; -h works for each command too."""
    home = Home(Path("/nowhere"), {})
    assert home.sigma_here("--version").stdout.startswith("sigma-dagster ")
    assert "--version" in home.sigma_here("-h").stdout
    assert "--install-completion" in home.sigma_here("-h").stdout
    assert "--equity" in home.sigma_here("plan", "-h").stdout


def test_symbols_lists_what_the_source_has(core_home: Home) -> None:
    """D4: every symbol of the price source, for people and for programs."""
    listed = json.loads(core_home.sigma_here("symbols", "--known", "--json").stdout)
    assert listed["source"] == "sample"
    assert listed["symbols"] == sorted(SampleSource().symbols())
    assert set(listed["symbols"]) <= set(core_home.sigma_here("symbols", "--known").stdout.split())


def test_commands_to_copy_quote_their_arguments(core_home: Home, tmp_path: Path) -> None:
    """G4: a name with a blank comes back as one argument."""
    done = core_home.sigma_here("onboard", holdings(tmp_path / "new.csv", "KO"), "--name", " my book ")
    assert "sigma show 'my book'" in done.stdout
    assert core_home.sigma_here("show", "my book").returncode == 0
