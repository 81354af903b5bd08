"""Make the golden answers of the numerics from the shipped sample, with pandas and statsmodels and none of our code.

    python tests/golden/make_numerics.py

A date is golden for a reason, which stands beside it in the file.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "resources" / "sources" / "data" / "sample_prices.csv.gz"
SPREADS = {"momentum": "MTUM", "quality": "QUAL", "size": "SIZE", "low_volatility": "USMV", "value": "VLUE"}
DATES = {
    "2015-01-02": "the first session with a full window: 252 returns since 2014-01-03",
    "2016-04-22": "AMD +52% in a day, a true price",
    "2017-10-11": "the lowest 21-session volatility of the S&P 500 in the sample",
    "2018-02-05": "S&P 500 -4.1% after the calmest year",
    "2020-03-16": "S&P 500 -12.0%, the worst day of the sample",
    "2021-03-16": "one year after: the window still begins in the crash",
    "2022-12-28": "the last session of the sample",
}
SYMBOLS = ["AAPL", "AMD", "JNJ", "KO", "RRC", "SP500"]


def main() -> None:
    """Write both files."""
    returns = pd.read_csv(SAMPLE, index_col="date").pct_change()
    factors = pd.DataFrame(
        {"market": returns["SP500"]} | {k: returns[v] - returns["SP500"] for k, v in SPREADS.items()}
    )
    exposures, volatilities = [], []
    for date, reason in DATES.items():
        end = returns.index.get_loc(date) + 1
        for symbol in SYMBOLS:
            key = {"date": date, "symbol": symbol, "reason": reason}
            series = returns[symbol].iloc[end - 252 : end]
            exposures.append(key | exposure(series, factors.iloc[end - 252 : end]))
            volatilities.append(key | volatility(returns[symbol].iloc[max(end - 273, 1) : end]))
    for name, rows in (("exposures", exposures), ("volatility", volatilities)):
        pd.DataFrame(rows).to_csv(HERE / f"numerics_{name}.csv", index=False, float_format="%.12g", lineterminator="\n")


def exposure(series: pd.Series, factors: pd.DataFrame) -> dict[str, float]:
    """OLS of one symbol on one window."""
    fitted = sm.OLS(series, sm.add_constant(factors)).fit()
    return {
        **{f"beta_{name}": fitted.params[name] for name in factors},
        **{f"se_{name}": fitted.bse[name] for name in factors},
        "r_squared": fitted.rsquared,
        "residual_vol": np.sqrt(252 * fitted.mse_resid),
        "market_total": sm.OLS(series, sm.add_constant(factors["market"])).fit().params["market"],
    }


def volatility(series: pd.Series) -> dict[str, float]:
    """All volatility numbers of one symbol, from its last 273 returns (fewer near the beginning)."""
    year, month = series.iloc[-252:] ** 2, series.rolling(21).std()
    before = month.iloc[:-1].tail(252).dropna()
    mean = {k: (series.iloc[-k:] ** 2).mean() for k in (1, 5, 21, 252)}
    trend = stats.levene(series.iloc[-21:], series.iloc[-63:-21], center="median")
    return {
        "realized_vol_21d": np.sqrt(252) * series.iloc[-21:].std(),
        "realized_vol_63d": np.sqrt(252) * series.iloc[-63:].std(),
        "ewma_vol": np.sqrt(252 * year.ewm(alpha=0.06).mean().iloc[-1]),
        "forecast_vol_21d": np.sqrt(252 * (0.02 * mean[1] + 0.15 * mean[5] + 0.37 * mean[21] + 0.46 * mean[252])),
        "vol_trend_p": trend.pvalue,
        "vol_percentile": stats.percentileofscore(before, month.iloc[-1], kind="mean") / 100,
    }


if __name__ == "__main__":
    main()
