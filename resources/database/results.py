"""Result rows of symbols and portfolios: storing them, and deleting those whose inputs changed.

Results are stored only if the inputs they were computed from are still the stored ones; the caller reads again
otherwise. Which rows exist is `bulk.present`'s to say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, Table

from resources.database.bulk import Columns, session_text, upsert, within
from resources.database.deletions import delete_results
from resources.database.tables import (
    factor_exposure,
    factor_model,
    factor_model_proxy,
    lot,
    portfolio,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol,
    symbol_volatility,
)

#: Batches of other composition round differently in the last digits; that is not a change.
_SAME = {"rtol": 1e-9, "atol": 1e-12}

_T = TypeVar("_T")


class InputsChangedError(RuntimeError):
    """The inputs of a computation were rewritten while it ran: read them again and repeat it."""


def with_current_inputs(work: Callable[[], _T]) -> _T:
    """Do the work (read, compute, store); again, up to three times in all, if its inputs changed meanwhile."""
    for _ in range(2):
        with suppress(InputsChangedError):
            return work()
    return work()


def register_model(connection: Connection, model: str, definition: str, proxies: Iterable[str]) -> None:
    """Make a factor model known, so that its rows can name it and a rewritten proxy price finds them."""
    if not is_registered(connection, model):
        upsert(connection, factor_model, {"model": [model], "definition": [definition]})
        names = list(proxies)
        upsert(connection, factor_model_proxy, {"model": [model] * len(names), "symbol": names})


def is_registered(connection: Connection, model: str) -> bool:
    """Say whether rows of a factor model were ever computed."""
    return connection.execute(sa.select(factor_model.c.model).where(factor_model.c.model == model)).first() is not None


def all_proxies(connection: Connection) -> frozenset[str]:
    """Give the proxies of all models of which rows were ever computed."""
    return frozenset(connection.execute(sa.select(factor_model_proxy.c.symbol).distinct()).scalars())


def store_exposures(connection: Connection, columns: Columns, read_at: Mapping[str, int], *, replace: bool) -> int:
    """Store factor exposures computed from prices at revision `read_at`; return the number of rows.

    With `replace`, rows may exist: portfolio rows that rest on a number which now is another one are deleted.
    Raises InputsChangedError, and stores nothing, if a price was rewritten since.
    """
    _check_current(connection, read_at)
    if replace:
        _drop_dependents(connection, columns)
    return upsert(connection, factor_exposure, columns)


def store_volatility(connection: Connection, columns: Columns, read_at: Mapping[str, int]) -> int:
    """Store symbol volatility computed from prices at revision `read_at`; as `store_exposures`."""
    _check_current(connection, read_at)
    return upsert(connection, symbol_volatility, columns)


def store_portfolios(connection: Connection, table: Table, columns: Columns, read_at: Mapping[str, int]) -> int:
    """Store rows of portfolios; as `store_exposures`.

    A portfolio that was replaced meanwhile has another id: InputsChangedError, and nothing is stored.
    """
    _check_current(connection, read_at)
    ids = sorted(set(columns["portfolio_id"]))
    found = sa.select(portfolio.c.id).where(within(portfolio.c.id, ids)).order_by(portfolio.c.id)
    there = set(connection.execute(found.with_for_update(read=True)).scalars())
    gone = [number for number in ids if number not in there]
    if gone:
        raise InputsChangedError(f"portfolio {gone[0]} was replaced while its rows were computed")
    return upsert(connection, table, columns)


def _check_current(connection: Connection, read_at: Mapping[str, int]) -> None:
    # The rows are locked (SQLite: the database is), so that no price changes between this look and the commit.
    # In order, as whoever rewrites prices locks them: none waits for another in turn.
    query = sa.select(symbol.c.symbol, symbol.c.revision).where(within(symbol.c.symbol, list(read_at)))
    query = query.order_by(symbol.c.symbol)
    now = dict(connection.execute(query.with_for_update(read=True)).all())
    changed = sorted(name for name, revision in read_at.items() if now.get(name) != revision)
    if changed:
        raise InputsChangedError(f"prices of {', '.join(changed[:5])} were rewritten while they were used")


@dataclass(frozen=True)
class Corrected:
    """What became another number of one symbol's prices, as the sessions whose results rest on it (both included)."""

    spans: Sequence[tuple[date, date]] = ()  # a return in the window changed
    stale: Sequence[tuple[date, date]] = ()  # the last close before the window changed: of holders only
    splits: Sequence[date] = ()  # these splits changed, or became known


def delete_for_symbol(connection: Connection, name: str, corrected: Corrected) -> bool:
    """Delete every result that rests on prices of the symbol which are corrected; False if nothing is.

    A portfolio rests on a symbol on the sessions on which it holds it. Its lots are counted in shares of their import
    session: a split between that session and a row's, whichever is earlier, is part of the row.
    """
    if not (corrected.spans or corrected.stale or corrected.splits):
        return False
    models = sa.select(factor_model_proxy.c.model).where(factor_model_proxy.c.symbol == name)
    for table, rests_on_it in (
        (factor_exposure, (factor_exposure.c.symbol == name) | factor_exposure.c.model.in_(models)),
        (symbol_volatility, symbol_volatility.c.symbol == name),
        (portfolio_factor_exposure, portfolio_factor_exposure.c.model.in_(models)),
    ):
        if corrected.spans:
            delete_results(connection, table, rests_on_it, _within(table.c.session, corrected.spans))
    for table in (portfolio_factor_exposure, portfolio_volatility):
        day, counted = table.c.session, lot.c.shares_as_of
        shares = [
            ((counted >= split) & (day < split)) | ((counted < split) & (day >= split)) for split in corrected.splits
        ]
        used = sa.or_(_within(day, [*corrected.spans, *corrected.stale]), *shares)
        delete_results(connection, table, _held(table, name, used))
    return True


def _within(session: sa.ColumnElement[date], spans: Sequence[tuple[date, date]]) -> sa.ColumnElement[bool]:
    """Restrict to the sessions of the spans, which are merged where they meet."""
    merged: list[tuple[date, date]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return sa.or_(sa.false(), *(session.between(first, last) for first, last in merged))


def _held(table: Table, name: str, *of_lot: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Restrict a portfolio table to rows of a session on which the portfolio holds a lot of the symbol."""
    return sa.exists().where(
        lot.c.portfolio_id == table.c.portfolio_id,
        lot.c.symbol == name,
        lot.c.asset_class == "public",
        lot.c.entry_date <= table.c.session,
        lot.c.exit_date.is_(None) | (lot.c.exit_date > table.c.session),
        *of_lot,
    )


def _drop_dependents(connection: Connection, columns: Columns) -> None:
    """Delete portfolio exposures that rest on a symbol's number which `columns` replaces by another."""
    names = [name for name, values in columns.items() if isinstance(values, np.ndarray) and values.dtype.kind == "f"]
    keys = list(zip(columns["symbol"], columns["session"], strict=True))
    symbols, sessions = sorted(set(columns["symbol"])), columns["session"]
    query = sa.select(
        factor_exposure.c.symbol, session_text(factor_exposure), *(factor_exposure.c[name] for name in names)
    ).where(
        within(factor_exposure.c.symbol, symbols),
        factor_exposure.c.session.between(date.fromisoformat(min(sessions)), date.fromisoformat(max(sessions))),
        factor_exposure.c.model == columns["model"][0],
    )
    old = {(row[0], row[1]): row[2:] for row in connection.execute(query)}
    new = np.column_stack([columns[name] for name in names])
    before = np.array([old.get(key, new[i]) for i, key in enumerate(keys)], dtype=float)
    differs = ~np.isclose(before, new, equal_nan=True, **_SAME).all(axis=1)
    changed: dict[str, list[date]] = {}
    for i in np.flatnonzero(differs):
        changed.setdefault(keys[i][0], []).append(date.fromisoformat(keys[i][1]))
    table = portfolio_factor_exposure
    for name, days in changed.items():
        of_model = table.c.model == columns["model"][0]
        delete_results(connection, table, of_model, table.c.session.in_(days), _held(table, name))
        connection.execute(sa.update(symbol).where(symbol.c.symbol == name).values(revision=symbol.c.revision + 1))


def newest_rows(connection: Connection) -> dict[str, str]:
    """Name the newest volatility row of each portfolio that has one: another name is another row, or a new one."""
    row, any_row = portfolio_volatility, portfolio_volatility.alias()
    newest = sa.select(sa.func.max(any_row.c.session)).where(any_row.c.portfolio_id == portfolio.c.id).scalar_subquery()
    query = (
        sa.select(portfolio.c.name, portfolio.c.id, row.c.session, row.c.computed_at)
        .select_from(portfolio)
        .join(row, (row.c.portfolio_id == portfolio.c.id) & (row.c.session == newest))
        .order_by(portfolio.c.name)
    )
    return {
        name: f"{number} {session} {computed_at}" for name, number, session, computed_at in connection.execute(query)
    }
