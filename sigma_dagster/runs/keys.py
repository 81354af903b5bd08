"""Symbols and portfolios as Dagster knows them, its partition keys: those that nobody needs, that go or get a new name.

A key comes into being with the first block that names it, or by hand in the UI. Its rows, if it has any, stay.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from sqlalchemy import Connection

from assets.catalogue import of_dimension
from assets.shared.block import Block
from resources.database import portfolios, symbols
from resources.database.symbols import RenameError
from resources.database.tables import lot, symbol
from sigma_dagster.runs import claims, heal, liveness, request
from sigma_dagster.services import Services

_DIMENSION = "symbol"
_PORTFOLIO = "portfolio"


class KeyInUseError(ValueError):
    """A symbol that cannot be forgotten, because a portfolio holds it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is held by a portfolio: its partitions stay")
        self.symbol = name


def idle(instance: dg.DagsterInstance, services: Services) -> list[str]:
    """Name the keys that no portfolio holds and of which no price is known."""
    known = sa.select(symbol.c.symbol).where(symbol.c.status != "unknown")
    with services.database.read() as connection:
        needed = {*connection.execute(known).scalars(), *connection.execute(sa.select(lot.c.symbol)).scalars()}
    return [name for name in instance.get_dynamic_partitions(_DIMENSION) if name not in needed]


def forget(instance: dg.DagsterInstance, services: Services, name: str) -> bool:
    """Take a symbol's key away, so that none of its partitions is missing; False if there is no such key.

    Raises KeyInUseError. What is stored of the symbol stays; a block that names it brings the key back.
    """
    with services.database.read() as connection:
        if connection.execute(sa.select(lot.c.id).where(lot.c.symbol == name)).first():
            raise KeyInUseError(name)
    if name not in instance.get_dynamic_partitions(_DIMENSION):
        return False
    instance.delete_dynamic_partition(_DIMENSION, name)
    return True


def rename(instance: dg.DagsterInstance, graph: AssetGraph, services: Services, old: str, new: str) -> None:
    """Give a symbol another name, and its partitions as well; raises RenameError."""
    with services.database.read() as connection:
        symbols.check_rename(connection, old, new)
    _rename(instance, graph, services, _DIMENSION, old, new, symbols.rename)
    forget(instance, services, old)


def rename_portfolio(instance: dg.DagsterInstance, graph: AssetGraph, services: Services, old: str, new: str) -> None:
    """Give a portfolio another name, and its partitions as well; raises RenameError while a run computes it."""
    _rename(instance, graph, services, _PORTFOLIO, old, new, portfolios.rename)
    instance.delete_dynamic_partition(_PORTFOLIO, old)


def remove_portfolio(instance: dg.DagsterInstance, graph: AssetGraph, services: Services, name: str) -> None:
    """Delete a portfolio, its rows and their record; a run that computes it stores nothing of it any more."""
    with services.database.write() as connection:
        portfolios.remove(connection, name)
    heal.heal(instance, graph, services)
    instance.delete_dynamic_partition(_PORTFOLIO, name)


def _rename(
    instance: dg.DagsterInstance,
    graph: AssetGraph,
    services: Services,
    dimension: str,
    old: str,
    new: str,
    change: Callable[[Connection, str, str], None],
) -> None:
    """Change the name in the database, and record the rows under the new one.

    A run, so that `heal` finishes the record of one that was killed after the rows had their new name.
    """
    last = services.as_of(None, datetime.now(UTC))
    names = [asset.name for asset in of_dimension(dimension)]
    block = Block.of_keys(names, [new], min(services.first_date(last), last), last)
    busy = Block.of_keys(names, [old, new], block.first, block.last)
    if others := claims.rivals(instance, services, busy):
        raise RenameError(old, new, f"run {others[0].run_id[:8]} computes it now; try again when it has ended")
    run_id = str(uuid.uuid4())
    with liveness.alive(services, run_id):
        if not claims.claim(instance, services, run_id, busy):
            raise RenameError(old, new, "a run computes it now; try again when it has ended")
        request.register(instance, block)
        run = _begin(instance, run_id, block)
        with services.database.write() as connection:
            change(connection, old, new)
        heal.record_stored(instance, graph, services, run, block)
        _report(instance, run, dg.DagsterEventType.RUN_SUCCESS, f"{old} is {new} from now on")
    heal.heal(instance, graph, services)


def _begin(instance: dg.DagsterInstance, run_id: str, block: Block) -> dg.DagsterRun:
    tags = request.run_tags(block, onboarding={}, launched_by=request.LAUNCHED_BY_COMMAND)
    run = instance.add_run(
        dg.DagsterRun(
            request.job_name(block.dimension),
            run_id,
            run_config=request.run_config(block),
            asset_selection=frozenset(request.selection(block)),
            tags={**tags, request.DEFER_TAG: "true", **request.TO_RECONCILE},
        )
    )
    _report(instance, run, dg.DagsterEventType.RUN_START, "It gets another name")
    return run


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType, message: str) -> None:
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name, message=message)
    instance.report_dagster_event(event, run.run_id)
