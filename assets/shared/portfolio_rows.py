"""What the two portfolio assets have in common: find what is missing, load the book, compute, write, report."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table

from assets.shared import valuation
from assets.shared.block import Block
from assets.shared.look_back import MissingInputsError, Waiting, price_sessions
from assets.shared.recorder import Cell, Recorder, facts_of, rounded
from assets.shared.run_block import BlockConfig, block_of_run, found_before
from assets.shared.stored_cells import stored_cells
from assets.shared.valuation import Books, Stack
from assets.shared.work import Stopwatch, row_counts
from resources.database import bulk, portfolios, prices, results
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.portfolios import Portfolio

#: So many are computed and stored together: of one session, all portfolios of a run; of years, one alone.
_ROWS_AT_A_TIME = 1_000

#: A portfolio, and the sessions that it lacks, ascending.
Wanted = tuple[Portfolio, Sequence[date]]
#: For the run's log: a level and a text.
Remark = tuple[int, str]


@dataclass(frozen=True)
class PortfolioResult:
    """How the rows of one portfolio table come about."""

    table: Table
    row: str  # in the log
    fixed: Mapping[str, Any]
    shown: Sequence[str]  # columns that a person who clicks a partition would look for
    inputs: Sequence[str]  # symbols whose prices every row rests on, beside those held
    compute: Callable[[Books], Columns]  # one row a session of each book, in their order


def materialize(
    context: dg.AssetExecutionContext,
    config: BlockConfig,
    database: Database,
    reader: prices.Reader,
    result: PortfolioResult,
    extra: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult[None]:
    """Compute the block's missing rows (with force: all), store and record them.

    `extra` joins the totals of the run, and what the newest partition shows.
    """
    block = block_of_run(context, config)
    record, clock = Recorder(context), Stopwatch()
    found, due, skipped, waiting = _due(database, result, block, force=config.force, from_entry=record.deferred)
    skipped += found_before(context).rows
    waits = due & waiting.portfolios(found, result.inputs)
    wanted = due & ~waits
    if waits.any():
        context.log.warning(f"{int(waits.sum())} {result.row} records wait for prices: {waiting}")
    todo = [
        (one, [session for session, due in zip(block.sessions, cells, strict=True) if due])
        for one, cells in zip(found, wanted, strict=True)
        if cells.any()
    ]
    written = list(_compute_and_store(context, database, reader, result, todo, clock))
    stored = len(written)
    context.log.info(f"Stored {stored} NEW {result.row} records of {len(found)} portfolios, skipped {skipped}")
    if written and extra:
        written[-1] = written[-1]._replace(metadata={**written[-1].metadata, **rounded(extra)})
    names = {one.id: one.name for one in found}
    return record(
        written,
        lambda: stored_cells(database, result.table, names, block.sessions, result.shown, result.fixed),
        {
            **row_counts(stored, skipped),
            "records_waiting": int(waits.sum()),
            "seconds": clock.seconds,
            **(extra or {}),
        },
    )


def _due(
    database: Database, result: PortfolioResult, block: Block, *, force: bool, from_entry: bool
) -> tuple[list[Portfolio], NDArray[np.bool_], int, Waiting]:
    """Give the block's portfolios, which cells to compute, how many are skipped, and what has to wait.

    A planned run starts with the first entry; a run from the UI has a row, if only a reason, for all that was asked.
    """
    with database.read() as connection:
        stored = {found.name: found for found in portfolios.load(connection, block.keys)}
        unknown = [name for name in block.keys if name not in stored]
        if unknown:
            raise dg.Failure(f"Portfolios not stored: {', '.join(unknown)}. Onboard them: sigma onboard FILE")
        found = [stored[name] for name in block.keys]
        exists = bulk.present(connection, result.table, [one.id for one in found], block.sessions, **result.fixed)
        held = {lot.symbol for one in found for lot in one.lots if lot.asset_class == "public"}
        waiting = Waiting(connection, held.union(result.inputs), block.sessions)
    days = np.array(block.sessions, dtype="datetime64[D]")
    entry = np.array([one.first_entry for one in found], dtype="datetime64[D]")
    asked = (entry[:, None] <= days) if from_entry else np.ones_like(exists)
    due = asked if force else asked & ~exists
    return found, due, int((asked & ~due).sum()), waiting


def _compute_and_store(
    context: dg.AssetExecutionContext,
    database: Database,
    reader: prices.Reader,
    result: PortfolioResult,
    todo: Sequence[Wanted],
    clock: Stopwatch,
) -> Iterator[Cell]:
    """Compute and store portfolios, some at a time, and give their cells."""
    batches = list(_batches(todo))
    if len(batches) > 1:
        with clock("compute"), database.read() as connection:
            _read_prices(connection, reader, result, todo)  # once, for all of them
    for some in batches:
        for few, columns, remarks in _store(database, reader, result, some, clock):
            for level, text in remarks:
                context.log.log(level, text)
            cells = ((one.name, session) for one, sessions in few for session in sessions)
            facts = facts_of(columns, result.shown)
            yield from (Cell(*cell, own) for cell, own in zip(cells, facts, strict=True))


def _batches(todo: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """Split portfolios into batches of so many rows; one has at least a portfolio."""
    first, rows = 0, 0
    for i, (_, sessions) in enumerate(todo):
        if i > first and rows + len(sessions) > _ROWS_AT_A_TIME:
            yield todo[first:i]
            first, rows = i, 0
        rows += len(sessions)
    if todo:
        yield todo[first:]


def _store(
    database: Database, reader: prices.Reader, result: PortfolioResult, some: Sequence[Wanted], clock: Stopwatch
) -> Iterator[tuple[Sequence[Wanted], Columns, Sequence[Remark]]]:
    """Compute and store portfolios together; alone, where the inputs of one are missing or it is replaced meanwhile."""

    def work() -> tuple[Sequence[Wanted], Columns, Sequence[Remark]]:
        remarks: list[Remark] = []
        with clock("compute"), database.read() as connection:
            panel = _read_prices(connection, reader, result, some)
            books = Books(connection, some, result.inputs, panel, lambda stack: remarks.extend(_remarks(stack)))
            columns: Columns = {
                "portfolio_id": [one.id for one, sessions in some for _ in sessions],
                "session": [day.isoformat() for _, sessions in some for day in sessions],
                **result.compute(books),
            }
        with clock("write"), database.write() as connection:
            results.store_portfolios(connection, result.table, columns, panel.revision)
        return some, columns, remarks

    try:
        yield results.with_current_inputs(work)
    except (results.InputsChangedError, MissingInputsError):
        if len(some) == 1:
            raise
        for one in some:
            yield from _store(database, reader, result, [one], clock)


def _read_prices(
    connection: Connection, reader: prices.Reader, result: PortfolioResult, some: Sequence[Wanted]
) -> prices.PricePanel:
    names = valuation.public_symbols(some)
    grid = price_sessions(min(sessions[0] for _, sessions in some), max(sessions[-1] for _, sessions in some))
    return reader.load(connection, list(dict.fromkeys([*names, *result.inputs])) if names else [], grid)


def _remarks(books: Stack) -> Iterator[Remark]:
    for at_entry, active, gross in zip(*books.lots_at_entry(), books.weights.gross[:, -1], strict=True):
        if at_entry:
            said = f"No market value for {at_entry} of {active} positions, using entry values for weights"
            yield logging.INFO, f"{said} (new portfolio)"
        if active and gross == 0:
            text = "Total portfolio value is zero (no market value or entry value), cannot calculate returns"
            yield logging.WARNING, text
