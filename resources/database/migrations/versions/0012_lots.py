"""a lot is called a lot: table `lot` for `position`, `shares_as_of` for `basis`, view `lot_factor_exposure`."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_KEPT = "id, portfolio_id, symbol, quantity, entry_price, entry_date, exit_date, asset_class"
_FACTORS = ("market", "value", "growth", "momentum", "quality", "size", "low_volatility", "interest_rate")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "lot",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("portfolio_id", sa.Integer, nullable=False),
        sa.Column("symbol", sa.String(15), nullable=False),
        sa.Column("quantity", sa.Float, nullable=False),
        sa.Column("entry_price", sa.Float, nullable=False),
        sa.Column("entry_date", sa.Date, nullable=False),
        sa.Column("exit_date", sa.Date),
        sa.Column("asset_class", sa.String(7)),
        sa.Column("shares_as_of", sa.Date, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lot"),
        sa.ForeignKeyConstraint(["portfolio_id"], ["portfolio.id"], name="fk_lot_portfolio_id", ondelete="CASCADE"),
        sa.CheckConstraint("quantity <> 0", name=op.f("ck_lot_quantity")),
        sa.CheckConstraint("entry_price >= 0", name=op.f("ck_lot_entry_price")),
        sa.CheckConstraint("exit_date >= entry_date", name=op.f("ck_lot_exit_date")),
        sa.CheckConstraint("asset_class IN ('public', 'private', 'cash')", name=op.f("ck_lot_asset_class")),
    )
    op.execute(f"INSERT INTO lot ({_KEPT}, shares_as_of) SELECT {_KEPT}, basis FROM position ORDER BY id")  # noqa: S608 - names of ours
    if op.get_bind().dialect.name == "postgresql":
        # Rows that are copied with their ids do not move the sequence of the ids.
        op.execute("SELECT setval(pg_get_serial_sequence('lot', 'id'), coalesce(max(id), 0) + 1, false) FROM lot")
    op.execute("DROP VIEW position_factor_exposure")
    op.drop_table("position")
    op.create_index("ix_lot_portfolio_id", "lot", ["portfolio_id"])
    op.create_index("ix_lot_symbol", "lot", ["symbol"])
    betas = ", ".join(f"e.beta_{factor}" for factor in _FACTORS)
    op.execute(
        "CREATE VIEW lot_factor_exposure AS "  # noqa: S608 - names from the tuple above
        "SELECT f.name AS portfolio, l.id AS lot_id, l.symbol, l.quantity, l.entry_date, l.exit_date, "
        f"e.session, e.model, {betas}, e.market_total, e.r_squared, e.residual_vol, e.n_obs, e.quality, e.reason "
        "FROM lot l JOIN portfolio f ON f.id = l.portfolio_id "
        "JOIN factor_exposure e ON e.symbol = l.symbol AND e.session >= l.entry_date "
        "AND (l.exit_date IS NULL OR e.session < l.exit_date) WHERE l.asset_class = 'public'"
    )
