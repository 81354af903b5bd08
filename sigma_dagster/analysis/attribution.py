"""What changed: why a portfolio's forecast variance is another one than some sessions ago.

Trades are those of the lots, by their entry and exit dates. The order in which the inputs change is that of
`assets.numerics.attribution`; every variance on the way is made by the functions that make the stored ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics import portfolio as weighing
from assets.numerics import residuals, risk
from assets.numerics.arrays import FloatArray
from assets.numerics.attribution import PARTS, variance_path
from assets.numerics.portfolio import Weights
from assets.shared import factor_risk, valuation
from assets.shared.factor_risk import Windows
from assets.shared.look_back import MissingInputsError, listed
from assets.shared.valuation import SymbolExposures, Valuation
from resources.database.portfolios import Portfolio
from resources.database.tables import portfolio_factor_exposure

#: Sessions back that a change is measured against if nobody says otherwise.
BEFORE = 21
#: So many positions and factors are named.
_NAMED = 5


class NoChangeError(ValueError):
    """Two dates between which nothing can be explained; the message says which rows there are."""


@dataclass(frozen=True)
class Moved:
    """What a position or a factor contributes to the variance."""

    name: str
    from_: float
    to: float

    @property
    def change(self) -> float:
        """How much of the change it is."""
        return self.to - self.from_

    def to_json(self, kind: str) -> dict[str, Any]:
        """Give it as plain data."""
        return {kind: self.name, "from": self.from_, "to": self.to, "change": self.change}


@dataclass(frozen=True)
class Change:
    """The change of the forecast variance (`split_vol` squared, a year's) between two sessions, and its parts."""

    portfolio: str
    from_: date
    to: date
    variance: tuple[float, float] | tuple[None, None]
    parts: dict[str, float | None]  # they add up to the change
    positions: tuple[Moved, ...] = ()  # those that did most, the first first
    factors: tuple[Moved, ...] = ()
    reason: str | None = None  # why there are no numbers

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        before, after = self.variance
        return {
            "portfolio": self.portfolio,
            "from": self.from_.isoformat(),
            "to": self.to.isoformat(),
            "variance": {"from": before, "to": after},
            "parts": self.parts,
            "positions": [one.to_json("symbol") for one in self.positions],
            "factors": [one.to_json("factor") for one in self.factors],
            "reason": self.reason,
        }


def explain(
    connection: Connection, one: Portfolio, model: FactorModel, first: date | None = None, last: date | None = None
) -> Change:
    """Explain the change from one date to another (default: the newest session, and 21 sessions before it).

    A date stands for the last session with a row on or before it. Raises NoChangeError; MissingInputsError if rows that
    it rests on are not stored.
    """
    start, end = _sessions(connection, one, model, first, last)
    book = valuation.load(connection, one, [start, end], model.proxies)
    own = valuation.load_exposures(connection, book, model.key, model.factor_names)
    measured = factor_risk.measure(book, own, Windows(model), by_position=True)
    if measured.split is None or not np.isfinite(measured.split.now.vol).all():
        why = (
            "univariate betas do not add up" if book.public and measured.split is None else "no exposures at both ends"
        )
        return Change(one.name, start, end, (None, None), dict.fromkeys(PARTS), reason=why)
    _check_bought(book, own)
    path = _path(book, own, Windows(model))
    parts: dict[str, float | None] = dict(zip(PARTS, np.diff(path).tolist(), strict=True))
    variance = measured.split.now.vol[:, None] ** 2
    by_position = () if measured.shares is None else _most(book.symbols, measured.shares * variance)
    by_factor = _most(model.factor_names, measured.split.now.by_factor * variance)
    return Change(one.name, start, end, (float(path[0]), float(path[-1])), parts, by_position, by_factor)


def _sessions(
    connection: Connection, one: Portfolio, model: FactorModel, first: date | None, last: date | None
) -> tuple[date, date]:
    table = portfolio_factor_exposure
    query = sa.select(table.c.session).where(table.c.portfolio_id == one.id, table.c.model == model.key)
    stored = sorted(connection.execute(query).scalars())
    if not stored:
        raise NoChangeError(f"nothing is computed of portfolio {one.name} with the factor model {model.name}")
    span = f"its rows are of the sessions {stored[0]} to {stored[-1]}"
    ends = [day for day in stored if last is None or day <= last]
    if not ends:
        raise NoChangeError(f"portfolio {one.name} has no row up to {last}: {span}")
    starts = [day for day in ends if day <= first] if first else ends[-BEFORE - 1 :][:1]
    if not starts:
        raise NoChangeError(f"portfolio {one.name} has no row up to {first}: {span}")
    start, end = starts[-1], ends[-1]
    if start == end:
        raise NoChangeError(f"portfolio {one.name}: both dates stand for the session {end}; {span}")
    return start, end


def _check_bought(book: Valuation, own: SymbolExposures) -> None:
    """Refuse what is held at the end without a row at the start: it would pass for a symbol that has no betas."""
    lacking = book.weights.held[1, : book.public] & np.isnan(own.n_obs[0, : book.public])
    if lacking.any():
        names = listed([book.symbols[i] for i in np.flatnonzero(lacking)])
        raise MissingInputsError(
            f"Factor exposures of {names} on {book.sessions[0]} are not stored: take a later date for --from"
        )


def _path(book: Valuation, own: SymbolExposures, windows: Windows) -> FloatArray:
    """(6,) the variances on the way."""
    weights = [_at(book.weights, 0), _new_at_old_prices(book), _at(book.weights, 1)]
    steps = [(each, 0) for each in weights] + [(weights[-1], 1)]
    exposure, specific, covariance = [], [], []
    for session in (0, 1):
        (window,) = windows.of(book.panel, [book.sessions[session]])
        covariance.append(window.scaled[0])
        for each, at in steps:
            if at == session:
                beta = np.where(np.isfinite(own.beta[at]).all(axis=1)[:, None], own.beta[at], np.nan)
                found = residuals.residuals(each, beta[None], book.returns, window)
                exposure.append(found.exposure[0])
                specific.append(risk.residual_variances(found, window)[1][0])
    return variance_path(np.array(exposure), np.array(covariance), np.array(specific))


def _at(weights: Weights, session: int) -> Weights:
    """The weights of one session."""
    return Weights(**{name: values[session : session + 1] for name, values in vars(weights).items()})


def _new_at_old_prices(book: Valuation) -> Weights:
    """The lots held at the end, as if they had been held at the start."""
    start, end = (np.datetime64(day) for day in book.sessions)
    held = (book.lots.entry_date <= end) & ~(book.lots.exit_date <= end)
    never, always = np.datetime64("NaT", "D"), start
    lots = replace(
        book.lots,
        entry_date=np.where(held, always, end),
        exit_date=np.where(held, never, end),
    )
    days = np.array(book.panel.sessions, dtype="datetime64[D]")
    return weighing.weigh(
        weighing.value_positions(lots, book.close, book.split, days, book.targets[:1]), book.portfolio.equity
    )


def _most(names: Sequence[str], amounts: FloatArray) -> tuple[Moved, ...]:
    moved = [Moved(name, *map(float, amount)) for name, amount in zip(names, np.nan_to_num(amounts).T, strict=True)]
    own = [one for one in moved if one.from_ or one.to]  # cash and what has no exposures did nothing
    return tuple(sorted(own, key=lambda one: -abs(one.change))[:_NAMED])
