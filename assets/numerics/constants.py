"""Windows, thresholds and annualisation: every number of the method that is not in a factor model.

All lengths are exchange sessions. Nothing here depends on data, settings or time.
"""

SESSIONS_A_YEAR = 252
MONTH = 21
QUARTER = 63
WEEK = 5

# Factor regressions
BETA_WINDOW = 252
MIN_OBS = 60
MIN_OBS_BEYOND_FACTORS = 10
FULL_WINDOW_SHARE = 0.95
"""A window with a smaller share of its sessions is limited history; factors with a smaller share make no fit."""
RECENT_SESSIONS = WEEK
"""A symbol without a return for this long has no exposure; a close older than this is stale."""
MAX_VIF = 10.0
MAX_CONDITION = 1e6
RIDGE_KAPPA = 0.2
MAX_RETURN = 5.0
"""A larger return without a split is kept, and every window that holds it is flagged."""
PRIOR_MARKET = 1.0
"""The market beta that method ``bayes`` expects of a symbol; of the others it expects 0."""
PRIOR_SPREAD = {
    "market": 0.15,
    "value": 0.55,
    "growth": 0.55,
    "momentum": 0.58,
    "quality": 0.67,
    "size": 0.23,
    "low_volatility": 1.07,
    "interest_rate": 0.13,
}
"""How far betas of US stocks lie about what is expected (standard deviation), measured on 2014-2018, fixed."""

# Volatility of a series
VOL_WINDOW = 252
MIN_VOL_OBS = QUARTER
EWMA_DECAY = 0.94
FORECAST_MODEL = "har-fixed-1"
FORECAST_WEIGHTS = {1: 0.02, WEEK: 0.15, MONTH: 0.37, VOL_WINDOW: 0.46}
"""Weight of the mean squared return of the last k sessions, by k; the weights sum to one."""
TREND_RECENT = MONTH
TREND_WINDOW = QUARTER
TREND_P = 0.10
PERCENTILE_HISTORY = 252
MIN_PERCENTILE_OBS = 126

# Portfolio
MIN_COVERAGE = 0.80
COVERAGE_WINDOW = QUARTER
RISK_WINDOW = 252
MIN_RISK_OBS = 126
MIN_RESIDUAL_COVERAGE = 0.5
"""A session on which a smaller share of the covered weights has a return has no residual."""
VAR_TAILS = (0.05, 0.01)
SHORTFALL_TAIL = 0.025
COVERED_SESSIONS = 252
"""Sessions over which exceedances of value at risk are counted."""
SPLIT_RATIO_BAND = (0.7, 1.3)

LOOKBACK_RETURNS = max(BETA_WINDOW, VOL_WINDOW, TREND_WINDOW, PERCENTILE_HISTORY + MONTH, RISK_WINDOW)
"""Returns that a session's numbers read, its own among them: its own price and as many before it are needed."""
