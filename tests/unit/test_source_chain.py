"""Several price sources in order: who serves a symbol, and what a failure of one means for the others."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from resources.sources.base import SourceError, SourceUnavailableError, UnknownSymbolError
from resources.sources.chain import Chain, Fetched, estimates, fetch_from
from resources.sources.options import SourceOptions
from resources.sources.registry import price_sources
from resources.sources.sample import SampleSource
from tests.conftest_sources import Options
from tests.support.vendors.alpha_vantage import AlphaVantage
from tests.support.vendors.market import archive
from tests.support.vendors.server import FAULTS, KEY
from tests.support.vendors.tiingo import Tiingo

EVENING = date(2013, 3, 1)
LONG_AGO = date(2012, 1, 3)


@pytest.fixture
def alpha_vantage() -> Iterator[AlphaVantage]:
    with AlphaVantage(archive()) as server:
        yield server


@pytest.fixture
def tiingo() -> Iterator[Tiingo]:
    with Tiingo(archive(), KEY) as server:
        server.market.rows["KO"] = server.market.rows["IBM"]
        yield server


@pytest.fixture
def settings(options: Options, tmp_path: Path, alpha_vantage: AlphaVantage, tiingo: Tiingo) -> SourceOptions:
    """A folder with IBM and AAPL, and both vendors."""
    (tmp_path / "prices").mkdir()
    text = "date,IBM,AAPL\n2012-01-03,1,2\n2013-03-01,3,4\n"
    (tmp_path / "prices" / "wide.csv").write_text(text, encoding="utf-8")
    return options(
        EVENING,
        price_files=tmp_path / "prices",
        alpha_vantage_key=KEY,
        alpha_vantage_url=alpha_vantage.address,
        tiingo_key=KEY,
        tiingo_url=tiingo.url,
    )


def chain(settings: SourceOptions, names: str) -> Chain:
    made = price_sources(names.split(","), settings)
    assert isinstance(made, Chain)
    return made


def test_the_first_that_has_a_symbol_serves_it(
    settings: SourceOptions, alpha_vantage: AlphaVantage, tiingo: Tiingo
) -> None:
    """The files have IBM, Alpha Vantage MSFT, Tiingo KO; nobody has NVDA, and the error says who was asked."""
    source = chain(settings, "files,alpha_vantage,tiingo")
    served = {name: fetch_from(source, name, LONG_AGO, EVENING).source for name in ("IBM", "MSFT", "KO")}
    assert served == {"IBM": "files", "MSFT": "alpha_vantage", "KO": "tiingo"}
    assert "IBM" not in {asked.params["symbol"] for asked in alpha_vantage.asked}
    assert len(tiingo.asked) == 1
    with pytest.raises(UnknownSymbolError, match="'files,alpha_vantage,tiingo'"):
        source.fetch("NVDA", LONG_AGO, EVENING)
    assert source.calls == 1 + len(alpha_vantage.asked) + len(tiingo.asked)


def test_a_stored_symbol_stays_with_its_source(settings: SourceOptions, alpha_vantage: AlphaVantage) -> None:
    """Unless that is no longer in the chain, or no longer has it."""
    source = chain(settings, "files,alpha_vantage")
    assert fetch_from(source, "IBM", EVENING, EVENING, stored="alpha_vantage").source == "alpha_vantage"
    assert fetch_from(source, "IBM", EVENING, EVENING, stored="yahoo").source == "files"
    del alpha_vantage.market.rows["IBM"]
    assert fetch_from(source, "IBM", EVENING, EVENING, stored="alpha_vantage").source == "files"


@pytest.mark.parametrize("plan", ["free", "auto"])
def test_history_that_the_first_cannot_reach_comes_from_the_next(
    settings: SourceOptions, alpha_vantage: AlphaVantage, plan: str
) -> None:
    """A free key of Alpha Vantage has 100 sessions; a series comes whole from the one that has all of it."""
    alpha_vantage.plan = "free"
    source = chain(replace(settings, alpha_vantage_plan=plan), "alpha_vantage,tiingo")
    assert fetch_from(source, "IBM", LONG_AGO, EVENING).source == "tiingo"
    assert fetch_from(source, "MSFT", EVENING, EVENING).source == "alpha_vantage"
    assert fetch_from(source, "AAPL", LONG_AGO, EVENING, stored="alpha_vantage").source == "alpha_vantage"
    assert source.earliest_session() is None


def test_without_another_the_short_history_is_what_there_is(
    settings: SourceOptions, alpha_vantage: AlphaVantage
) -> None:
    """The chain has nobody else who knows the symbol."""
    alpha_vantage.plan = "free"
    source = chain(settings, "alpha_vantage,files")
    found = fetch_from(source, "MSFT", LONG_AGO, EVENING)
    assert (found.source, len(found.rows)) == ("alpha_vantage", 100)


def test_a_failure_is_nobody_elses_turn(settings: SourceOptions, alpha_vantage: AlphaVantage, tiingo: Tiingo) -> None:
    """It does not say whether the source has the symbol; symbols of the others are served, and it rests meanwhile."""
    alpha_vantage.say("*", always=FAULTS["reset"])
    source = chain(settings, "files,alpha_vantage,tiingo")
    with pytest.raises(SourceError, match="Alpha Vantage could not be reached") as caught:
        source.fetch("MSFT", EVENING, EVENING)
    assert type(caught.value) is SourceError
    assert fetch_from(source, "IBM", EVENING, EVENING).source == "files"
    asked = len(alpha_vantage.asked)
    with pytest.raises(SourceError, match="Alpha Vantage could not be reached"):
        source.fetch("KO", EVENING, EVENING)
    assert (len(alpha_vantage.asked), len(tiingo.asked)) == (asked, 0)


def test_when_all_have_failed_the_run_can_end(
    settings: SourceOptions, alpha_vantage: AlphaVantage, tiingo: Tiingo
) -> None:
    """Nothing that follows could succeed."""
    for vendor in (alpha_vantage, tiingo):
        vendor.say("*", always=FAULTS["reset"])
    source = chain(settings, "alpha_vantage,tiingo")
    with pytest.raises(SourceError):
        source.fetch("IBM", EVENING, EVENING)
    with pytest.raises(SourceUnavailableError):
        fetch_from(source, "IBM", EVENING, EVENING, stored="tiingo")


def test_a_chain_describes_itself(settings: SourceOptions) -> None:
    """It has an end if each member has one, and a list of symbols if each has one."""
    source = chain(settings, "files,sample")
    assert (source.name, source.title) == ("files,sample", "the folder of price files and the sample")
    assert source.coverage.startswith("the folder of price files: 2 symbols: AAPL, IBM, ...; the sample: 20 symbols")
    assert source.latest_session() == date(2022, 12, 28)
    assert {"IBM", "KO"} <= set(source.symbols() or ())
    live = chain(settings, "files,tiingo")
    assert (live.latest_session(), live.symbols()) == (None, None)


def test_what_fetching_costs_is_said_by_source(settings: SourceOptions, alpha_vantage: AlphaVantage) -> None:
    """Each symbol stands with the source that is asked first."""
    source = chain(replace(settings, alpha_vantage_plan="premium"), "files,alpha_vantage,tiingo")
    cost = estimates(source, ["IBM", "MSFT", "KO", "AAPL"], LONG_AGO, {"AAPL": "tiingo"})
    assert {name: each.requests for name, each in cost.items()} == {"files": 1, "alpha_vantage": 2, "tiingo": 1}
    assert estimates(SampleSource(), ["IBM", "MSFT"], LONG_AGO, {}) == {"sample": (2, 1, "")}
    assert alpha_vantage.asked == []


def test_one_source_is_asked_the_same_way(settings: SourceOptions) -> None:
    """Who asks need not know whether there is a chain."""
    source = price_sources(["files"], settings)
    assert fetch_from(source, "IBM", EVENING, EVENING, "files") == Fetched(
        "files", source.fetch("IBM", EVENING, EVENING)
    )
