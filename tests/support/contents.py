"""What a domain database holds, and Dagster's records, whichever databases they are."""

from collections import Counter
from typing import Any

import dagster as dg
import sqlalchemy as sa

from assets.catalogue import BY_NAME
from resources.database.engine import Database
from resources.database.tables import metadata, portfolio
from tests.support.home import LAST, PORTFOLIO_TABLES, TABLES, Home


def contents(database: Database, *tables: sa.Table) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables (none named: of every table), every column, sorted."""
    with database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in tables or metadata.sorted_tables
        }


def rows(home: Home, table: sa.Table) -> list[dict[str, Any]]:
    """The rows of a table in key order, portfolios by name, without the time of writing."""
    query = sa.select(table)
    if "portfolio_id" in table.c:
        query = query.add_columns(portfolio.c.name).join(portfolio)
    services = home.environment()
    with services.database.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    services.database.engine.dispose()
    for row in found:
        row.pop("computed_at", None)
        row.pop("portfolio_id", None)
    return sorted(found, key=lambda row: (row.get("symbol") or row["name"], row["session"]))


def recorded(home: Home) -> dict[str, Counter[str]]:
    """How often each partition of each asset is recorded as materialized."""
    with home.instance() as instance:
        found = {}
        for asset in (*TABLES, *PORTFOLIO_TABLES):
            records = instance.fetch_materializations(dg.AssetKey(asset), limit=10_000).records
            found[asset] = Counter(str(record.partition_key) for record in records)
        return found


def partitions(home: Home) -> dict[str, set[str]]:
    """The partitions of each asset that have a row."""
    services = home.environment()
    names = {**TABLES, **PORTFOLIO_TABLES}
    first = services.first_date(LAST)
    with services.database.read() as connection, home.instance() as instance:
        found = {}
        for asset, table in names.items():
            known = set(instance.get_dynamic_partitions(BY_NAME[asset].dimension))
            if asset in TABLES:
                query = f"SELECT session, symbol FROM {table} WHERE session >= '{first}'"  # noqa: S608
            else:
                query = f"SELECT session, name FROM {table} JOIN portfolio ON id = portfolio_id"  # noqa: S608
            cells = connection.execute(sa.text(query))
            found[asset] = {f"{session}|{key}" for session, key in cells if key in known}
    services.database.engine.dispose()
    return found


def assert_records_are_rows(home: Home) -> None:
    """Every row has its record in Dagster, once, and no record stands without a row."""
    found = recorded(home)
    assert {asset: set(counts) for asset, counts in found.items()} == partitions(home)
    assert [(asset, key) for asset, counts in found.items() for key, count in counts.items() if count != 1] == []
