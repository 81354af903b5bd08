"""Deleted result rows leave a note, in the transaction that deletes them."""

from collections.abc import Callable
from datetime import date

import sqlalchemy as sa

from resources.database import deletions, portfolios, results
from resources.database.bulk import upsert
from resources.database.deletions import Deletion
from resources.database.engine import Database
from resources.database.results import Corrected
from resources.database.tables import portfolio, portfolio_volatility, symbol_volatility
from tests.support.home import lots

DAYS = [date(2022, 12, day) for day in (23, 27, 28)]


def noted(database: Database) -> list[tuple[object, ...]]:
    """The notes without their ids."""
    with database.read() as connection:
        return [note[1:] for note in deletions.noted(connection)]


def store_volatility(database: Database) -> None:
    """Volatility of two symbols on all days."""
    with database.write() as connection:
        for name in ("AAPL", "KO"):
            days = [day.isoformat() for day in DAYS]
            upsert(connection, symbol_volatility, {"symbol": [name] * 3, "session": days, "n_obs": [63] * 3})


def store_portfolio(database: Database, symbols: str = "AAPL KO") -> None:
    """A portfolio, and its volatility on two days."""
    with database.write() as connection:
        portfolios.store(connection, "book", lots(symbols), None, DAYS[-1])
        number = connection.execute(sa.select(portfolio.c.id)).scalar_one()
        days = [day.isoformat() for day in DAYS[1:]]
        upsert(connection, portfolio_volatility, {"portfolio_id": [number] * 2, "session": days, "n_obs": [63] * 2})


def test_rows_deleted_for_a_rewritten_price_are_noted_and_no_others(database: Database) -> None:
    """What a corrected price deletes can be taken back from Dagster's record: table, key, first and last session."""
    store_volatility(database)
    store_portfolio(database)
    with database.write() as connection:
        results.delete_for_symbol(connection, "AAPL", Corrected([(DAYS[0], DAYS[1])]))
    assert sorted(noted(database), key=repr) == [
        ("portfolio_volatility", "book", DAYS[1], DAYS[1]),
        ("symbol_volatility", "AAPL", DAYS[0], DAYS[1]),
    ]
    with database.read() as connection:
        left = connection.execute(sa.select(symbol_volatility.c.symbol, symbol_volatility.c.session)).all()
    assert sorted(left) == [("AAPL", DAYS[2]), *(("KO", day) for day in DAYS)]


def test_a_replaced_portfolio_leaves_a_note_under_its_name(database: Database) -> None:
    """The rows go with the portfolio, whose id means nothing afterwards."""
    store_portfolio(database)
    assert noted(database) == []
    store_portfolio(database, "AAPL AMD")
    assert noted(database) == [("portfolio_volatility", "book", DAYS[1], DAYS[2])]


def test_a_note_is_undone_with_its_deletion(database: Database) -> None:
    """Both or neither: a transaction that ends badly leaves the rows and no note."""
    store_volatility(database)
    try:
        with database.write() as connection:
            assert deletions.delete_results(connection, symbol_volatility, symbol_volatility.c.symbol == "KO") == 3
            raise RuntimeError("the program ends here")
    except RuntimeError:
        pass
    assert noted(database) == []
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(symbol_volatility)).scalar_one() == 6


def test_settled_notes_are_gone_and_later_ones_stay(new_database: Callable[[], Database]) -> None:
    """A note written while the others were worked on is still there afterwards, under an id of its own."""
    database = new_database()
    store_volatility(database)
    with database.write() as connection:
        deletions.delete_results(connection, symbol_volatility, symbol_volatility.c.symbol == "KO")
        first = deletions.noted(connection)
        deletions.delete_results(connection, symbol_volatility, symbol_volatility.c.symbol == "AAPL")
        deletions.settle(connection, [note.id for note in first])
        assert deletions.any_noted(connection)
        (left,) = deletions.noted(connection)
        assert left == Deletion(first[0].id + 1, "symbol_volatility", "AAPL", DAYS[0], DAYS[2])
        deletions.settle(connection, [left.id])
        assert not deletions.any_noted(connection)
