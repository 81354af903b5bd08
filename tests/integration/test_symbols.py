"""`sigma symbols`, `sigma fetch` and another name for a symbol, as a person uses them."""

import json
from pathlib import Path

from tests.support.home import PORTFOLIO_TABLES, TABLES, Home, assert_same, holdings

RESULTS = ("daily_price", "factor_exposure", "symbol_volatility")


def test_symbols_says_what_the_source_has_before_anything_is_stored(home: Home) -> None:
    """A newcomer sees what can be held."""
    before = home.sigma_here("symbols").stdout
    assert "No price is stored yet" in before
    assert "the sample: " in before
    assert json.loads(home.sigma_here("symbols", "--json").stdout)["symbols"] == []


def test_symbols_says_what_is_stored(core_home: Home) -> None:
    """Coverage of each symbol, with its source, status and last fetch."""
    listed = {one["symbol"]: one for one in json.loads(core_home.sigma_here("symbols", "--json").stdout)["symbols"]}
    assert len(listed) == 16
    assert {name: listed["AAPL"][name] for name in ("last", "source", "status", "reason", "pending")} == {
        "last": "2022-12-28",
        "source": "sample",
        "status": "ok",
        "reason": None,
        "pending": None,
    }
    (line,) = [one for one in core_home.sigma_here("symbols").stdout.splitlines() if one.startswith("AAPL")]
    assert line.split()[1:5] == [listed["AAPL"]["first"], "2022-12-28", "sample", "ok"]


def test_fetch_asks_again_and_changes_nothing_that_is_the_same(core_home: Home) -> None:
    """A stock and a factor proxy, each as what it is: one call each, no price is another one, nothing is computed."""
    before = core_home.rows(*RESULTS, "portfolio_volatility")
    told = core_home.sigma_here("fetch", "aapl", "MTUM", "--json")
    assert told.returncode == 0, told.stderr
    data = json.loads(told.stdout)
    assert (data["symbols_asked"], data["api_calls"]) == (["AAPL", "MTUM"], 2)
    assert (data["prices_corrected"], data["regressions_run"]) == (0, 0)
    assert core_home.rows(*RESULTS, "portfolio_volatility") == before


def test_fetch_computes_what_it_corrects(core_home: Home) -> None:
    """A close that somebody broke in the database is the source's again, and so are the numbers."""
    good = core_home.numbers("factor_exposure")
    core_home.query("UPDATE daily_price SET close = close * 1.01 WHERE symbol = 'KO' AND session = '2022-12-23'")
    told = core_home.sigma_here("fetch", "KO")
    assert "1 symbol, with 1 provider call: 1 stored price changed, 3 regressions run" in told.stdout
    assert_same(core_home.numbers("factor_exposure"), good, 1e-12)


def test_fetch_refuses_what_it_cannot_ask(core_home: Home) -> None:
    """A symbol of which nothing is stored, and a source that is not in the chain: what to do is said, exit status 2."""
    unknown, other = core_home.sigma_here("fetch", "AMD"), core_home.sigma_here("fetch", "KO", "--from", "tiingo")
    assert (unknown.returncode, other.returncode) == (2, 2)
    assert "nothing is stored of AMD" in unknown.stderr
    assert "--from tiingo: it is not in SIGMA_PRICE_SOURCES, which names sample" in other.stderr


def test_another_name_keeps_history_lots_and_results(core_home: Home) -> None:
    """All rows of the old name are the new one's, in Dagster too; the file with the new name is known and costs
    nothing; a second time the old name is unknown."""
    before = {table: core_home.numbers(table) for table in RESULTS}
    counts = {table: core_home.count(table) for table in (*RESULTS, "portfolio_volatility")}
    told = core_home.sigma_here("symbols", "rename", "KO", "COKE")
    assert told.returncode == 0, told.stderr
    assert counts == {table: core_home.count(table) for table in counts}
    for table in RESULTS:
        renamed = [{**row, "symbol": "COKE"} if row["symbol"] == "KO" else row for row in before[table]]
        after = sorted(core_home.numbers(table), key=lambda row: (row["symbol"], row["session"]))
        assert after == sorted(renamed, key=lambda row: (row["symbol"], row["session"]))
    for asset in (*TABLES, *PORTFOLIO_TABLES):
        recorded = core_home.recorded(asset)
        assert recorded.keys() == core_home.partitions_with_row(asset), asset
        assert not any(key.endswith("|KO") for key in recorded)
    assert core_home.query("SELECT count(*) FROM lot WHERE symbol = 'COKE'") == [(1,)]
    assert core_home.sigma_here("refresh").returncode == 0
    assert core_home.query("SELECT * FROM deleted_result") == []
    with core_home.instance() as instance:
        assert "KO" not in instance.get_dynamic_partitions("symbol")
    again = core_home.sigma_here("symbols", "rename", "KO", "COKE")
    assert (again.returncode, "no prices of KO are stored" in again.stderr) == (2, True)
    refused = core_home.sigma_here("symbols", "rename", "MTUM", "MOM")
    assert (refused.returncode, "is a proxy of a factor model" in refused.stderr) == (2, True)
    assert core_home.sigma_here("plan").stdout.startswith("Nothing is missing")


def test_a_key_that_nobody_needs_is_forgotten(core_home: Home) -> None:
    """It was added by mistake: its partitions go; one that is held stays."""
    with core_home.instance() as instance:
        instance.add_dynamic_partitions("symbol", ["APPL"])
    assert core_home.sigma_here("symbols", "--forget", "APPL").stdout == "Forgotten: APPL\n"
    held = core_home.sigma_here("symbols", "--forget", "AAPL")
    assert (held.returncode, "held by a portfolio" in held.stderr) == (2, True)


def test_the_plan_says_what_each_source_would_be_asked(home: Home, tmp_path: Path) -> None:
    """Requests and days before anything is spent, also with a free key; no request is made."""
    book = holdings(tmp_path / "book.csv", *"ABCDEFGHIJ")
    free = {
        "price_sources": "alpha_vantage",
        "alpha_vantage_plan": "free",
        "alpha_vantage_url": "http://127.0.0.1:9/query",
    }
    keyed = Home(home.path, {**home.variables, "ALPHAVANTAGE_API_KEY": "key", "SIGMA_START_DATE": ""})
    told = keyed.sigma_here("plan", book, "--json", **free)
    assert told.returncode == 0, told.stderr
    data = json.loads(told.stdout)
    (source,) = data["sources"]
    assert (source["source"], source["requests"], source["days"]) == ("alpha_vantage", 54, 3)
    assert "99 returns (quality limited_history)" in source["note"]
    assert data["api_calls"] == 54
    assert (
        "alpha_vantage: 54 requests, 3 days within its limits: a free key"
        in keyed.sigma_here("plan", book, **free).stdout
    )


def test_what_the_sample_lacks_can_be_had_otherwise(home: Home, tmp_path: Path) -> None:
    """The message ends with the lines to type, for whichever source one has."""
    told = home.sigma_here("onboard", holdings(tmp_path / "book.csv", "NVDA"))
    assert told.returncode == 2
    for line in (
        "make install-yahoo && export SIGMA_PRICE_SOURCES=yahoo",
        "export SIGMA_PRICE_SOURCES=tiingo SIGMA_TIINGO_KEY=YOUR_KEY",
        "export SIGMA_PRICE_SOURCES=alpha_vantage ALPHAVANTAGE_API_KEY=YOUR_KEY",
        "export SIGMA_PRICE_SOURCES=files SIGMA_PRICE_FILES=FOLDER",
    ):
        assert line in told.stderr
