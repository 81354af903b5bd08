"""Regressions of symbols on a model's factors as columns of `factor_exposure`.

No Dagster: the command line fits what it hedges with.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from assets.factor_models import FactorModel
from assets.numerics import regression
from assets.numerics.arrays import BoolArray
from assets.numerics.returns import outliers, simple_returns
from resources.database.bulk import Columns
from resources.database.prices import PricePanel
from resources.database.tables import FACTORS


def fit_columns(model: FactorModel, panel: PricePanel, symbols: Sequence[str], targets: Sequence[int]) -> Columns:
    """Give the columns of `factor_exposure` in symbol-major order.

    :param panel: has the symbols' prices and the proxies'.
    :param targets: rows of the panel, ascending.
    """
    returns = simple_returns(panel.close, panel.dividend, panel.split)
    doubted = outliers(returns, panel.split)
    of_factors: BoolArray = np.any(doubted[:, panel.columns(model.proxies)], axis=1, keepdims=True)
    fits = regression.fit(
        returns[:, panel.columns(symbols)],
        model.factor_returns(returns, panel.symbols),
        targets,
        factor_names=model.factor_names,
        method=model.method,
        window=model.window,
        min_obs=model.min_obs,
        outliers=doubted[:, panel.columns(symbols)] | of_factors,
    )
    columns: dict[str, Any] = {
        "symbol": [symbol for symbol in symbols for _ in targets],
        "session": [panel.sessions[t].isoformat() for t in targets] * len(symbols),
        "model": [model.key] * (len(symbols) * len(targets)),
    }
    for name in FACTORS:
        if name in model.factor_names:
            k = model.factor_names.index(name)
            columns[f"beta_{name}"] = fits.beta[:, :, k].T.ravel()
            columns[f"se_{name}"] = fits.se[:, :, k].T.ravel()
    for name in ("market_total", "r_squared", "residual_vol", "n_obs", "reason"):
        columns[name] = getattr(fits, name).T.ravel()
    columns["condition"] = fits.condition.tolist() * len(symbols)
    columns["max_vif"] = fits.max_vif.tolist() * len(symbols)
    columns["quality"] = regression.QUALITY_LABELS[fits.quality].T.ravel()
    return columns
