"""Rows that exist, as a person who clicks their partitions would look for them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table

from assets.shared.recorder import Cell, row_facts
from resources.database.bulk import within
from resources.database.engine import Database


def stored_cells(
    database: Database,
    table: Table,
    keys: Mapping[Any, str],
    sessions: Sequence[date],
    shown: Sequence[str],
    fixed: Mapping[str, Any] = {},
) -> Iterator[Cell]:
    """Read the rows of keys (each with the name that its partitions have) and sessions (ascending), by session.

    `fixed` are further columns and their value.
    """
    key, columns = table.primary_key.columns[0], [table.c[name] for name in shown]
    query = sa.select(key, table.c.session, *columns).where(
        within(key, list(keys)),
        table.c.session.between(sessions[0], sessions[-1]),
        *(table.c[name] == value for name, value in fixed.items()),
    )
    with database.read() as connection:
        rows = connection.execute(query.order_by(table.c.session)).all()
    for one, session, *values in rows:
        if one in keys:
            yield Cell(keys[one], session, row_facts(dict(zip(shown, values, strict=True))))
