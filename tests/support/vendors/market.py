"""The prices that the pretended vendors sell: raw rows with their dividends and splits, up to a session that moves.

Five real stocks from the fixtures, or any number of simulated ones; what each vendor makes of a row stands with it.
"""

import csv
import functools
import gzip
import math
import random
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from pathlib import Path

from resources import calendar
from resources.sources.base import PriceRow

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "ohlcv_raw_5_stocks_2000_2013.csv.gz"


class Market:
    """Rows by symbol; a vendor shows those up to `through`."""

    def __init__(self, rows: dict[str, list[PriceRow]], through: date | None = None) -> None:
        self.rows = rows
        self.through = through or max(series[-1].session for series in rows.values())

    def series(self, symbol: str) -> list[PriceRow] | None:
        """What is known of a symbol by now, None if there is no such symbol."""
        series = self.rows.get(symbol)
        if series is None:
            return None
        return series[: bisect_right(series, self.through, key=lambda row: row.session)]

    def replace(self, symbol: str, session: date, **values: float) -> None:
        """Correct a row."""
        self.rows[symbol] = [row._replace(**values) if row.session == session else row for row in self.rows[symbol]]

    def without(self, symbol: str, *sessions: date) -> None:
        """Take rows away."""
        self.rows[symbol] = [row for row in self.rows[symbol] if row.session not in sessions]


def archive() -> Market:
    """Five real stocks, 2000-03-01 to 2013-03-01."""
    return Market({symbol: list(series) for symbol, series in _archive().items()})


@functools.cache
def _archive() -> dict[str, list[PriceRow]]:
    days: dict[str, list[tuple[date, dict[str, float]]]] = {}
    with gzip.open(ARCHIVE, "rt", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            symbol, day = line.pop("symbol"), date.fromisoformat(line.pop("date"))
            days.setdefault(symbol, []).append((day, {name: float(text) for name, text in line.items()}))
    return {symbol: _with_events(series) for symbol, series in days.items()}


def _with_events(series: list[tuple[date, dict[str, float]]]) -> list[PriceRow]:
    """Recover dividend and split from what the adjusted return has beyond the raw one."""
    found = [_row(*series[0], growth=1.0)]
    for (_, before), (day, cell) in pairwise(series):
        growth = (cell["adj_close"] / before["adj_close"]) / (cell["close"] / before["close"])
        found.append(_row(day, cell, growth))
    return found


def _row(day: date, cell: dict[str, float], growth: float) -> PriceRow:
    split = float(round(growth)) if growth > 1.4 else 1.0
    dividend = round(cell["close"] * (growth / split - 1), 4)
    numbers = {name: cell[name] for name in ("open", "high", "low", "close", "volume")}
    return PriceRow(day, **numbers, dividend=max(0.0, dividend) if dividend > 0.001 else 0.0, split=split)


def simulated(symbols: Iterable[str], first: date, last: date) -> Market:
    """A market factor with its followers: the same prices for the same symbol and sessions, whoever asks."""
    sessions = calendar.sessions(first, last)
    common = random.Random(7)  # noqa: S311 - prices, not secrets
    market = [common.gauss(0.0004, 0.01) for _ in sessions]
    return Market({symbol: _follow(symbol, sessions, market) for symbol in symbols}, last)


def _follow(symbol: str, sessions: list[date], market: list[float]) -> list[PriceRow]:
    own = random.Random(zlib.crc32(symbol.encode()))  # noqa: S311 - prices, not secrets
    beta, spread, close = own.uniform(0.4, 1.6), own.uniform(0.004, 0.015), own.uniform(20, 300)
    pays = own.random() < 0.7
    rows = []
    for i, (day, common) in enumerate(zip(sessions, market, strict=True)):
        dividend = round(close * 0.005, 2) if pays and i % 63 == 40 else 0.0
        opened = round(close, 2)
        close = max(1.0, close * math.exp(beta * common + own.gauss(0, spread)) - dividend)
        told = round(close, 2)
        high, low = round(max(opened, told) * 1.004, 2), round(min(opened, told) * 0.996, 2)
        rows.append(PriceRow(day, opened, high, low, told, float(own.randint(10**5, 10**7)), dividend, 1.0))
    return rows
