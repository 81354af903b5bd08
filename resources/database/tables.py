"""The tables of the domain database, as SQLAlchemy Core metadata.

One row of a result table is one finished computation: a row that exists is valid, and whatever would make it wrong
deletes it in the same transaction. A null number beside a `reason` is a known absence; a missing row is work to do.
Queries stand in the sibling modules, one per table group. Two views for people, `factor_exposure_by_factor` (a row a
factor) and `lot_factor_exposure` (lots beside their symbol's exposures), are made by the migrations.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
)

#: The factor catalogue: every factor a model may use has its columns in the exposure tables.
FACTORS = ("market", "value", "growth", "momentum", "quality", "size", "low_volatility", "interest_rate")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _floats(*names: str) -> list[Column[float]]:
    return [Column(name, Float) for name in names]


def _per_factor(prefix: str) -> list[Column[float]]:
    return _floats(*(f"{prefix}_{factor}" for factor in FACTORS))


def _written_at() -> Column[object]:
    # The database's clock, not the program's: nothing computed here may depend on the time of day.
    return Column("computed_at", DateTime, nullable=False, server_default=func.now())


portfolio = Table(
    "portfolio",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("equity", Float),
    Column("created_at", DateTime, nullable=False, server_default=func.now()),
    CheckConstraint("equity > 0", name="equity"),
    # An id is never used again: a run that computes a replaced portfolio must not write to its successor.
    sqlite_autoincrement=True,
)

lot = Table(
    "lot",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portfolio_id", ForeignKey("portfolio.id", ondelete="CASCADE"), nullable=False),
    Column("symbol", String(15), nullable=False),
    Column("quantity", Float, nullable=False),
    Column("entry_price", Float, nullable=False),
    Column("entry_date", Date, nullable=False),
    Column("exit_date", Date),
    Column("asset_class", String(7)),
    # Quantity and entry price are in shares of this session (the import\'s), whatever splits come later.
    Column("shares_as_of", Date, nullable=False),
    CheckConstraint("quantity <> 0", name="quantity"),
    CheckConstraint("entry_price >= 0", name="entry_price"),  # 0: no entry value is known
    CheckConstraint("exit_date >= entry_date", name="exit_date"),  # on the same day: the lot holds nothing
    CheckConstraint("asset_class IN ('public', 'private', 'cash')", name="asset_class"),
    Index(None, "portfolio_id"),
    Index(None, "symbol"),
)

symbol = Table(
    "symbol",
    metadata,
    Column("symbol", String(15), primary_key=True),
    Column("status", String(8), nullable=False),
    Column("source", String(64), nullable=False),
    # Grows whenever a stored price is rewritten: who computed from older prices must not write its results.
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("fetched_at", DateTime, nullable=False, server_default=func.now()),
    # Why the status is another one than ok.
    Column("reason", String(200)),
    # Of the stored closes: a symbol that has any is known, whatever a source says later.
    Column("first_session", Date),
    Column("last_session", Date),
    CheckConstraint("status IN ('ok', 'unknown', 'delisted')", name="status"),
)

# Symbols whose missing prices were asked for in vain: what rests on them waits. Gone once the prices are there.
pending_fetch = Table(
    "pending_fetch",
    metadata,
    Column("symbol", String(15), primary_key=True),
    # late: the source has no row yet; failed: the fetch; left: the run ended before its turn.
    Column("outcome", String(6), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("session", Date, nullable=False),  # the newest one that was asked for
    # The daemon does not ask before this time (UTC); a command does.
    Column("retry_at", DateTime, nullable=False),
    CheckConstraint("outcome IN ('late', 'failed', 'left')", name="outcome"),
)

daily_price = Table(
    "daily_price",
    metadata,
    Column("symbol", String(15), primary_key=True),
    Column("session", Date, primary_key=True),
    *_floats("open", "high", "low"),
    Column("close", Float),
    *_floats("volume", "dividend", "split"),
    Column("source", String(64), nullable=False),
    # Why there is no close: the provider was asked and has none.
    Column("absence", String(32)),
    CheckConstraint("close > 0", name="close"),
    CheckConstraint("(close IS NULL) = (absence IS NOT NULL)", name="close_or_absence"),
    Index(None, "session", "symbol"),
    sqlite_with_rowid=False,
)

#: What is decided once for the whole home and never moves by itself (`home`).
setting = Table(
    "setting",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)

factor_model = Table(
    "factor_model",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("definition", Text, nullable=False),
)

factor_model_proxy = Table(
    "factor_model_proxy",
    metadata,
    Column("model", ForeignKey("factor_model.model"), primary_key=True),
    Column("symbol", String(15), primary_key=True),
)

factor_exposure = Table(
    "factor_exposure",
    metadata,
    Column("symbol", String(15), primary_key=True),
    Column("session", Date, primary_key=True),
    Column("model", ForeignKey("factor_model.model"), primary_key=True),
    *_per_factor("beta"),
    *_per_factor("se"),
    *_floats("market_total", "r_squared", "residual_vol"),
    Column("n_obs", Integer, nullable=False),
    *_floats("condition", "max_vif"),
    Column("quality", String(20), nullable=False),
    Column("reason", String(200)),
    _written_at(),
    Index(None, "session", "symbol"),
    sqlite_with_rowid=False,
)

symbol_volatility = Table(
    "symbol_volatility",
    metadata,
    Column("symbol", String(15), primary_key=True),
    Column("session", Date, primary_key=True),
    *_floats("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d"),
    Column("forecast_model", String(16)),
    Column("vol_trend", String(10)),
    *_floats("vol_trend_p", "vol_percentile"),
    Column("n_obs", Integer, nullable=False),
    Column("reason", String(400)),
    _written_at(),
    Index(None, "session", "symbol"),
    sqlite_with_rowid=False,
)

portfolio_factor_exposure = Table(
    "portfolio_factor_exposure",
    metadata,
    Column("portfolio_id", ForeignKey("portfolio.id", ondelete="CASCADE"), primary_key=True),
    Column("session", Date, primary_key=True),
    Column("model", ForeignKey("factor_model.model"), primary_key=True),
    *_per_factor("exposure"),
    *_per_factor("se"),
    *_floats("market_total", "r_squared"),
    Column("quality", String(20)),
    Column("weight_basis", String(6)),
    *_floats("weight_coverage", "entry_share", "stale_share", "gross", "net", "denominator"),
    *_per_factor("share"),
    *_floats("share_specific", "split_vol", "split_vol_equal_weighted", "split_ratio", "diversifiable_share"),
    Column("reason", String(200)),
    _written_at(),
)

portfolio_volatility = Table(
    "portfolio_volatility",
    metadata,
    Column("portfolio_id", ForeignKey("portfolio.id", ondelete="CASCADE"), primary_key=True),
    Column("session", Date, primary_key=True),
    *_floats("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d"),
    Column("forecast_model", String(16)),
    Column("vol_trend", String(10)),
    *_floats("vol_trend_p", "vol_percentile"),
    *_floats("var_95_1d", "var_99_1d", "es_975_1d", "var_95_1d_historical", "var_99_1d_historical"),
    *_floats("var_95_1d_normal", "var_99_1d_normal", "return_1d", "return_coverage"),
    Column("low_coverage", Integer),
    Column("n_obs", Integer, nullable=False),
    Column("reason", String(400)),
    _written_at(),
)

#: Notes of `deletions`: rows of a result table that Dagster may still show as there.
deleted_result = Table(
    "deleted_result",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("table_name", String(32), nullable=False),
    # A symbol, or the name of a portfolio: its id is gone by the time that the note is read.
    Column("key", String(64), nullable=False),
    Column("first", Date, nullable=False),
    Column("last", Date, nullable=False),
    sqlite_autoincrement=True,
)

#: Notes of `onboardings`: what an onboarding or a refresh took, until Dagster has been told.
onboarding = Table(
    "onboarding",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("began", Float, nullable=False),  # seconds since 1970, UTC
    Column("numbers", Text, nullable=False),  # JSON
    sqlite_autoincrement=True,
)

# One row is one attempt at a provider, whatever became of it: the limits count these for all processes together.
provider_call = Table(
    "provider_call",
    metadata,
    Column("id", Integer, primary_key=True),
    # The source, and for one with a key a mark that tells two keys apart without saying either.
    Column("account", String(80), nullable=False),
    Column("began", Float, nullable=False),  # seconds since 1970, UTC
    Column("ended", Float),  # null: being made now
    Index(None, "account", "began"),
)

provider_note = Table(
    "provider_note",
    metadata,
    Column("account", String(80), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("text", Text, nullable=False),
)

#: Runs that a process executes, or did and nobody has looked after since (`executions`).
execution = Table(
    "execution",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("host", String(255), nullable=False),
)

# What a run computes, and no other at the same time: the key of this table is what keeps two askers apart.
claim = Table(
    "claim",
    metadata,
    Column("asset", String(64), primary_key=True),
    Column("key", String(64), primary_key=True),  # a symbol or the name of a portfolio, with all of its sessions
    Column("run_id", ForeignKey("execution.run_id", ondelete="CASCADE"), nullable=False),
    Index(None, "run_id"),
)
