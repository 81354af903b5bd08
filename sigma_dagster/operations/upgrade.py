"""Bringing both databases to this release's tables, when somebody asks for it."""

from collections.abc import Iterator
from typing import NamedTuple

from resources.dagster_storage import tables as dagster_tables
from resources.database import engine, migrate
from sigma_dagster.operations.stores import Store, stores
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.settings import Settings


class Upgraded(NamedTuple):
    """A database or file, and the versions of its tables before and after; None: it had none."""

    what: str
    before: str | None
    after: str


def upgrade(settings: Settings) -> list[Upgraded]:
    """Upgrade what is of an older release, the domain first; raises OtherReleaseError for a newer one."""
    domain, dagster = stores(settings)
    done = [Upgraded(str(domain), engine.upgrade(settings.database_url), migrate.newest())]
    of_dagster = list(_dagster(dagster))
    if any(one.before not in (None, one.after) for one in of_dagster):
        with open_instance(settings) as instance:
            instance.upgrade()  # the rows, where Dagster keeps them otherwise now
    return [*done, *of_dagster]


def _dagster(store: Store) -> Iterator[Upgraded]:
    if store.url is not None:
        yield Upgraded(str(store), dagster_tables.upgrade_postgres(store.url), dagster_tables.HEAD)
    for path in store.present.values():
        yield Upgraded(str(path), dagster_tables.upgrade_sqlite(path), dagster_tables.HEAD)
