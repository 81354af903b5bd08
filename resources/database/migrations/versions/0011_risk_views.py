"""views for BI tools: the risk of each portfolio and session in one row, and its exposures a row a factor."""

from alembic import op

revision = "0011"
down_revision = "0010"

_FACTORS = ("market", "value", "growth", "momentum", "quality", "size", "low_volatility", "interest_rate")
_RISK = (
    *("weight_basis", "weight_coverage", "entry_share", "stale_share", "gross", "net", "denominator", "market_total"),
    *("r_squared", "quality", "split_vol", "share_specific", "split_ratio", "diversifiable_share"),
)
_MOVES = (
    *("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d", "forecast_model", "vol_trend"),
    *("vol_trend_p", "vol_percentile", "var_95_1d", "var_99_1d", "es_975_1d", "var_95_1d_historical"),
    *("var_99_1d_historical", "var_95_1d_normal", "var_99_1d_normal", "return_1d", "return_coverage", "low_coverage"),
)


def upgrade() -> None:
    """Apply."""
    columns = ", ".join([*(f"e.{name}" for name in _RISK), *(f"v.{name}" for name in _MOVES)])
    op.execute(
        f"CREATE VIEW portfolio_risk AS SELECT f.name AS portfolio, e.session, e.model, {columns}, "  # noqa: S608 - names from above
        "e.denominator * v.return_coverage AS covered_value "
        "FROM portfolio_factor_exposure e JOIN portfolio f ON f.id = e.portfolio_id "
        "JOIN portfolio_volatility v ON v.portfolio_id = e.portfolio_id AND v.session = e.session"
    )
    each = [
        f"SELECT f.name AS portfolio, e.session, e.model, '{factor}' AS factor, e.exposure_{factor} AS exposure, "  # noqa: S608 - as above
        f"e.se_{factor} AS se, e.share_{factor} AS share FROM portfolio_factor_exposure e "
        f"JOIN portfolio f ON f.id = e.portfolio_id WHERE e.exposure_{factor} IS NOT NULL"
        for factor in _FACTORS
    ]
    op.execute(f"CREATE VIEW portfolio_exposure_by_factor AS {' UNION ALL '.join(each)}")
