"""the first and last close of each symbol, delisted symbols, and what is to be asked for again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("symbol") as table:
        table.add_column(sa.Column("reason", sa.String(length=200), nullable=True))
        table.add_column(sa.Column("first_session", sa.Date(), nullable=True))
        table.add_column(sa.Column("last_session", sa.Date(), nullable=True))
        if op.get_context().dialect.name == "postgresql":  # SQLite: making the table anew leaves it out
            table.drop_constraint(op.f("ck_symbol_status"), type_="check")
        table.create_check_constraint(op.f("ck_symbol_status"), "status IN ('ok', 'unknown', 'delisted')")
    op.execute(
        "UPDATE symbol SET (first_session, last_session) = "
        "(SELECT min(session), max(session) FROM daily_price p WHERE p.symbol = symbol.symbol AND close IS NOT NULL)"
    )
    op.create_table(
        "pending_fetch",
        sa.Column("symbol", sa.String(length=15), nullable=False),
        sa.Column("outcome", sa.String(length=6), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("retry_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("outcome IN ('late', 'failed', 'left')", name=op.f("ck_pending_fetch_outcome")),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_pending_fetch")),
    )
