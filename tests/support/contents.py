"""What a domain database holds, whichever it is."""

from typing import Any

import sqlalchemy as sa

from resources.database.engine import Database
from resources.database.tables import metadata


def contents(database: Database, *tables: sa.Table) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables (none named: of every table), every column, sorted."""
    with database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in tables or metadata.sorted_tables
        }
