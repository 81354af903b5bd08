"""Notes of what an onboarding or a refresh took. Commands write them; whoever speaks with Dagster tells it of them.

Not here: Dagster's record (`assets.onboardings`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from resources.database.tables import onboarding


class Note(NamedTuple):
    """What one onboarding or refresh took."""

    id: int
    began: float  # seconds since 1970, UTC
    numbers: dict[str, Any]  # counts, rates and seconds under their names, and `of` what


def note(connection: Connection, began: float, numbers: Mapping[str, Any]) -> None:
    """Keep a note until Dagster has been told."""
    connection.execute(sa.insert(onboarding).values(began=began, numbers=json.dumps(numbers)))


def noted(connection: Connection) -> list[Note]:
    """Give all notes, oldest first."""
    rows = connection.execute(sa.select(onboarding).order_by(onboarding.c.id))
    return [Note(number, began, json.loads(numbers)) for number, began, numbers in rows]


def settle(connection: Connection, notes: Sequence[Note]) -> None:
    """Remove notes: Dagster has been told."""
    last = max((one.id for one in notes), default=0)
    connection.execute(sa.delete(onboarding).where(onboarding.c.id <= last))
