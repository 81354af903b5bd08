"""Symbols that Dagster knows as partition keys and nobody needs: which there are, and taking one away.

A key comes into being with the first block that names it, or by hand in the UI. Its rows, if it has any, stay.
"""

import dagster as dg
import sqlalchemy as sa

from resources.database.tables import position, symbol
from sigma_dagster.services import Services

_DIMENSION = "symbol"


class KeyInUseError(ValueError):
    """A symbol that cannot be forgotten, because a portfolio holds it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is held by a portfolio: its partitions stay")
        self.symbol = name


def idle(instance: dg.DagsterInstance, services: Services) -> list[str]:
    """Name the keys that no portfolio holds and of which no price is known."""
    known = sa.select(symbol.c.symbol).where(symbol.c.status != "unknown")
    with services.database.read() as connection:
        needed = {*connection.execute(known).scalars(), *connection.execute(sa.select(position.c.symbol)).scalars()}
    return [name for name in instance.get_dynamic_partitions(_DIMENSION) if name not in needed]


def forget(instance: dg.DagsterInstance, services: Services, name: str) -> bool:
    """Take a symbol's key away, so that none of its partitions is missing; False if there is no such key.

    Raises KeyInUseError. What is stored of the symbol stays; a block that names it brings the key back.
    """
    with services.database.read() as connection:
        if connection.execute(sa.select(position.c.id).where(position.c.symbol == name)).first():
            raise KeyInUseError(name)
    if name not in instance.get_dynamic_partitions(_DIMENSION):
        return False
    instance.delete_dynamic_partition(_DIMENSION, name)
    return True
