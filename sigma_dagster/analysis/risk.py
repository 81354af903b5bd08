"""A portfolio's risk numbers, as `sigma show`, `sigma onboard` and `sigma whatif` print them.

What is stored is read. What only one session is asked for (weights and shares of risk by position) is computed from
the stored rows; so are all numbers of a book that is not stored, as its rows would be. The formulas stand in
`assets.numerics`. No Dagster: it would double the time that `sigma show` takes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from types import MappingProxyType
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, Table

from assets.factor_models import FactorModel
from assets.numerics import regression
from assets.numerics.arrays import FloatArray
from assets.numerics.constants import COVERED_SESSIONS, LOOKBACK_RETURNS, MIN_COVERAGE
from assets.numerics.value_at_risk import LOSSES, Exceedances, exceedances
from assets.shared import factor_risk, valuation
from assets.shared.factor_risk import FactorRisk, Windows
from assets.shared.look_back import MissingInputsError
from assets.shared.portfolio_columns import exposure_columns, movement_columns
from assets.shared.valuation import SymbolExposures, Valuation
from resources.database.bulk import Columns
from resources.database.portfolios import Portfolio
from resources.database.tables import daily_price, portfolio_factor_exposure, portfolio_volatility

#: Values at risk whose exceedances are counted, with the probability of a larger loss.
_COUNTED = {"var_95_1d": 0.05, "var_99_1d": 0.01}


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
    asset_class: str  # public, private or cash: all may have the same symbol
    weight: float | None  # signed
    price_basis: str  # market, stale (a market price more than 5 sessions old), entry, cash or none
    quality: str | None  # of the symbol's exposures, with the next two; None if it can have none
    n_obs: int | None
    r_squared: float | None
    unvalued: bool = False  # some lot of it has neither a market price nor an entry price, and counts as nothing


@dataclass(frozen=True)
class Risk:
    """The risk of one portfolio as of one session, each number under its name in JSON; None is not known.

    Volatilities are annualised decimals, shares and coverages 0 to 1, values in US dollars. Exposures are of the whole
    denominator. Volatilities and losses (fractions, positive for a loss) are of `covered_value`.
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
    es_975_1d: float | None
    var_95_1d_historical: float | None
    var_99_1d_historical: float | None
    var_95_1d_normal: float | None
    var_99_1d_normal: float | None
    exceedances: dict[str, Exceedances]  # by value at risk, over the last 252 sessions

    risk_split: RiskSplit  # scaled to what is forecast for now, as is split_vol
    split_vol: float | None
    risk_split_equal_weighted: RiskSplit  # every session of the window alike, as are the next three
    split_vol_equal_weighted: float | None
    split_ratio: float | None
    diversifiable_share: float | None

    positions: tuple[Position, ...]  # the largest first

    @property
    def covered_value(self) -> float | None:
        """What volatilities and losses are shares of: the part of the denominator that has returns, in dollars."""
        if self.denominator is None or self.return_coverage is None:
            return None
        return self.denominator * self.return_coverage

    def in_dollars(self, name: str) -> float | None:
        """Give a loss as an amount."""
        share: float | None = getattr(self, name)
        return None if share is None or self.covered_value is None else share * self.covered_value

    def to_json(self) -> dict[str, Any]:
        """Give all of it as plain data, with losses in dollars beside the fractions."""
        dollars = {f"{name}_usd": self.in_dollars(name) for name in LOSSES}
        covered = {"as_of": self.as_of.isoformat(), "covered_value": self.covered_value}
        return {**asdict(self), **covered, **dollars}


def read(connection: Connection, one: Portfolio, model: FactorModel, up_to: date | None = None) -> Risk | None:
    """Read the newest risk of a stored portfolio, of a session up to the date; None if nothing is stored of it.

    Raises MissingInputsError if rows that it rests on are gone.
    """
    found = _newest(connection, one, model, up_to)
    if found is None:
        return None
    exposure, volatility = found
    session = exposure["session"]
    book = measure(connection, one, model, session)
    counted = _exceedances(connection, one.id, book.valuation.panel.sessions)
    return _risk(book, exposure, volatility, counted)


def of_unstored(
    connection: Connection,
    one: Portfolio,
    model: FactorModel,
    sessions: Sequence[date],
    fitted: Columns = MappingProxyType({}),
) -> Risk:
    """Give the risk that a book would have as of the last of the sessions, were it stored with rows of all of them.

    :param sessions: the target sessions of stored portfolios; losses are held against those of the last year.
    :param fitted: exposures of symbols that have no stored row at that session.

    Raises MissingInputsError if rows that it rests on are not stored.
    """
    session = sessions[-1]
    book = measure(connection, one, model, session, fitted)
    first = max(one.first_entry, book.valuation.panel.sessions[0])
    held = [day for day in sessions if day >= first][-COVERED_SESSIONS - 1 :] or [session]
    movement = movement_columns(valuation.stacks(connection, [one], held))
    counted = _count(*(np.asarray(movement[name], dtype=float) for name in ("return_1d", *_COUNTED)))
    exposure = exposure_columns(model, book.valuation, book.measured)
    return _risk(
        book,
        _row(portfolio_factor_exposure, exposure, session),
        _row(portfolio_volatility, movement, session),
        counted,
    )


def _row(table: Table, columns: Columns, session: date) -> dict[str, Any]:
    """Give the last of the rows as it would be read from the table."""
    last = {name: values[-1] for name, values in columns.items()}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in last.items()}
    known = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in plain.items()}
    return {**dict.fromkeys(column.name for column in table.c), **known, "session": session}


@dataclass(frozen=True)
class Book:
    """A portfolio measured as of one session, its positions too."""

    portfolio: Portfolio
    model: FactorModel
    valuation: Valuation
    own: SymbolExposures
    measured: FactorRisk


def measure(
    connection: Connection,
    one: Portfolio,
    model: FactorModel,
    session: date,
    fitted: Columns = MappingProxyType({}),
) -> Book:
    """Measure a portfolio as of a session; raises MissingInputsError if rows that it rests on are not stored."""
    public = any(lot.asset_class == "public" and lot.held_within(session, session) for lot in one.lots)
    sessions = _stored_sessions(connection, model.proxies[0], session) if public else [session]
    book = valuation.load(connection, one, sessions[-1:], model.proxies, grid=sessions)
    own = valuation.load_exposures(connection, book, model.key, model.factor_names, fitted)
    return Book(one, model, book, own, factor_risk.measure(book, own, Windows(model), by_position=True))


def _risk(
    measured: Book,
    exposure: Mapping[str, Any],
    volatility: Mapping[str, Any],
    counted: dict[str, Exceedances],
) -> Risk:
    """Put the two rows of a session together with what is made of its positions."""
    one, model, book, own = measured.portfolio, measured.model, measured.valuation, measured.own
    columns = {field.name for field in fields(Risk)}
    found = exposure, volatility
    reasons = dict.fromkeys(row["reason"] for row in found if row["reason"])
    stored = {column: value for row in found for column, value in row.items() if column in columns}
    return Risk(
        **{
            **stored,
            "portfolio": one.name,
            "as_of": exposure["session"],
            "factor_model": model.key,
            "reason": "; ".join(reasons) or None,
            "exposures": _by_factor(exposure, "exposure", model),
            "standard_errors": _by_factor(exposure, "se", model),
            "low_coverage": _low_coverage(volatility, exposure),
            "exceedances": counted,
            "risk_split": RiskSplit(
                _by_factor(exposure, "share", model),
                exposure["share_specific"],
                _shares(book, own, measured.measured.shares),
            ),
            "risk_split_equal_weighted": _equal_weighted(book, own, measured.measured, model),
            "positions": _positions(book, own),
        }
    )


def _newest(
    connection: Connection, one: Portfolio, model: FactorModel, up_to: date | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Read the newest rows of both portfolio tables for one session."""
    exposure, volatility = portfolio_factor_exposure, portfolio_volatility
    same = (volatility.c.portfolio_id == exposure.c.portfolio_id) & (volatility.c.session == exposure.c.session)
    query = (
        sa.select(exposure, volatility)
        .join(volatility, same)
        .where(exposure.c.portfolio_id == one.id, exposure.c.model == model.key)
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


def _exceedances(connection: Connection, portfolio_id: int, sessions: Sequence[date]) -> dict[str, Exceedances]:
    """Count, from the stored rows, on how many sessions more was lost than was said the session before."""
    table = portfolio_volatility
    names = ["return_1d", *_COUNTED]
    query = sa.select(table.c.session, *(table.c[name] for name in names)).where(
        table.c.portfolio_id == portfolio_id, table.c.session.between(sessions[0], sessions[-1])
    )
    at = {session: i for i, session in enumerate(sessions)}
    numbers = np.full((len(sessions), len(names)), np.nan)
    for session, *row in connection.execute(query):
        if session in at:
            numbers[at[session]] = row
    return _count(*numbers.T)


def _count(returns: FloatArray, *at_risk: FloatArray) -> dict[str, Exceedances]:
    return {
        name: exceedances(returns, said, tail) for (name, tail), said in zip(_COUNTED.items(), at_risk, strict=True)
    }


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


def _equal_weighted(book: Valuation, own: SymbolExposures, measured: FactorRisk, model: FactorModel) -> RiskSplit:
    if measured.split is None:
        return RiskSplit(dict.fromkeys(model.factor_names), None, {})
    split = measured.split.equal_weighted
    factors = {name: _known(split.by_factor[0, k]) for k, name in enumerate(model.factor_names)}
    return RiskSplit(factors, _known(split.specific[0]), _shares(book, own, measured.equal_weighted_shares))


def _shares(book: Valuation, own: SymbolExposures, shares: FloatArray | None) -> dict[str, float]:
    """Give the share of the variance by symbol; of symbols without exposures there is none."""
    if shares is None:
        return {}
    covered = book.weights.held[0] & np.isfinite(own.beta[0]).all(axis=1) & np.isfinite(shares[0])
    return {book.symbols[i]: float(shares[0, i]) for i in np.flatnonzero(covered)}


def _positions(loaded: Valuation, own: SymbolExposures) -> tuple[Position, ...]:
    weight = loaded.weights.weight[0]
    held = np.flatnonzero(loaded.weights.held[0])
    return tuple(_position(loaded, own, int(i)) for i in held[np.argsort(-np.abs(weight[held]), kind="stable")])


def _position(loaded: Valuation, own: SymbolExposures, i: int) -> Position:
    public = i < loaded.public
    n_obs = _known(own.n_obs[0, i])
    return Position(
        symbol=loaded.symbols[i],
        asset_class=loaded.classes[i],
        weight=_known(loaded.weights.weight[0, i]),
        price_basis=_price_basis(loaded, i),
        quality=str(regression.QUALITY_LABELS[own.quality[0, i]]) if public else None,
        n_obs=None if n_obs is None else int(n_obs),
        r_squared=_known(own.r_squared[0, i]),
        unvalued=bool(loaded.positions.unvalued[0, i]),
    )


def _price_basis(loaded: Valuation, i: int) -> str:
    found = loaded.positions
    said = {"cash": found.cash[i], "entry": found.at_entry[0, i], "stale": found.stale[0, i]}
    said["none"] = found.unvalued[0, i]
    return next((basis for basis, holds in said.items() if holds), "market")


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
