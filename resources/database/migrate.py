"""Bring a database's tables to this version of the program."""

from sqlalchemy import Engine

from resources.database.tables import metadata


def upgrade(engine: Engine) -> None:
    """Make what is missing."""
    metadata.create_all(engine)
