"""A portfolio over some sessions, as arrays: lots, prices, weights, the returns its weights would have had.

No Dagster: the command line reads books too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from assets.numerics import portfolio as weighing
from assets.numerics import regression, risk
from assets.numerics.arrays import CodeArray, DateArray, FloatArray
from assets.numerics.constants import LOOKBACK_RETURNS
from assets.numerics.portfolio import Lots, Positions, Weights
from assets.numerics.returns import simple_returns
from assets.numerics.risk import ReturnSeries
from assets.shared.look_back import MissingInputsError, check_complete, listed, price_sessions
from resources.database import prices
from resources.database.bulk import Columns, session_text, within
from resources.database.portfolios import Lot, Portfolio
from resources.database.prices import PricePanel
from resources.database.tables import factor_exposure

#: In the order of the columns.
_CLASSES = ("public", "private", "cash")
#: Of `factor_exposure`, beside the betas.
_OTHER_NUMBERS = ("market_total", "r_squared", "n_obs")
_QUALITY_CODE = {label: code for code, label in enumerate(regression.QUALITY_LABELS)}


@dataclass(frozen=True)
class Valuation:
    """A portfolio over D sessions and S columns: its public symbols, then its private ones, then its cash."""

    portfolio: Portfolio
    sessions: tuple[date, ...]
    panel: PricePanel  # of the public symbols and whatever else was asked for
    symbols: tuple[str, ...]  # the S columns
    classes: tuple[str, ...]  # (S,) public, private or cash
    public: int  # how many of the columns are public
    targets: NDArray[np.int64]  # (D,) the sessions' rows in the panel
    lots: Lots
    positions: Positions
    weights: Weights
    close: FloatArray  # (T, S), as is the next
    split: FloatArray
    returns: FloatArray  # (T, S)
    series: ReturnSeries

    def returns_1d(self) -> FloatArray:
        """(D,) what the lots that were held the session before, and still are, have returned since; NaN if none."""
        days, before = _days(self.panel.sessions), self.targets - 1
        held = weighing.value_positions(self.lots, self.close, self.split, days, before, still_held=self.targets)
        return risk.session_returns(weighing.weigh(held, self.portfolio.equity), self.returns[self.targets])

    def lots_at_entry(self) -> tuple[int, int]:
        """Count the lots active at the last session: those valued at entry, for want of a market price, and all."""
        day = np.datetime64(self.sessions[-1])
        active = (self.lots.entry_date <= day) & ~(self.lots.exit_date <= day)
        return int((active & self.positions.at_entry[-1, self.lots.symbol]).sum()), int(active.sum())


@dataclass(frozen=True)
class SymbolExposures:
    """Factor exposures of a book as arrays of D sessions, S symbols and K factors; NaN where a row has no number."""

    beta: FloatArray
    market_total: FloatArray
    r_squared: FloatArray
    n_obs: FloatArray
    quality: CodeArray


@dataclass(frozen=True)
class ExposureRows:
    """Rows of `factor_exposure` as arrays of D sessions and S symbols: what is read once for many books."""

    sessions: Mapping[date, int]
    symbols: Mapping[str, int]
    numbers: FloatArray  # (D, S, K + 3) betas, then `_OTHER_NUMBERS`
    quality: CodeArray  # (D, S)
    found: NDArray[np.bool_]  # (D, S) there is a row

    def of(self, book: Valuation) -> SymbolExposures:
        """Give those of a book; raises MissingInputsError naming what it holds at a session without a row."""
        days = [self.sessions[day] for day in book.sessions]
        cells = np.ix_(days, [self.symbols[name] for name in book.symbols[: book.public]])
        _check_found(book, self.found[cells])
        shape = len(days), len(book.symbols)
        numbers = np.full((*shape, self.numbers.shape[2]), np.nan)
        quality = np.zeros(shape, dtype=np.int8)
        numbers[:, : book.public], quality[:, : book.public] = self.numbers[cells], self.quality[cells]
        k = numbers.shape[2] - len(_OTHER_NUMBERS)
        scalars = {name: numbers[..., k + i] for i, name in enumerate(_OTHER_NUMBERS)}
        return SymbolExposures(numbers[..., :k], quality=quality, **scalars)


@dataclass(frozen=True)
class Books:
    """Portfolios, each at some sessions (ascending), over prices that were read once for all of them."""

    connection: Connection
    wanted: Sequence[tuple[Portfolio, Sequence[date]]]
    also: Sequence[str]  # symbols whose prices are wanted beside those held
    panel: PricePanel
    seen: Callable[[Valuation], None]  # is shown each, once it is valued

    def __iter__(self) -> Iterator[Valuation]:
        """Value one after the other: all at once take a megabyte each. Raises MissingInputsError."""
        for one, sessions in self.wanted:
            book = load(self.connection, one, sessions, self.also, read=self._read)
            self.seen(book)
            yield book

    def exposures(self, model: str, factors: Sequence[str]) -> ExposureRows:
        """Read the betas of all public symbols at all sessions."""
        days = sorted({day for _, sessions in self.wanted for day in sessions})
        return read_exposures(self.connection, public_symbols(self.wanted), days, model, factors)

    def _read(self, connection: Connection, symbols: Sequence[str], sessions: Sequence[date]) -> PricePanel:
        return self.panel.part(symbols, sessions) or prices.load(connection, symbols, sessions)


def public_symbols(wanted: Sequence[tuple[Portfolio, Sequence[date]]]) -> list[str]:
    """Name the public symbols that portfolios hold within their sessions (ascending), sorted."""
    held = (_held(one, sessions) for one, sessions in wanted)
    return sorted(set().union(*(_symbols(lots, "public") for lots in held)))


def load(
    connection: Connection,
    portfolio: Portfolio,
    sessions: Sequence[date],
    also: Sequence[str] = (),
    *,
    grid: Sequence[date] = (),
    read: Callable[[Connection, Sequence[str], Sequence[date]], PricePanel] = prices.load,
) -> Valuation:
    """Read the book at the sessions (ascending), with the prices of the symbols in `also` beside its public symbols'.

    A book that holds no public symbol at these sessions rests on no price at all.
    `grid` are the sessions whose prices are read; by default all that results look back on, as the calendar says.
    Raises MissingInputsError.
    """
    grid = grid or price_sessions(sessions[0], sessions[-1])
    held = _held(portfolio, sessions)
    columns = [(kind, name) for kind in _CLASSES for name in sorted(_symbols(held, kind))]
    public = [name for kind, name in columns if kind == "public"]
    panel = read(connection, list(dict.fromkeys([*public, *also])) if public else [], grid)
    days = _days(tuple(grid))
    targets = np.searchsorted(days, _days(tuple(sessions)))
    if not panel.known.all():
        check_complete(panel, _read(panel, held, days, targets))
    shape = (len(grid), len(columns) - len(public))
    close = np.hstack([_with_old_closes(connection, panel, public), np.full(shape, np.nan)])
    split = np.hstack([panel.split[:, : len(public)], np.ones(shape)])
    lots = _lots(connection, held, portfolio.shares_as_of, columns, grid)
    positions = weighing.value_positions(lots, close, split, days, targets)
    weights = weighing.weigh(positions, portfolio.equity)
    returns = np.hstack(
        [simple_returns(panel.close, panel.dividend, panel.split)[:, : len(public)], np.full(shape, np.nan)]
    )
    return Valuation(
        portfolio=portfolio,
        sessions=tuple(sessions),
        panel=panel,
        symbols=tuple(name for _, name in columns),
        classes=tuple(kind for kind, _ in columns),
        public=len(public),
        targets=targets,
        lots=lots,
        positions=positions,
        weights=weights,
        close=close,
        split=split,
        returns=returns,
        series=risk.return_series(weights, returns, targets),
    )


def _read(
    panel: PricePanel, held: Sequence[Lot], days: NDArray[np.datetime64], targets: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which prices the book reads, shape (T, S): of a held symbol, the windows of the sessions that hold it."""
    used = np.ones(panel.known.shape, dtype=bool)
    public = sorted(_symbols(held, "public"))
    column = dict(zip(public, panel.columns(public), strict=True))
    used[:, list(column.values())] = False
    for lot in held:
        if lot.asset_class == "public":
            first = targets[days[targets] >= np.datetime64(lot.entry_date)]
            last = targets[days[targets] < np.datetime64(lot.exit_date)] if lot.exit_date else targets
            if len(first) and len(last) and first[0] <= last[-1]:
                used[max(0, first[0] - LOOKBACK_RETURNS) : last[-1] + 1, column[lot.symbol]] = True
    return used


def _with_old_closes(connection: Connection, panel: PricePanel, public: Sequence[str]) -> FloatArray:
    """Give the closes; a symbol without one in the first session starts with the last before it, however old."""
    close = panel.close[:, : len(public)].copy()
    start = panel.sessions[0]
    silent = [symbol for i, symbol in enumerate(public) if np.isnan(close[0, i])]
    if silent:
        for symbol, (day, price) in prices.last_closes(connection, silent, start).items():
            ratio = prices.split_ratios(connection, [symbol], day, start).get(symbol, 1.0)
            close[0, public.index(symbol)] = price / ratio
    return close


def _lots(
    connection: Connection,
    held: Sequence[Lot],
    imported: date,
    columns: Sequence[tuple[str, str]],
    grid: Sequence[date],
) -> Lots:
    column = {named: i for i, named in enumerate(columns)}
    counted_on = min(max(imported, grid[0]), grid[-1])
    ratio = prices.split_ratios(connection, sorted(_symbols(held, "public")), imported, counted_on)
    scale = np.array([ratio.get(lot.symbol, 1.0) if lot.asset_class == "public" else 1.0 for lot in held])
    return Lots(
        symbol=np.array([column[lot.asset_class, lot.symbol] for lot in held], dtype=np.int64),
        quantity=np.array([lot.quantity for lot in held]) * scale,
        entry_price=np.array([lot.entry_price for lot in held]) / scale,
        entry_date=np.array([lot.entry_date for lot in held], dtype="datetime64[D]"),
        exit_date=np.array([lot.exit_date for lot in held], dtype="datetime64[D]"),
        shares_as_of=np.full(len(held), counted_on, dtype="datetime64[D]"),
        private=np.array([lot.asset_class == "private" for lot in held], dtype=bool),
        cash=np.array([lot.asset_class == "cash" for lot in held], dtype=bool),
    )


@lru_cache(maxsize=8)
def _days(sessions: tuple[date, ...]) -> DateArray:
    """Give sessions as an array: most books of a run have the same ones."""
    return np.array(sessions, dtype="datetime64[D]")


def _held(portfolio: Portfolio, sessions: Sequence[date]) -> list[Lot]:
    return [lot for lot in portfolio.lots if lot.held_within(sessions[0], sessions[-1])]


def _symbols(lots: Sequence[Lot], asset_class: str) -> set[str]:
    return {lot.symbol for lot in lots if lot.asset_class == asset_class}


def load_exposures(
    connection: Connection,
    book: Valuation,
    model: str,
    factors: Sequence[str],
    fitted: Columns = MappingProxyType({}),
) -> SymbolExposures:
    """Read the betas of the book's symbols at its sessions.

    `fitted` are rows that are not stored (`fit_columns`); where there is a stored one, it counts.
    Raises MissingInputsError naming the symbols that are held at a session without a row.
    """
    return read_exposures(connection, book.symbols[: book.public], book.sessions, model, factors, fitted).of(book)


def read_exposures(
    connection: Connection,
    symbols: Sequence[str],
    sessions: Sequence[date],
    model: str,
    factors: Sequence[str],
    fitted: Columns = MappingProxyType({}),
) -> ExposureRows:
    """Read the exposures of symbols at sessions (ascending); `fitted` as in `load_exposures`."""
    table, names = factor_exposure, [*(f"beta_{name}" for name in factors), *_OTHER_NUMBERS]
    query = sa.select(table.c.symbol, session_text(table), table.c.quality, *(table.c[name] for name in names)).where(
        within(table.c.symbol, symbols),
        table.c.session.between(sessions[0], sessions[-1]),
        table.c.model == model,
    )
    shape = (len(sessions), len(symbols))
    numbers, quality, found = (
        np.full((*shape, len(names)), np.nan),
        np.zeros(shape, dtype=np.int8),
        np.zeros(shape, bool),
    )
    at_symbol = {symbol: i for i, symbol in enumerate(symbols)}
    at_session = {session.isoformat(): i for i, session in enumerate(sessions)}
    given = zip(*(fitted[name] for name in ("symbol", "session", "quality", *names)), strict=True) if fitted else ()
    for symbol, day, label, *row in chain(given, connection.execute(query)):
        if day in at_session and symbol in at_symbol:
            cell = at_session[day], at_symbol[symbol]
            numbers[cell], quality[cell], found[cell] = row, _QUALITY_CODE[label], True
    return ExposureRows({day: i for i, day in enumerate(sessions)}, at_symbol, numbers, quality, found)


def _check_found(book: Valuation, found: NDArray[np.bool_]) -> None:
    lacking = book.weights.held[:, : book.public] & ~found
    if lacking.any():
        symbols = [book.symbols[i] for i in np.flatnonzero(lacking.any(axis=0))]
        days = np.flatnonzero(lacking.any(axis=1))
        raise MissingInputsError(
            f"Portfolio {book.portfolio.name} holds {listed(symbols)} "
            f"without factor exposures at {len(days)} sessions in {book.sessions[days[0]]}..{book.sessions[days[-1]]}: "
            "materialize factor_exposures of these symbols first, or onboard the portfolio again"
        )
