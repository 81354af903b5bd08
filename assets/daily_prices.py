"""The asset `daily_prices`: buy from the price source what is not stored yet, look-back included.

The prices of factor proxies are bought the same way, as an asset of their own (`assets.proxy_prices`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from assets.factor_models import FactorModel
from assets.numerics.constants import LOOKBACK_RETURNS
from assets.shared.definition import Frame, table_asset
from assets.shared.look_back import listed, price_sessions
from assets.shared.recorder import Cell, Recorder
from assets.shared.run_block import BlockConfig, block_of_run, found_before
from assets.shared.stored_cells import stored_cells
from assets.shared.work import Stopwatch, row_counts
from resources.database import bulk, prices
from resources.database.engine import Database
from resources.database.tables import daily_price
from resources.sources.base import PriceRow, PriceSource, SourceError, UnknownSymbolError

#: One run at a time asks the price source.
POOL = "price_source"
#: What a person who clicks a partition would look for.
SHOWN = ("close", "absence", "source")

#: From one close to the next over a long weekend, and a day for the refresh.
_LONGEST_PAUSE = timedelta(days=5)


@dataclass
class Purchase:
    """What fetching did."""

    cells: list[Cell] = field(default_factory=list)  # written, or asked for again and unchanged
    symbols: int = 0  # fetched
    calls: int = 0
    failure: str = ""  # why fetching ended early


def asset(frame: Frame) -> dg.AssetsDefinition:
    """Make the asset; sessions before the first partition are stored as look-back and are no partitions."""

    @table_asset(
        "daily_prices",
        frame,
        pool=POOL,
        freshness_policy=freshness(frame),
        description=(
            "One row is the closing price of one symbol on one session, or the knowledge that the source has none. "
            "Fetched once from the price source, with the sessions before it that betas and volatility look back on."
        ),
    )
    def daily_prices(
        context: dg.AssetExecutionContext,
        config: BlockConfig,
        database: dg.ResourceParam[Database],
        price_source: dg.ResourceParam[PriceSource],
        factor_model: dg.ResourceParam[FactorModel],
    ) -> dg.MaterializeResult[None]:
        return materialize(context, config, frame, database, price_source, proxies=factor_model.proxies)

    return daily_prices


def freshness(frame: Frame) -> dg.FreshnessPolicy | None:
    """Expect fresh prices of a source that follows the market."""
    return dg.FreshnessPolicy.time_window(fail_window=_LONGEST_PAUSE) if frame.live else None


def materialize(
    context: dg.AssetExecutionContext,
    config: BlockConfig,
    frame: Frame,
    database: Database,
    source: PriceSource,
    *,
    proxies: Sequence[str],
) -> dg.MaterializeResult[None]:
    """Fetch and store what the block lacks (with force: all), and record it.

    Recorded too is what the other asset of prices fetched: of `proxies`, which may be held.
    """
    block, found = block_of_run(context, config), found_before(context)
    _refuse_unknown(source, block.keys)
    record, clock = Recorder(context), Stopwatch()
    grid = price_sessions(block.sessions[0], block.sessions[-1])
    with database.read() as connection:
        have = bulk.present(connection, daily_price, block.keys, grid)
    wanted = np.ones_like(have) if config.force else ~have
    shared = np.isin(block.keys, proxies)
    if record.deferred and context.asset_key.to_user_string() == "daily_prices":
        wanted[shared] = ~have[shared]  # the planner has them fetched as proxies, by force too
    _log_check(context, wanted, found.keys)
    bought = _buy(database, source, block.keys, grid, wanted, clock)
    written = [cell for cell in bought.cells if cell.session >= frame.first_date]

    def stored(keys: Sequence[str]) -> Iterator[Cell]:
        return stored_cells(database, daily_price, {key: key for key in keys}, block.sessions, SHOWN)

    if record.deferred and shared.any():
        new = {(cell.key, cell.session) for cell in written}
        others = record.unrecorded(stored([block.keys[i] for i in np.flatnonzero(shared)]))
        written = [*(cell for cell in others if (cell.key, cell.session) not in new), *written]
    totals = {
        **row_counts(len(bought.cells), int((~wanted).sum()) + found.rows),
        "symbols_fetched": bought.symbols,
        "api_calls": bought.calls,
        "api_calls_saved": int((~wanted.any(axis=1)).sum()) + found.keys,
        "seconds": clock.seconds,
    }
    context.log.info(f"Stored {len(bought.cells)} prices of {bought.symbols} symbols in {bought.calls} provider calls")
    result = record(written, lambda: stored(block.keys), totals)
    if bought.failure:
        raise dg.Failure(f"{bought.failure}. Kept: the prices of {bought.symbols} symbols fetched before")
    return result


def _refuse_unknown(source: PriceSource, keys: Sequence[str]) -> None:
    """Buy nothing for a key that somebody mistyped; a source that cannot list its symbols is asked for it."""
    known = source.symbols()
    unknown = [] if known is None else [key for key in keys if key not in known]
    if unknown:
        raise dg.Failure(
            f"Not in {source.title}: {listed(unknown)}. Take away a key that was added by mistake: "
            f"sigma symbols --forget {unknown[0]}",
            allow_retries=False,
        )


def _log_check(context: dg.AssetExecutionContext, wanted: NDArray[np.bool_], cached: int) -> None:
    to_fetch = int(wanted.any(axis=1).sum())
    total = len(wanted) + cached
    context.log.info(f"Granular cache check: {total - to_fetch}/{total} symbols fully cached")
    if to_fetch:
        context.log.info(f"  {to_fetch} symbols need fetching (missing current data or insufficient history)")
        sessions = int(wanted.any(axis=0).sum())
        context.log.info(f"Incremental: Fetching {sessions} sessions for {to_fetch} symbols")


def _buy(
    database: Database,
    source: PriceSource,
    symbols: Sequence[str],
    grid: Sequence[date],
    wanted: NDArray[np.bool_],
    clock: Stopwatch,
) -> Purchase:
    """Fetch and store symbol by symbol, so that what is paid for is kept when a later one fails."""
    bought = Purchase()
    before = source.calls
    for symbol, row in zip(symbols, wanted, strict=True):
        asked = [day for day, due in zip(grid, row, strict=True) if due]
        if not asked:
            continue
        try:
            with clock("fetch"):
                rows = _fetch(source, symbol, asked)
        except SourceError as error:
            bought.failure = f"{symbol}: {error}"
            break
        with clock("write"), database.write() as connection:
            done = prices.store(connection, symbol, rows, asked, source=source.name, look_back=LOOKBACK_RETURNS)
        bought.symbols += 1
        closes = {row.session: row.close for row in rows}
        for day in sorted({*done.sessions, *asked}):
            fact = {"close": closes[day]} if day in closes else {"absence": "no close"}
            bought.cells.append(Cell(symbol, day, {**fact, "source": source.name}))
    bought.calls = source.calls - before
    return bought


def _fetch(source: PriceSource, symbol: str, asked: Sequence[date]) -> Sequence[PriceRow]:
    try:
        return source.fetch(symbol, asked[0], asked[-1])
    except UnknownSymbolError:
        return []  # stored as a known absence: it is not asked for again
