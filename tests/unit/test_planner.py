"""The planner: what is missing, exactly, at a cost that does not grow with the number of symbols."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import numpy as np
import pytest
import sqlalchemy as sa

from assets.catalogue import BY_NAME
from assets.factor_models import SAMPLE_5
from resources import calendar
from resources.database import portfolios, prices
from resources.database.engine import Database
from resources.database.portfolios import Lot
from resources.database.prices import Answer
from resources.sources.sample import SampleSource
from sigma_dagster.planning.planner import Force, NothingToPlanError, WorkPlan, blocks_again, plan, target_sessions
from tests.support.contents import contents
from tests.support.home import lot, lots

AS_OF = date(2022, 12, 28)
SESSIONS = calendar.last_sessions(5, AS_OF)
WINDOW = calendar.last_sessions(278, AS_OF)  # with the 273 sessions before them that the numbers look back on
PROXIES = list(SAMPLE_5.proxies)
STOCKS = [symbol for symbol in SampleSource().symbols() if symbol not in PROXIES]


def store_books(database: Database, **books: Sequence[Lot]) -> None:
    with database.write() as connection:
        for name, book in books.items():
            portfolios.store(connection, name, book, None, AS_OF)


def store_prices(database: Database, symbol: str, sessions: Sequence[date]) -> None:
    rows = SampleSource().fetch(symbol, sessions[0], sessions[-1])
    with database.write() as connection:
        prices.store(connection, [Answer(symbol, sessions, rows, "sample")], look_back=273)


def planned(database: Database, names: Sequence[str] | None = None, force: Force = Force(), **more: object) -> WorkPlan:
    with database.read() as connection:
        wanted = portfolios.load(connection, names)
        return plan(connection, wanted, model=SAMPLE_5, sessions=SESSIONS, force=force, **more)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The SQL statements sent meanwhile."""
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", count)


def test_everything_is_missing_at_first(database: Database) -> None:
    """A new portfolio wants prices with look-back of its symbols and of the proxies, results of its symbols alone."""
    store_books(database, book=lots("AAPL KO"))
    todo = planned(database)
    assert todo.fetch == dict.fromkeys([*PROXIES, "AAPL", "KO"], 278)
    assert todo.api_calls == 8
    assert (todo.exposures.keys, todo.exposures.rows) == (("AAPL", "KO"), 10)
    assert (todo.volatility.keys, todo.volatility.rows) == (("AAPL", "KO"), 10)
    assert todo.portfolio_rows == {"book": 10}
    proxies, symbols, book = todo.blocks
    assert (proxies.dimension, proxies.keys) == ("proxy", tuple(PROXIES))
    assert (symbols.dimension, symbols.keys) == ("symbol", ("AAPL", "KO"))
    assert (symbols.first, symbols.last) == (SESSIONS[0], AS_OF)
    assert [step.asset for step in symbols.steps] == ["daily_prices", "factor_exposures", "symbol_volatility"]
    assert [step.keys for step in symbols.steps] == [("AAPL", "KO")] * 3
    assert (book.dimension, book.keys) == ("portfolio", ("book",))


def test_trap_09_missing_is_an_exact_set_difference(database: Database) -> None:
    """A hole of one session inside a long history is missing, and nothing else is; no count stands for completeness."""
    store_books(database, book=lots("AAPL KO"))
    hole = WINDOW[100]
    for symbol in (*PROXIES, "KO"):
        store_prices(database, symbol, WINDOW)
    for part in (WINDOW[:100], WINDOW[101:]):
        store_prices(database, "AAPL", part)
    todo = planned(database)
    assert todo.fetch == {"AAPL": 1}
    prices = todo.wanted["daily_prices"]
    ((at_symbol, at_session),) = np.argwhere(prices.missing)
    assert (prices.keys[at_symbol], prices.sessions[at_session]) == ("AAPL", hole)


def test_sessions_outside_of_the_window_do_not_count(database: Database) -> None:
    """As many rows as are wanted, but of other sessions, complete nothing."""
    store_books(database, book=lots("AAPL"))
    earlier = calendar.last_sessions(278, calendar.shift(AS_OF, -10))
    store_prices(database, "AAPL", earlier)
    assert planned(database).fetch["AAPL"] == 10


def test_trap_08_what_one_symbol_lacks_is_asked_of_no_other(database: Database) -> None:
    """Missing sessions are those of each symbol: a new one beside a complete one is fetched alone."""
    store_books(database, book=lots("AAPL KO"))
    for symbol in (*PROXIES, "KO"):
        store_prices(database, symbol, WINDOW)
    todo = planned(database)
    assert todo.fetch == {"AAPL": 278}
    step = next(block for block in todo.blocks if block.dimension == "symbol").steps[0]
    assert (step.keys, step.cached_keys, step.cached_rows) == (("AAPL",), 1, 278)


@pytest.mark.parametrize("stored", [False, True], ids=["nothing stored", "prices stored with a hole"])
def test_the_number_of_statements_does_not_grow(new_database: Callable[[], Database], stored: bool) -> None:
    """10 symbols in one portfolio and 20 in each of five cost the same number of SQL statements."""
    counts = []
    for count, books in ((10, 1), (20, 5)):
        database = new_database()
        store_books(database, **{f"book{i}": lots(STOCKS[:count]) for i in range(books)})
        if stored:
            for symbol in STOCKS[:count]:
                store_prices(database, symbol, WINDOW[:3])
        with counted(database) as statements:
            todo = planned(database)
        counts.append(len(statements))
        assert todo.exposures.rows == 5 * count
        assert len(todo.portfolio_rows) == books
    assert counts[0] == counts[1] <= 20


def test_trap_37_private_and_exited_lots_want_no_price(database: Database) -> None:
    """Only public lots held at some target session have symbols to compute; a book without them rests on no price."""
    book = [lot("LOFT", asset_class="private"), lot("AMD", entry="2020-01-02", exit="2022-12-21")]
    store_books(database, book=book)
    todo = planned(database)
    assert (list(todo.fetch), todo.exposures.keys) == ([], ())
    assert [block.dimension for block in todo.blocks] == ["portfolio"]


def test_a_lot_that_left_within_the_window_is_computed(database: Database) -> None:
    """Held on the first target session only is held: the day after the last is the exit date."""
    store_books(database, book=[lot("AMD", entry="2020-01-02", exit="2022-12-22")])
    assert planned(database).exposures.keys == ("AMD",)


def test_portfolio_rows_begin_with_the_first_entry(database: Database) -> None:
    """A portfolio entered on a Saturday has its first row on the next session."""
    store_books(database, book=[lot("KO", entry="2022-12-24")])
    todo = planned(database)
    assert todo.wanted["portfolio_factor_exposures"].asked.tolist() == [[False, False, False, True, True]]
    assert todo.blocks[-1].first == date(2022, 12, 27)


def test_only_the_named_portfolios_are_planned(database: Database) -> None:
    """A plan for one portfolio asks nothing for the others."""
    store_books(database, one=lots("AAPL"), two=lots("KO"))
    assert planned(database, ["two"]).exposures.keys == ("KO",)
    assert planned(database).exposures.keys == ("AAPL", "KO")


def test_force_asks_for_what_exists_and_for_no_prices(database: Database) -> None:
    """Force makes results again; prices, which are paid for, only under their own name."""
    store_books(database, book=lots("KO"))
    for symbol in (*PROXIES, "KO"):
        store_prices(database, symbol, WINDOW)
    forced = planned(database, force=Force(symbol_results=True, portfolio_results=True))
    assert (forced.fetch, forced.exposures.rows, forced.volatility.rows) == ({}, 5, 5)
    assert planned(database, force=Force(prices=True)).api_calls == 7
    made_again = [step.asset for block in forced.blocks for step in block.steps if step.force]
    assert made_again == [name for name in BY_NAME if not name.endswith("_prices")]


def test_many_symbols_are_split_into_runs(database: Database) -> None:
    """No run takes more keys than allowed; together they cover each key once."""
    store_books(database, book=lots(STOCKS))
    todo = planned(database, max_keys=8)
    symbols = [block.keys for block in todo.blocks if block.dimension == "symbol"]
    assert max(map(len, symbols)) <= 8
    assert sorted(key for keys in symbols for key in keys) == sorted(STOCKS)


@pytest.mark.parametrize(("n_sessions", "sizes"), [(1, [1200]), (252, [694, 506]), (365, [500, 500, 200])])
def test_a_run_takes_more_keys_of_fewer_sessions(database: Database, n_sessions: int, sizes: list[int]) -> None:
    """A new session of thousands of symbols is one run, a year of them several: what a run keeps in memory is rows."""
    names = [f"S{i:04}" for i in range(1200)]
    store_books(database, book=lots(names))
    with database.read() as connection:
        days = calendar.last_sessions(n_sessions, AS_OF)
        todo = plan(connection, portfolios.load(connection), model=SAMPLE_5, sessions=days)
    assert [len(block.keys) for block in todo.blocks if block.dimension == "symbol"] == sizes
    again = blocks_again(names, PROXIES, days, max_keys=5_000)
    assert [len(block.keys) for block in again] == sizes


@pytest.mark.parametrize(
    ("n_keys", "n_sessions", "slots", "sizes"),
    [
        (1200, 1, 2, [600, 600]),
        (1200, 252, 2, [600, 600]),
        (1200, 365, 2, [500, 500, 200]),
        (1201, 1, 4, [301, 301, 301, 298]),
        (300, 1, 2, [200, 100]),
        (150, 1, 8, [150]),
    ],
)
def test_runs_share_the_work_of_the_slots(
    database: Database, n_keys: int, n_sessions: int, slots: int, sizes: list[int]
) -> None:
    """Promise: on two workers a new session is two runs, not ten; of little work one, since each costs something."""
    names = [f"S{i:04}" for i in range(n_keys)]
    store_books(database, book=lots(names))
    with database.read() as connection:
        days = calendar.last_sessions(n_sessions, AS_OF)
        todo = plan(connection, portfolios.load(connection), model=SAMPLE_5, sessions=days, slots=slots)
    assert [len(block.keys) for block in todo.blocks if block.dimension == "symbol"] == sizes
    again = blocks_again(names, PROXIES, days, max_keys=5_000, slots=slots)
    assert [len(block.keys) for block in again] == sizes


@pytest.mark.parametrize("max_keys", [1, 2, 5, 6])
def test_prices_of_proxies_come_with_or_before_every_regression(database: Database, max_keys: int) -> None:
    """B12: with runs smaller than the factor model, and proxies that are held, no run lacks a price it rests on."""
    store_books(database, book=lots(["AAPL", *PROXIES[:2]]))
    todo = planned(database, max_keys=max_keys)
    fetched: set[str] = set()
    computed: list[str] = []
    for block in todo.blocks:
        assert len(block.keys) <= max_keys
        steps = {step.asset: step.keys for step in block.steps}
        fetched |= {*steps.get("proxy_prices", ()), *steps.get("daily_prices", ())}
        for asset in ("factor_exposures", "symbol_volatility"):
            assert not steps.get(asset) or fetched >= {*PROXIES, *steps[asset]}
        computed += steps.get("factor_exposures", ())
    assert fetched == set(todo.fetch)
    assert sorted(computed) == sorted(["AAPL", *PROXIES[:2]])
    assert sum(step.cached_rows for block in todo.blocks for step in block.steps) == 0


def test_planning_twice_gives_the_same_and_writes_nothing(database: Database) -> None:
    """A plan is a question: the database is the same to the byte, and so is the answer."""
    store_books(database, book=lots("AAPL KO"))
    before = contents(database)
    assert planned(database).blocks == planned(database).blocks
    assert contents(database) == before


def test_no_portfolio_no_work(database: Database) -> None:
    """An empty database wants nothing, not even factor proxies."""
    todo = planned(database)
    assert (todo.blocks, todo.fetch, todo.portfolio_rows) == ((), {}, {})


def test_target_sessions_end_at_the_as_of_session_and_begin_no_earlier_than_the_first_partition() -> None:
    """365 sessions of the exchange, fewer where the first partition is later, an error where there are none."""
    assert target_sessions(AS_OF, date(2021, 1, 4), 365)[0] == date(2021, 7, 20)
    assert len(target_sessions(AS_OF, date(2021, 1, 4), 365)) == 365
    assert target_sessions(AS_OF, date(2022, 12, 24), 365) == [date(2022, 12, 27), AS_OF]
    with pytest.raises(NothingToPlanError, match="2022-12-28 is before 2023-01-03, the first date partition"):
        target_sessions(AS_OF, date(2023, 1, 3), 365)


def test_sessions_before_the_calendar_are_not_asked_for() -> None:
    """G2: more sessions than the calendar has before the as-of date are those from the first partition on."""
    assert target_sessions(date(1993, 6, 30), date(1993, 6, 28), 10_000) == [date(1993, 6, 28 + i) for i in range(3)]
