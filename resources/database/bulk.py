"""Bulk access shared by all table groups: which rows exist, many rows in, many rows out.

Bulk paths carry sessions as ISO text (which both databases take and give), never as one date object a row.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import ARRAY, Column, Connection, String, Table, cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

#: Rows to be stored, as columns of equal length.
Columns = Mapping[str, Sequence[Any]]

#: More keys than this are not named in a query (SQLite takes 32,766 parameters): the caller picks from all rows.
_MAX_NAMED_KEYS = 30_000
#: Up to so many keys are named in a query one by one.
_FEW_KEYS = 100
#: From this many keys on, most of a table is asked for: counting all of it is quicker than seeking each row.
_MANY_KEYS = 1_000
#: From this many rows on it can pay to make the indexes of a table anew.
_MANY_ROWS = 1_000
#: So many values go with one statement (SQLite takes 32,766): it costs more to begin one than to store a row.
_VALUES_AT_A_TIME = 4_000


def upsert(connection: Connection, table: Table, columns: Columns) -> int:
    """Write rows given as columns of equal length, replacing rows of the same primary key; return their number.

    Quickest with rows in the order of the primary key. A NaN becomes null.
    """
    n_rows = len(next(iter(columns.values()), ()))
    if n_rows and connection.dialect.name == "sqlite":
        _insert(connection, table, columns, n_rows)
    elif n_rows:
        _copy(connection, table, columns)
    return n_rows


def _upsert(table: Table, columns: Collection[str], rows: str) -> str:
    """Compose an insert of `rows` that replaces on conflict; both databases understand it."""
    key = [column.name for column in table.primary_key]
    updates = [f"{name} = excluded.{name}" for name in columns if name not in key]
    if "computed_at" in table.c and "computed_at" not in columns:
        updates.append("computed_at = CURRENT_TIMESTAMP")
    replaced = ", ".join(updates)
    action = f"UPDATE SET {replaced}" if replaced else "NOTHING"
    names = ", ".join(table.c[name].name for name in columns)
    # Names are those of our own tables, never a user's.
    return f"INSERT INTO {table.name} ({names}) {rows} ON CONFLICT ({', '.join(key)}) DO {action}"


def _insert(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]], n_rows: int) -> None:
    """Upsert by statements of many rows: a third less than SQLite's bulk call, which is one of each row.

    Each row has its place in the order of the primary key, but anywhere in that of an index. So where at least as many
    rows come as there are, the indexes are made anew, each sorted once: half the time. A rollback brings them back.
    """
    anew = table.indexes if n_rows >= _MANY_ROWS and not _has_rows(connection, table, n_rows) else ()
    for index in anew:
        index.drop(connection)
    if "computed_at" in table.c:  # else SQLite asks its clock once per row
        now = connection.exec_driver_sql("SELECT CURRENT_TIMESTAMP").scalar_one()
        columns = {**columns, "computed_at": [now] * n_rows}
    row = f"({', '.join('?' for _ in columns)})"
    at_a_time = _VALUES_AT_A_TIME // len(columns)
    for first in range(0, n_rows, at_a_time):
        n = min(at_a_time, n_rows - first)
        by_row: list[Any] = [None] * (n * len(columns))
        for i, values in enumerate(columns.values()):
            by_row[i :: len(columns)] = _objects(values[first : first + n])  # SQLite itself takes NaN for null
        connection.exec_driver_sql(_upsert(table, columns, f"VALUES {', '.join([row] * n)}"), tuple(by_row))
    for index in anew:
        index.create(connection)


def _has_rows(connection: Connection, table: Table, n_rows: int) -> bool:
    """Whether a table has as many rows; not all are counted."""
    query = sa.select(sa.literal(1)).select_from(table).offset(n_rows - 1).limit(1)
    return connection.execute(query).first() is not None


def _copy(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]) -> None:
    """Upsert by way of COPY into a temporary table, which belongs to this transaction alone."""
    names = ", ".join(columns)
    text = io.StringIO()
    # None becomes an empty field, which COPY reads as null.
    csv.writer(text).writerows(zip(*map(_nullable, columns.values()), strict=True))
    text.seek(0)
    scratch = f"new_{table.name}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {scratch} ON COMMIT DROP AS SELECT {names} FROM {table.name} LIMIT 0"  # noqa: S608
    )
    cursor: Any = connection.connection.cursor()
    cursor.copy_expert(f"COPY {scratch} ({names}) FROM STDIN WITH (FORMAT csv)", text)
    connection.exec_driver_sql(_upsert(table, columns, f"SELECT {names} FROM {scratch}"))  # noqa: S608
    connection.exec_driver_sql(f"DROP TABLE {scratch}")


def _objects(values: Sequence[Any]) -> Sequence[Any]:
    """Give Python objects instead of numpy's."""
    return values.tolist() if isinstance(values, np.ndarray) else values


def _nullable(values: Sequence[Any]) -> Sequence[Any]:
    """Give Python objects instead of numpy's, and None instead of NaN."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        values = np.where(np.isnan(values), None, values.astype(object))
    return _objects(values)


def session_text(table: Table) -> sa.ColumnElement[str]:
    """The session column as ISO text."""
    return cast(table.c.session, String).label("session")


def within(column: sa.ColumnElement[Any], keys: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Restrict a query to the keys, unless they are so many that the caller does better to pick from all."""
    return among(column, keys) if len(keys) <= _MAX_NAMED_KEYS else sa.true()


def among(column: sa.ColumnElement[Any], keys: Collection[Any]) -> sa.ColumnElement[bool]:
    """Restrict a query to the keys; many go as one parameter, since SQLAlchemy takes longer over 5,000 than a query."""
    return _Among(column, tuple(keys)) if len(keys) > _FEW_KEYS else column.in_(keys)


class _Among(FunctionElement[bool]):
    """That a column is among many keys, which each database takes in its own way."""

    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, column: sa.ColumnElement[Any], keys: Sequence[Any]) -> None:
        super().__init__(column)
        self.column = column
        self.keys = keys

    def self_group(self, against: Any = None) -> "_Among":  # noqa: ARG002 - it needs no brackets, and is a boolean
        """Stand as it is: SQLAlchemy would compare it with 1, and the database then uses no index."""
        return self


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    every = sa.func.json_each(sa.literal(json.dumps(element.keys))).table_valued("value")
    return compiler.process(element.column.in_(sa.select(every.c.value)), **kw)


@compiles(_Among, "postgresql")
def _among_postgres(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    every = sa.literal(list(element.keys), ARRAY(element.column.type))
    return compiler.process(element.column == sa.any_(every), **kw)


def present(
    connection: Connection, table: Table, keys: Sequence[Any], sessions: Sequence[date], **fixed: Any
) -> NDArray[np.bool_]:
    """Say which (key, session) rows exist, as an array of shape (len(keys), len(sessions)).

    `fixed` names further columns and their value, such as `model=`. Exact: a row counts for its own session only.
    The number of statements does not grow with the number of keys. Most rows are counted, not read: sessions that
    every key has, or none, are settled first, then keys that have all of the other sessions, or none.
    """
    found = np.zeros((len(keys), len(sessions)), dtype=bool)
    if not found.size:
        return found
    rows = _Rows(connection, table.primary_key.columns[0], table.c.session, fixed)
    asked, others = list(keys), None
    if len(keys) >= _MANY_KEYS:
        stored = rows.stored_keys()
        asked, others = [name for name in keys if name in stored], stored.difference(keys)
    at = {name: i for i, name in enumerate(keys)}
    open_days = list(range(len(sessions)))
    if len(asked) <= _MAX_NAMED_KEYS:
        counts = rows.count_by_session(sessions, asked, others)
        whole = [j for j, day in enumerate(sessions) if counts.get(day) == len(asked)]
        found[np.ix_([at[name] for name in asked], whole)] = True
        open_days = [j for j, day in enumerate(sessions) if 0 < counts.get(day, 0) < len(asked)]
    if open_days:
        days = [sessions[j] for j in open_days]
        counts = rows.count_by_key(days, asked)
        found[np.ix_([at[name] for name in asked if counts.get(name) == len(days)], open_days)] = True
        partial = [name for name in asked if 0 < counts.get(name, 0) < len(days)]
        at_day = {day.isoformat(): j for day, j in zip(days, open_days, strict=True)}
        for name, day in rows.read(days, partial):
            found[at[name], at_day[day]] = True
    return found


@dataclass(frozen=True)
class _Rows:
    """The rows of a table that have the fixed values: counted by session or key, or read."""

    connection: Connection
    key: Column[Any]
    session: Column[date]
    fixed: Mapping[str, Any]

    def stored_keys(self) -> set[Any]:
        """Give all keys of the table, from one to the next by its index: reading every row takes seconds."""
        key = self.key
        first = sa.select(sa.func.min(key).label("name")).cte("stored", recursive=True)
        after = sa.select(sa.func.min(key)).where(key > first.c.name).scalar_subquery()
        every = first.union_all(sa.select(after).where(first.c.name.is_not(None)))
        return set(self.connection.execute(sa.select(every.c.name).where(every.c.name.is_not(None))).scalars().all())

    def count_by_session(
        self, sessions: Sequence[date], keys: Sequence[Any], others: Collection[Any] | None
    ) -> dict[date, int]:
        """Count the rows of the keys; where all stored keys are known, by way of the others if these are fewer."""
        # What lies between two of them is counted as well: naming each takes twice as long, and gaps are rare.
        within_span = self.session.between(min(sessions), max(sessions))
        if others is None or len(others) >= len(keys):
            return self._counts(self.session, within_span, among(self.key, keys))
        counts = self._counts(self.session, within_span)
        if others:
            for day, n in self._counts(self.session, within_span, among(self.key, others)).items():
                counts[day] -= n
        return counts

    def count_by_key(self, sessions: Sequence[date], keys: Sequence[Any]) -> dict[Any, int]:
        """Count the rows of each key."""
        return self._counts(self.key, self.session.in_(sessions), within(self.key, keys))

    def read(self, sessions: Sequence[date], keys: Sequence[Any]) -> Iterator[tuple[Any, str]]:
        """Give key and session, as ISO text, of the rows of the keys."""
        if keys:
            query = sa.select(self.key, cast(self.session, String)).where(
                self.session.in_(sessions), within(self.key, keys), *self._fixed()
            )
            wanted = set(keys)
            yield from ((name, day) for name, day in self.connection.execute(query) if name in wanted)

    def _counts(self, by: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> dict[Any, int]:
        query = sa.select(by, sa.func.count()).where(*where, *self._fixed()).group_by(by)
        return dict(self.connection.execute(query).all())

    def _fixed(self) -> Iterator[sa.ColumnElement[bool]]:
        return (self.key.table.c[name] == value for name, value in self.fixed.items())
