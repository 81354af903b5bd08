"""A SIGMA_HOME as tests use it: onboard into it, run the command line on it, read what it holds."""

import gc
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.catalogue import BY_NAME
from assets.factor_models import SAMPLE_5, FactorModel
from resources.database.engine import Database
from resources.database.portfolios import KEEP, Equity, Lot
from resources.sources.base import PriceSource
from resources.sources.sample import SampleSource
from sigma_dagster.cli.main import main
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.planning.planner import Force
from sigma_dagster.portfolio import onboarding
from sigma_dagster.portfolio.holdings import read_holdings
from sigma_dagster.portfolio.onboarding import Onboarding
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CORE, GROWTH = EXAMPLES / "core.csv", EXAMPLES / "growth.csv"
LAST = date(2022, 12, 28)
RESULT_TABLES = ("factor_exposure", "symbol_volatility", "portfolio_factor_exposure", "portfolio_volatility")
#: Each asset and the table of its rows.
TABLES = {
    "proxy_prices": "daily_price",
    "daily_prices": "daily_price",
    "factor_exposures": "factor_exposure",
    "symbol_volatility": "symbol_volatility",
}
PORTFOLIO_TABLES = {
    "portfolio_factor_exposures": "portfolio_factor_exposure",
    "portfolio_volatility": "portfolio_volatility",
}
_SIGMA = str(Path(sys.executable).with_name("sigma"))

Rows = dict[str, list[tuple[Any, ...]]]


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Home:
    """A SIGMA_HOME with the settings that go with it."""

    path: Path
    variables: Mapping[str, str]
    said: list[str] = field(default_factory=list)  # by the last onboarding, as its progress

    @property
    def database(self) -> Path:
        return self.path / "sigma.db"

    def environment(
        self, source: PriceSource | None = None, model: FactorModel = SAMPLE_5, **settings: str
    ) -> Services:
        """The parts that every command works with, over this home; `settings` are variables without SIGMA_."""
        variables = {**self.variables, **{f"SIGMA_{name.upper()}": value for name, value in settings.items()}}
        made = Settings.from_environment({**variables, "SIGMA_HOME": str(self.path)})
        return Services(made, Database(made.database_url), source or SampleSource(), model)

    def create(self) -> None:
        """Make the databases that the first command makes."""
        database = self.environment().database
        with database.read(), self.instance():
            pass
        database.engine.dispose()

    def onboard(
        self,
        book: Path | Sequence[Lot],
        name: str | None = None,
        *,
        source: PriceSource | None = None,
        model: FactorModel = SAMPLE_5,
        as_of: date = LAST,
        equity: Equity = KEEP,
        force: Force = Force(),
        **settings: str,
    ) -> Onboarding:
        """Onboard a holdings file, or lots, in this process."""
        self.said = []
        services = self.environment(source, model, **settings)
        lots = read_holdings(book, as_of=as_of, source=services.source).lots if isinstance(book, Path) else book
        name = name or (book.stem if isinstance(book, Path) else "book")
        started = time.perf_counter()
        try:
            return onboarding.onboard(
                services, name, lots, equity, as_of, force=force, say=self.said.append, started=started
            )
        finally:
            services.database.engine.dispose()

    def materialize(
        self,
        assets: str,
        first: str,
        last: str,
        *,
        source: PriceSource | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialize assets over a range of partitions, or one, as the Dagster UI does: Dagster records them."""
        services, names = self.environment(source), assets.split()
        defs = build_defs(services)
        dimension = BY_NAME[names[0]].dimension
        with self.instance() as instance:
            keys = [key.split("|")[1] for key in (first, last)]
            instance.add_dynamic_partitions(dimension, list(dict.fromkeys(keys)))
            try:
                ends = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
                return defs.resolve_implicit_global_asset_job_def().execute_in_process(
                    instance=instance,
                    asset_selection=[dg.AssetKey(name) for name in names],
                    partition_key=first if first == last else None,
                    tags={} if first == last else ends,
                    run_config={
                        "ops": {name: {"config": dict(config or {})} for name in names},
                        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    },
                    raise_on_error=False,
                )
            finally:
                services.database.engine.dispose()

    # --- the command line

    def command(self, *arguments: str | Path) -> tuple[list[str], dict[str, str]]:
        """The command line and its environment."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SIGMA_")}
        return [_SIGMA, *map(str, arguments)], {**environment, **self.variables, "SIGMA_HOME": str(self.path)}

    def sigma(self, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command in a process of its own."""
        command, environment = self.command(*arguments)
        environment |= {f"SIGMA_{name.upper()}": value for name, value in settings.items()}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own command

    def sigma_here(self, *arguments: str | Path, **settings: str) -> "Ended":
        """Run the command in this process, which saves its start: what it prints and its exit status are the same."""
        environment = {**self.variables, "SIGMA_HOME": str(self.path)}
        environment |= {f"SIGMA_{name.upper()}": value for name, value in settings.items()}
        out, err, status = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["sigma", *map(str, arguments)])
            try:
                main()
            except SystemExit as ended:
                status = int(ended.code or 0)
        gc.collect()  # closes the command's database connections, as the end of its process would
        return Ended(status, out.getvalue(), err.getvalue())

    # --- what is stored

    @contextmanager
    def sql(self) -> Iterator[sqlite3.Connection]:
        """The domain database as it is, past all of the product's code; committed at the end."""
        with closing(sqlite3.connect(self.database, timeout=60)) as connection, connection:
            yield connection

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the domain database."""
        with self.sql() as connection:
            return connection.execute(statement, values).fetchall()

    def rows(self, *tables: str) -> Rows:
        """All rows of the tables (none named: of every table), every column, sorted."""
        with self.sql() as connection:
            if not tables:
                found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                tables = tuple(name for (name,) in found)
            return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}  # noqa: S608

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608

    def numbers(self, table: str, portfolio: str | None = None) -> list[dict[str, Any]]:
        """The rows of a table, or of one portfolio in it, as dictionaries without ids and times, in key order."""
        with self.sql() as connection:
            connection.row_factory = sqlite3.Row
            where = "" if portfolio is None else " WHERE portfolio_id = (SELECT id FROM portfolio WHERE name = :name)"
            found = connection.execute(f"SELECT * FROM {table}{where}", {"name": portfolio}).fetchall()  # noqa: S608
        rows = [{k: row[k] for k in row.keys() if k not in ("portfolio_id", "computed_at", "id")} for row in found]  # noqa: SIM118
        return sorted(rows, key=lambda row: (row.get("symbol", ""), row.get("session", "")))

    # --- what Dagster knows

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance that the command line and the UI use."""
        with open_instance(self.environment().settings) as instance:
            yield instance

    def recorded(self, asset: str) -> Counter[str]:
        """How often each partition of an asset is recorded as materialized."""
        return Counter(partition for (partition,) in self._events("partition", asset, "ASSET_MATERIALIZATION"))

    def events(self) -> int:
        """How many events there are of all kinds."""
        with closing(sqlite3.connect(self._event_log)) as connection:
            return int(connection.execute("SELECT count(*) FROM event_logs").fetchone()[0])

    def latest_metadata(self, asset: str) -> dict[str, Any]:
        """The metadata of an asset's latest materialization, as plain values."""
        with self.instance() as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        materialization = event.asset_materialization
        assert materialization is not None
        return {name: value.value for name, value in materialization.metadata.items()}

    def run_logs(self, job: str) -> list[list[tuple[str, str]]]:
        """Level and text of what the steps logged, for each run of a job, oldest first."""
        names = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
        with self.instance() as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name=job), ascending=True)
            return [
                [
                    (names[int(entry.level)], entry.user_message)
                    for entry in instance.all_logs(run.run_id)
                    if not entry.is_dagster_event
                ]
                for run in runs
            ]

    def totals(self, asset: str) -> dict[str, Any]:
        """What the newest run of an asset logged as its totals."""
        with self.instance() as instance:
            texts = [
                entry.user_message
                for run in instance.get_runs()
                for entry in instance.all_logs(run.run_id)
                if entry.step_key == asset and entry.user_message.startswith("Totals: ")
            ]
        return dict(json.loads(texts[0].removeprefix("Totals: ")))

    def statuses(self) -> Counter[str]:
        """How many runs there are of each status."""
        with self.instance() as instance:
            return Counter(run.status.value for run in instance.get_runs())

    @property
    def _event_log(self) -> Path:
        return self.path / "dagster" / "event_log" / "event_log.db"

    def _events(self, column: str, asset: str, kind: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._event_log)) as connection:
            query = f"SELECT {column} FROM event_logs WHERE asset_key = ? AND dagster_event_type = ?"  # noqa: S608
            return connection.execute(query, (json.dumps([asset]), kind)).fetchall()

    # --- both

    def partitions_with_row(self, asset: str) -> set[str]:
        """The partition keys that an asset's table has rows for."""
        if asset in TABLES:
            services = self.environment()
            start = services.first_date(LAST).isoformat()
            services.database.engine.dispose()
            with self.instance() as instance:
                keys = set(instance.get_dynamic_partitions(BY_NAME[asset].dimension))
            found = self.query(f"SELECT session, symbol FROM {TABLES[asset]} WHERE session >= ?", start)  # noqa: S608
            return {f"{session}|{symbol}" for session, symbol in found if symbol in keys}
        query = f"SELECT session || '|' || name FROM {PORTFOLIO_TABLES[asset]} JOIN portfolio ON id = portfolio_id"  # noqa: S608
        return {key for (key,) in self.query(query)}

    def assert_records_are_rows(self) -> None:
        """Every row has its record in Dagster, once, and no record stands without a row."""
        for asset in (*TABLES, *PORTFOLIO_TABLES):
            recorded = self.recorded(asset)
            assert recorded.keys() == self.partitions_with_row(asset), asset
            assert set(recorded.values()) <= {1}, asset


def lot(symbol: str, quantity: float = 10, entry: str = "2021-06-15", exit: str | None = None, **more: Any) -> Lot:  # noqa: A002
    """A lot at $100."""
    leave = date.fromisoformat(exit) if exit else None
    return Lot(symbol, quantity, more.pop("price", 100.0), date.fromisoformat(entry), leave, **more)


def holdings(path: Path, *lines: str, header: str = "symbol,quantity,entry_price,entry_date") -> Path:
    """Write a holdings file; a line without a comma is a symbol with a lot of 10."""
    lots = (line if "," in line else f"{line},10,100,2021-06-15" for line in lines)
    body = [line + "," * (header.count(",") - line.count(",")) for line in lots]
    path.write_text("\n".join([header, *body]) + "\n", encoding="utf-8")
    return path


def lots(symbols: str | Sequence[str], **more: Any) -> list[Lot]:
    """One lot of each symbol."""
    return [lot(symbol, **more) for symbol in (symbols.split() if isinstance(symbols, str) else symbols)]


def assert_same(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], tolerance: float) -> None:
    """Hold rows against each other: text and None exactly, numbers within the tolerance, relative and absolute."""
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            close = isinstance(value, float) and b[name] is not None
            assert value == (pytest.approx(b[name], rel=tolerance, abs=tolerance) if close else b[name]), (name, a, b)


def shown(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dict[str, Any]]:
    """What each partition of an asset shows after a run of `Home.materialize`."""
    found = [e for e in result.all_events if e.is_step_materialization and e.asset_key == dg.AssetKey(asset)]
    return {
        str(event.partition): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in found
    }


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Why the first step that failed did so, all causes on one line."""
    assert not result.success
    (event, *_) = [e for e in result.all_events if e.is_step_failure]
    told = event.step_failure_data.user_failure_data
    error, messages = event.step_failure_data.error, [told.description if told else ""]
    while error:
        messages.append(error.message.strip())
        error = error.cause
    return " / ".join(filter(None, messages))
