"""Factor models: which factors, from which proxies, fitted how.

Not here: the fitting (`assets.numerics.regression`), and reading a model that a user wrote
(`assets.model_file`).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from assets.numerics.constants import BETA_WINDOW, MIN_OBS
from assets.numerics.regression import Method

METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Factor:
    """A factor: the return of `proxy`, less the return of `minus` where one is named."""

    name: str
    proxy: str
    minus: str | None = None


@dataclass(frozen=True)
class FactorModel:
    """A named choice of factors with its method, window and minimum (sessions)."""

    name: str
    factors: tuple[Factor, ...]
    method: Method = "ols"
    window: int = BETA_WINDOW
    min_obs: int = MIN_OBS

    @cached_property
    def definition(self) -> str:
        """The whole definition, on which every number of its rows depends, as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @cached_property
    def key(self) -> str:
        """Name and fingerprint: rows carry it, so a changed definition makes its rows missing instead of mixing."""
        return f"{self.name}@{hashlib.sha256(self.definition.encode()).hexdigest()[:12]}"

    @property
    def factor_names(self) -> tuple[str, ...]:
        """The names of the factors, in the order of the model."""
        return tuple(factor.name for factor in self.factors)

    @cached_property
    def proxies(self) -> tuple[str, ...]:
        """Every symbol that a factor needs, once, in order of first use."""
        named = (symbol for factor in self.factors for symbol in (factor.proxy, factor.minus) if symbol)
        return tuple(dict.fromkeys(named))

    def factor_returns(self, returns: NDArray[np.float64], symbols: Sequence[str]) -> NDArray[np.float64]:
        """Take the factors' returns, shape (sessions, factors), from returns of shape (sessions, symbols)."""
        at = {symbol: returns[:, i] for i, symbol in enumerate(symbols)}
        columns = [at[f.proxy] - at[f.minus] if f.minus else at[f.proxy] for f in self.factors]
        return np.column_stack(columns)


#: The factor catalogue: what each factor is on US listings. A model may take other proxies, never other names.
CATALOGUE = {
    factor.name: factor
    for factor in (
        Factor("market", "SPY"),
        Factor("value", "VTV", "VUG"),
        Factor("growth", "VUG", "SPY"),
        Factor("momentum", "MTUM", "SPY"),
        Factor("quality", "QUAL", "SPY"),
        Factor("size", "IWM", "SPY"),
        Factor("low_volatility", "USMV", "SPY"),
        Factor("interest_rate", "TLT"),
    )
}

#: The built-in model of the sample: its market is an index, and its value ETF stands alone.
SAMPLE_5 = FactorModel(
    "sample-5",
    (
        Factor("market", "SP500"),
        Factor("momentum", "MTUM", "SP500"),
        Factor("quality", "QUAL", "SP500"),
        Factor("size", "SIZE", "SP500"),
        Factor("low_volatility", "USMV", "SP500"),
        Factor("value", "VLUE", "SP500"),
    ),
)

#: The built-in model of all other sources. Without growth: beside value it cannot be told apart (VIF 47).
US_6 = FactorModel("us-6", tuple(factor for factor in CATALOGUE.values() if factor.name != "growth"))

#: The same, its betas weighed against a fixed prior: steadier betas, which no plain regression gives again.
US_6B = replace(US_6, name="us-6b", method="bayes")

BUILT_IN = {model.name: model for model in (SAMPLE_5, US_6, US_6B)}
