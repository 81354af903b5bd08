"""What the two symbol assets have in common: find what is missing, load its prices, compute, write, report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table

from assets.shared.look_back import Waiting, check_complete, price_sessions
from assets.shared.recorder import Cell, Recorder, facts_of
from assets.shared.run_block import BlockConfig, block_of_run, found_before
from assets.shared.stored_cells import stored_cells
from assets.shared.work import Stopwatch, row_counts
from resources.database import bulk, prices
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.prices import PricePanel
from resources.database.results import with_current_inputs


@dataclass(frozen=True)
class SymbolResult:
    """How the rows of one result table come about."""

    table: Table
    row: str  # in the log, such as "factor exposure"
    rows: str  # such as "factor exposures"
    existing: str  # such as "factor betas"
    cached: str  # such as "betas"
    fixed: Mapping[str, Any]  # further key columns
    shown: Sequence[str]  # columns that a person who clicks a partition would look for
    inputs: Sequence[str]  # symbols whose prices every row rests on
    # (panel, the block's symbols, positions of the target sessions in the panel) -> columns in symbol-major order
    compute: Callable[[PricePanel, Sequence[str], Sequence[int]], Columns]
    store: Callable[[Connection, Columns, Mapping[str, int]], int]


def materialize(
    context: dg.AssetExecutionContext, config: BlockConfig, database: Database, result: SymbolResult
) -> dg.MaterializeResult[None]:
    """Compute the block's missing rows (with force: all), store and record them."""
    block, found = block_of_run(context, config), found_before(context)
    record, clock = Recorder(context), Stopwatch()
    with database.read() as connection:
        have = bulk.present(connection, result.table, block.keys, block.sessions, **result.fixed)
        waiting = Waiting(connection, {*block.keys, *result.inputs}, block.sessions)
    due = np.ones_like(have) if config.force else ~have
    waits = due & waiting.symbols(block.keys, result.inputs)
    wanted = due & ~waits
    if waits.any():
        context.log.warning(f"{int(waits.sum())} {result.row} records wait for prices: {waiting}")
    total = len(block.keys) + found.keys
    complete = int((~due.any(axis=1)).sum()) + found.keys
    context.log.info(f"Storing {result.rows} for {total} symbols (force={config.force})")
    if complete:
        context.log.info(
            f"Found {complete}/{total} symbols with existing {result.existing} for {block.span} "
            "(skipping recalculation)"
        )
    written: list[Cell] = []
    fitted = np.zeros((len(block.keys), len(block.sessions)), dtype=bool)
    for rows, days in _rectangles(wanted):
        symbols, sessions = [block.keys[i] for i in rows], [block.sessions[j] for j in days]
        columns = _compute_and_store(database, result, symbols, sessions, clock)
        has_numbers = [reason is None for reason in columns["reason"]]
        fitted[np.ix_(rows, days)] = np.reshape(has_numbers, (len(rows), len(days)))
        cells = ((symbol, session) for symbol in symbols for session in sessions)
        written += [Cell(*cell, facts) for cell, facts in zip(cells, facts_of(columns, result.shown), strict=True)]
    stored, skipped = len(written), int((~due).sum()) + found.rows
    context.log.info(f"Stored {stored} NEW {result.row} records")
    context.log.info(f"Skipped {skipped} records with cached {result.cached} (optimization)")
    totals = {
        **row_counts(stored, skipped),
        "records_waiting": int(waits.sum()),
        "symbols_computed": int(fitted.any(axis=1).sum()),
        "computed": int(fitted.sum()),
        "seconds": clock.seconds,
    }
    names = {key: key for key in block.keys}
    return record(
        written,
        lambda: stored_cells(database, result.table, names, block.sessions, result.shown, result.fixed),
        totals,
    )


def _compute_and_store(
    database: Database, result: SymbolResult, symbols: Sequence[str], sessions: Sequence[date], clock: Stopwatch
) -> Columns:
    grid = price_sessions(sessions[0], sessions[-1])
    at = {session: i for i, session in enumerate(grid)}

    def work() -> Columns:
        with clock("compute"):
            with database.read() as connection:
                panel = prices.load(connection, list(dict.fromkeys([*symbols, *result.inputs])), grid)
            check_complete(panel)
            columns = result.compute(panel, symbols, [at[session] for session in sessions])
        with clock("write"), database.write() as connection:
            result.store(connection, columns, panel.revision)
        return columns

    return with_current_inputs(work)


def _rectangles(wanted: NDArray[np.bool_]) -> Iterator[tuple[list[int], list[int]]]:
    """Split wanted cells, shape (keys, sessions), into full rectangles: keys that want the very same sessions."""
    same: dict[bytes, list[int]] = {}
    for i, row in enumerate(wanted):
        if row.any():
            same.setdefault(row.tobytes(), []).append(i)
    for rows in same.values():
        yield rows, np.flatnonzero(wanted[rows[0]]).tolist()
