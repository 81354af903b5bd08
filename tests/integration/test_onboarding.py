"""Onboarding through Dagster: what is shared is computed once, and what is asked for again is made again."""

from dataclasses import replace
from datetime import date

import pytest

from assets.factor_models import SAMPLE_5
from sigma_dagster.planning.planner import Force
from tests.support.home import CORE, GROWTH, LAST, RESULT_TABLES, Home, assert_same, lot, lots
from tests.support.sources import RecordedSource

SYMBOLS = ["AAPL", "MSFT", "JNJ", "JPM", "PG", "KO", "XOM", "HD", "UNH", "WMT"]
HISTORY = 5


def test_factor_beta_cache_hit(home: Home) -> None:
    """A symbol that any portfolio brought in costs the next one no regression, no row and no provider call."""
    first = home.onboard(lots("AAPL"), "first")
    before = home.rows("factor_exposure", "symbol_volatility", "daily_price")
    source = RecordedSource()
    second = home.onboard([lot("AAPL", 3, "2022-01-03")], "second", source=source).to_json()
    assert first.to_json()["regressions_run"] == HISTORY
    assert second["symbols"] == {"held": 1, "computed": 0, "cached": 1}
    assert second["records_skipped_cached"] == HISTORY
    assert second["records_stored"] == second["regressions_run"] == second["api_calls"] == 0
    assert second["cache_hit_rate"] == 1.0
    assert source.asked == []
    assert home.rows("factor_exposure", "symbol_volatility", "daily_price") == before


def test_trap_01_a_new_portfolio_with_new_ids_shares_what_its_symbols_have(core_home: Home) -> None:
    """Results are keyed by symbol, session and model: other ids, quantities and dates are hits all the same."""
    before = core_home.rows("factor_exposure", "symbol_volatility")
    held = core_home.query("SELECT id FROM lot")
    done = core_home.onboard([lot(symbol, -7, "2022-12-01") for symbol in SYMBOLS[:4]], "other")
    assert not set(held) & set(
        core_home.query("SELECT p.id FROM lot p JOIN portfolio f ON f.id = portfolio_id WHERE name = 'other'")
    )
    assert done.tally.regressions_run == 0
    assert done.tally.numbers()["records_skipped_cached"] == 4 * HISTORY
    assert core_home.rows("factor_exposure", "symbol_volatility") == before
    assert len(core_home.numbers("portfolio_volatility", "other")) == HISTORY


def test_trap_04_every_method_and_model_is_cached(core_home: Home) -> None:
    """What counts as complete follows from the model: a changed one is computed beside the old, and then a hit too."""
    old = core_home.numbers("factor_exposure")
    for model in (
        replace(SAMPLE_5, method="ridge"),
        replace(SAMPLE_5, method="univariate"),
        replace(SAMPLE_5, factors=SAMPLE_5.factors[:2]),
    ):
        assert core_home.onboard(lots("AAPL KO"), "pair", model=model).tally.regressions_run == 2 * HISTORY
        again = core_home.onboard(lots("AAPL KO"), "pair", model=model).to_json()
        assert (again["regressions_run"], again["cache_hit_rate"]) == (0, 1.0), model
    assert [row for row in core_home.numbers("factor_exposure") if row["model"] == SAMPLE_5.key] == old
    assert core_home.count("factor_exposure") == len(old) + 3 * 2 * HISTORY


def test_onboard_shared_positions(home: Home, other_home: Home) -> None:
    """B shares 8 of its 10 symbols with A: 2 are fetched and computed, as Dagster's records and the rows both say."""
    home.onboard(lots(SYMBOLS), "A")
    recorded = {asset: home.recorded(asset) for asset in ("daily_prices", "factor_exposures", "symbol_volatility")}
    b = lots([*SYMBOLS[:8], "AMD", "PEP"])
    source = RecordedSource()
    done = home.onboard(b, "B", source=source).to_json()

    assert done["symbols"] == {"held": 10, "computed": 2, "cached": 8}
    assert source.fetched == ["AMD", "PEP"]
    assert (done["api_calls"], done["api_calls_saved"]) == (2, 8)
    assert done["records_stored"] == done["regressions_run"] == 2 * HISTORY
    for asset, before in recorded.items():
        new = home.recorded(asset) - before
        assert {key.split("|")[1] for key in new} == {"AMD", "PEP"}, asset
        assert set(new.values()) == {1}
    assert home.recorded("portfolio_factor_exposures").keys() == home.partitions_with_row("portfolio_factor_exposures")
    assert home.latest_metadata("portfolio_factor_exposures")["computed"] == 2

    other_home.onboard(b, "B")
    held = {one.symbol for one in b}
    for table in RESULT_TABLES:
        portfolio = "B" if table.startswith("portfolio") else None
        shared = [row for row in home.numbers(table, portfolio) if row.get("symbol", "AMD") in held]
        assert_same(shared, other_home.numbers(table, portfolio), 1e-12)


def test_onboarding_again_does_nothing(full_home: Home) -> None:
    """The second time costs 0 regressions, 0 provider calls, 0 rows and not even a run; that it was is noted."""
    noted = {"onboarding", "sqlite_sequence"}
    before, events = full_home.rows(), full_home.events()
    source = RecordedSource()
    done = full_home.onboard(GROWTH, source=source).to_json()
    assert source.asked == []
    after = full_home.rows()
    assert {name: rows for name, rows in after.items() if name not in noted} == {
        name: rows for name, rows in before.items() if name not in noted
    }
    assert full_home.events() == events
    assert (done["regressions_run"], done["api_calls"], done["records_stored"]) == (0, 0, 0)
    assert (done["records_skipped_cached"], done["api_calls_saved"], done["cache_hit_rate"]) == (5475, 15, 1.0)
    assert done["symbols"] == {"held": 15, "computed": 0, "cached": 15}


def test_force_recalculation(full_home: Home) -> None:
    """Force makes exactly the 15 x 365 regressions of growth again, and its portfolio rows; stored prices stay."""
    tampered = (
        "UPDATE factor_exposure SET r_squared = -1, computed_at = 'before'",
        "UPDATE portfolio_factor_exposure SET gross = -1",
    )
    with full_home.sql() as connection:
        for statement in tampered:
            connection.execute(statement)
    prices, calls = full_home.rows("daily_price", "symbol"), RecordedSource()
    done = full_home.onboard(GROWTH, source=calls, force=Force(symbol_results=True, portfolio_results=True)).to_json()
    assert done["regressions_run"] == done["records_stored"] == 15 * 365
    assert (done["records_skipped_cached"], done["cache_hit_rate"]) == (0, 0.0)
    assert done["symbols"] == {"held": 15, "computed": 15, "cached": 0}
    assert (calls.asked, done["api_calls_saved"]) == ([], 15)
    stored = full_home.rows("daily_price", "symbol")
    assert stored["daily_price"] == prices["daily_price"]
    assert full_home.query("SELECT count(*) FROM factor_exposure WHERE r_squared = -1 OR computed_at = 'before'") == [
        (0,)
    ]
    assert full_home.query(
        "SELECT name, count(*), min(gross) > 0 FROM portfolio_factor_exposure JOIN portfolio ON id = portfolio_id "
        "WHERE name = 'growth' GROUP BY name"
    ) == [("growth", 365, 1)]
    assert full_home.count("factor_exposure") == 15 * 365


def test_force_prices_fetches_again(core_home: Home) -> None:
    """--force-prices is the way to buy prices again: each symbol and proxy once, results untouched while they agree."""
    before, source = core_home.rows(*RESULT_TABLES, "daily_price"), RecordedSource()
    done = core_home.onboard(CORE, source=source, force=Force(prices=True))
    assert len(source.asked) == len(set(source.fetched)) == done.tally.api_calls == 16
    assert done.tally.regressions_run == 0
    assert core_home.rows(*RESULT_TABLES, "daily_price") == before


def test_other_lots_replace_a_portfolio(core_home: Home) -> None:
    """The same name with other lots is another portfolio: its rows go and are computed again, its symbols' stay."""
    core_home.onboard(lots("AAPL KO"), "other")
    other, symbols = core_home.numbers("portfolio_factor_exposure", "other"), core_home.rows("factor_exposure")
    before = core_home.numbers("portfolio_factor_exposure", "core")
    done = core_home.onboard([lot("AAPL", 5), lot("MSFT", -2)], "core")
    after = core_home.numbers("portfolio_factor_exposure", "core")
    assert len(after) == len(before) == HISTORY
    assert all(one["gross"] != another["gross"] for one, another in zip(before, after, strict=True))
    assert done.tally.regressions_run == 0
    assert core_home.rows("factor_exposure") == symbols
    assert core_home.numbers("portfolio_factor_exposure", "other") == other
    assert core_home.query("SELECT symbol FROM lot WHERE portfolio_id NOT IN (SELECT id FROM portfolio)") == []
    assert core_home.recorded("portfolio_volatility")[f"{LAST}|core"] == 1  # its first was taken back


def test_equity_is_part_of_a_portfolio(core_home: Home) -> None:
    """Another equity changes every weight, so the rows are computed again, by a denominator that it is."""
    core_home.onboard(lots("AAPL KO"), "pair")
    core_home.onboard(lots("AAPL KO"), "pair", equity=50_000.0)
    rows = core_home.numbers("portfolio_factor_exposure", "pair")
    assert [row["denominator"] for row in rows] == [50_000.0] * HISTORY
    assert core_home.count("portfolio") == 2


def test_trap_06_force_replaces_the_block_and_nothing_else(core_home: Home) -> None:
    """Rows outside of what is forced, of other symbols and of earlier sessions, are neither deleted nor written."""
    with core_home.sql() as connection:
        connection.execute("UPDATE factor_exposure SET r_squared = -1")
        connection.execute("UPDATE symbol_volatility SET realized_vol_21d = -1")
    before = core_home.count("factor_exposure")
    core_home.onboard(
        lots("AAPL KO"), "pair", force=Force(symbol_results=True, portfolio_results=True), history_sessions="2"
    )
    made_again = {("AAPL", "2022-12-27"), ("AAPL", "2022-12-28"), ("KO", "2022-12-27"), ("KO", "2022-12-28")}
    for table, column in (("factor_exposure", "r_squared"), ("symbol_volatility", "realized_vol_21d")):
        assert set(core_home.query(f"SELECT symbol, session FROM {table} WHERE {column} <> -1")) == made_again  # noqa: S608
    assert core_home.count("factor_exposure") == before


def test_trap_05_a_partial_hit_needs_no_force(core_home: Home) -> None:
    """Rows missing among rows that exist are filled in; nothing collides, and the others are left alone."""
    full = core_home.numbers("factor_exposure")
    with core_home.sql() as connection:
        connection.execute(
            "DELETE FROM factor_exposure WHERE symbol = 'AAPL' AND session IN ('2022-12-21', '2022-12-27')"
        )
        connection.execute("DELETE FROM factor_exposure WHERE symbol = 'KO' AND session = '2022-12-28'")
        connection.execute("UPDATE factor_exposure SET computed_at = 'untouched'")
    done = core_home.onboard(lots("AAPL KO"), "pair").to_json()
    assert (done["regressions_run"], done["records_skipped_cached"], done["api_calls"]) == (3, 7, 0)
    assert done["symbols"]["computed"] == 2
    assert core_home.query("SELECT count(*) FROM factor_exposure WHERE computed_at <> 'untouched'") == [(3,)]
    assert_same(core_home.numbers("factor_exposure"), full, 1e-12)


# --- what a book may look like


def test_a_private_position_counts_at_its_entry_price(core_home: Home) -> None:
    """Private positions are never fetched, have no beta, and lower the coverage by their share of gross value."""
    source = RecordedSource()
    book = [lot("AAPL", 10), lot("LOFT-7", 2, price=5_000.0, asset_class="private")]
    done = core_home.onboard(book, "mixed", source=source)
    (price,) = core_home.query("SELECT close FROM daily_price WHERE symbol = 'AAPL' AND session = '2022-12-28'")[0]
    row = core_home.numbers("portfolio_factor_exposure", "mixed")[-1]
    assert source.asked == []
    assert done.tally.held == 1
    assert row["weight_basis"] == "mixed"
    assert row["gross"] == pytest.approx(10 * price + 10_000)
    assert row["weight_coverage"] == pytest.approx(10 * price / (10 * price + 10_000))


def test_a_portfolio_of_private_positions_says_why_it_has_no_exposures(core_home: Home) -> None:
    """Nothing is fetched or regressed, and the rows exist with their reason, so that nothing is left to do."""
    source = RecordedSource()
    book = [lot("LOFT-7", 2, price=5_000.0, asset_class="private")]
    done = core_home.onboard(book, "private", source=source).to_json()
    assert source.asked == []
    assert done["symbols"] == {"held": 0, "computed": 0, "cached": 0}
    assert done["cache_hit_rate"] == 1.0
    assert set(done["risk"]["exposures"].values()) == {None}
    row = core_home.numbers("portfolio_factor_exposure", "private")[-1]
    assert (row["weight_basis"], row["weight_coverage"], row["gross"]) == ("entry", 0.0, 10_000.0)
    assert row["reason"] == "No position has factor exposures"
    assert core_home.onboard(book, "private").tally.numbers()["records_stored"] == 0
    assert core_home.count("portfolio_factor_exposure") == 2 * HISTORY


def test_shorts_flip_the_sign_of_every_exposure(core_home: Home) -> None:
    """The sign lives in the quantity, once: a book sold short has the exposures of the book, times -1."""
    core_home.onboard(lots("AAPL KO"), "long")
    core_home.onboard(lots("AAPL KO", quantity=-10), "short")
    long, short = (core_home.numbers("portfolio_factor_exposure", name)[-1] for name in ("long", "short"))
    assert long["exposure_market"] > 0
    for column in (name for name in long if name.startswith("exposure_") and long[name] is not None):
        assert short[column] == pytest.approx(-long[column], rel=1e-12)
    assert (short["gross"], short["net"]) == (long["gross"], -long["net"])


def test_two_lots_of_a_day_add_up(core_home: Home) -> None:
    """A second lot of the same symbol, even of the same day, adds to the first; it overwrites nothing."""
    core_home.onboard([lot("AAPL", 4), lot("AAPL", 6), lot("KO", 10)], "lots")
    core_home.onboard(lots("AAPL KO"), "sum")
    assert_same(
        core_home.numbers("portfolio_factor_exposure", "lots"),
        core_home.numbers("portfolio_factor_exposure", "sum"),
        1e-12,
    )


def test_positions_count_from_entry_to_exit(core_home: Home) -> None:
    """A lot is held on `entry_date <= session < exit_date`; what entered on a Saturday counts from Monday."""
    book = [
        lot("KO", 10),
        lot("AAPL", 10, exit="2022-12-23"),
        lot("JPM", 10, "2022-12-24"),
        lot("PG", 10, "2022-12-22"),
    ]
    done = core_home.onboard(book, "moves")
    closes = {
        (s, d): close
        for s, d, close in core_home.query(
            "SELECT symbol, session, close FROM daily_price WHERE session > '2022-12-20'"
        )
    }
    gross = {row["session"]: row["gross"] for row in core_home.numbers("portfolio_factor_exposure", "moves")}
    held = {
        "2022-12-21": "KO AAPL",
        "2022-12-22": "KO AAPL PG",
        "2022-12-23": "KO PG",
        "2022-12-27": "KO PG JPM",
        "2022-12-28": "KO PG JPM",
    }
    assert gross.keys() == held.keys()
    for session, symbols in held.items():
        assert gross[session] == pytest.approx(10 * sum(closes[symbol, session] for symbol in symbols.split()))
    assert done.tally.held == 4


def test_a_portfolio_that_sold_everything_says_so(core_home: Home) -> None:
    """Rows without a position have a reason, so that a portfolio of the past is complete, not forever missing."""
    book = [lot("AAPL", 10, exit="2022-12-23"), lot("AMD", 10, "2020-01-02", exit="2021-01-04")]
    core_home.onboard(book, "gone")
    rows = core_home.numbers("portfolio_factor_exposure", "gone")
    assert [row["reason"] for row in rows] == [None, None, *["No active position"] * 3]
    gone = [lot("AMD", 10, "2020-01-02", exit="2021-01-04")]
    assert core_home.onboard(gone, "gone").tally.held == 0
    assert {row["reason"] for row in core_home.numbers("portfolio_factor_exposure", "gone")} == {"No active position"}


def test_lots_exited_before_the_window_ask_for_nothing(core_home: Home) -> None:
    """A symbol sold before the first target session is not fetched and not regressed."""
    source = RecordedSource()
    book = [lot("KO", 10), lot("AMD", 10, "2020-01-02", exit="2021-01-04")]
    done = core_home.onboard(book, "sold", source=source)
    assert source.asked == []
    assert done.tally.held == 1
    assert len(core_home.numbers("portfolio_factor_exposure", "sold")) == HISTORY


def test_rows_of_a_portfolio_start_at_its_first_entry(core_home: Home) -> None:
    """Before its first entry a portfolio does not exist: no row, no record; its symbols have all sessions."""
    core_home.onboard([lot("KO", 10, "2022-12-23"), lot("AAPL", 10, "2022-12-27")], "young")
    sessions = [row["session"] for row in core_home.numbers("portfolio_factor_exposure", "young")]
    assert sessions == ["2022-12-23", "2022-12-27", "2022-12-28"]
    core_home.assert_records_are_rows()


def test_a_book_worth_nothing_warns(core_home: Home) -> None:
    """Long and short of the same symbol and size are worth nothing: a warning and a reason, no division by zero."""
    done = core_home.onboard([lot("AAPL", 10), lot("AAPL", -10)], "flat").to_json()
    warnings = [text for level, text in core_home.run_logs("portfolio_block")[-1] if level == "WARNING"]
    assert set(warnings) == {"Total portfolio value is zero (no market value or entry value), cannot calculate returns"}
    assert done["risk"]["weight_basis"] is None
    assert set(done["risk"]["exposures"].values()) == {None}
    row = core_home.numbers("portfolio_factor_exposure", "flat")[-1]
    assert row["gross"] == 0.0
    assert row["reason"] == "The positions are worth nothing: no denominator for weights"


def test_a_factor_proxy_can_be_held(core_home: Home) -> None:
    """A proxy has prices only until it is held; then it is its own factor: beta 1, and no call is made for it."""
    assert core_home.query("SELECT count(*) FROM factor_exposure WHERE symbol = 'SP500'") == [(0,)]
    source = RecordedSource()
    done = core_home.onboard(lots("SP500 MTUM"), "proxies", source=source).to_json()
    assert source.asked == []
    assert done["regressions_run"] == 2 * HISTORY
    betas = core_home.query("SELECT beta_market, beta_momentum FROM factor_exposure WHERE symbol = 'SP500'")
    assert betas == [pytest.approx((1, 0), abs=1e-10)] * HISTORY
    (of_momentum,) = set(
        core_home.query(
            "SELECT round(beta_market, 9), round(beta_momentum, 9) FROM factor_exposure WHERE symbol = 'MTUM'"
        )
    )
    assert of_momentum == (1, 1)


# --- as of when


def test_an_earlier_as_of_session_is_filled_in_and_shares_the_rest(core_home: Home) -> None:
    """As of an earlier session, only sessions nobody has are computed, and the risk shown is as of then."""
    before = core_home.rows("factor_exposure")["factor_exposure"]
    done = core_home.onboard(lots("AAPL KO"), "pair", as_of=date(2022, 12, 22))
    new = [row[:2] for row in core_home.rows("factor_exposure")["factor_exposure"] if row not in before]
    assert sorted(new) == [(s, d) for s in ("AAPL", "KO") for d in ("2022-12-16", "2022-12-19", "2022-12-20")]
    assert done.risk.as_of == date(2022, 12, 22)
    assert done.tally.numbers()["records_skipped_cached"] == 4


def test_the_history_setting_says_how_many_sessions_are_computed(core_home: Home) -> None:
    """A longer SIGMA_HISTORY_SESSIONS asks for the sessions it adds, and fetches only the look-back it adds."""
    source = RecordedSource()
    done = core_home.onboard(lots("AAPL"), "one", source=source, history_sessions="8")
    assert done.tally.regressions_run == 3
    assert len(source.fetched) == 7  # the symbol and six proxies
    assert {(first, last) for _, first, last in source.asked} == {(date(2021, 11, 16), date(2021, 11, 18))}


def test_no_session_before_the_start_date_is_computed(home: Home) -> None:
    """SIGMA_START_DATE is the first partition: older prices are stored as look-back and are no partitions."""
    done = home.onboard(lots("AAPL"), start_date="2022-12-27")
    assert done.tally.regressions_run == 2
    assert min(home.query("SELECT session FROM daily_price"))[0] < "2022-01-01"
    assert {key.split("|")[0] for key in home.recorded("daily_prices")} == {"2022-12-27", "2022-12-28"}
