"""A portfolio over some sessions, as arrays: lots, prices, weights, the returns its weights would have had.

No Dagster: the command line reads books too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain, groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from assets.numerics import portfolio as weighing
from assets.numerics import regression, risk
from assets.numerics.arrays import CodeArray, DateArray, FloatArray
from assets.numerics.constants import LOOKBACK_RETURNS
from assets.numerics.portfolio import Lots, Positions, Quotes, Weights
from assets.numerics.returns import simple_returns
from assets.numerics.risk import ReturnSeries
from assets.shared.look_back import MissingInputsError, check_complete, listed, price_sessions
from resources.database import prices
from resources.database.bulk import Columns, session_text, within
from resources.database.portfolios import Lot, Portfolio
from resources.database.prices import PricePanel
from resources.database.tables import factor_exposure

#: Of a lot, as arrays have them.
_FIELDS = attrgetter("asset_class", "symbol", "quantity", "entry_price", "entry_date", "exit_date")
#: In the order of the columns.
_CLASSES = ("public", "private", "cash")
#: Of `factor_exposure`, beside the betas.
_OTHER_NUMBERS = ("market_total", "r_squared", "n_obs")
#: So many columns of books are valued together: a megabyte by a few for each of their arrays of returns.
_COLUMNS_AT_A_TIME = 3_000
_QUALITY_CODE = {label: code for code, label in enumerate(regression.QUALITY_LABELS)}


@dataclass(frozen=True)
class Valued:
    """One book over D sessions and S columns, or several: then they stand before the D, and after the T, sessions."""

    portfolios: tuple[Portfolio, ...]
    sessions: tuple[date, ...]
    panel: PricePanel  # of the public symbols and whatever else was asked for
    names: NDArray[np.object_]  # (..., S) the symbols
    classes: NDArray[np.object_]  # (..., S) public, private or cash
    public: int  # how many of the columns are public: the first
    targets: NDArray[np.int64]  # (D,) the sessions' rows in the panel
    lots: Lots  # by their column; of several books, S columns each
    positions: Positions
    weights: Weights
    returns: FloatArray  # (T, ..., S)
    series: ReturnSeries


@dataclass(frozen=True)
class Valuation(Valued):
    """A portfolio: its columns are its public symbols, then its private ones, then its cash."""

    close: FloatArray  # (T, S), as is the next
    split: FloatArray

    @property
    def portfolio(self) -> Portfolio:
        """The portfolio."""
        return self.portfolios[0]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The S columns."""
        return tuple(self.names.tolist())


@dataclass(frozen=True)
class Market:
    """Prices over the sessions that results look back on; the last of N columns is that of what has no price."""

    panel: PricePanel
    close: FloatArray  # (T, N), as are the next
    split: FloatArray
    returns: FloatArray
    quotes: Quotes

    @classmethod
    def of(cls, connection: Connection, panel: PricePanel, public: Sequence[str]) -> "Market":
        """Prepare the prices; symbols in `public` are valued."""
        nothing = ((0, 0), (0, 1))
        returns = simple_returns(panel.close, panel.dividend, panel.split)
        close = np.pad(_with_old_closes(connection, panel, public), nothing, constant_values=np.nan)
        split = np.pad(panel.split, nothing, constant_values=1.0)
        returns = np.pad(returns, nothing, constant_values=np.nan)
        return cls(panel, close, split, returns, weighing.quotes(close, split))


@dataclass(frozen=True)
class Stack(Valued):
    """B portfolios, of as many columns each: where one has fewer symbols, the last of them repeats without lots."""

    columns: NDArray[np.int64]  # (B, S) of the market
    market: Market

    def returns_1d(self) -> FloatArray:
        """(B, D) what the lots that were held the session before, and still are, have returned since; NaN if none."""
        held = _positions(self.market, self.lots, self.columns, self.targets - 1, still_held=self.targets)
        returns = np.moveaxis(self.returns[self.targets], 0, 1)
        return risk.session_returns(weighing.weigh(held, _equity(self.portfolios)), returns)

    def lots_at_entry(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(B,) each: the lots active at the last session that are valued at entry, for want of a price, and all."""
        day = np.datetime64(self.sessions[-1])
        active = (self.lots.entry_date <= day) & ~(self.lots.exit_date <= day)
        book, column = np.divmod(self.lots.symbol, self.columns.shape[1])
        at_entry = active & self.positions.at_entry[book, -1, column]
        n_books = len(self.portfolios)
        return np.bincount(book[at_entry], minlength=n_books), np.bincount(book[active], minlength=n_books)

    def alone(self) -> Valuation:
        """Give the only book of it."""
        (columns,) = self.columns
        return Valuation(
            portfolios=self.portfolios,
            sessions=self.sessions,
            panel=self.panel,
            names=self.names[0],
            classes=self.classes[0],
            public=self.public,
            targets=self.targets,
            lots=self.lots,
            positions=Positions(**{**_first(self.positions), "cash": self.positions.cash[0, 0]}),
            weights=Weights(**_first(self.weights)),
            close=self.market.close[:, columns],
            split=self.market.split[:, columns],
            returns=self.returns[:, 0],
            series=ReturnSeries(self.series.returns[:, 0], self.series.coverage[:, 0]),
        )


@dataclass(frozen=True)
class SymbolExposures:
    """Factor exposures of books as arrays of D sessions, S symbols and K factors; NaN where a row has no number."""

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

    def of(self, book: Valued) -> SymbolExposures:
        """Give those of books; raises MissingInputsError naming what one holds at a session without a row."""
        names = book.names[..., : book.public]
        days = np.array([self.sessions[day] for day in book.sessions])
        columns = np.array([self.symbols[name] for name in names.ravel()], dtype=np.int64).reshape(names.shape)
        cells = days.reshape(-1, *[1] * names.ndim), columns
        _check_found(book, np.moveaxis(self.found[cells], 0, -2))
        shape = *names.shape[:-1], len(days), book.names.shape[-1]
        numbers = np.full((*shape, self.numbers.shape[2]), np.nan)
        quality = np.zeros(shape, dtype=np.int8)
        numbers[..., : book.public, :] = np.moveaxis(self.numbers[cells], 0, -3)
        quality[..., : book.public] = np.moveaxis(self.quality[cells], 0, -2)
        k = numbers.shape[-1] - len(_OTHER_NUMBERS)
        scalars = {name: numbers[..., k + i] for i, name in enumerate(_OTHER_NUMBERS)}
        return SymbolExposures(numbers[..., :k], quality=quality, **scalars)


@dataclass(frozen=True)
class Books:
    """Portfolios, each at some sessions (ascending), over prices that were read once for all of them."""

    connection: Connection
    wanted: Sequence[tuple[Portfolio, Sequence[date]]]
    also: Sequence[str]  # symbols whose prices are wanted beside those held
    panel: PricePanel
    seen: Callable[[Stack], None]  # is shown each, once it is valued

    def __iter__(self) -> Iterator[Stack]:
        """Value those of the same sessions together, some at a time: all at once take much memory.

        In their order. Raises MissingInputsError.
        """
        for (sessions, _), some in groupby(self.wanted, key=lambda each: (tuple(each[1]), _any_public(*each))):
            for stack in stacks(self.connection, [one for one, _ in some], sessions, self.also, read=self._read):
                self.seen(stack)
                yield stack

    def exposures(self, model: str, factors: Sequence[str]) -> ExposureRows:
        """Read the betas of all symbols at all sessions."""
        days = sorted({day for _, sessions in self.wanted for day in sessions})
        return read_exposures(self.connection, self.panel.symbols, days, model, factors)

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
) -> Valuation:
    """Read a book at the sessions (ascending); as `stacks`."""
    (stack,) = stacks(connection, [portfolio], sessions, also, grid=grid)
    return stack.alone()


def stacks(
    connection: Connection,
    portfolios: Sequence[Portfolio],
    sessions: Sequence[date],
    also: Sequence[str] = (),
    *,
    grid: Sequence[date] = (),
    read: Callable[[Connection, Sequence[str], Sequence[date]], PricePanel] = prices.load,
) -> Iterator[Stack]:
    """Read books at the sessions (ascending), with the prices of the symbols in `also` beside their public symbols'.

    Books that hold no public symbol at these sessions rest on no price at all; of several, all do or none does.
    `grid` are the sessions whose prices are read; by default all that results look back on, as the calendar says.
    Raises MissingInputsError.
    """
    grid = grid or price_sessions(sessions[0], sessions[-1])
    held = [_held(one, sessions) for one in portfolios]
    public = sorted(set().union(*(_symbols(lots, "public") for lots in held)))
    panel = read(connection, list(dict.fromkeys([*public, *also])) if public else [], grid)
    days = _days(tuple(grid))
    targets = np.searchsorted(days, _days(tuple(sessions)))
    if not panel.known.all():
        check_complete(panel, _read(panel, list(chain.from_iterable(held)), also, days, targets))
    market = Market.of(connection, panel, public)
    for some in _slices([len({(lot.asset_class, lot.symbol) for lot in lots}) for lots in held]):
        yield _stack(connection, market, portfolios[some], held[some], tuple(sessions), targets)


def _slices(widths: Sequence[int]) -> Iterator[slice]:
    """Split books of so many columns into stacks."""
    first, widest = 0, 0
    for i, width in enumerate(widths):
        widest = max(widest, width)
        if i > first and (i + 1 - first) * widest > _COLUMNS_AT_A_TIME:
            yield slice(first, i)
            first, widest = i, width
    yield slice(first, len(widths))


def _stack(
    connection: Connection,
    market: Market,
    portfolios: Sequence[Portfolio],
    held: Sequence[Sequence[Lot]],
    sessions: tuple[date, ...],
    targets: NDArray[np.int64],
) -> Stack:
    names, column = _columns(held)
    public = len(names["public"][0])
    columns = np.full((len(held), sum(len(own[0]) for own in names.values())), market.close.shape[1] - 1)
    columns[:, :public] = [market.panel.columns(own) for own in names["public"]]
    lots = _lots(connection, portfolios, held, column, market.panel.sessions)
    positions = _positions(market, lots, columns, targets)
    weights = weighing.weigh(positions, _equity(portfolios))
    returns = market.returns[:, columns]
    return Stack(
        portfolios=tuple(portfolios),
        sessions=sessions,
        panel=market.panel,
        names=np.hstack([np.array(own, dtype=object) for own in names.values()]),
        classes=np.array([[kind for kind, own in names.items() for _ in own[0]]] * len(held), dtype=object),
        public=public,
        targets=targets,
        lots=lots,
        positions=positions,
        weights=weights,
        returns=returns,
        series=risk.return_series(weights, returns, targets),
        columns=columns,
        market=market,
    )


def _columns(held: Sequence[Sequence[Lot]]) -> tuple[dict[str, list[list[str]]], dict[tuple[int, str, str], int]]:
    """Give the symbols of each class and book, in as many columns each, and where those of each book are in a row."""
    names = {kind: [sorted(_symbols(lots, kind)) for lots in held] for kind in _CLASSES}
    width = {kind: max(map(len, own)) for kind, own in names.items()}
    column, begin = dict[tuple[int, str, str], int](), 0
    for kind, own in names.items():
        for book, some in enumerate(own):
            first = book * sum(width.values()) + begin
            column |= {(book, kind, name): first + i for i, name in enumerate(some)}
            own[book] = [*some, *[some[-1] if some else ""] * (width[kind] - len(some))]
        begin += width[kind]
    return names, column


def _read(
    panel: PricePanel, held: Sequence[Lot], also: Sequence[str], days: DateArray, targets: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which prices books read, shape (T, S): of a held symbol, the windows of the sessions that hold it."""
    used = np.zeros(panel.known.shape, dtype=bool)
    used[:, panel.columns(also)] = True
    public = sorted(_symbols(held, "public"))
    column = dict(zip(public, panel.columns(public), strict=True))
    for lot in held:
        if lot.asset_class == "public":
            first = targets[days[targets] >= np.datetime64(lot.entry_date)]
            last = targets[days[targets] < np.datetime64(lot.exit_date)] if lot.exit_date else targets
            if len(first) and len(last) and first[0] <= last[-1]:
                used[max(0, first[0] - LOOKBACK_RETURNS) : last[-1] + 1, column[lot.symbol]] = True
    return used


def _with_old_closes(connection: Connection, panel: PricePanel, public: Sequence[str]) -> FloatArray:
    """Give the closes; a symbol without one in the first session starts with the last before it, however old."""
    close, start = panel.close.copy(), panel.sessions[0]
    column = dict(zip(public, panel.columns(public), strict=True))
    silent = [symbol for symbol, i in column.items() if np.isnan(close[0, i])]
    if silent:
        for symbol, (day, price) in prices.last_closes(connection, silent, start).items():
            ratio = prices.split_ratios(connection, [symbol], day, start).get(symbol, 1.0)
            close[0, column[symbol]] = price / ratio
    return close


def _lots(
    connection: Connection,
    portfolios: Sequence[Portfolio],
    held: Sequence[Sequence[Lot]],
    column: Mapping[tuple[int, str, str], int],
    grid: Sequence[date],
) -> Lots:
    """Give the lots of all books, in shares of a session of the grid; `column` by number of the book, class, symbol."""
    counts = [len(lots) for lots in held]
    book = np.repeat(np.arange(len(held)), counts).tolist()
    found = list(zip(*map(_FIELDS, chain.from_iterable(held)), strict=True)) or [()] * 6
    kinds, names, quantity, entry_price, entry_date, exit_date = found
    imported = [one.shares_as_of for one in portfolios]
    counted_on = {day: min(max(day, grid[0]), grid[-1]) for day in imported}
    scale = np.ones(len(names))
    for day in (day for day, counted in counted_on.items() if day != counted):
        own = [i for i, kind in enumerate(kinds) if kind == "public" and imported[book[i]] == day]
        ratio = prices.split_ratios(connection, sorted({names[i] for i in own}), day, counted_on[day])
        scale[own] = [ratio.get(names[i], 1.0) for i in own]
    classes = np.array(kinds, dtype=object)
    return Lots(
        symbol=np.array([column[key] for key in zip(book, kinds, names, strict=True)], dtype=np.int64),
        quantity=np.array(quantity, dtype=np.float64) * scale,
        entry_price=np.array(entry_price, dtype=np.float64) / scale,
        entry_date=_dates(entry_date),
        exit_date=_dates(exit_date),
        shares_as_of=np.repeat(_dates([counted_on[day] for day in imported]), counts),
        private=classes == "private",
        cash=classes == "cash",
    )


def _dates(days: Sequence[date | None]) -> DateArray:
    """Give dates, of which most are the same, as an array; NaT for None."""
    number = {day: i for i, day in enumerate(dict.fromkeys(days))}
    return np.array(list(number), dtype="datetime64[D]")[[number[day] for day in days]]


def _positions(
    market: Market,
    lots: Lots,
    columns: NDArray[np.int64],
    targets: NDArray[np.int64],
    still_held: NDArray[np.int64] | None = None,
) -> Positions:
    """Value books, columns (B, S), one after the other in the lots' columns."""
    days = _days(market.panel.sessions)
    found = weighing.value_quoted(lots, market.quotes, columns.ravel(), days, targets, still_held=still_held)
    cash = found.cash.reshape(columns.shape)[:, None]
    shape = len(targets), *columns.shape
    others = {name: values.reshape(shape).swapaxes(0, 1) for name, values in vars(found).items() if name != "cash"}
    return Positions(**others, cash=cash)


def _equity(portfolios: Sequence[Portfolio]) -> FloatArray:
    """(B, 1) NaN for none."""
    return np.array([[one.equity] for one in portfolios], dtype=np.float64)


def _first(arrays: Any) -> dict[str, Any]:
    """Give the fields of a dataclass of arrays, of the first book."""
    return {name: values[0] for name, values in vars(arrays).items()}


@lru_cache(maxsize=8)
def _days(sessions: tuple[date, ...]) -> DateArray:
    """Give sessions as an array: most books of a run have the same ones."""
    return np.array(sessions, dtype="datetime64[D]")


def _any_public(portfolio: Portfolio, sessions: Sequence[date]) -> bool:
    first, last = sessions[0], sessions[-1]
    return any(lot.asset_class == "public" and lot.held_within(first, last) for lot in portfolio.lots)


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


def _check_found(book: Valued, found: NDArray[np.bool_]) -> None:
    lacking = book.weights.held[..., : book.public] & ~found
    if lacking.any():
        names = book.names.reshape(len(book.portfolios), -1)
        of_book = lacking.reshape(len(names), len(book.sessions), -1)
        first = int(np.flatnonzero(of_book.any(axis=(1, 2)))[0])
        symbols = [names[first, i] for i in np.flatnonzero(of_book[first].any(axis=0))]
        days = np.flatnonzero(of_book[first].any(axis=1))
        raise MissingInputsError(
            f"Portfolio {book.portfolios[first].name} holds {listed(symbols)} "
            f"without factor exposures at {len(days)} sessions in {book.sessions[days[0]]}..{book.sessions[days[-1]]}: "
            "materialize factor_exposures of these symbols first, or onboard the portfolio again"
        )
