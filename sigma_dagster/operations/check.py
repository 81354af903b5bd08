"""Whether the databases are whole, and say the same: each look is one line. Nothing is changed.

What the next command or tick of the sensor puts right by itself (`runs.heal`) is no fault: it is told, and passes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from sqlalchemy import Connection, Table

from assets.catalogue import ASSETS, Asset
from resources.database import deletions, home, tables
from resources.database.bulk import session_text
from sigma_dagster.operations import copies_postgres, copies_sqlite
from sigma_dagster.operations.stores import Store, stores
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.runs import heal
from sigma_dagster.services import Services

_PRICED = (tables.daily_price, tables.factor_exposure, tables.symbol_volatility)


@dataclass(frozen=True)
class Look:
    """One look at the databases."""

    what: str
    found: str
    fault: bool = False


def check(services: Services) -> Iterator[Look]:
    """Look at files, references, orphans, and rows against Dagster's records; a damaged file is the last look."""
    both = stores(services.settings)
    damaged = False
    for store in both:
        for path in store.present.values():
            damage = copies_sqlite.damage(path)
            damaged = damaged or bool(damage)
            yield Look(f"integrity of {path}", damage or "whole", fault=bool(damage))
    if damaged:
        return
    with services.database.read() as connection:
        pass  # made, if it is not there; of another release it is refused
    for store in both:
        yield from _references(store)
    with services.database.read() as connection:
        yield from (_orphans(connection, table) for table in _PRICED)
    with open_instance(services.settings) as instance:
        yield from (_records(services, instance, asset) for asset in ASSETS)


def _references(store: Store) -> Iterator[Look]:
    for path in store.present.values():
        with copies_sqlite.snapshot(path) as connection:
            yield _referring(str(path), len(connection.execute("PRAGMA foreign_key_check").fetchall()))
    if store.url is not None:
        with copies_postgres.snapshot(store.url) as seen:
            yield _referring(str(store), sum(_broken(seen)))


def _referring(what: str, broken: int) -> Look:
    told = f"{broken:,} rows refer to nothing" if broken else "each refers to a row"
    return Look(f"foreign keys of {what}", told, fault=broken > 0)


def _broken(connection: Connection) -> Iterator[int]:
    """Count rows without the row that they refer to, for each foreign key."""
    made = sa.MetaData()
    made.reflect(connection)
    for table in made.sorted_tables:
        for constraint in table.foreign_key_constraints:
            pairs = [(element.parent, element.column) for element in constraint.elements]
            other = constraint.referred_table.alias()
            same = sa.and_(*(own == other.c[column.name] for own, column in pairs))
            given = sa.and_(*(own.is_not(None) for own, _ in pairs))
            query = sa.select(sa.func.count()).select_from(table).where(given, ~sa.exists().where(same))
            yield int(connection.execute(query).scalar_one())


def _orphans(connection: Connection, table: Table) -> Look:
    """Look for rows of symbols that nobody ever asked for."""
    known = sa.exists().where(tables.symbol.c.symbol == table.c.symbol)
    found = int(connection.execute(sa.select(sa.func.count()).select_from(table).where(~known)).scalar_one())
    told = f"{found:,} rows of symbols that are not in the table symbol" if found else "each row's symbol is known"
    return Look(f"orphans in {table.name}", told, fault=found > 0)


def _records(services: Services, instance: dg.DagsterInstance, asset: Asset) -> Look:
    """Hold the rows of an asset against Dagster's records of it."""
    busy = instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    recorded = set(instance.get_materialized_partitions(dg.AssetKey(asset.name)))
    keys = set(instance.get_dynamic_partitions(asset.dimension))
    with services.database.read() as connection:
        rows = _cells(connection, asset.table)
        notes = [note for note in deletions.noted(connection) if note.table == asset.table.name]
        first = str(services.settings.start_date or home.first_date(connection) or "")
    due = {f"{day}|{key}" for day, key in rows if day >= first and key in keys}
    gone = {text for text in recorded - {f"{day}|{key}" for day, key in rows} if not _noted(text, notes)}
    # Proxies that are held, and symbols that were proxies, are recorded by one of two assets.
    lost = due - recorded if not asset.look_back else set[str]()
    told = f"{len(recorded):,} partitions, {len(gone):,} without a row, {len(lost):,} rows without a record"
    if busy:
        return Look(f"records of {asset.name}", f"{told}; {busy} runs are in progress: look again when they have ended")
    if lost and instance.get_runs_count(heal.DUE):
        return Look(f"records of {asset.name}", f"{told}; the next run writes them", fault=bool(gone))
    return Look(f"records of {asset.name}", told, fault=bool(gone or lost))


def _cells(connection: Connection, table: Table) -> set[tuple[str, str]]:
    """Give session and key of each row, of whatever factor model."""
    query = sa.select(session_text(table), table.c.symbol if "symbol" in table.c else tables.portfolio.c.name)
    if "portfolio_id" in table.c:
        query = query.join(tables.portfolio, tables.portfolio.c.id == table.c.portfolio_id)
    return {(day, key) for day, key in connection.execute(query)}


def _noted(partition: str, notes: list[deletions.Deletion]) -> bool:
    day, _, key = partition.partition("|")
    return any(note.key == key and note.first.isoformat() <= day <= note.last.isoformat() for note in notes)
