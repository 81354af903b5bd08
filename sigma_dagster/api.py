"""A read-only Python API for notebooks: what is stored and what follows from it, as tidy pandas frames.

    from sigma_dagster import api
    api.exposures("growth")

It reads the home that the environment names (README, "Settings"); nothing here writes, fetches or computes what others
would have to. Volatilities are annualised decimals, shares and losses decimals, values US dollars; a number that is not
known is NaN. Sessions and other dates are of the type datetime64. A portfolio is named, a symbol too; LookupError says
which are stored if one is not.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy import Connection

from assets import model_file
from assets.factor_models import FactorModel
from resources.database import portfolios as stored
from resources.database import symbols as known_symbols
from resources.database.engine import Database
from resources.database.portfolios import Portfolio
from resources.database.tables import daily_price, factor_exposure, metadata, symbol_volatility
from resources.symbols import canonical
from sigma_dagster.analysis import attribution, scenarios
from sigma_dagster.analysis import risk as risks
from sigma_dagster.analysis import stress as stresses
from sigma_dagster.services import refuse_interrupted_restore
from sigma_dagster.settings import Settings

#: The type of each column of the tables; the views have columns of the same names.
_TYPES = {column.name: column.type for table in metadata.sorted_tables for column in table.c}
_ALSO_FLOAT = (
    *("exposure", "se", "share", "beta", "covered_value", "weight", "share_of_risk", "variance", "value", "pnl"),
)
_ALSO_DATES = ("first_entry", "from", "to")


@contextmanager
def _reading() -> Iterator[tuple[Connection, FactorModel]]:
    settings = Settings.from_environment(os.environ)
    refuse_interrupted_restore(settings)
    database = Database(settings.database_url, read_only=True)
    try:
        with database.read() as connection:
            yield connection, model_file.choose(settings.factor_model, settings.price_sources)
    finally:
        database.engine.dispose()


def _one(connection: Connection, name: str) -> Portfolio:
    found = stored.load(connection, [name])
    if not found:
        known = ", ".join(stored.names(connection)) or "none yet"
        raise LookupError(f"portfolio {name!r} is not stored; known: {known}")
    return found[0]


def _frame(connection: Connection, query: Any) -> pd.DataFrame:
    result = connection.execute(query)
    return _tidy(pd.DataFrame(result.mappings().all(), columns=list(result.keys())))


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Give each column its own type, whatever its values are and whichever database they come from."""
    for name in frame:
        of_table = _TYPES.get(str(name))
        if isinstance(of_table, sa.Date) or name in _ALSO_DATES:
            frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
        elif isinstance(of_table, sa.Float) or name in _ALSO_FLOAT:
            frame[name] = frame[name].astype(float)
    return frame


def _view(connection: Connection, view: str, name: str, model: FactorModel) -> pd.DataFrame:
    _one(connection, name)
    columns = sa.text(f"SELECT * FROM {view} WHERE portfolio = :name AND model = :model ORDER BY session")  # noqa: S608 - a view of ours
    return _frame(connection, columns.bindparams(name=name, model=model.key))


def portfolios() -> pd.DataFrame:
    """Give the stored portfolios: `portfolio`, `lots`, `symbols`, `first_entry`, `equity` (dollars), `shares_as_of`."""
    with _reading() as (connection, _):
        rows = [
            (
                one.name,
                len(one.lots),
                len({lot.symbol for lot in one.lots}),
                one.first_entry,
                one.equity,
                one.shares_as_of,
            )
            for one in stored.load(connection)
        ]
    names = ["portfolio", "lots", "symbols", "first_entry", "equity", "shares_as_of"]
    return _tidy(pd.DataFrame(rows, columns=names))


def lots(name: str) -> pd.DataFrame:
    """Give a portfolio's lots: `symbol`, `quantity` (shares), `entry_price` (dollars a share), dates, `asset_class`."""
    with _reading() as (connection, _):
        rows = [lot._asdict() for lot in _one(connection, name).lots]
    return _tidy(pd.DataFrame(rows))


def exposures(name: str) -> pd.DataFrame:
    """Give a row for each session and factor: `exposure`, its standard error `se`, and `share` of the variance."""
    with _reading() as (connection, model):
        found = _view(connection, "portfolio_exposure_by_factor", name, model)
    return found.sort_values(["session", "factor"], ignore_index=True)


def risk(name: str) -> pd.DataFrame:
    """Give a row for each session, the numbers of `sigma show`: volatilities, losses (decimals), values (dollars).

    `low_coverage` (0 or 1) is of the returns alone, `split_vol` and the shares are of the risk of now.
    """
    with _reading() as (connection, model):
        return _view(connection, "portfolio_risk", name, model)


def volatility(symbols: str | Sequence[str]) -> pd.DataFrame:
    """Give a row for each symbol and session: realized, exponentially weighted and forecast volatility, trend."""
    return _of_symbols(symbol_volatility, symbols)


def betas(symbols: str | Sequence[str]) -> pd.DataFrame:
    """Give a row for each symbol, session and factor: `beta` and its standard error `se`."""
    with _reading() as (connection, model):
        view = sa.text(
            "SELECT symbol, session, factor, beta, se FROM factor_exposure_by_factor "
            "WHERE symbol IN :names AND model = :model ORDER BY symbol, session, factor"
        ).bindparams(sa.bindparam("names", _names(connection, symbols), expanding=True), model=model.key)
        return _frame(connection, view)


def fits(symbols: str | Sequence[str]) -> pd.DataFrame:
    """Give a row for each symbol and session: R2, residual volatility, `n_obs` (sessions), quality, reason."""
    return _of_symbols(factor_exposure, symbols, leave_out=("beta_", "se_"))


def prices(symbols: str | Sequence[str]) -> pd.DataFrame:
    """Give a row for each symbol and session: closes and dividends (dollars, as traded), split (new shares for old)."""
    return _of_symbols(daily_price, symbols)


def positions(name: str, as_of: date | None = None) -> pd.DataFrame:
    """Give a row for each position of the newest session: `weight` and `share_of_risk` (decimals), price, quality."""
    with _reading() as (connection, model):
        found = risks.read(connection, _one(connection, name), model, as_of)
    if found is None:
        raise LookupError(f"nothing is computed of portfolio {name!r} with the factor model {model.name}")
    frame = pd.DataFrame([vars(one) for one in found.positions])
    frame["share_of_risk"] = frame["symbol"].map(found.risk_split.positions).where(frame["asset_class"] == "public")
    return _tidy(frame)


def explain(name: str, first: date | None = None, last: date | None = None) -> pd.DataFrame:
    """Give a row for each part of the change of the forecast variance between two sessions (`sigma explain`)."""
    with _reading() as (connection, model):
        found = attribution.explain(connection, _one(connection, name), model, first, last)
    rows = [(found.from_, found.to, part, amount) for part, amount in found.parts.items()]
    return _tidy(pd.DataFrame(rows, columns=["from", "to", "part", "variance"]))


def stress(name: str, path: str = "") -> pd.DataFrame:
    """Give a row for each scenario and position: `value` and `pnl` (dollars), and what it is computed `by`."""
    with _reading() as (connection, model):
        one = _one(connection, name)
        newest = risks.read(connection, one, model)
        if newest is None:
            raise LookupError(f"nothing is computed of portfolio {name!r} with the factor model {model.name}")
        found = stresses.stress(connection, one, model, newest.as_of, scenarios.scenarios(path))
    rows = [{"scenario": each.scenario.name, **vars(loss)} for each in found.outcomes for loss in each.positions]
    return _tidy(pd.DataFrame(rows))


def _names(connection: Connection, symbols: str | Sequence[str]) -> list[str]:
    names = [canonical(name) for name in ([symbols] if isinstance(symbols, str) else symbols)]
    known = known_symbols.known(connection, names)
    if unknown := [name for name in names if name not in known]:
        raise LookupError(f"nothing is stored of {', '.join(map(repr, unknown))}: sigma symbols lists what is")
    return names


def _of_symbols(table: sa.Table, symbols: str | Sequence[str], leave_out: tuple[str, ...] = ()) -> pd.DataFrame:
    columns = [column for column in table.c if not column.name.startswith((*leave_out, "computed_at", "model"))]
    with _reading() as (connection, model):
        query = sa.select(*columns).where(table.c.symbol.in_(_names(connection, symbols)))
        if "model" in table.c:
            query = query.where(table.c.model == model.key)
        return _frame(connection, query.order_by(table.c.symbol, table.c.session))
