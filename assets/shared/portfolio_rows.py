"""What the two portfolio assets have in common: find what is missing, load the book, compute, write, report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table

from assets.shared import valuation
from assets.shared.block import Block
from assets.shared.look_back import Waiting
from assets.shared.recorder import Cell, Recorder, facts_of, rounded
from assets.shared.run_block import BlockConfig, block_of_run, found_before
from assets.shared.stored_cells import stored_cells
from assets.shared.valuation import Valuation
from assets.shared.work import Stopwatch, row_counts
from resources.database import bulk, portfolios, results
from resources.database.bulk import Columns
from resources.database.engine import Database
from resources.database.portfolios import Portfolio


@dataclass(frozen=True)
class PortfolioResult:
    """How the rows of one portfolio table come about."""

    table: Table
    row: str  # in the log
    fixed: Mapping[str, Any]
    shown: Sequence[str]  # columns that a person who clicks a partition would look for
    inputs: Sequence[str]  # symbols whose prices every row rests on, beside those held
    compute: Callable[[Connection, Valuation], Columns]


def materialize(
    context: dg.AssetExecutionContext,
    config: BlockConfig,
    database: Database,
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
    written: list[Cell] = []
    for one, cells in zip(found, wanted, strict=True):
        sessions = [session for session, due in zip(block.sessions, cells, strict=True) if due]
        if sessions:
            loaded, columns = _compute_and_store(database, result, one, sessions, clock)
            _log_values(context, loaded)
            facts = facts_of(columns, result.shown)
            written += [Cell(one.name, session, own) for session, own in zip(sessions, facts, strict=True)]
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
    database: Database, result: PortfolioResult, one: Portfolio, sessions: Sequence[date], clock: Stopwatch
) -> tuple[Valuation, Columns]:
    def work() -> tuple[Valuation, Columns]:
        with clock("compute"), database.read() as connection:
            loaded = valuation.load(connection, one, sessions, result.inputs)
            columns: dict[str, Sequence[Any]] = {
                "portfolio_id": [one.id] * len(sessions),
                "session": [day.isoformat() for day in sessions],
                **result.compute(connection, loaded),
            }
        with clock("write"), database.write() as connection:
            results.store_portfolio(connection, result.table, one.id, columns, loaded.panel.revision)
        return loaded, columns

    return results.with_current_inputs(work)


def _log_values(context: dg.AssetExecutionContext, loaded: Valuation) -> None:
    at_entry, active = loaded.lots_at_entry()
    if at_entry:
        context.log.info(
            f"No market value for {at_entry} of {active} positions, using entry values for weights (new portfolio)"
        )
    if active and loaded.weights.gross[-1] == 0:
        context.log.warning("Total portfolio value is zero (no market value or entry value), cannot calculate returns")
