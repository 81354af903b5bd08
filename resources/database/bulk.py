"""Bulk access shared by all table groups: which rows exist, many rows in, many rows out.

Bulk paths carry sessions as ISO text (which both databases take and give), never as one date object a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection, String, Table, cast
from sqlalchemy.dialects import postgresql, sqlite

#: More keys than this are not named in a query: all rows of the sessions are read instead.
_MAX_NAMED_KEYS = 2000


def upsert(connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]]) -> int:
    """Write rows given as columns of equal length, replacing rows of the same primary key; return their number."""
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    key = [column.name for column in table.primary_key]
    insert = dialect.insert(table).values({name: sa.bindparam(name) for name in columns})
    replaced = {name: insert.excluded[name] for name in columns if name not in key}
    if replaced:
        statement = insert.on_conflict_do_update(index_elements=key, set_=replaced)
    else:
        statement = insert.on_conflict_do_nothing()
    compiled = statement.compile(dialect=connection.dialect)
    rows = list(zip(*(_plain(columns[name]) for name in compiled.positiontup or ()), strict=True))
    if rows:
        connection.exec_driver_sql(str(compiled), rows)
    return len(rows)


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
