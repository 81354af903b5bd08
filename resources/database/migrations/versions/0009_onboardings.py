"""notes of onboardings and refreshes, until Dagster has been told."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "onboarding",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("began", sa.Float, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
