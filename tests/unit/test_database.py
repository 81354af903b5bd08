"""The domain database: one write is one transaction, rows follow their inputs, late writers are turned away."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path

import alembic.command
import numpy as np
import pytest
import sqlalchemy as sa
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.factor_models import SAMPLE_5
from resources import calendar
from resources.database import bulk, portfolios, prices, results, tables
from resources.database.engine import Database
from resources.database.migrate import upgrade
from resources.database.prices import Answer
from resources.database.results import InputsChangedError
from resources.database.tables import (
    daily_price,
    factor_exposure,
    metadata,
    portfolio,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol,
    symbol_volatility,
)
from resources.postgres import psycopg2_url
from resources.sources.base import PriceRow
from resources.sqlite import sqlite_url
from tests.support.contents import contents
from tests.support.home import ROOT, lot, lots

LOOK_BACK = 5
SESSIONS = calendar.last_sessions(30, date(2022, 12, 28))
RESULTS = (factor_exposure, symbol_volatility, portfolio_factor_exposure, portfolio_volatility)


def row(day: date, close: float, split: float = 1.0) -> PriceRow:
    return PriceRow(day, None, None, None, close, None, 0.0, split)


def store(database: Database, name: str, rows: Sequence[PriceRow], asked: Sequence[date] = ()) -> prices.Stored:
    with database.write() as connection:
        return prices.store(connection, [Answer(name, asked, rows, "test")], look_back=LOOK_BACK).stored[name]


def store_book(database: Database, name: str, book: Sequence[portfolios.Lot], equity: float | None = None) -> int:
    with database.write() as connection:
        portfolios.store(connection, name, book, equity, SESSIONS[-1])
        return connection.execute(sa.select(portfolio.c.id).where(portfolio.c.name == name)).scalar_one()


def exposures(name: str, days: Sequence[date], beta: float = 1.0) -> dict[str, Sequence[object]]:
    n = len(days)
    return {
        "symbol": [name] * n,
        "session": [day.isoformat() for day in days],
        "model": [SAMPLE_5.key] * n,
        "beta_market": np.full(n, beta),
        "n_obs": [252] * n,
        "quality": ["full_history"] * n,
    }


def portfolio_rows(number: int, days: Sequence[date]) -> dict[str, Sequence[object]]:
    return {"portfolio_id": [number] * len(days), "session": [day.isoformat() for day in days]}


def fill(database: Database) -> dict[str, int]:
    """Prices and results of AAPL, KO and the proxies for all sessions; a portfolio of AAPL and one of KO."""
    for name in ("AAPL", "KO", *SAMPLE_5.proxies):
        store(database, name, [row(day, 100.0) for day in SESSIONS])
    ids = {"apple": store_book(database, "apple", lots("AAPL")), "coke": store_book(database, "coke", lots("KO"))}
    with database.write() as connection:
        results.register_model(connection, SAMPLE_5.key, SAMPLE_5.definition, SAMPLE_5.proxies)
        for name in ("AAPL", "KO"):
            results.store_exposures(connection, exposures(name, SESSIONS), {}, replace=False)
            volatility = {"symbol": [name] * 30, "session": [day.isoformat() for day in SESSIONS], "n_obs": [252] * 30}
            results.store_volatility(connection, volatility, {})
        for number in ids.values():
            rows = {**portfolio_rows(number, SESSIONS), "model": [SAMPLE_5.key] * 30}
            results.store_portfolios(connection, portfolio_factor_exposure, rows, {})
            rows = {**portfolio_rows(number, SESSIONS), "n_obs": [252] * 30}
            results.store_portfolios(connection, portfolio_volatility, rows, {})
    return ids


def stored(database: Database) -> dict[tuple[str, object], set[date]]:
    """The sessions that have a row, by table and key."""
    found: dict[tuple[str, object], set[date]] = {}
    with database.read() as connection:
        for table in RESULTS:
            key = table.primary_key.columns[0]
            for name, session in connection.execute(sa.select(key, table.c.session)):
                found.setdefault((table.name, name), set()).add(session)
    return found


def revisions(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return dict(connection.execute(sa.select(symbol.c.symbol, symbol.c.revision)).all())


# --- a price that is rewritten


def dependents(name: str, ids: dict[str, int]) -> list[tuple[str, object]]:
    """Everything that rests on the prices of a symbol of `fill`."""
    if name in SAMPLE_5.proxies:
        symbols = [("factor_exposure", other) for other in ("AAPL", "KO")]
        return [*symbols, *(("portfolio_factor_exposure", number) for number in ids.values())]
    number = ids[{"AAPL": "apple", "KO": "coke"}[name]]
    tables = [(table.name, name) for table in (factor_exposure, symbol_volatility)]
    return [*tables, ("portfolio_factor_exposure", number), ("portfolio_volatility", number)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["AAPL", "KO", "SP500", "VLUE"]),
    changed=st.sets(st.integers(0, 29), min_size=1, max_size=3),
    asked=st.tuples(st.integers(0, 29), st.integers(0, 29)).map(sorted),
)
def test_trap_12_a_rewritten_price_deletes_what_rests_on_it(
    database: Database, name: str, changed: set[int], asked: list[int]
) -> None:
    """Results of the look-back after each changed price go, of the symbol, its holders and, for a proxy, of all betas;
    nothing else goes, whatever was asked for: rows that came unasked count as well."""
    clear(database)
    ids = fill(database)
    before = stored(database)
    rows = [row(day, 101.0 if i in changed else 100.0) for i, day in enumerate(SESSIONS)]
    done = store(database, name, rows, SESSIONS[asked[0] : asked[1] + 1])
    assert done == ([], len(changed), [])
    gone = {day for i in changed for day in SESSIONS[i : i + LOOK_BACK + 1]}
    for key in dependents(name, ids):
        before[key] = before[key] - gone
    assert stored(database) == {key: days for key, days in before.items() if days}
    assert {other: number for other, number in revisions(database).items() if number} == {name: 1}


def clear(database: Database) -> None:
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))


def test_the_same_prices_again_change_nothing(database: Database) -> None:
    """Agreeing prices are no correction: no result goes, no revision grows."""
    fill(database)
    before = stored(database), contents(database, daily_price)
    assert store(database, "AAPL", [row(day, 100.0) for day in SESSIONS]) == ([], 0, [])
    assert (stored(database), contents(database, daily_price)) == before
    assert set(revisions(database).values()) == {0}


def test_a_new_price_is_no_correction(database: Database) -> None:
    """A session that had no row makes no result wrong."""
    fill(database)
    before = stored(database)
    new = calendar.shift(SESSIONS[-1], 1)
    assert store(database, "AAPL", [row(new, 7.0)]) == ([new], 0, [])
    assert stored(database) == before
    assert revisions(database)["AAPL"] == 0


def test_a_corrected_split_reaches_back(database: Database) -> None:
    """Quantities of earlier sessions are in shares before the split: every earlier row of its holders was wrong too."""
    ids = fill(database)
    store(database, "AAPL", [row(SESSIONS[20], 100.0, split=4.0)])
    found = stored(database)
    assert found["portfolio_volatility", ids["apple"]] == set(SESSIONS[25:])
    assert found["portfolio_factor_exposure", ids["apple"]] == set(SESSIONS[25:])
    assert found["factor_exposure", "AAPL"] == set(SESSIONS) - set(SESSIONS[20:25])
    assert found["portfolio_volatility", ids["coke"]] == set(SESSIONS)


def test_trap_35_a_close_that_the_source_takes_back_is_kept(database: Database) -> None:
    """Asked again, the source has no price any more: what was paid for stays, and so do the results."""
    fill(database)
    before = stored(database), contents(database, daily_price)
    assert store(database, "AAPL", [], SESSIONS[10:11]) == ([], 0, [])
    assert (stored(database), contents(database, daily_price)) == before


# --- late writers


def late_writes(ids: dict[str, int], read_at: dict[str, int]) -> list[Callable[[sa.Connection], object]]:
    days = SESSIONS[:3]
    rows = {**portfolio_rows(ids["apple"], days), "n_obs": [252] * 3}
    volatility = {"symbol": ["AAPL"] * 3, "session": [day.isoformat() for day in days], "n_obs": [252] * 3}
    return [
        lambda c: results.store_exposures(c, exposures("AAPL", days, 9.0), read_at, replace=False),
        lambda c: results.store_exposures(c, exposures("AAPL", days, 9.0), read_at, replace=True),
        lambda c: results.store_volatility(c, volatility, read_at),
        lambda c: results.store_portfolios(c, portfolio_volatility, rows, read_at),
    ]


def test_results_of_rewritten_prices_are_not_stored(database: Database) -> None:
    """Who read prices before they were rewritten is told to read again, and stores nothing."""
    ids = fill(database)
    with database.read() as connection:
        read_at = prices.load(connection, ["AAPL", "SP500"], SESSIONS).revision
    store(database, "SP500", [row(SESSIONS[0], 102.0)])
    before = contents(database)
    for write in late_writes(ids, read_at):
        with pytest.raises(InputsChangedError, match="prices of SP500 were rewritten"), database.write() as connection:
            write(connection)
        assert contents(database) == before
    with database.read() as connection:
        read_again = prices.load(connection, ["AAPL", "SP500"], SESSIONS).revision
    for write in late_writes(ids, read_again):
        with database.write() as connection:
            write(connection)


def test_rows_of_a_portfolio_replaced_meanwhile_are_not_stored(database: Database) -> None:
    """A replaced portfolio has a new id that was never used: a run that computes the old one cannot write."""
    ids = fill(database)
    new = store_book(database, "apple", lots("AAPL", quantity=99))
    assert new not in ids.values()
    rows = {**portfolio_rows(ids["apple"], SESSIONS), "n_obs": [252] * 30}
    with pytest.raises(InputsChangedError, match="was replaced"), database.write() as connection:
        results.store_portfolios(connection, portfolio_volatility, rows, {})
    assert ("portfolio_volatility", new) not in stored(database)


def test_work_is_repeated_while_its_inputs_change() -> None:
    """Inputs that change twice are read three times; a third change is somebody else's fault and raises."""
    attempts = []

    def work() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise InputsChangedError
        return "done"

    assert results.with_current_inputs(work) == "done"

    def never() -> None:
        attempts.append(1)
        raise InputsChangedError

    with pytest.raises(InputsChangedError):
        results.with_current_inputs(never)
    assert len(attempts) == 6


# --- one write, one transaction


def test_trap_03_a_set_of_rows_is_stored_whole_or_not_at_all(database: Database) -> None:
    """The 7th of 10 rows breaks a rule: none of the ten is there, and no half-written set can ever be a hit."""
    fill(database)
    before = contents(database, factor_exposure)
    rows = exposures("AMD", SESSIONS[:10])
    rows["n_obs"] = [252] * 6 + [None] + [252] * 3
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        results.store_exposures(connection, rows, {}, replace=False)
    assert contents(database, factor_exposure) == before


def test_trap_29_a_write_that_is_interrupted_leaves_nothing(database: Database) -> None:
    """Whatever raises after the statements and before the end of the block undoes them all."""
    fill(database)
    before = contents(database)

    def interrupted() -> None:
        with database.write() as connection:
            prices.store(connection, [Answer("AAPL", [], [row(SESSIONS[3], 90.0)], "test")], look_back=LOOK_BACK)
            portfolios.store(connection, "coke", lots("AAPL"), None, SESSIONS[-1])
            assert connection.execute(sa.select(sa.func.count()).select_from(portfolio_volatility)).scalar_one() < 60
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(database) == before


def test_trap_05_writing_twice_is_writing_once(database: Database) -> None:
    """Rows are replaced by their key: the second write neither fails nor doubles them, and says when it was made."""
    fill(database)
    long_ago = datetime(2001, 1, 1)  # noqa: DTZ001 - as stored: UTC without saying so
    with database.write() as connection:
        connection.execute(sa.update(factor_exposure).values(computed_at=long_ago))
    with database.write() as connection:
        assert results.store_exposures(connection, exposures("AAPL", SESSIONS[:2], 3.0), {}, replace=False) == 2
    exposure = factor_exposure.c
    changed = sa.select(exposure.symbol, exposure.session, exposure.beta_market).where(exposure.computed_at != long_ago)
    with database.read() as connection:
        assert sorted(connection.execute(changed)) == [("AAPL", day, 3.0) for day in SESSIONS[:2]]
    assert len(contents(database, factor_exposure)["factor_exposure"]) == 60


def test_force_deletes_the_portfolio_rows_that_another_number_makes_wrong(database: Database) -> None:
    """Replacing a beta by itself deletes nothing; replacing it by another deletes its holders' rows of that session."""
    ids = fill(database)
    before = stored(database)
    with database.write() as connection:
        results.store_exposures(connection, exposures("AAPL", SESSIONS), {}, replace=True)
    assert stored(database) == before
    with database.write() as connection:
        results.store_exposures(connection, exposures("AAPL", SESSIONS[4:6], 2.0), {}, replace=True)
    before["portfolio_factor_exposure", ids["apple"]] -= set(SESSIONS[4:6])
    assert stored(database) == before


# --- what the tables themselves refuse


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (portfolio, {"name": "apple"}),
        (portfolio, {"name": "zero", "equity": 0.0}),
        (daily_price, {"symbol": "KO", "session": date(2020, 1, 2), "close": 0.0, "source": "test"}),
        (daily_price, {"symbol": "KO", "session": date(2020, 1, 2), "source": "test"}),
        (daily_price, {"symbol": "KO", "session": date(2020, 1, 2), "close": 1.0, "absence": "x", "source": "test"}),
        (symbol, {"symbol": "NEW", "status": "maybe", "source": "test"}),
        (portfolio_volatility, {"portfolio_id": 999, "session": date(2022, 12, 28), "n_obs": 1}),
        (tables.lot, {"quantity": 0.0}),
        (tables.lot, {"entry_price": -1.0}),
        (tables.lot, {"exit_date": date(2020, 1, 1)}),
        (tables.lot, {"asset_class": "option"}),
    ],
)
def test_the_tables_refuse_what_no_program_may_store(
    database: Database, table: sa.Table, values: dict[str, object]
) -> None:
    """Each constraint holds in the database itself, whoever writes."""
    ids = fill(database)
    if table is tables.lot:
        good = {
            "portfolio_id": ids["apple"],
            "symbol": "KO",
            "quantity": 1.0,
            "entry_price": 1.0,
            "shares_as_of": SESSIONS[0],
        }
        values = {**good, "entry_date": date(2020, 1, 2), "asset_class": "public", **values}
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(sa.insert(table).values(values))


def test_migrations_make_the_tables_of_the_program(database: Database) -> None:
    """The migrated database and the metadata have the same tables, columns, keys and indexes."""
    made = sa.MetaData()
    made.reflect(database.engine)
    assert made.tables.keys() - {"alembic_version"} == metadata.tables.keys()
    inspector = sa.inspect(database.engine)
    for name, table in metadata.tables.items():
        columns = {column["name"]: column["nullable"] for column in inspector.get_columns(name)}
        assert columns == {column.name: column.nullable for column in table.columns}, name
        assert inspector.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key]
        # Postgres lists the index behind a unique constraint too.
        indexes = [index["name"] for index in inspector.get_indexes(name) if not index.get("duplicates_constraint")]
        assert set(indexes) == {index.name for index in table.indexes}


@pytest.fixture(params=["sqlite", "postgres"])
def before_lots(request: pytest.FixtureRequest, tmp_path: Path) -> sa.Engine:
    """A database of the release before lots were called so, with tables and nothing in them."""
    if request.param == "postgres":
        url = psycopg2_url(request.getfixturevalue("new_postgres_url")())
    else:
        url = sqlite_url(tmp_path / "old.db")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "resources" / "database" / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0011")
    return engine


def test_lots_of_an_older_release_are_kept_with_their_numbers(before_lots: sa.Engine) -> None:
    """Migration 0012: every lot has its id and values, the next one an id of its own, and the view has them."""
    insert = "INSERT INTO position VALUES (:id, 7, :symbol, :quantity, :price, :entry, :exit, :kind, '2022-12-28')"
    old = [
        (3, "AAPL", 120.5, 86.605, "2020-06-10", None, "public"),
        (8, "LOFT-7", 1.0, 0.0, "2021-01-15", "2021-01-15", "private"),
        (9, "USD", -250.0, 1.0, "2021-01-15", None, "cash"),
    ]
    with before_lots.begin() as connection:
        connection.execute(sa.text("INSERT INTO portfolio (id, name) VALUES (7, 'book')"))
        names = ("id", "symbol", "quantity", "price", "entry", "exit", "kind")
        connection.execute(sa.text(insert), [dict(zip(names, row, strict=True)) for row in old])
    upgrade(before_lots)
    found = sa.select(*(tables.lot.c[name] for name in ("id", "symbol", "quantity", "entry_price", "asset_class")))
    added = {"portfolio_id": 7, "symbol": "KO", "quantity": 1.0, "entry_price": 1.0, "asset_class": "public"}
    days = {"entry_date": date(2020, 1, 2), "shares_as_of": date(2022, 12, 28)}
    with before_lots.begin() as connection:
        assert connection.execute(found.order_by("id")).all() == [(*row[:4], row[6]) for row in old]
        assert set(connection.execute(sa.select(tables.lot.c.shares_as_of)).scalars()) == {date(2022, 12, 28)}
        insert_lot = sa.insert(tables.lot).values(**added, **days).returning(tables.lot.c.id)
        assert connection.execute(insert_lot).scalar_one() == 10
        assert connection.execute(sa.text("SELECT count(*) FROM lot_factor_exposure")).scalar_one() == 0


def test_any_change_of_another_process_gives_another_state(database: Database) -> None:
    """The mark of a database stays while it is as it was, whoever reads, and is another one after any change."""

    def change(by: Database, statement: sa.Delete) -> None:
        with by.write() as connection:
            connection.execute(statement)
            if connection.dialect.name == "postgresql":  # which else may count it seconds later
                connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))

    fill(database)
    change(database, sa.delete(portfolio_volatility))
    before = database.state()
    with database.read() as connection:
        portfolios.load(connection)
    assert database.state() == before
    other = Database(database.url)
    for statement in (sa.delete(factor_exposure).where(factor_exposure.c.symbol == "KO"), sa.delete(portfolio)):
        change(other, statement)
        assert database.state() != before
        before = database.state()
    other.engine.dispose()


def test_upgrading_again_changes_nothing(database: Database) -> None:
    """A database of this version is left alone."""
    fill(database)
    before = contents(database), sa.inspect(database.engine).get_table_names()
    upgrade(database.engine)
    assert (contents(database), sa.inspect(database.engine).get_table_names()) == before


@pytest.mark.parametrize("equity", [None, 5000.0])
def test_an_omitted_equity_is_the_stored_one(database: Database, equity: float | None) -> None:
    """B11: the same lots with KEEP are the same portfolio; other lots keep its equity; None takes it away."""
    with database.write() as connection:
        first = portfolios.store(connection, "book", lots("KO"), equity, SESSIONS[-1])
        again = portfolios.store(connection, "book", lots("KO"), portfolios.KEEP, SESSIONS[-1])
        other = portfolios.store(connection, "book", lots("AAPL"), portfolios.KEEP, SESSIONS[-1])
        bare = portfolios.store(connection, "book", lots("AAPL"), None, SESSIONS[-1])
        fresh = portfolios.store(connection, "new", lots("KO"), portfolios.KEEP, SESSIONS[-1])
    assert (first.new, again.new, other.new, bare.new) == (True, False, True, equity is not None)
    assert again.portfolio.id == first.portfolio.id != other.portfolio.id
    assert [one.portfolio.equity for one in (first, again, other, bare, fresh)] == [equity, equity, equity, None, None]


def test_lots_without_value_and_of_a_single_day_are_stored(database: Database) -> None:
    """G5: price 0 and an exit on the day of entry are kept as they are; a price below 0 and an earlier exit are not."""
    good = [lot("KO", price=0.0), lot("KO", exit="2021-06-15")]
    with database.write() as connection:
        portfolios.store(connection, "book", good, None, SESSIONS[-1])
        (found,) = portfolios.load(connection, ["book"])
    assert list(found.lots) == good
    for bad in (lot("KO", price=-1.0), lot("KO", exit="2021-06-14")):
        with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
            portfolios.store(connection, "bad", [bad], None, SESSIONS[-1])


# --- reading


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.sets(st.tuples(st.sampled_from("ABCD"), st.integers(0, 9))), unknown=st.sampled_from([1, 1_000]))
def test_what_exists_is_told_cell_by_cell(database: Database, cells: set[tuple[str, int]], unknown: int) -> None:
    """`present` gives exactly the stored (key, session) pairs of the asked ones, in the asked order, whether few keys
    are asked for or many, of sessions in a row or with others between them."""
    clear(database)
    for name, i in cells:
        store(database, name, [row(SESSIONS[i], 1.0)])
    keys = ["D", *(f"X{i}" for i in range(unknown)), "A", "B"]
    for asked in (range(2, 9), range(2, 9, 3)):
        with database.read() as connection:
            found = bulk.present(connection, daily_price, keys, [SESSIONS[i] for i in asked])
        assert found.tolist() == [[(name, i) in cells for i in asked] for name in keys]


@pytest.mark.parametrize("n_others", [0, 2, 1_500])
def test_what_exists_of_many_stored_keys(database: Database, n_others: int) -> None:
    """The same where a thousand keys have rows: every one, some or none of a session, beside keys not asked for."""
    asked, others = ([f"{kind}{i:04}" for i in range(n)] for kind, n in (("A", 1_100), ("B", n_others)))
    held = np.random.default_rng(5).random((1_100, 4)) < [1.0, 0.5, 0.01, 0.0]
    held[7] = True
    cells = [(name, SESSIONS[j]) for name, days in zip(asked, held, strict=True) for j in np.flatnonzero(days)]
    cells += [(name, SESSIONS[j]) for name in others for j in (0, 2)]
    columns = {
        "symbol": [name for name, _ in cells],
        "session": [day.isoformat() for _, day in cells],
        "close": np.ones(len(cells)),
        "source": ["test"] * len(cells),
    }
    with database.write() as connection:
        assert bulk.upsert(connection, daily_price, columns) == len(cells)
        found = bulk.present(connection, daily_price, asked[::-1], SESSIONS[:4])
    assert np.array_equal(found, held[::-1])


def test_a_large_write_leaves_the_indexes_as_they_were(database: Database) -> None:
    """Indexes that a large write makes anew are there after it, and after one that fails."""

    def indexes() -> set[str | None]:
        return {index["name"] for index in sa.inspect(database.engine).get_indexes("daily_price")}

    names, before = [f"S{i:04}" for i in range(2_000)], indexes()
    columns = {"symbol": names, "session": ["2022-12-28"] * 2_000, "close": np.ones(2_000), "source": ["test"] * 2_000}
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        bulk.upsert(connection, daily_price, columns | {"close": np.append(np.ones(1_999), -1.0)})
    assert indexes() == before
    for close in (1.0, 2.0):  # the second replaces
        with database.write() as connection:
            bulk.upsert(connection, daily_price, columns | {"close": np.full(2_000, close)})
        assert indexes() == before
        with database.read() as connection:
            stored_closes = sa.select(daily_price.c.close, sa.func.count()).group_by(daily_price.c.close)
            assert connection.execute(stored_closes).all() == [(close, 2_000)]


def test_every_value_of_a_large_write_is_stored_where_it_belongs(database: Database) -> None:
    """However many rows go with a statement, each keeps its own numbers and absences, and replaces its like."""
    names, rng = [f"S{i:04}" for i in range(1_777)], np.random.default_rng(9)
    for _ in range(2):
        close, volume = rng.random(len(names)) + 1.0, rng.random(len(names))
        volume[::7] = np.nan
        columns = {"symbol": names, "session": ["2022-12-28"] * len(names), "source": ["test"] * len(names)}
        with database.write() as connection:
            assert bulk.upsert(connection, daily_price, {**columns, "close": close, "volume": volume}) == len(names)
        with database.read() as connection:
            query = sa.select(daily_price.c.symbol, daily_price.c.close, daily_price.c.volume)
            found = [tuple(one) for one in connection.execute(query.order_by(daily_price.c.symbol))]
        expected = zip(names, close.tolist(), [None if np.isnan(one) else one for one in volume], strict=True)
        assert found == list(expected)


def test_zero_and_none_are_stored_as_such(database: Database) -> None:
    """Trap 31 at the bottom: a volume or dividend of 0 is 0, a number that the source lacks is null."""
    store(database, "KO", [PriceRow(SESSIONS[0], None, 0.0, None, 1.0, 0.0, 0.0, 1.0)])
    with database.read() as connection:
        found = connection.execute(sa.select(daily_price)).one()
    assert (found.open, found.high, found.volume, found.dividend) == (None, 0.0, 0.0, 0.0)


# --- portfolios


def test_storing_the_same_portfolio_again_is_nothing(database: Database) -> None:
    """The same lots in another order are the same portfolio: id and rows stay."""
    book = [lot("AAPL"), lot("KO"), lot("KO", 5)]
    store_book(database, "book", book)
    before = contents(database)
    store_book(database, "book", book[::-1])
    assert contents(database) == before


def test_a_replaced_portfolio_takes_its_rows_with_it(database: Database) -> None:
    """Positions and results of the old lots go in the same transaction; other portfolios and all symbol rows stay."""
    ids = fill(database)
    before = stored(database)
    store_book(database, "apple", lots("AAPL KO"))
    del before["portfolio_factor_exposure", ids["apple"]], before["portfolio_volatility", ids["apple"]]
    assert stored(database) == before
    with database.read() as connection:
        assert [(book.name, len(book.lots)) for book in portfolios.load(connection)] == [("apple", 2), ("coke", 1)]


@pytest.mark.parametrize("n", [3, 150])
def test_a_query_restricted_to_many_keys_finds_these_and_no_others(database: Database, n: int) -> None:
    """Many keys go to the database as one parameter; text of any kind is found, on an index, as if each was named."""
    names = ["A", "B'\"\\", "C,D", *(f"S{i}" for i in range(200))]
    with database.write() as connection:
        rows = [{"symbol": name, "status": "ok", "source": "test"} for name in names]
        connection.execute(sa.insert(tables.symbol), rows)
        name = tables.symbol.c.symbol
        query = sa.select(name).where(bulk.among(name, [*names[:n], "NONE"]), tables.symbol.c.status == "ok")
        assert set(connection.execute(query).scalars()) == set(names[:n])
