"""What a home holds, rows and records, on either database; and what is wrong with it beside one made in peace."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from assets.catalogue import ASSETS, BY_NAME, DIMENSIONS
from resources.database.tables import lot, metadata, portfolio
from resources.postgres import psycopg2_url
from resources.sqlite import sqlite_url
from tests.support.home import LAST, Home

Key = tuple[str, ...]
#: By table the rows, by their key in words: the name of a portfolio instead of its id.
Rows = dict[str, dict[Key, dict[str, Any]]]

_TABLES = ("daily_price", "symbol", *sorted({asset.table.name for asset in ASSETS} - {"daily_price"}))
#: The database's own, and the times of its clock.
_LEFT_OUT = frozenset({"portfolio_id", "computed_at", "fetched_at", "revision"})
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class State:
    """What stands in a home."""

    rows: Rows
    lots: dict[str, list[tuple[Any, ...]]]  # by portfolio, the symbol first
    recorded: dict[str, Counter[str]]  # by asset, how often each partition
    keys: dict[str, set[str]]  # by dimension
    unfinished: list[str]  # ids of runs
    first: str  # the first session of the partitions


@dataclass
class Verdict:
    """What is wrong, in words."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.wrong)


def read(home: Home) -> State:
    """Read everything; makes nothing."""
    services = home.environment()
    database = services.database
    try:
        with database.read() as connection:
            names = {row.id: row.name for row in connection.execute(sa.select(portfolio))}
            rows = {name: dict(_rows(connection, metadata.tables[name], names)) for name in _TABLES}
            lots: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names.values()}
            for _, owner, *told in connection.execute(sa.select(lot).order_by(lot.c.id)):
                lots[names[owner]].append(tuple(told))
        first = services.first_date(LAST).isoformat()
    finally:
        database.engine.dispose()
    runs, events = dagster_urls(home)
    return State(rows, lots, _recorded(events), _keys(events), _unfinished(runs), first)


def knowing(state: State, other: State) -> State:
    """Add the symbols of another state, whose portfolios are none of this one's."""
    of_symbols = (name for name in state.rows if not name.startswith("portfolio"))
    return replace(
        state, rows={**state.rows, **{name: {**other.rows[name], **state.rows[name]} for name in of_symbols}}
    )


def judge(state: State, expected: State) -> Verdict:
    """Hold a state against one that was computed from scratch, which may know of more portfolios and symbols.

    A symbol's name is none of a portfolio here.
    """
    found = Verdict()
    for name, lots in state.lots.items():
        there, due_lots = Counter(lots), Counter(expected.lots[name])
        found.lost += [f"a lot of {name}: {one}" for one in due_lots - there]
        for one in there - due_lots:
            (found.doubled if one in due_lots else found.wrong).append(f"a lot of {name}: {one}")
    held = {one[0] for name in state.lots for one in expected.lots[name]}
    due = {*state.lots, *held, *(expected.keys["proxy"] if held else ())}
    for table, rows in state.rows.items():
        for key, row in expected.rows[table].items():
            if key[0] in due and key not in rows:
                found.lost.append(f"{table} {key}")
            elif key in rows and (differs := list(_differences(rows[key], row))):
                found.wrong.append(f"{table} {key}: {'; '.join(differs)}")
        found.wrong += [f"{table} {key} is not there from scratch" for key in rows.keys() - expected.rows[table].keys()]
    for asset, recorded in state.recorded.items():
        there = _partitions(state, asset)
        found.lost += [f"{asset} {one} has a row and no record" for one in there - recorded.keys()]
        found.wrong += [f"{asset} {one} has a record and no row" for one in recorded.keys() - there]
        found.doubled += [f"{asset} {one} is recorded {n} times" for one, n in recorded.items() if n > 1]
    found.lost += [f"{name} is held and no partition" for name in held - state.keys["symbol"]]
    found.wrong += [f"run {run_id} has not ended" for run_id in state.unfinished]
    return found


def _rows(connection: sa.Connection, table: sa.Table, names: Mapping[int, str]) -> Iterator[tuple[Key, dict[str, Any]]]:
    for row in connection.execute(sa.select(table)).mappings():
        key = [names[row[c.name]] if c.name == "portfolio_id" else str(row[c.name]) for c in table.primary_key]
        yield tuple(key), {name: value for name, value in row.items() if name not in _LEFT_OUT}


def _differences(row: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        close = isinstance(value, float) and isinstance(other[name], float)
        same = (
            math.isclose(value, other[name], rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) if close else value == other[name]
        )
        if not same:
            yield f"{name} {value!r} instead of {other[name]!r}"


def _partitions(state: State, asset: str) -> set[str]:
    """The partitions of an asset that have a row."""
    dimension = BY_NAME[asset].dimension
    keys = state.keys[dimension]
    rows = state.rows[BY_NAME[asset].table.name]
    return {f"{key[1]}|{key[0]}" for key in rows if key[1] >= state.first and key[0] in keys}


# --- Dagster's own tables, as they are


def dagster_urls(home: Home) -> tuple[sa.URL, sa.URL]:
    """Give the databases of runs and of events."""
    settings = home.environment().settings
    if settings.dagster_database_url:
        url = psycopg2_url(settings.dagster_database_url)
        return url, url
    folder = settings.dagster_home
    return sqlite_url(folder / "history" / "runs.db"), sqlite_url(folder / "event_log" / "event_log.db")


def _ask(url: sa.URL, statement: str) -> list[Any]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return list(connection.execute(sa.text(statement)))


def _recorded(events: sa.URL) -> dict[str, Counter[str]]:
    found = {asset.name: Counter[str]() for asset in ASSETS}
    kind = "dagster_event_type = 'ASSET_MATERIALIZATION' AND partition IS NOT NULL"
    for name, partition in _ask(events, f"SELECT asset_key, partition FROM event_logs WHERE {kind}"):  # noqa: S608
        (asset,) = json.loads(name)
        if asset in found:  # a page of a portfolio has no row: it is made of rows when somebody asks for it
            found[asset][partition] += 1
    return found


def _keys(events: sa.URL) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in DIMENSIONS}
    for name, partition in _ask(events, "SELECT partitions_def_name, partition FROM dynamic_partitions"):
        found[name].add(partition)
    return found


def _unfinished(runs: sa.URL) -> list[str]:
    ended = "('SUCCESS', 'FAILURE', 'CANCELED')"
    return [run_id for (run_id,) in _ask(runs, f"SELECT run_id FROM runs WHERE status NOT IN {ended}")]  # noqa: S608
