"""Reading a portfolio's risk numbers, as `sigma show` and `sigma onboard` print them.

What is stored is read. What only one session is asked for (weights and shares of risk by position) is computed from
the stored rows; the formulas stand in `assets.numerics`. No Dagster: it would double the time that `sigma show` takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics import regression, risk
from assets.numerics.constants import LOOKBACK_RETURNS, MIN_COVERAGE, RECENT_SESSIONS
from assets.shared import valuation
from assets.shared.look_back import MissingInputsError, check_complete
from assets.shared.valuation import SymbolExposures, Valuation
from resources.database import portfolios, prices
from resources.database.tables import daily_price, portfolio, portfolio_factor_exposure, portfolio_volatility

#: Sessions that say what a price is worth: today's, and enough before it to tell a stale one.
_WEIGHT_SESSIONS = RECENT_SESSIONS + 2
_AT_RISK = ("var_95_1d", "var_99_1d", "var_95_1d_normal", "var_99_1d_normal")


@dataclass(frozen=True)
class RiskSplit:
    """Shares of the variance of that part of the portfolio that has exposures; a hedge has a negative one."""

    factors: dict[str, float | None]  # styles net of the market; with `specific` they add up to 1
    specific: float | None
    positions: dict[str, float]  # of the symbols that have exposures; they add up to 1


@dataclass(frozen=True)
class Position:
    """What a portfolio holds of one symbol at the session, its lots added up."""

    symbol: str
    weight: float | None  # signed
    price_basis: str  # market, stale (a market price more than 5 sessions old) or entry
    quality: str | None  # of the symbol's exposures, with the next two; None if it can have none
    n_obs: int | None
    r_squared: float | None


@dataclass(frozen=True)
class Risk:
    """The risk of one portfolio as of one session, each number under its name in JSON; None is not known.

    Volatilities are annualised decimals, shares and coverages 0 to 1, values in US dollars. Values at risk are
    fractions of the denominator of the weights, positive for a loss.
    """

    portfolio: str
    as_of: date
    factor_model: str  # name and fingerprint
    reason: str | None  # why numbers are not known

    weight_basis: str | None
    weight_coverage: float | None
    entry_share: float | None
    stale_share: float | None
    gross: float | None
    net: float | None
    denominator: float | None

    market_total: float | None
    exposures: dict[str, float | None]
    standard_errors: dict[str, float | None]
    r_squared: float | None
    quality: str | None

    realized_vol_21d: float | None
    realized_vol_63d: float | None
    ewma_vol: float | None
    forecast_vol_21d: float | None
    forecast_model: str | None
    vol_trend: str | None
    vol_trend_p: float | None
    vol_percentile: float | None
    return_coverage: float | None
    low_coverage: bool

    var_95_1d: float | None
    var_99_1d: float | None
    var_95_1d_normal: float | None
    var_99_1d_normal: float | None

    risk_split: RiskSplit
    split_vol: float | None
    split_ratio: float | None

    positions: tuple[Position, ...]  # the largest first

    def in_dollars(self, name: str) -> float | None:
        """Give a value at risk as an amount."""
        share: float | None = getattr(self, name)
        return None if share is None or self.denominator is None else share * self.denominator

    def to_json(self) -> dict[str, Any]:
        """Give all of it as plain data, with values at risk in dollars beside the fractions."""
        dollars = {f"{name}_usd": self.in_dollars(name) for name in _AT_RISK}
        return {**asdict(self), "as_of": self.as_of.isoformat(), **dollars}


@dataclass(frozen=True)
class _Loaded:
    """What is computed for the one session that is shown."""

    book: Valuation
    own: SymbolExposures
    split: risk.RiskSplit | None


def read(connection: Connection, name: str, model: FactorModel, up_to: date | None = None) -> Risk | None:
    """Read the newest risk of a portfolio, of a session up to the date; None if nothing was computed.

    Raises MissingInputsError if rows that it rests on are gone.
    """
    found = _newest(connection, name, model, up_to)
    if found is None:
        return None
    exposure, volatility = found
    sessions = _stored_sessions(connection, model.proxies[0], exposure["session"])
    loaded = _load(connection, name, model, sessions)
    columns = {field.name for field in fields(Risk)}
    reasons = dict.fromkeys(row["reason"] for row in found if row["reason"])
    stored = {column: value for row in found for column, value in row.items() if column in columns}
    return Risk(
        **{
            **stored,
            "portfolio": name,
            "as_of": exposure["session"],
            "factor_model": model.key,
            "reason": "; ".join(reasons) or None,
            "exposures": _by_factor(exposure, "exposure", model),
            "standard_errors": _by_factor(exposure, "se", model),
            "low_coverage": _low_coverage(volatility, exposure),
            "risk_split": RiskSplit(_by_factor(exposure, "share", model), exposure["share_specific"], _shares(loaded)),
            "positions": _positions(loaded.book, loaded.own),
        }
    )


def _newest(
    connection: Connection, name: str, model: FactorModel, up_to: date | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Read the newest rows of both portfolio tables for one session."""
    exposure, volatility = portfolio_factor_exposure, portfolio_volatility
    same = (volatility.c.portfolio_id == exposure.c.portfolio_id) & (volatility.c.session == exposure.c.session)
    query = (
        sa.select(exposure, volatility)
        .join_from(exposure, portfolio)
        .join(volatility, same)
        .where(portfolio.c.name == name, exposure.c.model == model.key)
        .order_by(exposure.c.session.desc())
        .limit(1)
    )
    if up_to is not None:
        query = query.where(exposure.c.session <= up_to)
    row = connection.execute(query).first()
    if row is None:
        return None
    first, second = ({column.name: row._mapping[column] for column in table.c} for table in (exposure, volatility))
    return first, second


def _by_factor(exposure: Mapping[str, Any], prefix: str, model: FactorModel) -> dict[str, float | None]:
    return {factor: exposure[f"{prefix}_{factor}"] for factor in model.factor_names}


def _low_coverage(volatility: Mapping[str, Any], exposure: Mapping[str, Any]) -> bool:
    """The stored flag is that of the returns, which know no factor model."""
    covered = exposure["weight_coverage"]
    return bool(volatility["low_coverage"]) or (covered is not None and covered < MIN_COVERAGE)


def _load(connection: Connection, name: str, model: FactorModel, sessions: Sequence[date]) -> _Loaded:
    """Load what the assets computed the last of the sessions from, as far as shares and weights need it."""
    (one,) = portfolios.load(connection, [name])
    loaded = valuation.load(connection, one, [sessions[-1]], grid=sessions[-_WEIGHT_SESSIONS:])
    own = valuation.load_exposures(connection, loaded, model.key, model.factor_names)
    proxies = prices.load(connection, model.proxies, sessions)
    check_complete(proxies)
    return _Loaded(loaded, own, valuation.split_risk(loaded, own, model, proxies))


def _stored_sessions(connection: Connection, symbol: str, last: date) -> list[date]:
    """The sessions that the numbers look back on: those of the prices that they were computed from.

    The calendar would say the same, half a second later.
    """
    session = daily_price.c.session
    query = sa.select(session).where(daily_price.c.symbol == symbol, session <= last)
    newest = sorted(connection.execute(query.order_by(session.desc()).limit(LOOKBACK_RETURNS + 1)).scalars())
    if last not in newest[-1:]:
        raise MissingInputsError(f"No price of {symbol} is stored for {last}: onboard the portfolio again")
    return newest


def _shares(found: _Loaded) -> dict[str, float]:
    """Give the share of the variance by symbol; of symbols without exposures there is none."""
    if found.split is None:
        return {}
    shares = found.split.by_position[0]
    covered = found.book.weights.held[0] & np.isfinite(found.own.residual_vol[0]) & np.isfinite(shares)
    return {found.book.symbols[i]: float(shares[i]) for i in np.flatnonzero(covered)}


def _positions(loaded: Valuation, own: SymbolExposures) -> tuple[Position, ...]:
    weight = loaded.weights.weight[0]
    held = np.flatnonzero(loaded.weights.held[0])
    return tuple(_position(loaded, own, int(i)) for i in held[np.argsort(-np.abs(weight[held]), kind="stable")])


def _position(loaded: Valuation, own: SymbolExposures, i: int) -> Position:
    public = i < loaded.public
    at_entry, stale = loaded.positions.at_entry[0, i], loaded.positions.stale[0, i]
    n_obs = _known(own.n_obs[0, i])
    return Position(
        symbol=loaded.symbols[i],
        weight=_known(loaded.weights.weight[0, i]),
        price_basis="entry" if at_entry else "stale" if stale else "market",
        quality=str(regression.QUALITY_LABELS[own.quality[0, i]]) if public else None,
        n_obs=None if n_obs is None else int(n_obs),
        r_squared=_known(own.r_squared[0, i]),
    )


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
