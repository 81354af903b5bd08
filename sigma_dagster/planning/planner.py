"""What is missing: the one answer that the command line, the sensor and the schedules act upon.

Pure over the database: it reads which rows exist, never a price, and changes nothing. How the work is run is
`sigma_dagster.runs.runner`'s business.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from assets.catalogue import ASSETS, DIMENSIONS, Asset, of_dimension
from assets.factor_models import FactorModel
from assets.numerics.constants import LOOKBACK_RETURNS
from assets.shared.block import Block, Step
from assets.shared.look_back import Waiting
from resources import calendar
from resources.database import bulk, results, symbols
from resources.database.portfolios import Portfolio

#: What a run holds in memory, counted in rows of a table: 500 symbols on 365 sessions, the default history. What a key
#: looks back on takes as much as 39 rows, about, so that 5,000 of one session are no more.
ROWS_OF_A_RUN = 202_000
LOOK_BACK_ROWS = 39
#: So many take about the third of a second that a run costs: to share out less would make nothing sooner.
ROWS_WORTH_A_RUN = 8_000


class NothingToPlanError(ValueError):
    """There is no session to compute."""


@dataclass(frozen=True)
class Wanted:
    """The cells of one table that are asked for, and which of them exist; arrays of shape (keys, sessions)."""

    keys: tuple[str, ...]
    sessions: tuple[date, ...]
    asked: NDArray[np.bool_]
    exists: NDArray[np.bool_]
    force: bool = False  # what exists is made again,
    force_from: int = 0  # from this session on

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """The cells to be made."""
        forced = self.force & (np.arange(len(self.sessions)) >= self.force_from)
        return self.asked & (~self.exists | forced)

    @cached_property
    def missing_keys(self) -> tuple[str, ...]:
        """The keys that lack a session."""
        return tuple(self.missing_by_key)

    @cached_property
    def missing_by_key(self) -> dict[str, int]:
        """How many sessions each key lacks, of those that lack some."""
        counts = self.missing.sum(axis=1)
        return {key: int(n) for key, n in zip(self.keys, counts, strict=True) if n}

    @property
    def rows(self) -> int:
        """How many rows are to be made."""
        return int(self.missing.sum())

    def span(self, keys: Sequence[str]) -> Sequence[date]:
        """The first and last session that something is to be made for, of some keys; empty if nothing is."""
        rows = np.isin(self.keys, keys)
        days = np.flatnonzero(self.missing[rows].any(axis=0))
        return [self.sessions[days[0]], self.sessions[days[-1]]] if days.size else []


@dataclass(frozen=True)
class Force:
    """What is made again although it exists."""

    prices: bool = False
    symbol_results: bool = False
    portfolio_results: bool = False

    done: frozenset[str] = frozenset()
    """Dimensions whose blocks have run: what was forced of them is made."""

    def of(self, asset: Asset) -> bool:
        """Say whether the asset's rows are made again."""
        if asset.dimension in self.done:
            return False
        if asset.look_back:
            return self.prices
        return self.symbol_results if asset.dimension == "symbol" else self.portfolio_results


@dataclass(frozen=True)
class WorkPlan:
    """What the portfolios lack, as of a session."""

    as_of: date
    wanted: Mapping[str, Wanted]  # by asset
    is_new_model: bool  # none of its rows was ever computed
    proxies_ever: frozenset[str]  # of all models that were
    max_keys: int  # of one run
    slots: int = 1  # runs that are executed at once
    completed: date | None = None  # the last completed session; None: `as_of`
    silent: frozenset[str] = frozenset()  # symbols that no source has: their rows cost no call
    waiting: Mapping[str, str] = field(default_factory=dict)  # symbols whose prices are not asked for now, and why

    @property
    def exposures(self) -> Wanted:
        """What is wanted of factor exposures; its keys are the held symbols."""
        return self.wanted["factor_exposures"]

    @property
    def volatility(self) -> Wanted:
        """What is wanted of the symbols' volatility."""
        return self.wanted["symbol_volatility"]

    @cached_property
    def fetch(self) -> dict[str, int]:
        """The sessions to fetch by symbol: factor proxies first, then the other symbols that are held."""
        missing = {**self.wanted["proxy_prices"].missing_by_key, **self.wanted["daily_prices"].missing_by_key}
        return {name: n for name, n in missing.items() if name not in self.silent}

    @property
    def priced(self) -> tuple[str, ...]:
        """The symbols whose prices are wanted, whether or not they are stored: factor proxies first."""
        return tuple(dict.fromkeys([*self.wanted["proxy_prices"].keys, *self.exposures.keys]))

    @property
    def api_calls(self) -> int:
        """Provider calls that fetching costs: one a symbol."""
        return len(self.fetch)

    @cached_property
    def portfolio_rows(self) -> dict[str, int]:
        """The rows to make by portfolio, those of all portfolio tables."""
        counts: Counter[str] = Counter()
        for asset in of_dimension("portfolio"):
            counts.update(self.wanted[asset.name].missing_by_key)
        return dict(counts)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The runs that make it, in order: factor proxies, symbols, portfolios."""
        return tuple(block for dimension in DIMENSIONS for block in self._split(dimension))

    def _split(self, dimension: str) -> Iterator[Block]:
        steps = [self._step(asset) for asset in of_dimension(dimension)]
        every = tuple(dict.fromkeys(key for step in steps for key in step.keys))
        if not every:
            return
        first, last = self._span(dimension, [step for step in steps if step.keys])
        n_sessions = sum(first <= day <= last for day in self.exposures.sessions)
        most = _most_keys(len(every), n_sessions, self.max_keys, self.slots)
        for keys in (every[start : start + most] for start in range(0, len(every), most)):
            part = set(keys)
            named = (replace(step, keys=tuple(key for key in step.keys if key in part)) for step in steps)
            due = tuple(step for step in named if step.keys)
            # What was found stored is reported once.
            steps = [replace(step, cached_keys=0, cached_rows=0) for step in steps]
            yield Block(dimension, keys, *self._span(dimension, due), due, self.completed or self.as_of)

    def _step(self, asset: Asset) -> Step:
        """Ask an asset for the missing cells, and say what the keys left out have already."""
        wanted = self.wanted[asset.name]
        keys = (*wanted.missing_keys, *self._to_record(asset))
        asked = set(keys)
        cached = [i for i, key in enumerate(wanted.keys) if key not in asked]
        if asset.dimension == "proxy":
            cached = []  # nobody asked for the proxies themselves
        return Step(asset.name, keys, wanted.force, len(cached), int(wanted.asked[cached].sum()))

    def _to_record(self, asset: Asset) -> Iterator[str]:
        """Give the keys whose prices are stored by the other asset of prices and may not be recorded for this one.

        Proxies when the model has never run; of held proxies those with results to be made, which are in the block
        anyway. The asset knows what is recorded.
        """
        wanted = self.wanted[asset.name]
        if asset.dimension == "proxy" and self.is_new_model:
            yield from (key for key in wanted.keys if key not in wanted.missing_by_key)
        if asset.name == "daily_prices":
            results = {key for other in of_dimension("symbol") for key in self.wanted[other.name].missing_by_key}
            stored = (self.proxies_ever | set(self.wanted["proxy_prices"].keys)) - wanted.missing_by_key.keys()
            yield from (key for key in wanted.keys if key in stored and key in results)

    def _span(self, dimension: str, steps: Sequence[Step]) -> tuple[date, date]:
        sessions = self.exposures.sessions
        if dimension == "proxy" and self.is_new_model:
            return sessions[0], sessions[-1]
        days = [day for step in steps for day in self.wanted[step.asset].span(step.keys)]
        # Prices may be missing before any partition: the asset adds the look-back of the block's sessions itself.
        return max(min(days), sessions[0]), max(max(days), sessions[0])


def _most_keys(keys: int, sessions: int, max_keys: int, slots: int) -> int:
    """Say how many of the keys one run takes: a session of thousands is no more work than a year of a few hundred.

    Each slot gets a run, where its share of the keys is worth one.
    """
    rows = sessions + LOOK_BACK_ROWS
    share = max(-(-keys // slots), ROWS_WORTH_A_RUN // rows)
    return max(1, min(max_keys, ROWS_OF_A_RUN // rows, share))


def blocks_again(
    names: Sequence[str],
    proxies: Collection[str],
    sessions: Sequence[date],
    *,
    max_keys: int,
    slots: int = 1,
    completed: date | None = None,
    source: str = "",
) -> list[Block]:
    """Give the blocks that ask again for all that is stored of some symbols: factor proxies first, then the others.

    With `source`, that one of the chain is asked.
    """
    of = {"proxy": [name for name in names if name in proxies]}
    of["symbol"] = [name for name in names if name not in proxies]
    most = {dimension: _most_keys(len(keys), len(sessions), max_keys, slots) for dimension, keys in of.items()}
    return [
        Block(
            dimension,
            part,
            sessions[0],
            sessions[-1],
            (Step(asset, part, force=True, whole=True, source=source),),
            completed or sessions[-1],
        )
        for dimension, asset in (("proxy", "proxy_prices"), ("symbol", "daily_prices"))
        for start in range(0, len(of[dimension]), most[dimension])
        if (part := tuple(of[dimension][start : start + most[dimension]]))
    ]


def target_sessions(as_of: date, start_date: date, history_sessions: int) -> list[date]:
    """Give the sessions that every held symbol has results for; raises NothingToPlanError if there are none."""
    sessions = calendar.sessions(start_date, as_of)[-history_sessions:]
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
    max_keys: int = 5_000,
    slots: int = 1,
    completed: date | None = None,
    tried: Collection[str] = (),
    now: datetime | None = None,
) -> WorkPlan:
    """Say what the portfolios lack over the target sessions (ascending; the last is the as-of session).

    Symbols that are `watched` are wanted like held ones; no run takes more than `max_keys` symbols or portfolios, and
    `slots` runs, which are executed at once, share the work.

    Prices that were asked for in vain are asked for again, but for those of symbols that the caller has `tried`, or,
    given the time, of those whose time has not come. Rows that rest on these wait.

    The number of SQL statements does not depend on the number of symbols, sessions or portfolios.
    """
    held = tuple(dict.fromkeys([*held_symbols(portfolios, sessions), *watched]))
    grid = calendar.sessions(calendar.shift(sessions[0], -LOOKBACK_RETURNS), sessions[-1])
    entered = _entered(portfolios, sessions)
    # Symbols' rows rest on the proxies' prices; a book that holds no symbol rests on none.
    proxies = model.proxies if held else ()
    priced = tuple(dict.fromkeys([*proxies, *held]))
    noted = symbols.pending(connection, priced)
    later = {name for name, told in noted.items() if name in tried or (now is not None and told.retry_at > now)}
    waiting = Waiting(connection, later, sessions)
    silent = frozenset(name for name, was in symbols.known(connection, priced).items() if was.status != "ok")

    def want(asset: Asset) -> Wanted:
        fixed, forced = asset.fixed(model.key), force.of(asset)
        inputs = model.proxies if asset.of_model else ()
        if asset.dimension == "portfolio":
            ids = {portfolio.id: portfolio.name for portfolio in portfolios}
            exists = bulk.present(connection, asset.table, list(ids), sessions, **fixed)
            due = entered & ~waiting.portfolios(portfolios, inputs)
            return Wanted(tuple(ids.values()), tuple(sessions), due, exists, forced)
        if asset.look_back:
            keys = proxies if asset.dimension == "proxy" else held
            exists = bulk.present(connection, asset.table, keys, grid, **fixed)
            due = exists | ~np.isin(keys, list(later))[:, None]
            if asset.dimension == "symbol":
                due[np.isin(keys, proxies)] = False  # what is a proxy too is fetched once, as a proxy
            return Wanted(keys, tuple(grid), due, exists, forced, force_from=len(grid) - len(sessions))
        exists = bulk.present(connection, asset.table, held, sessions, **fixed)
        return Wanted(held, tuple(sessions), ~waiting.symbols(held, inputs), exists, forced)

    return WorkPlan(
        as_of=sessions[-1],
        wanted={asset.name: want(asset) for asset in ASSETS},
        is_new_model=not results.is_registered(connection, model.key),
        proxies_ever=results.all_proxies(connection),
        max_keys=max_keys,
        slots=slots,
        completed=completed,
        silent=frozenset() if force.prices else silent,
        waiting=waiting.why,
    )


def _entered(portfolios: Sequence[Portfolio], sessions: Sequence[date]) -> NDArray[np.bool_]:
    """Portfolio rows start at the first entry date; shape (portfolios, sessions)."""
    days = np.array(sessions, dtype="datetime64[D]")
    first = np.array([portfolio.first_entry for portfolio in portfolios], dtype="datetime64[D]")
    return first[:, None] <= days[None, :]
