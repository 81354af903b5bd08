"""What is missing: the one answer that the command line, the sensor and the schedules act upon.

Pure over the database: it reads which rows exist, never a price, and changes nothing. How the work is run is
`sigma_dagster.runner`'s business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from assets.factor_models import FactorModel
from assets.numerics.constants import LOOKBACK_RETURNS
from resources import calendar
from resources.database import bulk
from resources.database.portfolios import Portfolio
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol_volatility,
)


class NothingToPlanError(ValueError):
    """There is no session to compute."""


@dataclass(frozen=True)
class Wanted:
    """The cells of one table that are asked for, and which of them exist; arrays of shape (keys, sessions)."""

    keys: tuple[str, ...]
    sessions: tuple[date, ...]
    asked: NDArray[np.bool_]
    exists: NDArray[np.bool_]
    force: bool = False  # what exists is made again

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """The cells to be made."""
        return self.asked if self.force else self.asked & ~self.exists

    @cached_property
    def missing_keys(self) -> tuple[str, ...]:
        """The keys that lack a session."""
        return tuple(key for key, row in zip(self.keys, self.missing, strict=True) if row.any())

    @property
    def rows(self) -> int:
        """How many rows are to be made."""
        return int(self.missing.sum())

    def span(self, keys: Sequence[str]) -> tuple[date, date]:
        """The first and last session that something is to be made for, of some keys that lack a session."""
        rows = np.isin(self.keys, keys)
        days = np.flatnonzero(self.missing[rows].any(axis=0))
        return self.sessions[days[0]], self.sessions[days[-1]]

    def step(self, asset: str, counted: Sequence[str]) -> "Step":
        """Ask an asset for the missing cells; of the keys left out, those `counted` are reported as cached."""
        cached = set(counted) - set(self.missing_keys)
        done = [i for i, key in enumerate(self.keys) if key in cached]
        return Step(asset, self.missing_keys, self.force, len(done), int(self.asked[done].sum()))


@dataclass(frozen=True)
class Step:
    """One asset's part of a block: which keys, and what it may take for granted."""

    asset: str
    keys: tuple[str, ...]
    force: bool
    cached_keys: int
    cached_rows: int


@dataclass(frozen=True)
class Block:
    """One run: for each asset, what its keys lack from session `first` to session `last`."""

    dimension: str  # "symbol" or "portfolio"
    keys: tuple[str, ...]
    first: date
    last: date
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Force:
    """What is made again although it exists."""

    prices: bool = False
    symbol_results: bool = False
    portfolio_results: bool = False


@dataclass(frozen=True)
class WorkPlan:
    """What the portfolios lack, as of a session."""

    as_of: date
    prices: Wanted  # held symbols, then factor proxies
    exposures: Wanted
    volatility: Wanted
    portfolio_exposures: Wanted
    portfolio_volatility: Wanted
    proxies: tuple[str, ...]  # of the factor model
    max_keys: int  # of one run

    @cached_property
    def fetch(self) -> dict[str, int]:
        """The sessions to fetch by symbol."""
        counts = self.prices.missing.sum(axis=1)
        return {symbol: int(n) for symbol, n in zip(self.prices.keys, counts, strict=True) if n}

    @property
    def api_calls(self) -> int:
        """Provider calls that fetching costs: one a symbol."""
        return len(self.fetch)

    @cached_property
    def portfolio_rows(self) -> dict[str, int]:
        """The rows to make by portfolio, those of both portfolio tables."""
        both = self.portfolio_exposures.missing.sum(axis=1) + self.portfolio_volatility.missing.sum(axis=1)
        return {name: int(n) for name, n in zip(self.portfolio_exposures.keys, both, strict=True) if n}

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The runs that make it, in order: symbols before portfolios, factor proxies first."""
        symbols = [
            self.prices.step("daily_prices", self.exposures.keys),
            self.exposures.step("factor_exposures", self.exposures.keys),
            self.volatility.step("symbol_volatility", self.volatility.keys),
        ]
        portfolios = [
            self.portfolio_exposures.step("portfolio_factor_exposures", self.portfolio_exposures.keys),
            self.portfolio_volatility.step("portfolio_volatility", self.portfolio_volatility.keys),
        ]
        return (*self._split("symbol", symbols), *self._split("portfolio", portfolios))

    def _split(self, dimension: str, steps: Sequence[Step]) -> Iterator[Block]:
        keys = list(dict.fromkeys(key for step in steps for key in step.keys))
        for start in range(0, len(keys), self.max_keys):
            part = set(keys[start : start + self.max_keys])
            named = (replace(step, keys=tuple(key for key in step.keys if key in part)) for step in steps)
            due = tuple(step for step in named if step.keys)
            # What was found stored is reported once.
            steps = [replace(step, cached_keys=0, cached_rows=0) for step in steps]
            yield Block(dimension, tuple(keys[start : start + self.max_keys]), *self._span(due), due)

    def _span(self, steps: Sequence[Step]) -> tuple[date, date]:
        wanted = {
            "daily_prices": self.prices,
            "factor_exposures": self.exposures,
            "symbol_volatility": self.volatility,
            "portfolio_factor_exposures": self.portfolio_exposures,
            "portfolio_volatility": self.portfolio_volatility,
        }
        spans = [wanted[step.asset].span(step.keys) for step in steps]
        # Prices may be missing before any partition: the asset adds the look-back of the block's sessions itself.
        first = max(min(first for first, _ in spans), self.exposures.sessions[0])
        return first, max(first, *(last for _, last in spans))


def target_sessions(as_of: date, start_date: date, history_sessions: int) -> list[date]:
    """Give the sessions that every held symbol has results for; raises NothingToPlanError if there are none."""
    sessions = [day for day in calendar.last_sessions(history_sessions, as_of) if day >= start_date]
    if not sessions:
        raise NothingToPlanError(
            f"as-of session {as_of} is before {start_date}, the first date partition: "
            "take a later one, or set SIGMA_START_DATE to an earlier date"
        )
    return sessions


def held_symbols(portfolios: Sequence[Portfolio], sessions: Sequence[date]) -> list[str]:
    """Give the public symbols held at any of the sessions, in order of first appearance."""
    return list(
        dict.fromkeys(
            lot.symbol
            for portfolio in portfolios
            for lot in portfolio.lots
            if lot.asset_class == "public" and lot.held_within(sessions[0], sessions[-1])
        )
    )


def plan(
    connection: Connection,
    portfolios: Sequence[Portfolio],
    *,
    model: FactorModel,
    sessions: Sequence[date],
    force: Force = Force(),
    watched: Sequence[str] = (),
    max_keys: int = 500,
) -> WorkPlan:
    """Say what the portfolios lack over the target sessions (ascending; the last is the as-of session).

    Symbols that are `watched` are wanted like held ones; no run takes more than `max_keys` symbols or portfolios.

    The number of SQL statements does not depend on the number of symbols, sessions or portfolios.
    """
    held = list(dict.fromkeys([*held_symbols(portfolios, sessions), *watched]))
    grid = calendar.sessions(calendar.shift(sessions[0], -LOOKBACK_RETURNS), sessions[-1])
    # Proxies first: they are the first partitions of a new instance, and what is added later stands together.
    priced = list(dict.fromkeys([*model.proxies, *held])) if held else []
    ids = {portfolio.id: portfolio.name for portfolio in portfolios}

    entered = _entered(portfolios, sessions)

    def want(table: sa.Table, keys: Sequence[str], days: Sequence[date], forced: bool, **fixed: str) -> Wanted:
        exists = bulk.present(connection, table, keys, days, **fixed)
        return Wanted(tuple(keys), tuple(days), np.ones_like(exists), exists, forced)

    def want_rows(table: sa.Table, **fixed: str) -> Wanted:
        exists = bulk.present(connection, table, list(ids), sessions, **fixed)
        return Wanted(tuple(ids.values()), tuple(sessions), entered, exists, force.portfolio_results)

    return WorkPlan(
        as_of=sessions[-1],
        prices=want(daily_price, priced, grid, force.prices),
        exposures=want(factor_exposure, held, sessions, force.symbol_results, model=model.key),
        volatility=want(symbol_volatility, held, sessions, force.symbol_results),
        portfolio_exposures=want_rows(portfolio_factor_exposure, model=model.key),
        portfolio_volatility=want_rows(portfolio_volatility),
        proxies=model.proxies,
        max_keys=max_keys,
    )


def _entered(portfolios: Sequence[Portfolio], sessions: Sequence[date]) -> NDArray[np.bool_]:
    """Portfolio rows start at the first entry date; shape (portfolios, sessions)."""
    days = np.array(sessions, dtype="datetime64[D]")
    first = np.array([min(lot.entry_date for lot in p.lots) for p in portfolios], dtype="datetime64[D]")
    return first[:, None] <= days[None, :]
