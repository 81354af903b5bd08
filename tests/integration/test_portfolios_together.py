"""Portfolios of one run are read, computed and stored together: each gets the rows that it would have had alone."""

import pytest

from resources.database import portfolios
from sigma_dagster.orchestration.compute import compute
from tests.support.home import LAST, PORTFOLIO_TABLES, Home, assert_same, failure, lot, lots

BOOKS = {
    "all": lots("AAPL KO AMD PEP"),
    "cash": [lot("USD", asset_class="cash")],
    "late": [*lots("AMD", entry="2022-12-23"), *lots("KO", entry="2022-12-22", exit="2022-12-28")],
    "private": [lot("FUND", asset_class="private")],
    "short": [lot("AAPL", -30.0), lot("JNJ", 5.0), lot("FUND", asset_class="private")],
}


def test_portfolios_that_are_computed_together_have_the_rows_of_each_alone(home: Home, other_home: Home) -> None:
    """Rule 7: books of other sessions, without a symbol, or without a price change nothing in others' rows."""
    for name, book in BOOKS.items():
        home.onboard(book, name)
    services = other_home.environment()
    with services.database.write() as connection:
        for name, book in BOOKS.items():
            portfolios.store(connection, name, book, None, LAST)
    compute(services, None, LAST, say=other_home.said.append)
    services.database.engine.dispose()
    (together,) = [text for text in other_home.said if "portfolio_volatility" in text]
    assert f"{len(BOOKS)} portfolios" in together
    for table in PORTFOLIO_TABLES.values():
        for name in BOOKS:
            assert_same(other_home.numbers(table, name), home.numbers(table, name), 1e-12)
    other_home.assert_records_are_rows()


@pytest.mark.parametrize("lacking", ["all", "short"])
def test_a_portfolio_that_lacks_an_input_keeps_those_before_it_from_nothing(home: Home, lacking: str) -> None:
    """Of portfolios computed together, those before the one whose symbol has no exposures are stored all the same."""
    books = {name: BOOKS[name] for name in ("all", "short")}
    for name, book in books.items():
        home.onboard(book, name)
    before = {name: home.numbers("portfolio_factor_exposure", name) for name in books}
    with home.sql() as connection:
        connection.execute("DELETE FROM portfolio_factor_exposure")
        symbol = {"all": "PEP", "short": "JNJ"}[lacking]
        connection.execute("DELETE FROM factor_exposure WHERE symbol = ?", [symbol])
    run = home.materialize("portfolio_factor_exposures", "2022-12-28|all", "2022-12-28|short")
    assert f"Portfolio {lacking} holds {symbol} without factor exposures" in failure(run)
    stored = ["all"] if lacking == "short" else []
    for name in books:
        expected = before[name][-1:] if name in stored else []
        assert len(home.numbers("portfolio_factor_exposure", name)) == len(expected)
        if expected:
            assert_same(home.numbers("portfolio_factor_exposure", name), expected, 1e-12)
