"""The domain database (SQLite), cases ``write`` and ``missing``: rows of `factor_exposure`, its largest table."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import sqlalchemy as sa

from assets import factor_exposures
from assets.factor_models import SAMPLE_5
from assets.numerics.constants import LOOKBACK_RETURNS
from benchmarks.measure import Method, Row, Work, compare
from resources import calendar
from resources.database import bulk, results
from resources.database.engine import Database
from resources.database.prices import PricePanel
from resources.database.tables import factor_exposure, symbol

SESSIONS = 365
LAST = date(2022, 12, 28)

Columns = dict[str, Sequence[Any]]


def write() -> Iterator[Row]:
    """Store 365 sessions of 500 symbols, into an empty table each time, the commit and a checkpoint included.

    ``naive`` deletes and inserts row by row, in one transaction; ``executemany`` is SQLite's own bulk insert of the
    same values into a table without keys or indexes; ``floor`` writes a file of the size that ours leaves, and syncs.
    """
    columns = exposure_columns(500)
    n_rows, sample = len(columns["symbol"]), 2_000
    few = {name: values[:sample] for name, values in columns.items()}
    methods = [
        Method("naive", partial(_into_empty_table, few, row_by_row), share=sample / n_rows),
        Method("executemany", partial(_into_empty_table, columns, plain_inserts)),
        Method("ours", partial(_into_empty_table, columns, ours)),
        Method("floor", partial(_bytes_to_disk, _size_of(columns))),
    ]
    yield from compare("write", f"500x{SESSIONS}", methods, rounds=3)


def missing() -> Iterator[Row]:
    """Ask which (symbol, session) rows are missing: of 5 symbols all, of the others none (a portfolio arrives).

    ``ours_next_day`` asks when every symbol lacks the newest session (the daily refresh). ``naive`` is one query a
    symbol; ``floor`` is SQLite counting the stored rows through the index, with no key leaving the database.
    """
    for n_symbols in (500, 5000):
        with TemporaryDirectory() as folder:
            database = Database(f"sqlite:///{folder}/sigma.db")
            names, days = _names(n_symbols), calendar.last_sessions(SESSIONS + 1, LAST)
            _fill(database, names[:-5], days[:-1])
            asked = names[::10] if n_symbols > 500 else names
            methods = [
                _reading("naive", database, partial(one_by_one, names=asked, days=days[:-1]), len(asked) / n_symbols),
                _reading("ours", database, partial(present, names=names, days=days[:-1])),
                _reading("ours_next_day", database, partial(present, names=names, days=days)),
                _reading("floor", database, count),
            ]
            yield from compare("missing", f"{n_symbols}x{SESSIONS}", methods)
            database.engine.dispose()


# --- write


def exposure_columns(n_symbols: int) -> Columns:
    """What the asset stores for as many symbols: real fits of simulated prices."""
    names, targets = _names(n_symbols), calendar.last_sessions(SESSIONS, LAST)
    days = calendar.sessions(calendar.shift(targets[0], -LOOKBACK_RETURNS), LAST)
    symbols = (*names, *SAMPLE_5.proxies)
    shape = (len(days), len(symbols))
    close = 100 * np.exp(np.random.default_rng(4).normal(0.0, 0.01, shape).cumsum(axis=0))
    nothing, known = np.zeros(shape), np.ones(shape, dtype=bool)
    panel = PricePanel(tuple(days), symbols, close, nothing, np.ones(shape), known, {})
    at = range(len(days) - SESSIONS, len(days))
    return factor_exposures.result(SAMPLE_5, replace=False).compute(panel, names, at)


def ours(database: Database, columns: Columns) -> None:
    """As the asset does it."""
    revisions = dict.fromkeys(columns["symbol"], 0)
    with database.write() as connection:
        results.store_exposures(connection, columns, revisions, replace=False)


def row_by_row(database: Database, columns: Columns) -> None:
    """The way it used to be done: each row is deleted and inserted, by SQLAlchemy Core."""
    with database.write() as connection:
        for row in _rows(columns):
            store_row(connection, dict(zip(columns, row, strict=True)))


def store_row(connection: sa.Connection, row: dict[str, Any]) -> None:
    """Delete and insert one row."""
    key = [column == row[column.name] for column in factor_exposure.primary_key]
    day = date.fromisoformat(row["session"])
    connection.execute(sa.delete(factor_exposure).where(*key[:1], factor_exposure.c.session == day, *key[2:]))
    connection.execute(sa.insert(factor_exposure).values(row | {"session": day}))


def plain_inserts(database: Database, columns: Columns) -> None:
    """Insert by SQLite's own bulk call, into a table without keys or indexes."""
    with database.write() as connection:
        connection.exec_driver_sql(f"CREATE TABLE plain ({', '.join(columns)})")
        places = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO plain VALUES ({places})", list(_rows(columns)))  # noqa: S608


def _rows(columns: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(*(np.asarray(values, dtype=object).tolist() for values in columns.values()), strict=True)


@contextmanager
def _into_empty_table(columns: Columns, store: Callable[[Database, Columns], None]) -> Iterator[Work]:
    with TemporaryDirectory() as folder:
        database = _empty_database(Path(folder), columns)

        def work() -> None:
            store(database, columns)
            with database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

        yield work
        database.engine.dispose()


def _empty_database(folder: Path, columns: Columns) -> Database:
    """A database that knows the symbols and the model of the columns, and has no results."""
    database = Database(f"sqlite:///{folder}/sigma.db")
    with database.write() as connection:
        results.register_model(connection, SAMPLE_5.key, SAMPLE_5.definition, SAMPLE_5.proxies)
        known = [{"symbol": name, "status": "ok", "source": "simulated"} for name in dict.fromkeys(columns["symbol"])]
        connection.execute(sa.insert(symbol), known)
    return database


def _size_of(columns: Columns) -> int:
    """Bytes of the database file that ours leaves, less those of an empty one."""
    with TemporaryDirectory() as folder:
        database = _empty_database(Path(folder), columns)
        sizes = []
        for store in (lambda *_: None, ours):
            store(database, columns)
            with database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes.append((Path(folder) / "sigma.db").stat().st_size)
        database.engine.dispose()
    return sizes[1] - sizes[0]


@contextmanager
def _bytes_to_disk(size: int) -> Iterator[Work]:
    megabyte = os.urandom(1 << 20)
    with TemporaryDirectory() as folder, (Path(folder) / "floor").open("wb", buffering=0) as file:

        def work() -> None:
            for _ in range(-(-size // len(megabyte))):
                file.write(megabyte)
            os.fsync(file.fileno())

        yield work


# --- missing


def present(connection: sa.Connection, *, names: Sequence[str], days: Sequence[date]) -> np.ndarray[Any, Any]:
    """As the planner asks."""
    return bulk.present(connection, factor_exposure, names, days, model=SAMPLE_5.key)


def one_by_one(connection: sa.Connection, *, names: Sequence[str], days: Sequence[date]) -> dict[str, set[date]]:
    """Ask for the sessions of one symbol after the other."""
    table, lacking = factor_exposure.c, {}
    for name in names:
        query = sa.select(table.session).where(
            table.symbol == name, table.model == SAMPLE_5.key, table.session.between(days[0], days[-1])
        )
        lacking[name] = set(days) - set(connection.execute(query).scalars())
    return lacking


def count(connection: sa.Connection) -> int:
    """Count the stored rows through the index that holds session, symbol and model."""
    first = "0000-01-01"
    query = "SELECT count(*) FROM factor_exposure WHERE session > ? AND model = ?"
    return int(connection.exec_driver_sql(query, (first, SAMPLE_5.key)).scalar_one())


def _reading(name: str, database: Database, ask: Callable[[sa.Connection], object], share: float = 1.0) -> Method:
    @contextmanager
    def ready() -> Iterator[Work]:
        with database.read() as connection:
            yield lambda: ask(connection)

    return Method(name, ready, share)


def _fill(database: Database, names: Sequence[str], days: Sequence[date]) -> None:
    """Store a full row for each name and day, made inside SQLite."""
    numbers = [f"{kind}_{name}" for kind in ("beta", "se") for name in SAMPLE_5.factor_names]
    numbers += ["market_total", "r_squared", "residual_vol", "condition", "max_vif"]
    with database.write() as connection:
        results.register_model(connection, SAMPLE_5.key, SAMPLE_5.definition, SAMPLE_5.proxies)
        connection.exec_driver_sql("CREATE TEMP TABLE name (name)")
        connection.exec_driver_sql("INSERT INTO name VALUES (?)", [(name,) for name in names])
        connection.exec_driver_sql("CREATE TEMP TABLE day (day)")
        connection.exec_driver_sql("INSERT INTO day VALUES (?)", [(day.isoformat(),) for day in days])
        connection.exec_driver_sql(
            f"INSERT INTO factor_exposure (symbol, session, model, n_obs, quality, {', '.join(numbers)}) "  # noqa: S608
            f"SELECT name, day, ?, 252, 'full_history'{', random() / 1e19' * len(numbers)} "
            "FROM name CROSS JOIN day ORDER BY name, day",
            (SAMPLE_5.key,),
        )


def _names(n_symbols: int) -> list[str]:
    return [f"S{i:04}" for i in range(n_symbols)]
