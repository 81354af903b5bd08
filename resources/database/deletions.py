"""Deleting result rows, and the notes by which Dagster's record follows: what has no row shall not show as there.

A note is written in the transaction that deletes the rows, and stays until the record was taken back. Taking it back
is not done here: this package knows nothing of Dagster.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Table

from resources.database.tables import deleted_result, portfolio

#: A statement names at most this many notes.
_CHUNK = 500


class Deletion(NamedTuple):
    """Rows of `table` were deleted for a key (a symbol, or a portfolio's name), from session `first` to `last`."""

    id: int
    table: str
    key: str
    first: date
    last: date


def delete_results(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    """Delete the rows of a result table that meet all conditions, and note it; return how many there were.

    `table` has a column `session`, and `symbol` or `portfolio_id`. Portfolio rows are to be deleted by this before
    their portfolio is, whose name the note takes.
    """
    note(connection, table, *conditions)
    return connection.execute(sa.delete(table).where(*conditions)).rowcount


def note(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> None:
    """Note rows that are about to be deleted, or to get another key."""
    key = table.c.symbol if "symbol" in table.c else portfolio.c.name
    found = (
        sa.select(sa.literal(table.name), key, sa.func.min(table.c.session), sa.func.max(table.c.session))
        .where(*conditions)
        .group_by(key)
    )
    if "portfolio_id" in table.c:
        found = found.join(portfolio, portfolio.c.id == table.c.portfolio_id)
    columns = ["table_name", "key", "first", "last"]
    connection.execute(sa.insert(deleted_result).from_select(columns, found))


def any_noted(connection: Connection) -> bool:
    """Say whether there are notes."""
    return connection.execute(sa.select(deleted_result.c.id).limit(1)).first() is not None


def noted(connection: Connection) -> list[Deletion]:
    """Give all notes, oldest first."""
    return [Deletion(*row) for row in connection.execute(sa.select(deleted_result).order_by(deleted_result.c.id))]


def settle(connection: Connection, ids: Sequence[int]) -> None:
    """Remove notes: Dagster's record has followed."""
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        connection.execute(sa.delete(deleted_result).where(deleted_result.c.id.in_(chunk)))
