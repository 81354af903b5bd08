"""lots that are cash."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

#: The view that names the table; SQLite makes a table anew to change a constraint, and refuses while it is there.
_VIEW = "position_factor_exposure"
_OLD = sa.Table(
    "position",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("portfolio_id", sa.Integer, nullable=False),
    sa.Column("symbol", sa.String(15), nullable=False),
    sa.Column("quantity", sa.Float, nullable=False),
    sa.Column("entry_price", sa.Float, nullable=False),
    sa.Column("entry_date", sa.Date, nullable=False),
    sa.Column("exit_date", sa.Date),
    sa.Column("asset_class", sa.String(7)),
    sa.Column("basis", sa.Date, nullable=False),
    sa.PrimaryKeyConstraint("id", name="pk_position"),
    sa.ForeignKeyConstraint(["portfolio_id"], ["portfolio.id"], name="fk_position_portfolio_id", ondelete="CASCADE"),
    sa.CheckConstraint("quantity <> 0", name="ck_position_quantity"),
    sa.CheckConstraint("entry_price >= 0", name="ck_position_entry_price"),
    sa.CheckConstraint("exit_date >= entry_date", name="ck_position_exit_date"),
    sa.CheckConstraint("asset_class IN ('public', 'private')", name="ck_position_asset_class"),
    sa.Index("ix_position_portfolio_id", "portfolio_id"),
    sa.Index("ix_position_symbol", "symbol"),
)


def upgrade() -> None:
    """Apply."""
    bind = op.get_bind()
    sqlite = bind.dialect.name == "sqlite"
    if sqlite:
        view = bind.execute(sa.text(f"SELECT sql FROM sqlite_master WHERE name = '{_VIEW}'")).scalar_one()  # noqa: S608 - a name of ours
        op.execute(f"DROP VIEW {_VIEW}")
    with op.batch_alter_table("position", copy_from=_OLD) as position:
        position.drop_constraint(op.f("ck_position_asset_class"), type_="check")
        position.create_check_constraint(
            op.f("ck_position_asset_class"), "asset_class IN ('public', 'private', 'cash')"
        )
    if sqlite:
        op.execute(view)
