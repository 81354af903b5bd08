"""Volatility as table columns, for the table of symbols and that of portfolios."""

from typing import Any

import numpy as np

from assets.numerics.constants import FORECAST_MODEL
from assets.numerics.volatility import Volatility


def volatility_columns(found: Volatility) -> dict[str, Any]:
    """Give volatility, shape (sessions, series), as table columns in series-major order."""
    names = ("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d", "vol_trend", "vol_trend_p")
    columns = {name: getattr(found, name).T.ravel() for name in (*names, "vol_percentile", "n_obs", "reason")}
    model = [FORECAST_MODEL if known else None for known in np.isfinite(columns["forecast_vol_21d"])]
    return {**columns, "forecast_model": model}
