"""what is decided once for a home: its first date partition, where a home with results had them begin."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "setting",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting")),
    )
    op.execute(
        "INSERT INTO setting (name, value) SELECT 'first_date', CAST(session AS VARCHAR(10)) "
        "FROM (SELECT min(session) AS session FROM symbol_volatility) AS earliest WHERE session IS NOT NULL"
    )
