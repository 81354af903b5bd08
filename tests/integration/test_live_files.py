"""A book whose prices are files of one's own: two settings and no edit; a file that changes, and its corrections."""

import csv
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from assets.factor_models import US_6
from resources import calendar
from resources.sources.base import PriceRow
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.sensors import Memory, evaluate
from sigma_dagster.services import Services
from sigma_dagster.settings import Settings
from tests.support.home import RESULT_TABLES, Home, assert_same, holdings
from tests.support.vendors.market import Market, simulated

LAST = date(2022, 12, 22)
HELD = ["KO", "PEP", "JPM"]


@pytest.fixture
def market() -> Market:
    made = simulated([*HELD, *US_6.proxies], date(2021, 9, 1), date(2022, 12, 30))
    made.replace("KO", date(2022, 3, 1), split=1.5)
    made.through = LAST
    return made


def write_long(folder: Path, market: Market) -> None:
    """One file of all symbols: raw closes, dividends and splits."""
    folder.mkdir(exist_ok=True)
    with (folder / "raw.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["symbol", "date", "close", "dividend", "split"])
        for symbol in market.rows:
            for row in market.series(symbol) or []:
                out.writerow([symbol, row.session, repr(row.close), row.dividend, row.split])


def adjusted(rows: Sequence[PriceRow]) -> list[float]:
    """Closes whose plain returns are the total returns of the raw rows, the last as traded."""
    worth = [1.0]
    for before, row in pairwise(rows):
        worth.append(worth[-1] * (row.close + row.dividend) * row.split / before.close)
    return [value * rows[-1].close / worth[-1] for value in worth]


def write_wide(folder: Path, market: Market) -> None:
    """One file with a column of adjusted closes for each symbol."""
    folder.mkdir(exist_ok=True)
    series = {symbol: market.series(symbol) or [] for symbol in market.rows}
    columns = {
        symbol: dict(zip([r.session for r in rows], adjusted(rows), strict=True)) for symbol, rows in series.items()
    }
    days = sorted({row.session for rows in series.values() for row in rows})
    with (folder / "wide.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["date", *columns])
        for day in days:
            out.writerow([day, *(repr(of[day]) if day in of else "" for of in columns.values())])


def home_of(path: Path, folder: Path) -> Home:
    """A home with the two settings that files need."""
    files = {"SIGMA_PRICE_SOURCES": "files", "SIGMA_PRICE_FILES": str(folder)}
    return Home(path, {"SIGMA_HISTORY_SESSIONS": "5", **files})


def test_raw_and_adjusted_files_give_the_same_betas(tmp_path: Path, market: Market) -> None:
    """To 1e-9, for the long layout with dividends and splits and the wide one of adjusted closes."""
    found = []
    for name, write in (("raw", write_long), ("wide", write_wide)):
        write(tmp_path / name, market)
        home = home_of(tmp_path / f"home-{name}", tmp_path / name)
        told = home.sigma_here("onboard", holdings(tmp_path / "book.csv", *HELD))
        assert told.returncode == 0, told.stderr
        assert home.sigma_here("refresh").stdout.startswith("Up to date as of 2022-12-22: 3 symbols, 0 provider calls")
        found.append(home.numbers("factor_exposure"))
    assert_same(*found, 1e-9)


def test_trap_12_a_changed_file_is_noticed(tmp_path: Path, market: Market) -> None:
    """Touched, nothing is read again. A corrected close computes its rows anew, a new session beside it too; the daemon
    asks for it as the command does; the numbers are those of a home that saw nothing else."""
    folder, sessions = tmp_path / "prices", calendar.last_sessions(5, LAST)
    write_long(folder, market)
    home, book = home_of(tmp_path / "home", folder), holdings(tmp_path / "book.csv", *HELD)
    assert home.sigma_here("onboard", book).returncode == 0
    os.utime(folder / "raw.csv", (1, 1))
    assert "0 provider calls, 0 regressions run" in home.sigma_here("refresh").stdout

    (row,) = [row for row in market.rows["KO"] if row.session == sessions[2]]
    market.replace("KO", sessions[2], close=row.close * 1.002)
    market.through = calendar.shift(LAST, 1)
    write_long(folder, market)
    assert _sensor_asks(home) == ["KO"]
    told = home.sigma_here("refresh")
    # Three rows of KO rest on its returns of two sessions; the new session is one of each.
    assert "Up to date as of 2022-12-23: 3 symbols, 11 provider calls, 6 regressions run" in told.stdout
    assert _sensor_asks(home) == []
    assert "0 provider calls, 0 regressions run" in home.sigma_here("refresh").stdout

    other = home_of(tmp_path / "other", folder)
    other.variables = {**other.variables, "SIGMA_START_DATE": sessions[0].isoformat(), "SIGMA_HISTORY_SESSIONS": "6"}
    assert other.sigma_here("onboard", book).returncode == 0
    for table in RESULT_TABLES:
        name = "book" if table.startswith("portfolio") else None
        assert_same(home.numbers(table, name), other.numbers(table, name), 1e-12)


def test_a_file_that_is_gone_fails_its_symbol_alone(tmp_path: Path, market: Market) -> None:
    """What is stored is kept, the failure is named with what to check, and the others have their new session."""
    folder = tmp_path / "prices"
    write_long(folder, market)
    home = home_of(tmp_path / "home", folder)
    assert home.sigma_here("onboard", holdings(tmp_path / "book.csv", *HELD)).returncode == 0
    del market.rows["JPM"]
    market.through = calendar.shift(LAST, 1)
    write_long(folder, market)
    told = home.sigma_here("refresh")
    assert told.returncode == 1
    assert "JPM: the price source 'files' no longer knows it, but closes are stored up to 2022-12-22" in told.stderr
    newest = dict(home.query("SELECT symbol, max(session) FROM factor_exposure GROUP BY 1"))
    assert newest == {"KO": "2022-12-23", "PEP": "2022-12-23", "JPM": "2022-12-22"}


def _sensor_asks(home: Home) -> list[str]:
    """The symbols of the runs that the sensor would start."""
    services = Services.of(Settings.from_environment({**home.variables, "SIGMA_HOME": str(home.path)}))
    with home.instance() as instance:
        context = dg.build_sensor_context(instance=instance, definitions=build_defs(services))
        requests = evaluate(context, services, datetime.now(UTC), Memory()).run_requests or []
    services.database.engine.dispose()
    return [key for one in requests for op in one.run_config["ops"].values() for key in op["config"]["keys"]]
