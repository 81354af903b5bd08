"""Factor models: the catalogue, the built-in models, what their key covers, and the returns of their factors."""

from dataclasses import replace

import numpy as np
import pytest

from assets.factor_models import BUILT_IN, CATALOGUE, METHODS, SAMPLE_5, US_6, Factor, FactorModel
from resources.database.tables import FACTORS, factor_model
from resources.sources.sample import SampleSource


def test_the_catalogue_names_the_factors_that_have_columns() -> None:
    """Each factor of the catalogue has its columns in the tables, and no other."""
    assert tuple(CATALOGUE) == FACTORS
    assert all(name == factor.name for name, factor in CATALOGUE.items())


def test_the_first_method_is_the_default() -> None:
    """The method named first is the one used when none is given."""
    assert METHODS[0] == SAMPLE_5.method == "ols"


def test_built_in_models_are_those_of_the_specification() -> None:
    """The built-in models are what the specification says, factor by factor."""
    pairs = {name: {f.name: (f.proxy, f.minus) for f in model.factors} for name, model in BUILT_IN.items()}
    assert pairs == {
        "sample-5": {
            "market": ("SP500", None),
            "momentum": ("MTUM", "SP500"),
            "quality": ("QUAL", "SP500"),
            "size": ("SIZE", "SP500"),
            "low_volatility": ("USMV", "SP500"),
            "value": ("VLUE", "SP500"),
        },
        "us-6": {
            "market": ("SPY", None),
            "value": ("VTV", "VUG"),
            "momentum": ("MTUM", "SPY"),
            "quality": ("QUAL", "SPY"),
            "size": ("IWM", "SPY"),
            "low_volatility": ("USMV", "SPY"),
            "interest_rate": ("TLT", None),
        },
        "us-6b": pairs["us-6"],
    }


@pytest.mark.parametrize("model", BUILT_IN.values(), ids=list(BUILT_IN))
def test_a_built_in_model_is_of_a_year_with_the_market_first(model: FactorModel) -> None:
    """Promise: least squares, which anyone can check, but for the one whose name says that it is not."""
    assert (model.method, model.window, model.min_obs) == ("bayes" if model.name == "us-6b" else "ols", 252, 60)
    assert model.factor_names[0] == "market"
    assert BUILT_IN[model.name] is model


def test_the_sample_has_every_proxy_of_its_model() -> None:
    """The model of the sample can be computed from the sample."""
    assert set(SAMPLE_5.proxies) <= set(SampleSource().symbols())


def test_proxies_are_named_once_in_order_of_use() -> None:
    """A proxy that serves two factors is fetched once."""
    assert US_6.proxies == ("SPY", "VTV", "VUG", "MTUM", "QUAL", "IWM", "USMV", "TLT")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"method": "ridge"},
        {"window": 251},
        {"min_obs": 61},
        {"factors": SAMPLE_5.factors[:-1]},
        {"factors": (*SAMPLE_5.factors[:-1], Factor("value", "VLUE"))},
        {"factors": (*SAMPLE_5.factors[:-1], Factor("value", "VLUE", "MTUM"))},
        {"factors": (*SAMPLE_5.factors[:-1], Factor("growth", "VLUE", "SP500"))},
    ],
    ids=str,
)
def test_every_part_of_the_definition_changes_the_key(change: dict[str, object]) -> None:
    """No two definitions share rows."""
    changed = replace(SAMPLE_5, **change)  # type: ignore[arg-type]
    assert changed.key != SAMPLE_5.key
    assert replace(changed, **{name: getattr(SAMPLE_5, name) for name in change}).key == SAMPLE_5.key


def test_the_key_of_the_sample_model_stays() -> None:
    """Rows carry it: another one means that every stored row is computed again."""
    assert SAMPLE_5.key == "sample-5@47dcea67d5fe"


def test_a_key_fits_its_column() -> None:
    """The key of any allowed name fits the column."""
    longest = replace(SAMPLE_5, name="n" * 40)
    assert len(longest.key) <= factor_model.c.model.type.length


def test_a_factor_is_its_proxy_less_another() -> None:
    """A factor return is the proxy's return minus the second proxy's."""
    model = FactorModel("two", (Factor("market", "M"), Factor("value", "V", "M")))
    returns = np.array([[0.01, 0.03, 9.0], [np.nan, 0.02, 9.0], [-0.02, 0.01, 9.0]])
    factors = model.factor_returns(returns, ["M", "V", "OTHER"])
    np.testing.assert_allclose(factors, [[0.01, 0.02], [np.nan, np.nan], [-0.02, 0.03]], rtol=1e-15)
