"""The Dagster UI as a person sees it, in a real browser: issue 8, "Shown when done" 4. Slow: `make test-daemon`."""

import csv
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from assets.catalogue import ASSETS
from benchmarks.web import free_port, wait_for
from sigma_dagster.orchestration import webserver
from tests.support.browser import BROWSERS, Page, find_browser, opened
from tests.support.home import LAST, Home, holdings
from tests.support.ui import running
from tests.support.vendors.market import simulated

pytestmark = pytest.mark.daemon

#: A symbol whose prices are a file, which is damaged when the sensor asks for them.
OWN = "OWN"
SESSIONS = 365
KEYS = {"proxy": 6, "symbol": 15, "portfolio": 2}  # of the demo
#: More than the sensor waits before it asks again for a block that failed.
SECONDS = 420
SIZE = (1400, 1000)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home, with a folder of prices beside the sample."""
    (tmp_path / "prices").mkdir()
    write(tmp_path / "prices", damaged=True)
    sources = {"SIGMA_PRICE_SOURCES": "sample,files", "SIGMA_PRICE_FILES": str(tmp_path / "prices")}
    return Home(tmp_path / "sigma", {**sources, "SIGMA_FACTOR_MODEL": "sample-5"})


@pytest.fixture
def page(home: Home, tmp_path: Path) -> Iterator[Page]:
    """The UI after `make demo` and `make dev`; a picture of where it ended is in the folder of the test."""
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no browser found on PATH: install Chromium (looked for {', '.join(BROWSERS)})")
    done = home.sigma("demo")
    assert done.returncode == 0, done.stderr
    port = free_port()
    with running(home, port, tmp_path / "terminal"), opened(browser, f"http://{webserver.HOST}:{port}") as page:
        try:
            yield page
        finally:
            (tmp_path / "last.png").write_bytes(page.png())


def write(folder: Path, *, damaged: bool) -> None:
    """Write the symbol's prices; damaged, the last is none."""
    rows = [[row.session, row.close] for row in simulated([OWN], date(2019, 1, 2), LAST).rows[OWN]]
    if damaged:
        rows[-1][1] = "n/a?"
    with (folder / f"{OWN}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["date", "close"], *rows])


def read(page: Page, path: str, *texts: str) -> str:
    """Open a page until it shows all of the texts, again and again as a person reloads it; give all that it shows."""

    def shows() -> bool:
        page.open(path, *SIZE, until="Settings")
        return all(text in page.text() for text in texts)

    wait_for(shows, SECONDS, f"{path} shows {', '.join(texts)}")
    return page.text()


def bar(page: Page, asset: str, materialized: int, failed: int = 0) -> None:
    """Hold what the bar of an asset stands for."""
    counts = (f"Failed ({failed})", f"Materialized ({materialized})", "Materializing (0)", "Missing (0)")
    read(page, f"/assets/{asset}?view=partitions", *counts)


def partition(asset: str, key: str) -> str:
    return f"/assets/{asset}?view=partitions&partition={LAST}%7C{key}"


def test_what_a_person_sees_and_clicks(page: Page, home: Home, tmp_path: Path) -> None:
    """Full bars, checks of what the sensor computed, a skip that shows its betas, a failure that is launched again."""
    for asset in ASSETS:
        bar(page, asset.name, KEYS[asset.dimension] * SESSIONS)

    # Materialize what exists.
    read(page, partition("factor_exposures", "AAPL"), "beta_market", "r_squared")
    page.click("Materialize…")
    page.click("Launch 1 run")
    shown = read(page, partition("factor_exposures", "AAPL"), "skipped", "beta_market", "r_squared")
    assert "View all historical events (2)" in shown

    # The sensor's run fails: the source does.
    assert home.sigma("add", holdings(tmp_path / "own.csv", OWN, "AAPL")).returncode == 0
    for asset in ("daily_prices", "factor_exposures", "symbol_volatility"):
        bar(page, asset, KEYS["symbol"] * SESSIONS, failed=SESSIONS)
    read(page, partition("daily_prices", OWN), "failed, and did not materialize this asset")

    # Mended, and launched again.
    write(tmp_path / "prices", damaged=False)
    page.click("Materialize…")
    page.click("All", which=-2)  # dates
    page.click("Backfill only failed and missing partitions within selection")
    page.click("Launch backfill")
    for asset in ASSETS:
        more = {"proxy": 0, "symbol": 1, "portfolio": 1}[asset.dimension]
        bar(page, asset.name, (KEYS[asset.dimension] + more) * SESSIONS)

    # What the sensor computed then was checked, and the list of runs says whose it was.
    for asset in ("portfolio_factor_exposures", "portfolio_volatility"):
        assert "Not evaluated" not in read(page, f"/assets/{asset}?view=checks", "Passed")
    listed = read(page, "/runs", "launched_by: sensor new_portfolio", "launched_by: sigma")
    for tag in ("portfolio: own", f"symbol: {OWN}", "portfolio: growth", f"sessions: 2021-07-20..{LAST}"):
        assert tag in listed
    assert "sigma_found" not in listed
