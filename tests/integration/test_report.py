"""`sigma report`, the asset `portfolio_report`, the page on the UI's server: what it says, and that it stands alone."""

import asyncio
import base64
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import statsmodels.api as sm

from assets import onboardings
from assets.factor_models import SAMPLE_5
from assets.portfolio_report import address
from resources.database import portfolios
from resources.database.tables import portfolio_volatility
from sigma_dagster.analysis.report import facts, page
from sigma_dagster.analysis.report.facts import Facts
from sigma_dagster.analysis.report.reporter import StoredReporter
from sigma_dagster.orchestration import reports
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.pages import Pages
from tests.support.browser import find_browser, opened
from tests.support.home import CORE, LAST, ROOT, Home, lot
from tests.support.sources import RecordedSource, without
from tests.support.ui import asked_here

SAMPLE = ROOT / "resources" / "sources" / "data" / "sample_prices.csv.gz"
YOUNG_FROM = date(2022, 11, 1)
BOOKS = {
    "day-old": [lot("AAPL", 10, str(LAST)), lot("KO", 20, str(LAST))],
    "neutral": [lot("AAPL", 100), lot("MSFT", -100 * 126.04 / 234.53)],
    "short": [lot("AAPL", -10), lot("XOM", -5)],
    "young": [lot("AAPL", 10), lot("PFE", 10)],
    "one-private": [lot("AAPL", 10), lot("LOFT-7", 1, price=900.0, asset_class="private")],
    "all-private": [lot("LOFT-7", 2, price=900.0, asset_class="private")],
    "sold": [lot("AAPL", 10, exit="2022-12-27")],
    "cash": [lot("AAPL", 10), lot("KO", -5), lot("USD", 5_000, price=1.0, asset_class="cash")],
}


@dataclass
class Read(HTMLParser):
    """A page as a reader sees it: its text, its facts by label, its table rows by their first cell."""

    text: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[str]] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._cells: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("dt", "dd", "td", "th"):
            self._open = tag
            self._cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "dd":
            label, value = self._cells[-2:]
            self.facts[label.strip()] = value.strip()
        if tag in ("dd", "tr"):
            cells = [cell.strip() for cell in self._cells]
            if tag == "tr" and cells:
                self.rows.setdefault(cells[0], cells[1:])
            self._cells = []
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.text += data
        if self._open:
            self._cells[-1] += data


def read(html: str) -> Read:
    found = Read()
    found.feed(html)
    return found


def facts_of(home: Home, name: str) -> Facts:
    with home.environment().database.read() as connection:
        (one,) = portfolios.load(connection, [name])
        found = facts.read(connection, one, SAMPLE_5)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of each kind of book; PFE is a young listing there."""
    home = Home(tmp_path_factory.mktemp("books") / "sigma", {"SIGMA_HISTORY_SESSIONS": "30"})
    for name, book in BOOKS.items():
        home.onboard(book, name, source=RecordedSource(without("PFE", lambda day: day < YOUNG_FROM)))
    return home


@pytest.fixture(scope="module")
def core_page(read_home: Home) -> str:
    """The page of `core`, drawn alone."""
    return page.render(facts_of(read_home, "core"))


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    return pd.read_csv(SAMPLE, index_col="date")


# --- one file, alone


def test_the_page_is_one_file_that_loads_nothing(read_home: Home, tmp_path: Path) -> None:
    """Promise: no script, no style sheet, no picture from elsewhere; small; the file stands where it was asked for."""
    done = read_home.sigma("report", "core", "-o", tmp_path / "core.html")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "core.html"))
    html = (tmp_path / "core.html").read_text(encoding="utf-8")
    assert len(html) < 2_000_000
    found = read(html)
    assert {"script", "iframe", "object", "img"}.isdisjoint(tag for tag, _ in found.tags)
    loaded = [value for _, attributes in found.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all((value or "").startswith(("#", "data:")) for value in loaded)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", html)
    ids = [attributes["id"] for _, attributes in found.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_each_chart_has_a_name_and_the_page_its_sections(core_page: str) -> None:
    """Promise: charts are named for those who do not see them; the sections come in the order of a risk meeting."""
    found = read(core_page)
    charts = [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"]
    assert {"factor exposures", "volatility", "returns and value at risk", "drawdown"} <= set(charts)
    sections = [attributes["id"] for tag, attributes in found.tags if tag == "section"]
    assert sections.index("how-much") < sections.index("from-what") < sections.index("unknown")


def test_the_same_rows_make_the_same_page(read_home: Home, core_page: str) -> None:
    """Promise: nothing on the page depends on when it is drawn."""
    assert page.render(facts_of(read_home, "core")) == core_page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody",), "portfolio 'nobody' is not stored"),
        (("core", "-o", "no/such/folder/x.html"), "no/such/folder/x.html: the page cannot be written"),
        (("core", "--as-of", "2001-01-02"), "nothing is computed of portfolio core up to 2001-01-02"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_line(read_home: Home, arguments: tuple[str, ...], said: str) -> None:
    """Promise: one line, no traceback."""
    done = read_home.sigma_here("report", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# --- numbers


@pytest.mark.parametrize("name", BOOKS)
def test_values_are_those_of_the_market(books: Home, prices: pd.DataFrame, name: str) -> None:
    """Promise: gross and net by hand, for every kind of book."""
    held = [one for one in BOOKS[name] if one.exit_date is None]
    close = prices.loc[str(LAST)]
    values = [one.quantity * (close[one.symbol] if one.asset_class == "public" else one.entry_price) for one in held]
    cash = [value for one, value in zip(held, values, strict=True) if one.asset_class == "cash"]
    found = read(page.render(facts_of(books, name)))
    assert found.facts["Value, gross"] == f"${sum(map(abs, values)) - sum(cash):,.0f}"
    assert found.facts["Value, net"] == f"{'-' if sum(values) < -0.5 else ''}${abs(sum(values)):,.0f}".replace(
        "-$0", "$0"
    )


@pytest.mark.parametrize("name", ["day-old", "neutral", "short", "young", "one-private", "cash"])
def test_market_exposure_and_volatility_are_those_by_hand(books: Home, prices: pd.DataFrame, name: str) -> None:
    """Promise: by statsmodels and pandas: each symbol's slope on the market, times its weight; the covered returns."""
    close, returns = prices.loc[str(LAST)], prices.pct_change().loc[: str(LAST)]
    public = {one.symbol: one.quantity * close[one.symbol] for one in BOOKS[name] if one.asset_class == "public"}
    private = [one.quantity * one.entry_price for one in BOOKS[name] if one.asset_class == "private"]
    covered, gross = sum(map(abs, public.values())), sum(map(abs, [*public.values(), *private]))
    year = returns.tail(252)
    market = sm.add_constant(year["SP500"])
    slope = {symbol: sm.OLS(year[symbol], market).fit().params["SP500"] for symbol in public if symbol != "PFE"}
    exposure = sum(public[symbol] / gross * beta for symbol, beta in slope.items())
    month = sum(value / covered * returns[symbol].tail(21) for symbol, value in public.items())
    volatility = month.std() * np.sqrt(252)
    found = facts_of(books, name)
    assert found.risk.market_total == pytest.approx(exposure, abs=1e-10)
    assert found.risk.realized_vol_21d == pytest.approx(volatility, rel=1e-10)
    seen = read(page.render(found))
    assert seen.facts["Market exposure, in total"] == f"{exposure:.2f}"
    assert seen.rows["realized, last 21 sessions"] == [f"{volatility:.1%}"]
    known = {
        "PFE": (len(prices.loc[str(YOUNG_FROM) : str(LAST)]) - 1) / 63
    }  # of the last 63 sessions; all of the others
    returned = sum(abs(value) * known.get(symbol, 1) for symbol, value in public.items())
    assert seen.facts["Value covered by returns"] == f"{returned / gross:.1%}"


def test_cash_is_no_risk_and_is_shown(books: Home, prices: pd.DataFrame) -> None:
    """Promise: in net and not in gross, a weight of its own, no share of the risk, nothing of it in a scenario."""
    gross = 10 * prices.loc[str(LAST), "AAPL"] + 5 * prices.loc[str(LAST), "KO"]
    seen = read(page.render(facts_of(books, "cash")))
    assert seen.rows["USD"] == [f"{5_000 / gross:.1%}", "cash", "-", "cash", "-", "-"]
    assert not any(said in seen.text for said in ("not covered", "USD:", "USD $0"))


def test_a_short_book_has_the_opposite_exposures_and_its_own_losses(books: Home) -> None:
    """Promise: short only: market exposure below zero, net below zero, shares of risk that add up to 1."""
    found = facts_of(books, "short")
    assert found.risk.market_total is not None
    assert found.risk.market_total < 0
    assert sum(found.risk.risk_split.positions.values()) == pytest.approx(1, abs=1e-12)
    assert found.risk.net == pytest.approx(-(found.risk.gross or 0), rel=1e-12)


def test_a_day_old_book_says_what_cannot_be_known_yet(books: Home) -> None:
    """Promise: one session of history: no forecast record and no month by month, and the page says why."""
    found = facts_of(books, "day-old")
    assert found.history.sessions == (LAST,)
    seen = read(page.render(found))
    assert "How good the forecast was cannot be said yet" in seen.text
    assert seen.facts["95% value at risk, 1 session"] != "-"


def test_private_positions_are_listed_and_kept_out(books: Home, prices: pd.DataFrame) -> None:
    """Promise: coverage by hand, and the position named with what it is left out of."""
    market = 10 * prices.loc[str(LAST), "AAPL"]
    seen = read(page.render(facts_of(books, "one-private")))
    assert seen.facts["Value covered by exposures"] == f"{market / (market + 900):.1%}"
    assert "LOFT-7: private, valued at entry, no part of exposures, volatility and losses." in seen.text
    nothing = read(page.render(facts_of(books, "all-private")))
    assert nothing.facts["99% value at risk, 1 session"].split() == ["-", "-"]
    assert "There is no split of the risk" in nothing.text


def test_a_young_listing_is_named_with_its_sessions(books: Home, prices: pd.DataFrame) -> None:
    """Promise: quality and number of sessions of what has too short a history."""
    sessions = len(prices.loc[str(YOUNG_FROM) :]) - 1
    seen = read(page.render(facts_of(books, "young")))
    assert f"PFE: exposures from {sessions} sessions, insufficient history." in seen.text


def test_what_holds_nothing_has_a_page(books: Home) -> None:
    """Promise: a portfolio that sold everything says so."""
    assert "No active position" in read(page.render(facts_of(books, "sold"))).text


def test_history_and_correlations_are_those_of_pandas(full_home: Home, prices: pd.DataFrame) -> None:
    """Promise: the drawdown is that of the stored returns, correlations are those of the last 252 returns."""
    found = facts_of(full_home, "growth")
    rows = pd.DataFrame(full_home.numbers("portfolio_volatility", "growth")).sort_values("session")
    value = np.concatenate([[1.0], (1 + rows["return_1d"].astype(float).fillna(0)).cumprod()])
    oracle = value / np.maximum.accumulate(value) - 1
    assert found.history.drawdown == pytest.approx(oracle[1:], abs=1e-12)
    names = list(found.correlations.symbols)
    last = prices[names].pct_change().loc[: str(LAST)].tail(252)
    assert found.correlations.matrix == pytest.approx(last.corr().to_numpy(), abs=1e-10)


def test_forecasts_are_held_against_what_followed(full_home: Home) -> None:
    """Promise: QLIKE of the stored forecasts against the mean square of the next 21 stored returns, by pandas."""
    rows = pd.DataFrame(full_home.numbers("portfolio_volatility", "growth")).sort_values("session")
    variance = 252 * (rows["return_1d"].astype(float) ** 2).rolling(21).mean().shift(-21)
    ratio = variance / rows["forecast_vol_21d"].astype(float) ** 2
    (ours, *_) = facts_of(full_home, "growth").forecasts
    assert ours.qlike == pytest.approx((ratio - np.log(ratio) - 1).mean(), rel=1e-10)
    assert ours.sessions == ratio.notna().sum()


def test_reuse_is_counted(full_home: Home) -> None:
    """Promise: rows that were there when the portfolio was stored are told from those computed for it."""
    found = {one.symbol: one for one in facts_of(full_home, "growth").sources}
    brought = {one.symbol for one in facts_of(full_home, "core").sources}
    assert all((one.reused == one.computed) == (name in brought) for name, one in found.items())


# --- in Dagster


LATER = datetime.now(UTC) + timedelta(hours=1)  # than what a fixture computed


def _ask(home: Home, cursor: str | None, now: datetime = LATER) -> dg.SensorResult:
    with home.instance() as instance:
        return reports.evaluate(instance, home.environment(), cursor, now)


def test_pages_wait_for_what_computes(core_home: Home) -> None:
    """Promise: no page takes the place of a run that computes rows, in progress or about to follow one that ended."""
    config = {"ops": {"daily_prices": {"config": {"keys": ["AMD"]}}}}
    with core_home.instance() as instance:
        run = dg.DagsterRun(
            "symbol_block",
            run_config=config,
            asset_selection=frozenset([dg.AssetKey("daily_prices")]),
            status=dg.DagsterRunStatus.STARTING,
        )
        instance.add_run(run)
        assert not _ask(core_home, None).run_requests
        instance.report_run_canceled(run)
    assert not _ask(core_home, None, datetime.now(UTC)).run_requests
    (request,) = _ask(core_home, None).run_requests or ()
    assert int(request.tags["dagster/priority"]) < 0  # of a run that computes and comes after it


def test_no_page_is_made_right_after_a_start(core_home: Home) -> None:
    """Promise: whoever starts the UI and ends it again ends no run of pages, which would say so on the terminal."""
    # What a fixture computed a moment ago would have the pages wait as well.
    runs = core_home.path / "dagster" / "history" / "runs.db"
    with closing(sqlite3.connect(runs)) as connection, connection:
        connection.execute("UPDATE runs SET update_timestamp = '2022-12-28 00:00:00'")
    with core_home.instance() as instance:
        defs = build_defs(core_home.environment())
        (sensor,) = [one for one in defs.sensors or () if one.name == reports.NAME]
        context = dg.build_sensor_context(instance=instance, definitions=defs)
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert not result.run_requests
    assert _ask(core_home, None, datetime.now(UTC)).run_requests


@pytest.mark.parametrize(("to_workers", "most"), [(False, 20), (True, 4)])
def test_pages_are_made_few_at_a_time(core_home: Home, to_workers: bool, most: int) -> None:
    """Promise: what computes waits for some pages at most, on workers for a few seconds; and none is left out."""
    services = core_home.environment()
    services = replace(services, settings=replace(services.settings, to_workers=to_workers))
    with services.database.write() as connection:
        (row,) = connection.execute(
            sa.select(portfolio_volatility).order_by(portfolio_volatility.c.session).limit(1)
        ).mappings()
        for i in range(30):
            portfolios.store(connection, f"book-{i:02}", [lot("AAPL", 1)], None, LAST)
        made = portfolios.load(connection)
        copies = [{**row, "portfolio_id": one.id} for one in made if one.name != "core"]
        connection.execute(sa.insert(portfolio_volatility), copies)
    told, cursor = [], None
    with core_home.instance() as instance:
        while requests := (asked := reports.evaluate(instance, services, cursor, LATER)).run_requests:
            cursor = asked.cursor
            told += [one.run_config["ops"]["portfolio_report"]["config"]["portfolios"] for one in requests]
    assert [len(names) for names in told] == [most] * (31 // most) + [31 % most]
    assert sorted(name for names in told for name in names) == sorted(one.name for one in made)
    with core_home.instance() as instance:
        instance.add_run(dg.DagsterRun(reports.NAME, status=dg.DagsterRunStatus.STARTED))
    assert not _ask(core_home, None).run_requests  # one run after the other


def test_the_sensor_asks_once_for_each_new_row(core_home: Home) -> None:
    """Promise: one run for all portfolios with new rows; each partition tells its page, numbers and charts."""
    services = core_home.environment()
    asked = _ask(core_home, None)
    (request,) = asked.run_requests or ()
    assert _ask(core_home, asked.cursor).run_requests == []
    with core_home.instance() as instance:
        run = build_defs(services).resolve_job_def(reports.NAME)
        done = run.execute_in_process(
            instance=instance,
            run_config=request.run_config,
            tags=dict(request.tags),
            partition_key=request.partition_key,
        )
        assert done.success
        assert instance.get_materialized_partitions(dg.AssetKey("portfolio_report")) == {"core"}
    told = core_home.latest_metadata("portfolio_report")
    assert (told["page"], told["as_of"]) == (address("core"), str(LAST))
    assert told["market_total"] == round(facts_of(core_home, "core").risk.market_total or 0, 4)
    png = base64.b64decode(told["exposures"].split("base64,")[1].rstrip(")"))
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000
    with services.database.write() as connection:
        connection.execute(sa.update(portfolio_volatility).values(computed_at=datetime(2030, 1, 1)))  # noqa: DTZ001
    assert len(_ask(core_home, asked.cursor).run_requests or ()) == 1


SENSORS = """{ sensorsOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "sigma_dagster"}) {
        ... on Sensors { results { id name sensorState { status } } } } }"""
STOP = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"


def test_pages_are_switched_off_in_the_ui(core_home: Home) -> None:
    """Promise: whoever stops the sensor on the page Automation has it stopped after a restart too; the other goes
    on, and the server gives pages of stored rows as before."""
    with asked_here(core_home) as ask:
        found = {one["name"]: one for one in ask(SENSORS)["sensorsOrError"]["results"]}
        assert found["portfolio_reports"]["sensorState"]["status"] == "RUNNING"
        told = ask(STOP, id=found["portfolio_reports"]["id"])
        assert told["stopSensor"]["__typename"] == "StopSensorMutationResult"
    with asked_here(core_home) as ask:  # started again
        states = {one["name"]: one["sensorState"]["status"] for one in ask(SENSORS)["sensorsOrError"]["results"]}
    assert (states["portfolio_reports"], states["new_portfolio"]) == ("STOPPED", "RUNNING")
    with core_home.instance() as instance:
        assert not instance.get_materialized_partitions(dg.AssetKey("portfolio_report"))
    assert "core" in StoredReporter(core_home.environment()).page("core")


def test_a_page_is_materialized_in_the_ui(core_home: Home) -> None:
    """Promise: a single partition by hand, and a portfolio that is gone ends in a line."""
    services = core_home.environment()
    with core_home.instance() as instance:
        instance.add_dynamic_partitions("portfolio", ["gone"])
        run = build_defs(services).resolve_job_def(reports.NAME)
        assert run.execute_in_process(instance=instance, partition_key="core").success
        failed = run.execute_in_process(instance=instance, partition_key="gone", raise_on_error=False)
    (event,) = [one for one in failed.all_events if one.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert told.description == "Portfolio 'gone' is not stored: sigma onboard FILE stores one"


def test_an_onboarding_and_a_refresh_are_an_event_each(home: Home) -> None:
    """Promise: what was there, calls, regressions, rows and seconds, as numbers; told at the next occasion, once."""
    home.onboard(CORE)
    home.onboard(CORE)
    home.onboard([lot("AMD", 1)], "more")
    with home.instance() as instance:
        onboardings.report(instance, home.environment().database)
        onboardings.report(instance, home.environment().database)
        found = instance.fetch_materializations(dg.AssetKey("onboardings"), limit=10).records
    told = [{name: value.value for name, value in one.asset_materialization.metadata.items()} for one in found]
    assert [one["of"] for one in told] == ["more", "core", "core"]
    assert [one["cache_hit_rate"] for one in told] == [0, 1, 0]
    assert [one["regressions_run"] for one in told] == [5, 0, 50]
    assert all(one["seconds_total"] >= one["seconds_compute"] >= 0 for one in told)


# --- on the server of the UI


def ask(home: Home, path: str, **settings: str) -> tuple[int, str]:
    """Ask the pages for a path, as the server hands it on."""
    services = home.environment(**settings)
    sent: list[Any] = []

    async def beyond(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"the UI"})

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    app = Pages(beyond, StoredReporter(services).page)
    asyncio.run(app({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send))
    body = b"".join(one.get("body", b"") for one in sent)
    return sent[0]["status"], body.decode()


def test_the_server_gives_the_page_and_leaves_the_rest_to_the_ui(core_home: Home) -> None:
    """Promise: `/report/NAME` is the page of now; an unknown name is a 404 in plain text; all else is Dagster's."""
    status, body = ask(core_home, "/report/core")
    assert (status, body) == (200, page.render(facts_of(core_home, "core")))
    assert ask(core_home, "/report/<script>")[0] == 404
    assert ask(core_home, "/assets") == (299, "the UI")


def test_the_server_s_page_has_the_user_s_scenarios(core_home: Home, tmp_path: Path) -> None:
    """Promise: the same page as `sigma report`; a file that cannot be read, and rows that are gone, are a line."""
    file = tmp_path / "stress.toml"
    file.write_text('[stress.mine]\ntitle = "Mine alone"\nfactors = { market = -0.5 }\n')
    assert "Mine alone" in ask(core_home, "/report/core", stress=str(file))[1]
    status, body = ask(core_home, "/report/core", stress=str(tmp_path / "none.toml"))
    assert (status, "none.toml cannot be read" in body) == (404, True)
    with core_home.sql() as connection:
        connection.execute("DELETE FROM factor_exposure WHERE symbol = 'AAPL'")
        connection.commit()
    status, body = ask(core_home, "/report/core")
    assert (status, "AAPL" in body) == (404, True)


def test_pages_drawn_at_once_are_those_drawn_alone(read_home: Home, core_page: str) -> None:
    """Promise: the server draws in several threads, and matplotlib has one style for all of them."""
    found = facts_of(read_home, "core")
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(page.render, [found] * 3)) == {core_page}


def test_a_name_of_our_own_kind_is_quoted_in_the_address() -> None:
    """Promise: a portfolio's name with a blank is a link that works."""
    assert address("my book") == "/report/my%20book"


def test_hostile_texts_are_shown_and_not_obeyed(core_home: Home) -> None:
    """Promise: what looks like markup is text on the page, wherever it came from: rows changed past our code too."""
    name = "<b>A&amp;</b>"
    with core_home.sql() as connection:
        connection.execute("UPDATE lot SET symbol = ?, asset_class = 'private' WHERE symbol = 'AAPL'", [name])
        connection.execute("UPDATE daily_price SET source = '<script>alert(1)</script>'")
        connection.commit()
    html = page.render(facts_of(core_home, "core"))
    assert "<script>" not in html
    assert name not in html
    assert name in read(html).text
    assert "<script>alert(1)</script>" in read(html).text


# --- in a real browser


@pytest.mark.skipif(not find_browser(), reason="needs Chromium, which is not installed: apt-get install chromium")
def test_a_real_browser_shows_it(core_page: str, tmp_path: Path) -> None:
    """Promise: no complaint, no request but for the file; light and dark, 400 pixels wide, and printed."""
    file = tmp_path / "core.html"
    file.write_text(core_page, encoding="utf-8")
    with opened(find_browser() or "", "file://") as shown:
        shown.watch()
        shown.open(str(file), 1000, 900, until="How much")
        assert [one for one in shown.requests() if not one.startswith("data:")] == [file.as_uri()]
        assert shown.complaints() == []
        light = shown.style("background-color")
        shown.look(width=400, scheme="dark")
        assert shown.overflow() <= 0
        assert shown.style("background-color") != light
        assert "What could happen" in shown.text()
        assert shown.pdf().startswith(b"%PDF")
