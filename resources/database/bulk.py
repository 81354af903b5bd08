"""Bulk access shared by all table groups: which rows exist, many rows in, many rows out.

Bulk paths carry sessions as ISO text (which both databases take and give), never as one date object a row.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection, String, Table, cast

#: Rows to be stored, as columns of equal length.
Columns = Mapping[str, Sequence[Any]]

#: More keys than this are not named in a query (SQLite takes 32,766 parameters): the caller picks from all rows.
_MAX_NAMED_KEYS = 30_000
#: From this many keys on, most of a table is asked for: counting all of it is quicker than seeking each row.
_MANY_KEYS = 1_000


def upsert(connection: Connection, table: Table, columns: Columns) -> int:
    """Write rows given as columns of equal length, replacing rows of the same primary key; return their number."""
    rows = list(zip(*map(_plain, columns.values()), strict=True))
    if rows and connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_upsert(table, columns, f"VALUES ({', '.join('?' for _ in columns)})"), rows)
    elif rows:
        _copy(connection, table, columns, rows)
    return len(rows)


def _upsert(table: Table, columns: Iterable[str], rows: str) -> str:
    """Compose an insert of `rows` that replaces on conflict; both databases understand it."""
    key = [column.name for column in table.primary_key]
    updates = [f"{name} = excluded.{name}" for name in columns if name not in key]
    if "computed_at" in table.c:
        updates.append("computed_at = CURRENT_TIMESTAMP")
    replaced = ", ".join(updates)
    action = f"UPDATE SET {replaced}" if replaced else "NOTHING"
    names = ", ".join(table.c[name].name for name in columns)
    # Names are those of our own tables, never a user's.
    return f"INSERT INTO {table.name} ({names}) {rows} ON CONFLICT ({', '.join(key)}) DO {action}"


def _copy(connection: Connection, table: Table, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Upsert by way of COPY into a temporary table, which belongs to this transaction alone."""
    names = ", ".join(columns)
    text = io.StringIO()
    csv.writer(text).writerows(rows)  # None becomes an empty field, which COPY reads as null
    text.seek(0)
    scratch = f"new_{table.name}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {scratch} ON COMMIT DROP AS SELECT {names} FROM {table.name} LIMIT 0"  # noqa: S608
    )
    cursor: Any = connection.connection.cursor()
    cursor.copy_expert(f"COPY {scratch} ({names}) FROM STDIN WITH (FORMAT csv)", text)
    connection.exec_driver_sql(_upsert(table, columns, f"SELECT {names} FROM {scratch}"))  # noqa: S608
    connection.exec_driver_sql(f"DROP TABLE {scratch}")


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    """Give Python objects instead of numpy's, and None instead of NaN."""
    if not isinstance(values, np.ndarray):
        return values
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), None, values.astype(object))
    return values.tolist()


def session_text(table: Table) -> sa.ColumnElement[str]:
    """The session column as ISO text."""
    return cast(table.c.session, String).label("session")


def within(column: sa.ColumnElement[Any], keys: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Restrict a query to the keys, unless they are so many that the caller does better to pick from all."""
    return column.in_(keys) if len(keys) <= _MAX_NAMED_KEYS else sa.true()


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
    key, session = table.primary_key.columns[0], table.c.session
    where = [table.c[name] == value for name, value in fixed.items()]
    open_days = list(range(len(sessions)))
    others = None  # stored keys that are not asked for, where they are looked for
    if len(keys) >= _MANY_KEYS:
        stored = _stored_keys(connection, key)
        at = [i for i, name in enumerate(keys) if name in stored]
        if len(at) < len(keys):
            found[at] = present(connection, table, [keys[i] for i in at], sessions, **fixed)
            return found
        others = stored.difference(keys)
    if len(keys) <= _MAX_NAMED_KEYS:
        of_day = [session.in_(sessions), *where]
        if others is not None and len(others) < len(keys):
            counts = _counts(connection, session, of_day)
            for day, n in _counts(connection, session, [key.in_(others), *of_day]).items() if others else ():
                counts[day] -= n
        else:
            counts = _counts(connection, session, [key.in_(keys), *of_day])
        found[:, [j for j, day in enumerate(sessions) if counts.get(day) == len(keys)]] = True
        open_days = [j for j, day in enumerate(sessions) if 0 < counts.get(day, 0) < len(keys)]
    if not open_days:
        return found
    days = [sessions[j] for j in open_days]
    counts = _counts(connection, key, [within(key, keys), session.in_(days), *where])
    found[np.ix_([i for i, name in enumerate(keys) if counts.get(name) == len(days)], open_days)] = True
    partial = [name for name in keys if 0 < counts.get(name, 0) < len(days)]
    if partial:
        query = sa.select(key, session_text(table)).where(within(key, partial), session.in_(days), *where)
        _mark(found, connection.execute(query), keys, sessions)
    return found


def _stored_keys(connection: Connection, key: sa.ColumnElement[Any]) -> set[Any]:
    """Give all keys of a table, from one to the next by its index: reading every row takes seconds."""
    first = sa.select(sa.func.min(key).label("name")).cte("stored", recursive=True)
    after = sa.select(sa.func.min(key)).where(key > first.c.name).scalar_subquery()
    every = first.union_all(sa.select(after).where(first.c.name.is_not(None)))
    return set(connection.execute(sa.select(every.c.name).where(every.c.name.is_not(None))).scalars())


def _counts(
    connection: Connection, by: sa.ColumnElement[Any], where: Sequence[sa.ColumnElement[bool]]
) -> dict[Any, int]:
    rows = connection.execute(sa.select(by, sa.func.count()).where(*where).group_by(by))
    return dict(rows.all())


def _mark(found: NDArray[np.bool_], rows: Iterable[Any], keys: Sequence[Any], sessions: Sequence[date]) -> None:
    """Set the cell of each row; rows of other keys are passed over."""
    at_key = {name: i for i, name in enumerate(keys)}
    at_session = {session.isoformat(): j for j, session in enumerate(sessions)}
    for name, text in rows:
        if name in at_key:
            found[at_key[name], at_session[text]] = True
