"""The assets as the Dagster UI runs them: the same ones, the same numbers, the same skip and force."""

import pytest

from tests.support.home import RESULT_TABLES, Home, assert_same, failure, lots
from tests.support.sources import RecordedSource

SYMBOL_ASSETS = "daily_prices factor_exposures symbol_volatility"
PORTFOLIO_ASSETS = "portfolio_factor_exposures portfolio_volatility"


@pytest.fixture
def pair_home(core_home: Home) -> Home:
    """AMD and PEP have no rows yet; the portfolio `pair` holds them and is not computed."""
    from resources.database import portfolios
    from tests.support.home import LAST

    with core_home.environment().database.write() as connection:
        portfolios.store(connection, "pair", lots("AMD PEP"), None, LAST)
    return core_home


def test_trap_32_the_ui_and_the_command_line_run_the_same_assets(pair_home: Home, other_home: Home) -> None:
    """A range materialized from the UI gives the rows, to the last digit or nearly, that onboarding gives elsewhere."""
    assert pair_home.materialize(SYMBOL_ASSETS, "2022-12-21|AMD", "2022-12-28|PEP").success
    assert pair_home.materialize(PORTFOLIO_ASSETS, "2022-12-21|pair", "2022-12-28|pair").success
    other_home.onboard(lots("AMD PEP"), "pair")
    for table in RESULT_TABLES:
        name = "pair" if table.startswith("portfolio") else None
        here = [row for row in pair_home.numbers(table, name) if row.get("symbol", "AMD") in ("AMD", "PEP")]
        assert_same(here, other_home.numbers(table, name), 1e-12)


def test_the_command_line_finds_what_the_ui_has_done(pair_home: Home) -> None:
    """What was materialized from the UI is neither computed again nor recorded again by an onboarding."""
    assert pair_home.materialize(SYMBOL_ASSETS, "2022-12-21|AMD", "2022-12-28|PEP").success
    source = RecordedSource()
    done = pair_home.onboard(lots("AMD PEP"), "pair", source=source).to_json()
    assert source.asked == []
    assert (done["regressions_run"], done["records_skipped_cached"]) == (0, 10)
    assert pair_home.recorded("factor_exposures")["2022-12-28|AMD"] == 1


def test_the_ui_skips_what_exists_and_dagster_records_the_range(core_home: Home) -> None:
    """A backfill over existing partitions computes nothing; Dagster, whose backfill waits for it, records the range."""
    before = core_home.rows("factor_exposure", "daily_price")
    source = RecordedSource()
    run = core_home.materialize(SYMBOL_ASSETS, "2022-12-27|AAPL", "2022-12-28|AAPL", source=source)
    assert run.success
    totals = core_home.totals("factor_exposures")
    assert (totals["records_skipped_cached"], totals["computed"]) == (2, 0)
    assert source.asked == []
    assert core_home.rows("factor_exposure", "daily_price") == before
    assert core_home.recorded("factor_exposures")["2022-12-28|AAPL"] == 2


def test_trap_06_force_in_the_run_config_replaces_exactly_the_partitions(core_home: Home) -> None:
    """Force can be asked for from the launchpad, and touches no row outside of the range."""
    with core_home.sql() as connection:
        connection.execute("UPDATE factor_exposure SET r_squared = -1")
    before = core_home.count("factor_exposure")
    run = core_home.materialize("factor_exposures", "2022-12-27|KO", "2022-12-28|KO", config={"force": True})
    assert run.success
    assert core_home.totals("factor_exposures")["computed"] == 2
    again = core_home.query("SELECT symbol, session FROM factor_exposure WHERE r_squared <> -1 ORDER BY session")
    assert again == [("KO", "2022-12-27"), ("KO", "2022-12-28")]
    assert core_home.count("factor_exposure") == before


def test_force_on_daily_prices_fetches_the_range_again(core_home: Home) -> None:
    """Forced prices are one call for the symbol; agreeing prices leave every result where it is."""
    before, source = core_home.rows(*RESULT_TABLES, "daily_price"), RecordedSource()
    run = core_home.materialize("daily_prices", "2022-12-27|KO", "2022-12-28|KO", source=source, config={"force": True})
    assert run.success
    assert core_home.totals("daily_prices")["api_calls"] == 1
    assert source.fetched == ["KO"]
    assert core_home.rows(*RESULT_TABLES, "daily_price") == before


def test_trap_02_a_hit_is_decided_from_keys(core_home: Home) -> None:
    """With every price taken away, computing what exists still succeeds: nothing was read, so nothing was computed."""
    before = core_home.rows("factor_exposure", "symbol_volatility")
    with core_home.sql() as connection:
        connection.execute("DELETE FROM daily_price")
    run = core_home.materialize("factor_exposures symbol_volatility", "2022-12-21|AAPL", "2022-12-28|AAPL")
    for asset in ("factor_exposures", "symbol_volatility"):
        assert run.success
        metadata = core_home.totals(asset)
        assert (metadata["computed"], metadata["records_stored"], metadata["records_skipped_cached"]) == (0, 0, 5)
        assert metadata["cache_hit_rate"] == 1.0
    assert core_home.rows("factor_exposure", "symbol_volatility") == before


def test_trap_11_a_window_that_nobody_fetched_is_an_error(core_home: Home) -> None:
    """Betas over a window with sessions that nobody has looked at would be silently short: the asset refuses."""
    with core_home.sql() as connection:
        connection.execute(
            "DELETE FROM daily_price WHERE symbol = 'AAPL' AND session BETWEEN '2022-03-01' AND '2022-03-03'"
        )
        connection.execute("DELETE FROM factor_exposure WHERE symbol = 'AAPL'")
    why = failure(core_home.materialize("factor_exposures", "2022-12-27|AAPL", "2022-12-28|AAPL"))
    assert "No prices are stored of AAPL for 3 sessions in 2022-03-01..2022-03-03" in why
    assert core_home.query("SELECT count(*) FROM factor_exposure WHERE symbol = 'AAPL'") == [(0,)]


def test_trap_25_portfolio_rows_wait_for_symbol_rows(pair_home: Home) -> None:
    """Run too early, the portfolio asset names the symbols without rows; it does not store an empty answer."""
    pair_home.materialize("daily_prices", "2022-12-21|AMD", "2022-12-28|PEP")
    run = pair_home.materialize(PORTFOLIO_ASSETS, "2022-12-27|pair", "2022-12-28|pair")
    assert "Portfolio pair holds AMD, PEP without factor exposures at 2 sessions in 2022-12-27..2022-12-28" in failure(
        run
    )
    assert pair_home.numbers("portfolio_factor_exposure", "pair") == []
    assert pair_home.recorded("portfolio_factor_exposures").keys() == {
        f"{day}|core" for day in ("2022-12-21", "2022-12-22", "2022-12-23", "2022-12-27", "2022-12-28")
    }


def test_a_portfolio_that_is_not_stored_fails_with_the_remedy(core_home: Home) -> None:
    """A partition key that no portfolio goes by cannot be computed; the message says how one comes into being."""
    run = core_home.materialize("portfolio_volatility", "2022-12-28|ghost", "2022-12-28|ghost")
    assert "Portfolios not stored: ghost. Onboard them: sigma onboard FILE" in failure(run)
