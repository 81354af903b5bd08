"""A portfolio against the factors of a model: its exposures, how exact they are, where its risk comes from.

No Dagster: the command line measures books too. The book itself is `valuation`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from assets.factor_models import FactorModel
from assets.numerics import portfolio, regression, residuals, risk
from assets.numerics.arrays import FloatArray
from assets.numerics.factor_windows import FactorWindows, factor_windows
from assets.numerics.portfolio import Exposures
from assets.numerics.returns import simple_returns
from assets.numerics.risk import RiskSplit
from assets.shared.valuation import SymbolExposures, Valued
from resources.database.prices import PricePanel


@dataclass
class Windows:
    """The factor windows of a model, made once for all books that are measured on the same sessions and prices."""

    model: FactorModel
    _made: dict[object, tuple[FactorWindows, ...]] = field(default_factory=dict)

    def of(self, panel: PricePanel, sessions: Sequence[date]) -> tuple[FactorWindows, ...]:
        """Give the windows of the factors that are fitted together; with method univariate, of each factor."""
        used = tuple(panel.revision[proxy] for proxy in self.model.proxies)
        key = tuple(sessions), panel.sessions[0], panel.sessions[-1], used
        if key not in self._made:
            self._made.clear()
            returns = simple_returns(panel.close, panel.dividend, panel.split)
            factors = self.model.factor_returns(returns, panel.symbols)
            targets = np.searchsorted(np.array(panel.sessions), np.array(sessions))
            fitted = np.split(factors, factors.shape[1], axis=1) if self.model.method == "univariate" else [factors]
            self._made[key] = tuple(factor_windows(each, targets, self.model.window) for each in fitted)
        return self._made[key]


@dataclass(frozen=True)
class FactorRisk:
    """The risk of a book, or of several, at D sessions, S symbols and K factors."""

    exposures: Exposures
    standard_errors: FloatArray  # (..., D, K)
    split: RiskSplit | None = None  # None if there are no betas or they do not add up, as the next two
    shares: FloatArray | None = None  # (D, S) of each symbol in the risk of now
    equal_weighted_shares: FloatArray | None = None


def measure(book: Valued, own: SymbolExposures, windows: Windows, *, by_position: bool = False) -> FactorRisk:
    """Measure books whose panel has the prices of the model's proxies, over the window of each of their sessions.

    Shares of positions are made if asked for, of one book: they cost more than all else. A book without a public symbol
    has no exposures, and needs no prices.
    """
    exposures = portfolio.expose(book.weights, own.beta, own.market_total, own.quality)
    if not book.public:
        return FactorRisk(exposures, np.full_like(exposures.exposure, np.nan))
    covered = np.isfinite(own.beta).all(axis=-1, keepdims=True)
    fitted, errors, first = windows.of(book.panel, book.sessions), [], 0
    for window in fitted:
        last = first + window.factors.shape[1]
        beta = np.where(covered, own.beta[..., first:last], np.nan)
        found = residuals.residuals(book.weights, beta, book.returns, window)
        errors.append(residuals.standard_errors(found, window))
        first = last
    known = np.isfinite(exposures.exposure)
    measured = FactorRisk(exposures, np.where(known, np.concatenate(errors, axis=-1), np.nan))
    if windows.model.method == "univariate":
        return measured
    names = windows.model.factor_names
    market = names.index(regression.MARKET) if regression.MARKET in names else None
    split = risk.split_risk(found, window, own.r_squared, book.returns, book.series, market)
    measured = replace(measured, split=split)
    if by_position:
        shares = [risk.position_shares(found, window, book.returns, equal_weighted=equal) for equal in (False, True)]
        measured = replace(measured, shares=shares[0], equal_weighted_shares=shares[1])
    return measured
