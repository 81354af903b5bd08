"""A home whose prices come from a pretended vendor, over HTTP, on the evening of whatever day a test says it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from assets.factor_models import SAMPLE_5, FactorModel
from resources import calendar
from resources.database import symbols
from resources.database.portfolios import Lot
from resources.database.quota import DatabaseMeter
from resources.sources.alpha_vantage import AlphaVantageSource
from resources.sources.base import PriceSource
from resources.sources.options import SourceOptions
from resources.sources.tiingo import TiingoSource
from resources.sources.yahoo import YahooSource
from sigma_dagster.orchestration.compute import compute
from sigma_dagster.planning.work import Tally
from sigma_dagster.services import Services
from tests.support.home import Home, lots
from tests.support.vendors.alpha_vantage import AlphaVantage
from tests.support.vendors.server import KEY, Asked
from tests.support.vendors.tiingo import Tiingo
from tests.support.vendors.yahoo import Yahoo

Seller = AlphaVantage | Tiingo | Yahoo
_SOURCES: dict[type[Seller], Callable[[SourceOptions], PriceSource]] = {
    AlphaVantage: AlphaVantageSource,
    Tiingo: TiingoSource,
    Yahoo: YahooSource,
}


@dataclass
class Live:
    """A home and its vendor; it is the evening of the session `today`."""

    home: Home
    vendor: Seller
    today: date
    model: FactorModel = SAMPLE_5
    plan: str = "auto"  # of Alpha Vantage
    timeout: float = 30.0

    def services(self) -> Services:
        """The parts that every command works with, the source with short pauses and the day's clock."""
        now = datetime.combine(self.today, datetime.min.time(), calendar.NEW_YORK).replace(hour=20).astimezone(UTC)
        meter = DatabaseMeter(self.home.environment().database)
        url = self.vendor.address if isinstance(self.vendor, AlphaVantage) else self.vendor.url
        options = SourceOptions(
            meter=meter,
            pace=0.001,
            now=lambda: now,
            timeout=self.timeout,
            cache=self.home.path / "cache",
            alpha_vantage_key=KEY,
            alpha_vantage_url=url,
            alpha_vantage_plan=self.plan,
            tiingo_key=KEY,
            tiingo_url=url,
            yahoo_url=url,
        )
        return self.home.environment(_SOURCES[type(self.vendor)](options), self.model)

    def onboard(self, held: str | Sequence[Lot], name: str = "book") -> list[Asked]:
        """Onboard a portfolio, and give what the vendor was asked."""
        self.vendor.asked.clear()
        services = self.services()
        book = lots(held) if isinstance(held, str) else held
        self.home.onboard(book, name, source=services.source, model=self.model, as_of=self.today)
        return list(self.vendor.asked)

    def refresh(self, again: Sequence[str] = ()) -> tuple[list[Asked], Tally]:
        """Refresh as the command does, or fetch some symbols again; what was asked, and what was done."""
        self.vendor.asked.clear()
        services = self.services()
        blocks = services.blocks_again(again, self.today)
        tally = compute(services, None, self.today, again=blocks, say=self.home.said.append)
        services.database.engine.dispose()
        return list(self.vendor.asked), tally

    def pending(self) -> dict[str, str]:
        """Outcome by symbol, of what is not there yet."""
        services = self.services()
        with services.database.read() as connection:
            return {name: told.outcome for name, told in symbols.pending(connection).items()}


def asked_of(asked: Sequence[Asked]) -> dict[str, str]:
    """By symbol what was asked for, in the vendor's terms: an answer's size, or the first and last session."""
    found = {}
    for one in asked:
        if "symbol" in one.params:
            symbol, what = one.params["symbol"], one.params["outputsize"]
        else:
            symbol, what = one.path.split("/")[3], f"{one.params['startDate']}..{one.params['endDate']}"
        assert symbol not in found, f"{symbol} was asked for twice"
        found[symbol] = what
    return found
