"""Stress: what a stored portfolio, as it is held now, would make in some scenarios. No prices are fetched here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics.arrays import FloatArray
from assets.numerics.regression import factor_covariance
from assets.numerics.returns import simple_returns
from assets.numerics.stress import following_moves, window_returns
from assets.shared.valuation import Valuation
from resources import calendar
from resources.database import prices
from resources.database.portfolios import Portfolio
from sigma_dagster.analysis import risk
from sigma_dagster.analysis.risk import Book
from sigma_dagster.analysis.scenarios import Scenario

_NO_EXPOSURES = "no position has exposures"


@dataclass(frozen=True)
class Loss:
    """What one position makes."""

    symbol: str
    asset_class: str
    value: float  # dollars held
    pnl: float | None  # dollars; None: not covered
    by: str | None  # returns: its own; factors: its betas; cash: it makes nothing; None: not covered


@dataclass(frozen=True)
class Outcome:
    """What a scenario does to a book; amounts in dollars, gains above 0."""

    scenario: Scenario
    pnl: float | None  # None: nothing is covered
    share: float | None  # of the denominator of weights
    factors: dict[str, float | None]  # what the positions' betas make of each factor's move
    moves: dict[str, float | None]  # of the factors, decimal
    specific: float | None  # the rest of `pnl`
    positions: tuple[Loss, ...]  # the largest amount first
    not_covered: tuple[str, ...]
    coverage: float  # share of gross value
    reason: str | None  # why nothing is covered

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        one = self.scenario
        return {
            "scenario": one.name,
            "title": one.title,
            "kind": "window" if one.is_window else "factors",
            "from": one.from_.isoformat() if one.is_window else None,
            "to": one.to.isoformat() if one.is_window else None,
            "pnl": self.pnl,
            "return": self.share,
            "moves": self.moves,
            "factors": self.factors,
            "specific": self.specific,
            "positions": [vars(position) for position in self.positions],
            "not_covered": list(self.not_covered),
            "coverage": self.coverage,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Stress:
    """A portfolio in some scenarios."""

    portfolio: str
    as_of: date
    denominator: float | None
    outcomes: tuple[Outcome, ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "portfolio": self.portfolio,
            "as_of": self.as_of.isoformat(),
            "denominator": self.denominator,
            "scenarios": [one.to_json() for one in self.outcomes],
        }


def stress(
    connection: Connection, one: Portfolio, model: FactorModel, session: date, chosen: Sequence[Scenario]
) -> Stress:
    """Put the book as it is held at a session through the scenarios; raises MissingInputsError."""
    book = risk.measure(connection, one, model, session)
    made = tuple(_window(connection, book, each) if each.is_window else _moved(book, each) for each in chosen)
    return Stress(one.name, session, _known(book.valuation.weights.denominator[0]), made)


def missing(
    connection: Connection, book: Portfolio, model: FactorModel, session: date, scenario: Scenario
) -> tuple[list[str], list[date], NDArray[np.bool_]]:
    """Say which prices of a window nobody has asked for: symbols, sessions, and the cells (symbols, sessions)."""
    held = [lot.symbol for lot in book.lots if lot.asset_class == "public" and lot.held_within(session, session)]
    names, days = list(dict.fromkeys([*held, *model.proxies])), calendar.sessions(scenario.from_, scenario.to)
    return names, days, ~prices.load(connection, names, days).known.T


def _moved(book: Book, scenario: Scenario) -> Outcome:
    """By the betas of the positions; a factor that is not of the model cannot be answered."""
    names, nothing = book.model.factor_names, np.full(len(book.model.factor_names), np.nan)
    if other := sorted(set(scenario.factors) - set(names)):
        return _outcome(book, scenario, nothing, f"the factor model {book.model.name} has no factor {other[0]}")
    if not book.valuation.public:
        return _outcome(book, scenario, nothing, _NO_EXPOSURES)
    moves = np.array([scenario.factors.get(name, np.nan if scenario.follow else 0.0) for name in names])
    if np.isnan(moves).any():
        panel = book.valuation.panel
        returns = book.model.factor_returns(simple_returns(panel.close, panel.dividend, panel.split), panel.symbols)
        moves = following_moves(factor_covariance(returns, [len(returns) - 1], book.model.window)[0], moves)
    return _outcome(book, scenario, moves, _NO_EXPOSURES)


def _window(connection: Connection, book: Book, scenario: Scenario) -> Outcome:
    """By the positions' own returns from close to close, and by betas where a position has none."""
    held, names = book.valuation.symbols[: book.valuation.public], book.model.proxies
    panel = prices.load(
        connection, list(dict.fromkeys([*held, *names])), calendar.sessions(scenario.from_, scenario.to)
    )
    returns = window_returns(panel.close, panel.dividend, panel.split)
    moves = book.model.factor_returns(returns[None], panel.symbols)[0]
    own = np.full(len(book.valuation.symbols), np.nan)
    own[: len(held)] = returns[panel.columns(held)]
    lacking = f"no prices of this window are stored: sigma stress {book.portfolio.name} --fetch asks for them"
    return _outcome(book, scenario, moves, lacking if held else "no position has a market price", own)


def _outcome(
    book: Book, scenario: Scenario, moves: FloatArray, otherwise: str, own: FloatArray | None = None
) -> Outcome:
    """Put together what the factors' moves and the positions' own returns make; `otherwise` says why it is nothing."""
    loaded, names = book.valuation, book.model.factor_names
    value, held, cash = loaded.positions.value[0], loaded.weights.held[0], loaded.positions.cash
    beta = book.own.beta[0]
    by_factor = value[:, None] * beta * moves  # NaN without betas or moves
    returned = np.full(len(value), np.nan) if own is None else value * own
    pnl = np.where(cash, 0.0, np.where(np.isfinite(returned), returned, by_factor.sum(axis=1)))
    losses = [_loss(loaded, i, pnl[i], own=bool(np.isfinite(returned[i]))) for i in map(int, np.flatnonzero(held))]
    covered = held & ~cash & np.isfinite(pnl)
    only_cash = held.any() and cash[held].all()
    total = float(pnl[covered].sum()) if covered.any() or only_cash else None
    factors = np.where(np.isfinite(moves), np.nansum(by_factor[covered], axis=0), np.nan)
    rest = 0.0 if own is None else float(pnl[covered].sum() - factors.sum())
    denominator = _known(loaded.weights.denominator[0])
    return Outcome(
        scenario=scenario,
        pnl=total,
        share=total / denominator if total is not None and denominator else None,
        factors={name: _known(amount) for name, amount in zip(names, factors, strict=True)},
        moves={name: _known(move) for name, move in zip(names, moves, strict=True)},
        specific=None if total is None or not np.isfinite(factors).all() else rest,
        positions=tuple(sorted(losses, key=lambda one: -abs(one.pnl or 0.0))),
        not_covered=tuple(one.symbol for one in losses if one.pnl is None),
        coverage=float(loaded.weights.coverage(covered[None])[0]),
        reason=otherwise if total is None else None,
    )


def _loss(loaded: Valuation, i: int, pnl: float, *, own: bool) -> Loss:
    kind = loaded.classes[i]
    by = None if not np.isfinite(pnl) else "cash" if kind == "cash" else "returns" if own else "factors"
    return Loss(loaded.symbols[i], kind, float(loaded.positions.value[0, i]), _known(pnl), by)


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
