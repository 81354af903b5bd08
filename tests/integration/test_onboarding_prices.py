"""What is bought from the price source: only what nobody has, once; what it does not have is known, not asked again."""

from datetime import date

import pytest

from sigma_dagster.errors import BlockFailedError
from sigma_dagster.planning.planner import Force
from tests.support.home import RESULT_TABLES, Home, assert_same, lot, lots
from tests.support.sources import RecordedSource, at_price, without

TEN = ["AAPL", "MSFT", "JNJ", "JPM", "PG", "KO", "XOM", "HD", "UNH", "WMT"]
FIVE = ["AMD", "LLY", "BBY", "MRK", "PEP"]
PROXIES = ["SP500", "MTUM", "QUAL", "SIZE", "USMV", "VLUE"]


def test_market_data_granular_cache(core_home: Home) -> None:
    """10 of 15 symbols are complete, 5 have their last 100 sessions: exactly these 5 are fetched."""
    core_home.onboard(lots(FIVE), "five")
    with core_home.sql() as connection:
        ((cut,),) = connection.execute(
            "SELECT DISTINCT session FROM daily_price ORDER BY session DESC LIMIT 1 OFFSET 99"
        )
        for symbol in FIVE:
            connection.execute("DELETE FROM daily_price WHERE symbol = ? AND session < ?", (symbol, cut))
            assert connection.execute("SELECT count(*) FROM daily_price WHERE symbol = ?", (symbol,)).fetchone() == (
                100,
            )
    source = RecordedSource()
    done = core_home.onboard(lots([*TEN, *FIVE]), "all", source=source).to_json()
    assert sorted(source.fetched) == sorted(FIVE)
    assert all(last < date.fromisoformat(cut) for _, _, last in source.asked)
    assert (done["api_calls"], done["api_calls_saved"], done["symbols_fetched"]) == (5, 10, 5)
    assert "Granular cache check: 10/15 symbols fully cached" in [
        text for _, text in core_home.run_logs("symbol_block")[-1]
    ]
    assert set(core_home.query("SELECT count(*) FROM daily_price GROUP BY symbol")) == {(278,)}


def test_trap_08_one_new_symbol_fetches_no_other(core_home: Home) -> None:
    """A symbol that is new, beside ten that are known, is the only one fetched: there is no common date range."""
    source = RecordedSource()
    core_home.onboard(lots([*TEN, "AMD"]), "eleven", source=source)
    assert source.asked == [("AMD", date(2021, 11, 19), date(2022, 12, 28))]


def test_a_fresh_home_makes_one_call_a_symbol_and_proxy(home: Home) -> None:
    """One logical fetch a symbol, look-back included; the proxies of the model are symbols like any other."""
    source = RecordedSource()
    done = home.onboard(lots("AAPL KO"), source=source)
    assert sorted(source.fetched) == sorted([*PROXIES, "AAPL", "KO"])
    assert {span[1:] for span in source.asked} == {(date(2021, 11, 19), date(2022, 12, 28))}
    assert done.tally.api_calls == 8


def test_trap_09_a_young_listing_is_asked_for_once(core_home: Home) -> None:
    """Sessions before a listing are known to be empty: too little history is an answer, not a daily purchase."""
    young = without("AMD", lambda day: day < date(2022, 11, 1))
    done = core_home.onboard(lots("AMD KO"), "young", source=RecordedSource(young))
    absent = "SELECT absence, count(*) FROM daily_price WHERE symbol = 'AMD' AND close IS NULL GROUP BY absence"
    assert core_home.query(absent) == [("not listed yet", 238)]
    assert core_home.query("SELECT DISTINCT quality, beta_market FROM factor_exposure WHERE symbol = 'AMD'") == [
        ("insufficient_history", None)
    ]
    assert (done.tally.records_stored, done.tally.regressions_run) == (5, 0)
    again = RecordedSource(young)
    assert core_home.onboard(lots("AMD KO AAPL"), "other", source=again).tally.records_stored == 0
    assert again.asked == []
    core_home.assert_records_are_rows()


def test_trap_09_a_hole_is_asked_for_once_and_costs_one_return_each_side(core_home: Home) -> None:
    """A session without a trade is stored as such; the betas use the other sessions and n says how many."""
    hole = date(2022, 9, 15)
    core_home.onboard(lots("AMD"), "hole", source=RecordedSource(without("AMD", lambda day: day == hole)))
    assert core_home.query("SELECT absence FROM daily_price WHERE symbol = 'AMD' AND close IS NULL") == [("no trade",)]
    assert set(core_home.query("SELECT n_obs FROM factor_exposure WHERE symbol = 'AMD'")) == {(250,)}
    again = RecordedSource()
    core_home.onboard(lots("AMD KO"), "other", source=again)
    assert again.asked == []


def test_a_symbol_unknown_to_the_source_is_known_to_be_unknown(core_home: Home) -> None:
    """A source that cannot list its symbols may turn one down: stored once, with rows that say why they are empty."""
    source = RecordedSource()
    core_home.onboard(lots("NVDA KO"), "odd", source=source)
    assert source.fetched == ["NVDA"]
    assert core_home.query("SELECT status FROM symbol WHERE symbol = 'NVDA'") == [("unknown",)]
    assert set(core_home.query("SELECT quality, n_obs FROM factor_exposure WHERE symbol = 'NVDA'")) == {("failed", 0)}
    row = core_home.numbers("portfolio_factor_exposure", "odd")[-1]
    assert row["weight_basis"] == "mixed"
    assert 0 < row["weight_coverage"] < 1
    again = RecordedSource()
    core_home.onboard(lots("NVDA AAPL"), "again", source=again)
    assert again.asked == []


def test_trap_07_a_failed_fit_is_a_reason_and_never_zero(core_home: Home) -> None:
    """A price that never moves has no beta: null with the reason, and the portfolio's coverage shrinks."""
    flat = RecordedSource(at_price("AMD", lambda _row: 50.0))
    core_home.onboard(lots("AMD KO"), "flat", source=flat)
    rows = core_home.query(
        "SELECT DISTINCT beta_market, se_market, r_squared, residual_vol, quality, reason FROM factor_exposure "
        "WHERE symbol = 'AMD'"
    )
    assert rows == [(None, None, None, None, "failed", "Price did not move in the window")]
    ((ko,),) = core_home.query("SELECT close FROM daily_price WHERE symbol = 'KO' AND session = '2022-12-28'")
    row = core_home.numbers("portfolio_factor_exposure", "flat")[-1]
    assert row["weight_coverage"] == pytest.approx(ko / (ko + 50.0))


def test_trap_10_coverage_is_measured_from_rows(core_home: Home) -> None:
    """Coverage follows the stored rows: where a symbol's row has no beta, its share of gross value is missing."""
    core_home.onboard(lots("AAPL KO"), "pair")
    with core_home.sql() as connection:
        connection.execute(
            "UPDATE factor_exposure SET beta_market = NULL WHERE symbol = 'KO' AND session = '2022-12-28'"
        )
        connection.execute("DELETE FROM portfolio_factor_exposure")
    core_home.onboard(lots("AAPL KO"), "pair")
    closes = dict(core_home.query("SELECT symbol, close FROM daily_price WHERE session = '2022-12-28'"))
    before, last = core_home.numbers("portfolio_factor_exposure", "pair")[-2:]
    assert before["weight_coverage"] == pytest.approx(1.0, abs=1e-15)
    assert last["weight_coverage"] == pytest.approx(closes["AAPL"] / (closes["AAPL"] + closes["KO"]))


def test_trap_26_a_failing_source_fails_and_keeps_what_was_paid_for(core_home: Home) -> None:
    """The run fails by the symbol's name; the other symbols are bought and computed all the same, the portfolio waits,
    and the next onboarding buys what is left."""
    source = RecordedSource(broken=["BBY"])
    with pytest.raises(BlockFailedError, match=r"BBY: the provider answered 503\. Kept: the prices of 3 symbols"):
        core_home.onboard(lots("AMD LLY BBY MRK"), "four", source=source)
    assert source.fetched == ["AMD", "LLY", "BBY", "MRK"]
    assert core_home.statuses()["FAILURE"] == 1
    for symbol, count in (("AMD", 278), ("LLY", 278), ("BBY", 0), ("MRK", 278)):
        assert core_home.query("SELECT count(*) FROM daily_price WHERE symbol = ?", symbol) == [(count,)]
        rows = core_home.query("SELECT count(*) FROM factor_exposure WHERE symbol = ?", symbol)
        assert rows == [(5 if count else 0,)]
    assert core_home.numbers("portfolio_volatility", "four") == []
    core_home.assert_records_are_rows()

    better = RecordedSource()
    core_home.onboard(lots("AMD LLY BBY MRK"), "four", source=better)
    assert better.fetched == ["BBY"]
    core_home.assert_records_are_rows()


def test_trap_13_a_symbol_whose_fetch_failed_is_not_known(core_home: Home) -> None:
    """A symbol is marked when its prices are stored, in one transaction: a failure leaves no trace of it."""
    with pytest.raises(BlockFailedError):
        core_home.onboard(lots("BBY"), "one", source=RecordedSource(broken=["BBY"]))
    assert core_home.query("SELECT * FROM symbol WHERE symbol = 'BBY'") == []
    assert core_home.query("SELECT count(*) FROM factor_exposure WHERE symbol = 'BBY'") == [(0,)]


def test_trap_12_corrected_prices_reach_everything_that_rests_on_them(core_home: Home, other_home: Home) -> None:
    """After a correction, a forced purchase leaves the numbers of a home that never saw the wrong price."""
    wrong = RecordedSource(at_price("AMD", lambda row: row.close * (1.1 if row.session == date(2022, 12, 22) else 1)))
    core_home.onboard(lots("AMD KO"), "pair", source=wrong)
    bad = core_home.numbers("factor_exposure")
    done = core_home.onboard(lots("AMD KO"), "pair", source=RecordedSource(), force=Force(prices=True))
    assert done.tally.regressions_run == 4  # AMD's sessions from the corrected one on
    other_home.onboard(lots("AMD KO"), "pair")
    assert core_home.numbers("factor_exposure") != bad
    for table in RESULT_TABLES:
        name = "pair" if table.startswith("portfolio") else None
        here = [row for row in core_home.numbers(table, name) if row.get("symbol", "AMD") in ("AMD", "KO")]
        assert_same(here, other_home.numbers(table, name), 1e-12)


def test_trap_12_a_corrected_proxy_makes_every_beta_again(core_home: Home) -> None:
    """A factor proxy's price is an input of all betas and of no volatility but its own."""
    volatility = core_home.rows("symbol_volatility")
    wrong = RecordedSource(at_price("MTUM", lambda row: row.close * (1.1 if row.session == date(2022, 12, 27) else 1)))
    before = core_home.numbers("factor_exposure")
    done = core_home.onboard([lot(symbol) for symbol in TEN], "ten", source=wrong, force=Force(prices=True))
    assert done.tally.regressions_run == 2 * len(TEN)
    after = core_home.numbers("factor_exposure")
    changed = {
        (a["symbol"], a["session"])
        for a, b in zip(before, after, strict=True)
        if a["beta_momentum"] != b["beta_momentum"]
    }
    assert changed == {(symbol, day) for symbol in TEN for day in ("2022-12-27", "2022-12-28")}
    assert core_home.rows("symbol_volatility") == volatility
