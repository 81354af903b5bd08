"""Postgres URLs, as users write them and as the driver that is installed needs them."""

import sqlalchemy as sa


def psycopg2_url(url: str) -> str:
    """Name the driver psycopg2, which Dagster needs: SQLAlchemy takes `postgresql://` for psycopg 3."""
    return sa.make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
