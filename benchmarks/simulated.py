"""Simulated returns for the cases about numbers: a market, four style spreads, and symbols that load on them."""

from dataclasses import dataclass, replace

import numpy as np

from assets.numerics.arrays import FloatArray, IntArray

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
