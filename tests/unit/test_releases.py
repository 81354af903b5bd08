"""Databases of other releases: upgraded when somebody asks for it, with their rows, and refused until then."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resources.database import deletions, migrate, portfolios, tables
from resources.database.engine import Database, upgrade
from resources.postgres import psycopg2_url
from resources.releases import OtherReleaseError
from tests.support.home import ROOT, Home, lots

VERSIONS = sorted(path.name[:4] for path in (ROOT / "resources/database/migrations/versions").glob("[0-9]*.py"))
DAY = date(2022, 12, 28)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.URL]:
    """An empty database."""
    if request.param == "sqlite":
        yield sa.make_url(f"sqlite:///{tmp_path / 'old.db'}")
    else:
        new: Callable[[], str] = request.getfixturevalue("new_postgres_url")
        yield sa.make_url(new())


def engine_of(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        return sa.create_engine(url, poolclass=sa.NullPool)
    return sa.create_engine(psycopg2_url(url), poolclass=sa.NullPool)


def make_old(url: sa.URL, version: str) -> None:
    """A database as the release with this version left it: rows in each table of the first release, ids with gaps."""
    engine = engine_of(url)
    with engine.begin() as connection:
        migrate.make_version(connection, version)
        found = sa.MetaData()
        found.reflect(connection)

        def put(table: str, *rows: dict[str, Any]) -> None:
            connection.execute(sa.insert(found.tables[table]), list(rows))

        put("portfolio", {"id": 1, "name": "gone", "equity": None}, {"id": 7, "name": "core", "equity": 1000.0})
        connection.execute(sa.delete(found.tables["portfolio"]).where(found.tables["portfolio"].c.id == 1))
        put("factor_model", {"model": "m", "definition": "d"})
        put("factor_model_proxy", {"model": "m", "symbol": "SP500"})
        put("symbol", {"symbol": "KO", "status": "ok", "source": "sample", "revision": 3})
        for day, close in ((date(2022, 12, 27), 63.0), (DAY, 64.0)):
            put("daily_price", {"symbol": "KO", "session": day, "close": close, "split": 1.0, "source": "sample"})
        key = {"session": DAY, "model": "m"}
        put("factor_exposure", {"symbol": "KO", **key, "beta_market": 0.5, "n_obs": 252, "quality": "full_history"})
        put("symbol_volatility", {"symbol": "KO", "session": DAY, "realized_vol_21d": 0.2, "n_obs": 252})
        put("portfolio_factor_exposure", {"portfolio_id": 7, **key, "exposure_market": 0.5})
        put("portfolio_volatility", {"portfolio_id": 7, "session": DAY, "n_obs": 252})
        shares = "basis" if version < "0012" else "shares_as_of"
        lot = {"portfolio_id": 7, "symbol": "KO", "entry_price": 50.0, "asset_class": "public", shares: DAY}
        lot_rows = [{"id": n, **lot, "quantity": n, "entry_date": date(2022, 1, n)} for n in (4, 9)]
        put("position" if version < "0012" else "lot", *lot_rows)
        if connection.dialect.name == "postgresql":
            named = "position" if version < "0012" else "lot"
            for table, last in (("portfolio", 7), (named, 9)):
                connection.execute(sa.text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"))
    engine.dispose()


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_every_release_come_through_the_upgrade(url: sa.URL, version: str) -> None:
    """From the first release on: ids, numbers and revisions are the same afterwards, and the next id is a new one;
    portfolio rows of the definitions before 0006 are gone, so that they are made again, and noted for Dagster."""
    make_old(url, version)
    assert upgrade(url) == version
    database = Database(url)
    with database.write() as connection:
        (core,) = portfolios.load(connection)
        assert (core.id, core.name, core.equity) == (7, "core", 1000.0)
        rows = connection.execute(sa.select(tables.lot).order_by(tables.lot.c.id)).all()
        assert [(row.id, row.portfolio_id, row.quantity, row.shares_as_of) for row in rows] == [
            (4, 7, 4.0, DAY),
            (9, 7, 9.0, DAY),
        ]
        assert connection.execute(sa.select(tables.symbol.c.revision)).scalar_one() == 3
        closes = connection.execute(sa.select(tables.daily_price.c.close).order_by(tables.daily_price.c.session))
        assert closes.scalars().all() == [63.0, 64.0]
        assert connection.execute(sa.select(tables.factor_exposure.c.beta_market)).scalar_one() == 0.5
        assert connection.execute(sa.select(tables.symbol_volatility.c.realized_vol_21d)).scalar_one() == 0.2
        kept = 1 if version >= "0006" else 0
        for table in (tables.portfolio_factor_exposure, tables.portfolio_volatility):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == kept
        notes = {(note.table, note.key, note.first, note.last) for note in deletions.noted(connection)}
        assert notes == (
            set()
            if kept
            else {(name, "core", DAY, DAY) for name in ("portfolio_factor_exposure", "portfolio_volatility")}
        )
        view = connection.execute(sa.text("SELECT lot_id, beta_market FROM lot_factor_exposure ORDER BY lot_id"))
        assert [tuple(row) for row in view] == [(4, 0.5), (9, 0.5)]
        stored = portfolios.store(connection, "new", lots("KO"), None, DAY)
        assert stored.portfolio.id > 7
        assert connection.execute(sa.select(sa.func.min(tables.lot.c.id)).where(tables.lot.c.id > 9)).scalar_one() > 9
    database.engine.dispose()


def shape(url: sa.URL) -> dict[str, Any]:
    """Tables, columns, keys, checks and indexes of a database."""
    engine = engine_of(url)
    inspector = sa.inspect(engine)
    found = {
        name: (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)},
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted(str(each["name"]) for each in inspector.get_check_constraints(name)),
            sorted(str(each["name"]) for each in inspector.get_foreign_keys(name)),
            sorted(str(each["name"]) for each in inspector.get_indexes(name)),
        )
        for name in inspector.get_table_names()
    }
    engine.dispose()
    return {**found, "views": sorted(inspector.get_view_names())}


def test_an_upgraded_database_is_made_like_a_new_one(
    url: sa.URL, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Tables, constraints, indexes and views after all migrations over rows are those of an empty start."""
    make_old(url, VERSIONS[0])
    upgrade(url)
    sqlite = url.get_backend_name() == "sqlite"
    new = sa.make_url(f"sqlite:///{tmp_path / 'new.db'}" if sqlite else request.getfixturevalue("new_postgres_url")())
    database = Database(new)
    assert database.engine
    database.engine.dispose()
    assert shape(url) == shape(new)


@pytest.mark.parametrize(("version", "older"), [(VERSIONS[0], True), (VERSIONS[-2], True), ("9999", False)])
def test_another_release_is_refused_and_left_as_it_is(url: sa.URL, version: str, older: bool) -> None:
    """Opened to write or to read, a database of another release is not changed; the error ends with what to run."""
    make_old(url, version if older else VERSIONS[-1])
    engine = engine_of(url)
    if not older:
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(OtherReleaseError):
            upgrade(url)
    before = shape(url)
    for read_only in (False, True):
        with pytest.raises(OtherReleaseError) as caught:
            assert Database(url, read_only=read_only).engine
        assert (caught.value.found, caught.value.known, caught.value.older) == (version, VERSIONS[-1], older)
        assert ("sigma db upgrade" if older else "make install") in str(caught.value)
    assert shape(url) == before
    engine.dispose()


def set_version(path: Path, version: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])


COMMANDS = (["portfolios"], ["show", "core"], ["plan"], ["refresh"], ["symbols"], ["status"], ["db", "check"])


@pytest.mark.parametrize("version", ["0011", "0999"])
def test_every_command_refuses_with_the_command_to_run(core_home: Home, version: str) -> None:
    """Whatever is asked of a home of another release: exit status 1, one line, no traceback, nothing changed."""
    set_version(core_home.database, version)
    before = core_home.rows()
    for arguments in COMMANDS:
        done = core_home.sigma_here(*arguments)
        assert done.returncode == 1, arguments
        assert ("sigma db upgrade" if version == "0011" else "make install") in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert core_home.rows() == before


def test_dagsters_tables_of_another_release_are_refused_and_upgraded(core_home: Home) -> None:
    """A command that needs Dagster says what to run; sigma db upgrade brings its files up, with every record."""
    log = core_home.path / "dagster" / "event_log" / "event_log.db"
    recorded = core_home.recorded("factor_exposures")
    set_version(log, "f495c27d5019")
    done = core_home.sigma_here("db", "check")
    assert done.returncode == 1
    assert "sigma db upgrade" in done.stderr
    done = core_home.sigma_here("db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert "upgraded from f495c27d5019" in done.stdout
    assert core_home.recorded("factor_exposures") == recorded
    assert core_home.sigma_here("db", "check").returncode == 0
    set_version(log, "ffffffffffff")
    done = core_home.sigma_here("db", "upgrade")
    assert done.returncode == 1
    assert "newer release" in done.stderr
