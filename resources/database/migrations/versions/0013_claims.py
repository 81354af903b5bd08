"""who executes which run (`execution`), and which keys of which assets a run has to itself (`claim`)."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "execution",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_execution"),
    )
    op.create_table(
        "claim",
        sa.Column("asset", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("asset", "key", name="pk_claim"),
        sa.ForeignKeyConstraint(["run_id"], ["execution.run_id"], name="fk_claim_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_claim_run_id", "claim", ["run_id"])
