"""What a portfolio holds on each session: values, weights, factor exposures and how much of it they cover.

Arrays of positions may have a leading axis of B portfolios, written ``...``: a position that a portfolio has not is one
of no lots. How much it may lose belongs in ``risk``; reading lots and betas, and storing what comes out, elsewhere.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assets.numerics.arrays import BoolArray, CodeArray, DateArray, FloatArray, IntArray, TextArray
from assets.numerics.constants import RECENT_SESSIONS
from assets.numerics.regression import Quality
from assets.numerics.windows import checked_targets, first_reason, has_reason

NOTHING_HELD = "No active position"
NO_VALUE = "The positions are worth nothing: no denominator for weights"
NOT_COVERED = "No position has factor exposures"
_BASES: TextArray = np.array(["market", "market", "entry", "mixed", None], dtype=object)
"""By twice whether a position is at its entry price, and whether one is at market; the last is that of no value."""


@dataclass(frozen=True)
class Lots:
    """L lots of one portfolio or of several, active while ``entry_date <= d < exit_date``."""

    symbol: IntArray
    """(L,) positions; private symbols and cash have positions of their own."""
    quantity: FloatArray
    """(L,) shares of the session `shares_as_of`; negative for a short position, and nowhere else does its sign live."""
    entry_price: FloatArray
    """(L,) dollars a share of that session; 0 where no entry value is known."""
    entry_date: DateArray
    """(L,)."""
    exit_date: DateArray
    """(L,) NaT while open."""
    shares_as_of: DateArray
    """(L,) the session in whose shares quantity and entry price are."""
    private: BoolArray
    """(L,) always worth their entry price; never with exposures."""
    cash: BoolArray
    """(L,) worth ``quantity * entry_price``; in net but not in gross, without returns or exposures."""


@dataclass(frozen=True)
class Quotes:
    """Closes of N symbols as they stand at each of T sessions, over sessions without one and over splits."""

    close: FloatArray
    """(T, N) the last at or before the session, in shares of before the first one; NaN for none."""
    row: IntArray
    """(T, N) the row of that close; -1 for none."""
    growth: FloatArray
    """(T, N) shares that one share before the first session has become."""


@dataclass(frozen=True)
class Positions:
    """Lots of a symbol added up: D sessions, S symbols. Every array but cash may have the portfolios before it."""

    value: FloatArray
    """(D, S) signed value in the currency of the prices; 0 where nothing is held."""
    price: FloatArray
    """(D, S) market price in shares of the session; NaN where there is none."""
    held: BoolArray
    """(D, S) some lot is active."""
    at_entry: BoolArray
    """(D, S) held at the entry price, for want of a market price."""
    unvalued: BoolArray
    """(D, S) some active lot has neither a market price nor an entry price: it counts as nothing."""
    stale: BoolArray
    """(D, S) held at a close more than 5 sessions old."""
    cash: BoolArray
    """(S,); of several portfolios (B, 1, S)."""


@dataclass(frozen=True)
class Weights:
    """Weights of S symbols on D sessions, (..., D, S); NaN on sessions with a reason."""

    weight: FloatArray
    """(D, S) signed value by denominator."""
    gross_share: FloatArray
    """(D, S) share of gross value: what coverage is measured in."""
    gross: FloatArray
    """(D,) sum of absolute values, cash aside."""
    net: FloatArray
    """(D,) sum of signed values, cash included."""
    denominator: FloatArray
    """(D,) equity if it is given, else gross."""
    held: BoolArray
    """(D, S)."""
    weight_basis: TextArray
    """(D,) ``market``, ``entry`` or ``mixed``."""
    entry_share: FloatArray
    """(D,) share of gross value at entry price."""
    stale_share: FloatArray
    """(D,) share of gross value at a stale price."""
    reason: TextArray
    """(D,) why there are no weights, else None."""

    def coverage(self, covered: BoolArray) -> FloatArray:
        """(..., D) share of gross value in covered symbols (..., D, S); 1 where there is nothing but cash."""
        share = np.where(covered, self.gross_share, 0.0).sum(axis=-1)
        return np.where(self.gross > 0, share, np.where(has_reason(self.reason), 0.0, 1.0))


@dataclass(frozen=True)
class Exposures:
    """Exposures of the portfolio to K factors on D sessions, (..., D, K); NaN on sessions with a reason."""

    exposure: FloatArray
    """(D, K) sum of weight times beta over the symbols that have one, not rescaled."""
    market_total: FloatArray
    """(D,) beta to the market with what the other factors carry of it."""
    weight_coverage: FloatArray
    """(D,) share of gross value in symbols that have betas."""
    quality: CodeArray
    """(D,) codes of Quality: the worst among the symbols that have betas."""
    reason: TextArray
    """(D,) why there are no exposures, else None."""


def value_positions(
    lots: Lots,
    close: FloatArray,
    split: FloatArray,
    sessions: DateArray,
    targets: npt.ArrayLike,
    *,
    still_held: IntArray | None = None,
) -> Positions:
    """Value every symbol, a column of the price arrays each, as in ``value_quoted``.

    :param close: (T, S) as in ``quotes``, as is split.
    :raises ValueError: as in ``value_quoted``.
    """
    columns = np.arange(close.shape[1])
    return value_quoted(lots, quotes(close, split), columns, sessions, targets, still_held=still_held)


def quotes(close: FloatArray, split: FloatArray) -> Quotes:
    """Carry closes over sessions without one and over splits.

    :param close: (T, N) raw closes; NaN where there is none.
    :param split: (T, N) new shares for one old, effective on the session; NaN counts as 1.
    """
    growth = _growth(split)
    carried = close * growth
    row = np.broadcast_to(np.arange(len(close))[:, None], close.shape)
    quoted = np.isfinite(close)
    gaps = np.flatnonzero(~quoted.all(axis=0))
    if gaps.size:
        row = row.copy()
        row[:, gaps] = np.maximum.accumulate(np.where(quoted[:, gaps], row[:, gaps], -1), axis=0)
        carried[:, gaps] = np.where(row[:, gaps] >= 0, carried[row[:, gaps], gaps], np.nan)
    return Quotes(carried, row, growth)


def value_quoted(
    lots: Lots,
    quoted: Quotes,
    columns: IntArray,
    sessions: DateArray,
    targets: npt.ArrayLike,
    *,
    still_held: IntArray | None = None,
) -> Positions:
    """Value every position at its last close at or before each target session, carried over splits.

    A symbol without such a close, and a private one, stands at its lots' entry prices; a lot whose entry price is 0 is
    then worth nothing. So the closes must reach back to the last close of every symbol, and the sessions must reach to
    `shares_as_of` of every lot: the splits between a session and that one turn shares of the one into shares of the
    other.

    :param columns: (S,) of each position among the quotes.
    :param sessions: (T,) the dates of the rows, ascending.
    :param targets: (D,) strictly ascending rows.
    :param still_held: (D,) rows on which a lot must be active as well to count.
    :raises ValueError: `shares_as_of` that is not among the sessions, targets that are not ascending rows.
    """
    rows = checked_targets(targets, len(sessions))
    n_symbols = len(columns)
    cash, unquoted = np.zeros((2, n_symbols), dtype=bool)
    cash[lots.symbol[lots.cash]] = True
    unquoted[lots.symbol[lots.cash | lots.private]] = True
    carried, last, growth = (values[rows][:, columns] for values in (quoted.close, quoted.row, quoted.growth))
    carried[:, unquoted], last[:, unquoted] = np.nan, -1

    active = _active(lots, sessions[rows])
    if still_held is not None:
        active &= _active(lots, sessions[still_held])
    counted = quoted.growth[_counted_rows(lots, sessions), columns[lots.symbol]]
    market = carried[:, lots.symbol] * (lots.quantity / counted)
    at_market = np.isfinite(market)
    value = np.where(at_market, market, lots.quantity * lots.entry_price)
    at_entry = active & ~at_market & ~lots.cash
    order = np.argsort(lots.symbol, kind="stable")
    of_symbol = order, *np.unique(lots.symbol[order], return_index=True)
    held = _some(active, of_symbol, n_symbols)
    return Positions(
        value=_by_symbol(np.add, np.where(active, value, 0.0), of_symbol, n_symbols),
        price=carried / growth,
        held=held,
        at_entry=_some(at_entry & (lots.entry_price > 0), of_symbol, n_symbols),
        unvalued=_some(at_entry & (lots.entry_price <= 0), of_symbol, n_symbols),
        stale=held & (last >= 0) & (last < rows[:, None] - RECENT_SESSIONS),
        cash=cash,
    )


def weigh(positions: Positions, equity: npt.ArrayLike | None = None) -> Weights:
    """Weights by equity if it is given (above 0, the same on all sessions), else by gross value.

    :param equity: of several portfolios (B, 1); NaN for none.
    """
    size = np.where(positions.cash, 0.0, np.abs(positions.value))
    gross = size.sum(axis=-1)
    given = np.asarray(np.nan if equity is None else equity, dtype=np.float64)
    denominator = np.where(np.isnan(given), gross, given)
    empty, worthless = ~np.any(positions.held, axis=-1), denominator <= 0
    void = empty | worthless
    gross_share = size / np.where(gross > 0, gross, 1.0)[..., None]
    weight = positions.value / np.where(void, np.nan, denominator)[..., None]
    at_market = np.any(positions.held & np.isfinite(positions.price), axis=-1)
    at_entry = np.any(positions.at_entry, axis=-1)
    return Weights(
        weight=weight,
        gross_share=gross_share,
        gross=gross,
        net=positions.value.sum(axis=-1),
        denominator=denominator,
        held=positions.held,
        weight_basis=_BASES[np.where(void, -1, 2 * at_entry + at_market)],
        entry_share=np.where(positions.at_entry, gross_share, 0.0).sum(axis=-1),
        stale_share=np.where(positions.stale, gross_share, 0.0).sum(axis=-1),
        reason=first_reason(gross.shape, (empty, NOTHING_HELD), (worthless, NO_VALUE)),
    )


def expose(weights: Weights, beta: FloatArray, market_total: FloatArray, quality: CodeArray) -> Exposures:
    """Add up the symbols' exposures: ``sum_i w_i beta_ik``. How exact they are is for ``residuals`` to say.

    A symbol has betas when all K are finite; the others are not taken as 0 but left to ``weight_coverage``.

    :param beta: (..., D, S, K), like the other fields of ``regression.Fits``; NaN where there is none.
    :param market_total: (..., D, S).
    :param quality: (..., D, S) codes of Quality.
    """
    covered = has_betas(beta)
    weight = np.where(covered, weights.weight, 0.0)
    coverage = weights.coverage(covered)
    uncovered = coverage <= 0
    void = has_reason(weights.reason) | uncovered
    qualities = np.where(covered & weights.held, quality, Quality.FULL_HISTORY)
    return Exposures(
        exposure=np.where(void[..., None], np.nan, weighted_sum(weight, betas_of(covered, beta))),
        market_total=np.where(void, np.nan, (weight * np.where(covered, market_total, 0.0)).sum(axis=-1)),
        weight_coverage=coverage,
        quality=np.where(void, Quality.FAILED, qualities.min(axis=-1, initial=Quality.FULL_HISTORY)).astype(np.int8),
        reason=first_reason(void.shape, (has_reason(weights.reason), weights.reason), (uncovered, NOT_COVERED)),
    )


def has_betas(beta: FloatArray) -> BoolArray:
    """(..., S) the symbols whose K betas (..., S, K) are all finite."""
    finite: BoolArray = np.isfinite(beta)
    return np.ones(beta.shape[:-1], dtype=bool) if finite.all() else np.all(finite, axis=-1)


def betas_of(covered: BoolArray, beta: FloatArray) -> FloatArray:
    """(..., S, K) betas of the covered symbols (..., S); 0 for the others."""
    return beta if covered.all() else np.where(covered[..., None], beta, 0.0)


def weighted_sum(weight: FloatArray, beta: FloatArray) -> FloatArray:
    """(..., D, K) sums over symbols of weights (..., D, S) times betas (..., D, S, K)."""
    total: FloatArray = np.matmul(weight[..., None, :], beta)[..., 0, :]
    return total


def _growth(split: FloatArray) -> FloatArray:
    """(T, S) shares that one share before the first session has become."""
    growth = np.where(np.isnan(split), 1.0, split)
    splits = np.flatnonzero((growth != 1.0).any(axis=0))
    growth[:, splits] = np.cumprod(growth[:, splits], axis=0)
    return growth


def _active(lots: Lots, days: DateArray) -> BoolArray:
    """(D, L) lots held on each of ascending days."""
    day = np.arange(len(days))[:, None]
    active: BoolArray = (np.searchsorted(days, lots.entry_date) <= day) & (day < np.searchsorted(days, lots.exit_date))
    return active


def _by_symbol(
    add: np.ufunc, values: npt.NDArray[Any], of_symbol: tuple[IntArray, IntArray, IntArray], n_symbols: int
) -> npt.NDArray[Any]:
    """(D, S) sums of the lots' values (D, L) by position.

    :param of_symbol: the lots in the order of their positions, these positions, and where each begins in that order.
    """
    order, symbols, begins = of_symbol
    total = np.zeros((len(values), n_symbols), dtype=values.dtype)
    total[:, symbols] = add.reduceat(values[:, order], begins, axis=1)
    return total


def _some(cells: BoolArray, of_symbol: tuple[IntArray, IntArray, IntArray], n_symbols: int) -> BoolArray:
    """(D, S) whether some lot of each position is among cells (D, L)."""
    if not cells.any():
        return np.zeros((len(cells), n_symbols), dtype=bool)
    return _by_symbol(np.logical_or, cells, of_symbol, n_symbols)


def _counted_rows(lots: Lots, sessions: DateArray) -> IntArray:
    """(L,) the row of the session that each lot is counted in shares of."""
    rows = np.minimum(np.searchsorted(sessions, lots.shares_as_of), len(sessions) - 1)
    outside = sessions[rows] != lots.shares_as_of
    if outside.any():
        raise ValueError(
            f"shares_as_of of lot {np.flatnonzero(outside)[0]} must be a session in {sessions[0]}..{sessions[-1]}, "
            f"got {lots.shares_as_of[outside][0]}: load prices from the earliest to the latest of them"
        )
    return rows
