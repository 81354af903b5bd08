"""views for people who query the database: exposures a row a factor, and positions beside their symbol's exposures."""

from alembic import op

revision = "0002"
down_revision = "0001"

_FACTORS = ("market", "value", "growth", "momentum", "quality", "size", "low_volatility", "interest_rate")


def upgrade() -> None:
    """Apply."""
    each = [
        f"SELECT symbol, session, model, '{factor}' AS factor, beta_{factor} AS beta, se_{factor} AS se "  # noqa: S608 - names from the tuple above
        f"FROM factor_exposure WHERE beta_{factor} IS NOT NULL"
        for factor in _FACTORS
    ]
    op.execute(f"CREATE VIEW factor_exposure_by_factor AS {' UNION ALL '.join(each)}")
    betas = ", ".join(f"e.beta_{factor}" for factor in _FACTORS)
    op.execute(
        "CREATE VIEW position_factor_exposure AS "  # noqa: S608 - names from the tuple above
        "SELECT f.name AS portfolio, p.id AS position_id, p.symbol, p.quantity, p.entry_date, p.exit_date, "
        f"e.session, e.model, {betas}, e.market_total, e.r_squared, e.residual_vol, e.n_obs, e.quality, e.reason "
        "FROM position p JOIN portfolio f ON f.id = p.portfolio_id "
        "JOIN factor_exposure e ON e.symbol = p.symbol AND e.session >= p.entry_date "
        "AND (p.exit_date IS NULL OR e.session < p.exit_date) WHERE p.asset_class = 'public'"
    )
