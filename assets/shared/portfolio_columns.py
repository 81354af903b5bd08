"""Measured books as columns of the two portfolio tables: what is stored, and what a book that is not stored would be.

No Dagster: the command line asks what would be stored.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.factor_models import FactorModel
from assets.numerics import regression, volatility
from assets.numerics.arrays import FloatArray, TextArray
from assets.numerics.risk import NO_SPLIT_UNIVARIATE, RiskSplit
from assets.numerics.value_at_risk import LOSSES, value_at_risk
from assets.shared.factor_risk import FactorRisk
from assets.shared.valuation import Stack, Valued
from assets.shared.volatility_columns import volatility_columns
from resources.database.bulk import Columns


def exposure_columns(model: FactorModel, loaded: Valued, found: FactorRisk) -> Columns:
    """Give the columns of `portfolio_factor_exposure`, one value a session of each book."""
    columns: dict[str, Any] = {"model": [model.key] * loaded.weights.gross.size}
    columns |= _by_factor("exposure", model, found.exposures.exposure)
    columns |= _by_factor("se", model, found.standard_errors)
    for name in ("weight_basis", "entry_share", "stale_share", "gross", "net", "denominator"):
        columns[name] = getattr(loaded.weights, name).ravel()
    for name in ("market_total", "weight_coverage", "reason"):
        columns[name] = getattr(found.exposures, name).ravel()
    columns["quality"] = regression.QUALITY_LABELS[found.exposures.quality].ravel()
    if found.split is None and not loaded.public:
        return columns
    if found.split is None:
        # The exposures are there; only what they cannot be added up to is missing, and this says why.
        return {**columns, "reason": [why or NO_SPLIT_UNIVARIATE for why in columns["reason"]]}
    return {**columns, **_split_columns(model, found.split)}


def _split_columns(model: FactorModel, split: RiskSplit) -> Columns:
    others = {
        "share_specific": split.now.specific,
        "split_vol": split.now.vol,
        "split_vol_equal_weighted": split.equal_weighted.vol,
        "r_squared": split.r_squared,
        "diversifiable_share": split.diversifiable_share,
        "split_ratio": split.split_ratio,
    }
    columns = _by_factor("share", model, split.now.by_factor)
    return columns | {name: values.ravel() for name, values in others.items()}


def _by_factor(prefix: str, model: FactorModel, values: FloatArray) -> dict[str, Any]:
    return {f"{prefix}_{name}": values[..., k].ravel() for k, name in enumerate(model.factor_names)}


def movement_columns(books: Iterable[Stack]) -> Columns:
    """Give the columns of `portfolio_volatility`, one value a session of each book."""
    series, weights, parts = list[FloatArray](), list[TextArray](), list[dict[str, Any]]()
    for loaded in books:
        series.append(loaded.series.returns.reshape(len(loaded.series.returns), -1))
        weights.append(loaded.weights.reason.ravel())
        parts.append(_session_columns(loaded))
    # A series a session: each has its own weights, so each is as of its last return.
    returns = np.hstack(series)
    found = volatility.volatility(returns, [len(returns) - 1])
    at_risk = value_at_risk(returns, found.forecast_vol_21d[0])
    columns: dict[str, Any] = {**volatility_columns(found), **joined(parts)}
    for name in LOSSES:
        columns[name] = getattr(at_risk, name)
    reasons = zip(np.concatenate(weights), columns["reason"], at_risk.reason, strict=True)
    columns["reason"] = [why or "; ".join(filter(None, missing)) or None for why, *missing in reasons]
    return columns


def _session_columns(loaded: Stack) -> dict[str, Any]:
    coverage = loaded.series.return_coverage
    return {
        "return_1d": loaded.returns_1d().ravel(),
        "return_coverage": coverage.ravel(),
        "low_coverage": loaded.series.low_coverage(np.ones(coverage.shape)).astype(int).ravel(),
    }


def joined(parts: Sequence[Columns]) -> dict[str, Any]:
    """Give the rows of all parts one after the other; a number that a part does not speak of is unknown there."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([_column(part, name) for part in parts]) for name in names}


def _column(part: Columns, name: str) -> NDArray[Any]:
    found = part.get(name)
    if found is None:
        return np.full(len(next(iter(part.values()))), np.nan)
    return found if isinstance(found, np.ndarray) else np.array(found, dtype=object)
