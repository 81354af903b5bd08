"""A pretended Tiingo."""

from datetime import date

from resources.sources.base import PriceRow
from tests.support.vendors.market import Market
from tests.support.vendors.server import Asked, Reply, Vendor, told

NOT_FOUND = told({"detail": "Not found."}, 404)
NO_KEY = told({"detail": "Invalid token."}, 401)
NO_PERMISSION = told({"detail": "You do not have permission to access the Tiingo API."}, 403)
TOO_MANY = told({"detail": "Too many requests."}, 429)
RUN_OVER = Reply(200, b"Error: You have run over your hourly request allocation. Please upgrade.", "text/plain")


class Tiingo(Vendor):
    """Takes one key in the header, and gives the sessions asked for."""

    def __init__(self, market: Market, key: str, *, an_hour: int = 0) -> None:
        super().__init__()
        self.market = market
        self.key = key
        self._an_hour = an_hour

    def symbol(self, asked: Asked) -> str:
        parts = asked.path.split("/")
        return parts[3] if len(parts) == 5 else ""

    def answer(self, asked: Asked) -> Reply:
        if asked.headers.get("Authorization") != f"Token {self.key}":
            return NO_KEY
        if self._an_hour and len(self.asked) > self._an_hour:
            return TOO_MANY
        series = self.market.series(self.symbol(asked).replace("-", "."))
        if series is None:
            return NOT_FOUND
        first, last = (date.fromisoformat(asked.params[name]) for name in ("startDate", "endDate"))
        return told([cells(row) for row in series if first <= row.session <= last])


def cells(row: PriceRow) -> dict[str, object]:
    """One session as it comes."""
    prices = {name: getattr(row, name) for name in ("open", "high", "low", "close", "volume")}
    adjusted = {f"adj{name.capitalize()}": value for name, value in prices.items()}
    events = {"divCash": row.dividend, "splitFactor": row.split}
    return {"date": f"{row.session}T00:00:00.000Z", **prices, **adjusted, **events}
