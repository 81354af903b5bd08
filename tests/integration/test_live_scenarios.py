"""Every answer that the vendors' documents tell of, through the product: how it ends, what it leaves, what it says.

A scenario that is added to a pretended vendor is tried here by itself, with each key and on both databases.
"""

import logging
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from assets.factor_models import SAMPLE_5
from resources.database.tables import provider_note
from resources.sources.base import UnknownSymbolError
from sigma_dagster.errors import BlockFailedError
from tests.conftest import SMALL
from tests.conftest_sources import everything_said
from tests.support.home import RESULT_TABLES, Home
from tests.support.live import Live, Seller
from tests.support.vendors import alpha_vantage, tiingo, yahoo
from tests.support.vendors.market import simulated
from tests.support.vendors.server import KEY, Scenario

#: `make test-slow`.
pytestmark = pytest.mark.slow

THURSDAY = date(2022, 12, 22)
SCENARIOS = {
    "premium": alpha_vantage.SCENARIOS,
    "free": alpha_vantage.SCENARIOS,
    "tiingo": tiingo.SCENARIOS,
    "yahoo": yahoo.SCENARIOS,
}
SOURCES = {"premium": "alpha_vantage", "free": "alpha_vantage"}
#: What each command prints of a home is looked at: what they do with a vendor is done before.
COMMANDS = [("symbols", "--json"), ("plan", "--json"), ("show", "book", "--json")]
FORMS = {KEY, quote(KEY), quote(KEY, safe="")}


def open_vendor(kind: str) -> Seller:
    """The vendor of a source, with prices of KO and the factors up to Thursday."""
    market = simulated(["KO", *SAMPLE_5.proxies], date(2021, 9, 1), THURSDAY)
    if kind == "tiingo":
        return tiingo.Tiingo(market, KEY)
    return yahoo.Yahoo(market) if kind == "yahoo" else alpha_vantage.AlphaVantage(market, kind)


def live(home: Home, vendor: Seller, kind: str) -> Live:
    return Live(home, vendor, THURSDAY, plan=kind if kind in SOURCES else "auto", timeout=0.5)


def variables(kind: str) -> dict[str, str]:
    """The settings of a command that could ask the vendor, if it had to."""
    return {
        **SMALL,
        "SIGMA_PRICE_SOURCES": SOURCES.get(kind, kind),
        "ALPHAVANTAGE_API_KEY": KEY,
        "SIGMA_TIINGO_KEY": KEY,
        "SIGMA_FACTOR_MODEL": SAMPLE_5.name,
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, prepared_empty: Path) -> Callable[[str], Path]:
    """A folder of a home with KO onboarded, made once for each kind of source."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "sigma"
            shutil.copytree(prepared_empty, made[kind])
            with open_vendor(kind) as vendor:
                live(Home(made[kind], SMALL), vendor, kind).onboard("KO")
        return made[kind]

    return make


def fetch(one: Live, scenario: Scenario) -> BlockFailedError | None:
    """Ask for KO again while the vendor answers like this; how it ended is as the scenario says."""
    replies = () if scenario.error else (scenario.reply,)
    one.vendor.say("KO", *replies, always=scenario.reply if scenario.error else None)
    failed = None
    try:
        one.refresh(["KO"])
    except BlockFailedError as error:
        failed = error
    assert (failed is None) == (scenario.error is None), failed
    if failed:
        # A symbol with stored prices never becomes unknown.
        known = scenario.error is UnknownSymbolError
        assert re.search("no longer knows it, but closes are stored" if known else scenario.message, str(failed))
        assert "\n" not in str(failed)
    return failed


def written(home: Home) -> Iterator[str]:
    """Everything that stands in a home: its files as they are, and its SQLite databases row by row.

    But for the file in which yfinance keeps Yahoo's cookie.
    """
    for file in home.path.rglob("*"):
        if file.is_file() and file.parent != home.path / "cache" / "yahoo":
            content = file.read_bytes()
            yield content.decode("latin-1")
            if content.startswith(b"SQLite format 3"):
                with closing(sqlite3.connect(file)) as connection:
                    yield from connection.iterdump()


def assert_no_key(*texts: str) -> None:
    for text in texts:
        found = [text.index(form) for form in FORMS if form in text]
        assert not found, text[max(0, found[0] - 200) : found[0] + 100]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in SCENARIOS.items() for name in found])
def test_a_scenario_leaks_no_key_and_stores_no_wrong_row(
    kind: str, name: str, tmp_path: Path, prepared: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It ends in a retry that gives the right rows, or in one line that says what to do; prices and results stay; the
    key (of Yahoo: crumb and cookie) is in no log at DEBUG, error or cause, event, row, file or output."""
    caplog.set_level(logging.DEBUG)
    home = Home(Path(shutil.copytree(prepared(kind), tmp_path / "sigma")), variables(kind))
    before = home.rows("daily_price", *RESULT_TABLES)
    with open_vendor(kind) as vendor:
        failed = fetch(live(home, vendor, kind), SCENARIOS[kind][name])
        assert home.rows("daily_price", *RESULT_TABLES) == before
        said = [home.sigma_here(*command) for command in COMMANDS]
    assert [one.returncode for one in said] == [0, 0, 0], said
    assert_no_key(
        everything_said(failed),
        *home.said,
        *(f"{record.getMessage()} {vars(record)}" for record in caplog.records),
        *(f"{one.stdout} {one.stderr}" for one in said),
        *written(home),
    )


def test_no_scenario_leaks_a_key_into_postgres(
    tmp_path: Path,
    new_postgres_url: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All of them one after the other on one home: nothing in any table of either database, nor in its files."""
    caplog.set_level(logging.DEBUG)
    urls = {}
    for variable in ("SIGMA_DATABASE_URL", "SIGMA_DAGSTER_DATABASE_URL"):
        url = sa.make_url(new_postgres_url()).set(drivername="postgresql")
        urls[variable] = url.render_as_string(hide_password=False)
        monkeypatch.setenv(variable, urls[variable])  # dagster.yaml names the variable, not the password
    texts: list[str] = []
    for kind in ("premium", "tiingo"):
        home = Home(tmp_path / "sigma", {**variables(kind), **urls})
        with open_vendor(kind) as vendor:
            one = live(home, vendor, kind)
            one.onboard("KO")
            for scenario in SCENARIOS[kind].values():
                texts.append(everything_said(fetch(one, scenario)))
                vendor.hush()
                services = one.services()
                with services.database.write() as connection:
                    connection.execute(sa.delete(provider_note))  # a spent quota is over
                services.database.engine.dispose()
            texts += [f"{told.stdout} {told.stderr}" for told in (home.sigma_here(*command) for command in COMMANDS)]
    texts += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert_no_key(*texts, *written(home), *(text for url in urls.values() for text in _rows(url)))


def _rows(url: str) -> Iterator[str]:
    """Every row of every table."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            rows = connection.execute(sa.text(f'SELECT t::text FROM "{table}" t')).scalars().all()  # noqa: S608
            yield from rows
    engine.dispose()
