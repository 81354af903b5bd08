"""Dropping sessions that nobody looks at any more: their rows, Dagster's records of them, and the disk of both.

The home's first date partition moves to the first session that is kept, so that the planner does not ask for the
others again. Prices that the kept results look back on stay, and so does every split: lots are counted in the shares
of their import, which may be older.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import date

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from sqlalchemy import Connection

from assets.catalogue import ASSETS
from assets.shared.look_back import price_sessions
from resources import calendar
from resources.dagster_storage.event_log import forget_partitions_before
from resources.database import home, tables
from sigma_dagster.analysis.wording import counted
from sigma_dagster.errors import PruneError
from sigma_dagster.operations import copies_postgres, copies_sqlite
from sigma_dagster.operations.stores import Store, stores
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.services import Services


@dataclass(frozen=True)
class Pruned:
    """What was dropped."""

    first: date
    """The first session that is kept."""
    rows: int
    records: int
    runs: int
    bytes_before: int
    bytes_after: int


def prune(services: Services, keep: int, as_of: date) -> Pruned:
    """Drop the sessions before the last `keep` up to `as_of`; raises PruneError.

    Killed in between, it is finished by the same command: each part drops whatever is older than the first session.
    """
    with services.database.read() as connection:
        begun = home.first_date(connection)
    if begun is None:
        raise PruneError("nothing is stored yet")
    stored = calendar.sessions(begun, as_of)
    first = stored[-keep] if keep < len(stored) else begun
    start = services.settings.start_date
    if start and start < first:
        raise PruneError(
            f"SIGMA_START_DATE={start} asks for sessions from then on, and --keep {keep} drops those before {first}: "
            f"set it to {first}, or unset it"
        )
    both = stores(services.settings)
    before = sum(map(_size, both))
    with open_instance(services.settings) as instance:
        if busy := instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
            raise PruneError(f"in progress: {counted(busy, 'run')}; prune when none is")
        with services.database.write() as connection:
            rows = _drop_rows(connection, first)
            home.move_first_date(connection, first)
        names = [dg.AssetKey(asset.name) for asset in ASSETS]
        records, run_ids = forget_partitions_before(instance, names, first.isoformat())
        for run_id in run_ids:
            instance.delete_run(run_id)
    services.database.engine.dispose()
    for store in both:
        _shrink(store)
    return Pruned(first, rows, records, len(run_ids), before, sum(map(_size, both)))


def _drop_rows(connection: Connection, first: date) -> int:
    """Delete the results of sessions before `first`, and the prices that no other result looks back on."""
    priced_from = price_sessions(first, first)[0]
    price = tables.daily_price.c
    conditions = {asset.table: asset.table.c.session < first for asset in ASSETS if not asset.look_back}
    conditions[tables.daily_price] = (price.session < priced_from) & sa.func.coalesce(price.split, 1.0).in_([0.0, 1.0])
    dropped = sum(connection.execute(sa.delete(table).where(old)).rowcount for table, old in conditions.items())
    if dropped:
        closes = sa.select(sa.func.min(price.session)).where(
            price.symbol == tables.symbol.c.symbol, price.close.is_not(None)
        )
        earliest = closes.scalar_subquery()
        connection.execute(
            sa.update(tables.symbol).where(tables.symbol.c.first_session < priced_from).values(first_session=earliest)
        )
    return dropped


def _size(store: Store) -> int:
    if store.url is None:
        return sum(path.stat().st_size for path in store.present.values())
    with copies_postgres.snapshot(store.url) as connection:
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())


def _shrink(store: Store) -> None:
    """Give the disk of what was deleted back."""
    for path in store.present.values():
        with closing(copies_sqlite.connect(path)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if store.url is not None:
        engine = copies_postgres.engine(store.url).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text("VACUUM (FULL, ANALYZE)"))
