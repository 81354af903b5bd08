"""Onboarding through a pretended vendor, from the settings to the rows: what it is asked, and where the key goes."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.factor_models import US_6
from resources.database.quota import DatabaseMeter
from resources.sources.alpha_vantage import AlphaVantageSource
from resources.sources.options import SourceOptions
from tests.support.home import CORE, GROWTH, Home
from tests.support.vendors.alpha_vantage import AlphaVantage, Anything
from tests.support.vendors.server import KEY


@pytest.fixture
def vendor() -> Iterator[AlphaVantage]:
    with AlphaVantage(Anything()) as server:
        yield server


def live(home: Home, vendor: AlphaVantage) -> AlphaVantageSource:
    """The source as the settings make it, with short pauses."""
    meter = DatabaseMeter(home.environment().database)
    options = SourceOptions(meter=meter, pace=0.01, alpha_vantage_key=KEY, alpha_vantage_url=vendor.address)
    return AlphaVantageSource(options)


def test_a_premium_key_is_asked_once_for_each_symbol_and_proxy(tmp_path: Path, vendor: AlphaVantage) -> None:
    """Core: 10 stocks and 8 proxies; growth: its 5 new ones; nothing new: none. Counted by the server."""
    home = Home(tmp_path / "sigma", {"SIGMA_HISTORY_SESSIONS": "5"})
    as_of = vendor.market.through
    counts = []
    for book in (CORE, GROWTH, GROWTH):
        home.onboard(book, source=live(home, vendor), model=US_6, as_of=as_of)
        counts.append(len(vendor.asked))
    assert counts == [18, 23, 23]
    assert {asked.params["outputsize"] for asked in vendor.asked} == {"full"}
    # Nothing that was written on the way knows the key.
    for file in home.path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    with sqlite3.connect(home.database) as connection:
        assert connection.execute("SELECT DISTINCT source FROM daily_price").fetchall() == [("alpha_vantage",)]
