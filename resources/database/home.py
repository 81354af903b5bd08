"""What is decided once for a home, with its first portfolio: the first date partition.

Not here: what the environment asks for anew with every command (`sigma_dagster.settings`).
"""

from datetime import date

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database.tables import setting

_FIRST_DATE = "first_date"


def first_date(connection: Connection) -> date | None:
    """Give the first date partition; None until the first portfolio is stored."""
    stored = connection.execute(sa.select(setting.c.value).where(setting.c.name == _FIRST_DATE)).scalar()
    return date.fromisoformat(stored) if stored else None


def fix_first_date(connection: Connection, day: date) -> None:
    """Store the first date partition, for good: of several processes the first one decides."""
    # Postgres makes a second writer wait for the first one's commit; a writer on SQLite has the database to itself.
    insert = sa.text("INSERT INTO setting (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
    connection.execute(insert, {"name": _FIRST_DATE, "value": day.isoformat()})


def move_first_date(connection: Connection, day: date) -> None:
    """Let the date partitions begin later, after the sessions before `day` were dropped."""
    connection.execute(sa.update(setting).where(setting.c.name == _FIRST_DATE).values(value=day.isoformat()))
