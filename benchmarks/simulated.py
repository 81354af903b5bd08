"""Simulated returns: a market, four style spreads, and symbols that load on them; as arrays, and as a price source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np

from assets.numerics.arrays import FloatArray, IntArray
from assets.numerics.constants import LOOKBACK_RETURNS
from resources import calendar
from resources.sources.base import PriceRow

FACTORS = ("market", "momentum", "quality", "size", "value")


@dataclass(frozen=True)
class Panel:
    """Returns on consecutive sessions, the look-back of the first target among them."""

    returns: FloatArray
    """(T, S) decimal."""
    factors: FloatArray
    """(T, K)."""
    targets: IntArray
    """(D,) the last rows."""

    @property
    def size(self) -> str:
        """Symbols x target sessions."""
        return f"{self.returns.shape[1]}x{len(self.targets)}"

    def sample(self, symbols: int, sessions: int | None = None) -> "Panel":
        """The first symbols, and the last target sessions (None: all)."""
        targets = self.targets if sessions is None else self.targets[-sessions:]
        return replace(self, returns=self.returns[:, :symbols], targets=targets)

    def share(self, whole: "Panel") -> float:
        """How much of the whole this sample is."""
        return self.cells / whole.cells

    @property
    def cells(self) -> int:
        """How many fits it asks for."""
        return int(self.returns[self.targets].size)


def simulate(symbols: int, sessions: int, lookback: int) -> Panel:
    """Simulate `sessions` targets, each with `lookback` returns, its own among them; the same ones in every run."""
    random = np.random.default_rng(1)
    n_rows = lookback - 1 + sessions
    factors = random.normal(0.0, (0.010, 0.004, 0.003, 0.004, 0.003), (n_rows, len(FACTORS)))
    beta = random.normal((1.0, 0.0, 0.0, 0.0, 0.0), 0.4, (symbols, len(FACTORS)))
    returns = factors @ beta.T + random.normal(0.0, 0.015, (n_rows, symbols))
    return Panel(returns, factors, np.arange(lookback - 1, n_rows))


def with_gaps(panel: Panel, share: float = 0.005) -> Panel:
    """The panel with a share of its returns missing, each symbol's at sessions of its own."""
    missing = np.random.default_rng(2).random(panel.returns.shape) < share
    return replace(panel, returns=np.where(missing, np.nan, panel.returns))


class SimulatedSource:
    """Daily bars of a simulated market, the same ones in every run: proxies are the market and a style of their own."""

    name = "simulated"
    title = "the simulated prices"
    coverage = "as many symbols as are asked for"

    def __init__(self, proxies: Sequence[str], symbols: Sequence[str], n_targets: int, last: date) -> None:
        """Prices of the target sessions up to the last, and of the look-back of the first."""
        self.calls = 0
        self._proxies, self._symbols = tuple(proxies), tuple(symbols)
        self._sessions = calendar.last_sessions(LOOKBACK_RETURNS + n_targets + 1, last)

    def fetch(self, symbol: str, first: date, last: date) -> Sequence[PriceRow]:
        """Rows of the sessions."""
        self.calls += 1
        return [
            PriceRow(day, close, close * 1.01, close * 0.99, close, 1e6, dividend=0.0, split=1.0)
            for day, close in zip(self._sessions, self._closes[symbol], strict=True)
            if first <= day <= last
        ]

    def latest_session(self) -> date:
        """The last session."""
        return self._sessions[-1]

    def symbols(self) -> Sequence[str]:
        """All symbols, the proxies first."""
        return (*self._proxies, *self._symbols)

    @cached_property
    def _closes(self) -> dict[str, list[float]]:
        panel = simulate(len(self._symbols), len(self._sessions), lookback=1)
        styles = np.random.default_rng(3).normal(0.0, 0.004, (len(self._sessions), len(self._proxies)))
        steps = np.hstack([panel.factors[:, :1] + styles, panel.returns])
        return dict(zip(self.symbols(), (100 * np.exp(steps.cumsum(axis=0))).T.tolist(), strict=True))
