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

#: More keys than this are not named in a query: all rows of the sessions are read instead.
_MAX_NAMED_KEYS = 2000


def upsert(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]) -> int:
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
    Two statements, whatever the number of keys: keys that have all sessions are counted, not read.
    """
    key = table.primary_key.columns[0]
    found = np.zeros((len(keys), len(sessions)), dtype=bool)
    if not found.size:
        return found
    where = [within(key, keys), table.c.session.in_(sessions)]
    where += [table.c[name] == value for name, value in fixed.items()]
    counts: dict[Any, int] = dict(connection.execute(sa.select(key, sa.func.count()).where(*where).group_by(key)).all())
    partial = []
    for i, name in enumerate(keys):
        count = counts.get(name, 0)
        found[i] = count == len(sessions)
        if 0 < count < len(sessions):
            partial.append(name)
    if partial:
        where[0] = within(key, partial)
        rows = connection.execute(sa.select(key, session_text(table)).where(*where)).all()
        scatter(found, rows, keys, sessions, lambda _row: True)
    return found


def scatter(
    target: NDArray[Any], rows: Iterable[Any], keys: Sequence[Any], sessions: Sequence[date], value: Any
) -> None:
    """Put `value(row)` at (key, session) of each row (key first, session text second); other rows are passed over."""
    at_key = {name: i for i, name in enumerate(keys)}
    at_session = {session.isoformat(): i for i, session in enumerate(sessions)}
    for row in rows:
        i, j = at_key.get(row[0]), at_session.get(row[1])
        if i is not None and j is not None:
            target[i, j] = value(row)
