"""risk scaled to now, filtered value at risk, expected shortfall; rows of the older definitions are made again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_EXPOSURE = ("split_vol_equal_weighted", "diversifiable_share")
_OF_BOOKS = """SELECT '{table}', portfolio.name, min(session), max(session) FROM {table}
    JOIN portfolio ON portfolio.id = portfolio_id GROUP BY portfolio.name"""
_WITH_JUMPS = """symbol IN (SELECT symbol FROM (
    SELECT symbol, close, lag(close) OVER (PARTITION BY symbol ORDER BY session) AS earlier FROM daily_price
    ) AS closes WHERE close > 6 * earlier)"""
_OF_FITS = f"""SELECT 'factor_exposure', symbol, min(session), max(session) FROM factor_exposure
    WHERE {_WITH_JUMPS} GROUP BY symbol"""  # noqa: S608 - a text of ours
_VOLATILITY = ("es_975_1d", "var_95_1d_historical", "var_99_1d_historical", "return_1d")


def upgrade() -> None:
    """Apply."""
    for table, names in (("portfolio_factor_exposure", _EXPOSURE), ("portfolio_volatility", _VOLATILITY)):
        _note(_OF_BOOKS.format(table=table))
        op.execute(sa.delete(sa.table(table)))
        for name in names:
            op.add_column(table, sa.Column(name, sa.Float(), nullable=True))
    # Fits over a jump that no split explains were not flagged.
    _note(_OF_FITS)
    op.execute(f"DELETE FROM factor_exposure WHERE {_WITH_JUMPS}")  # noqa: S608 - a text of ours


def _note(deleted: str) -> None:
    """Note what a query names as deleted, so that its records go too; a new database is to stay as if never written."""
    if op.get_bind().execute(sa.text(deleted)).first():
        op.execute(f"INSERT INTO deleted_result (table_name, key, first, last) {deleted}")
