"""docs/numerics.md says what is computed, to the printed digits; docs/factor-models.md has models that are ours.

What the method promises of random books is here too: the tables are of the same ones, which are measured once.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from assets import model_file
from assets.factor_models import BUILT_IN, SAMPLE_5, FactorModel
from assets.numerics.value_at_risk import kupiec_band
from benchmarks import sample_figures

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs" / "factor-models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", ["forecast_table", "split_table", "ratio_table", "coverage_table", "trend_table"])
def test_the_tables_are_what_is_computed(table: str) -> None:
    """The figures in docs/numerics.md are those that the code gives."""
    computed = "\n".join(getattr(sample_figures, table)())
    assert f"\n\n{computed}\n\n" in DOCUMENT


@pytest.mark.parametrize("kind", ["one industry", "pairs"])
def test_the_split_of_narrow_books_is_what_they_realized(kind: str) -> None:
    """Promise: 100 random pairs and one-industry books at every month end have a split ratio within 0.9 to 1.1."""
    _, ratio = sample_figures.ratios(kind)
    assert len(ratio) == 100 * 95
    assert ((ratio > 0.9) & (ratio < 1.1)).all()


def test_the_split_forecasts_as_well_as_the_books_own_series() -> None:
    """Promise: over all kinds of books, QLIKE of the split of now is at most 1.05 times the forecast's."""
    losses = [sample_figures.split_losses(kind) for kind in sample_figures.KINDS]
    split, forecast = (np.mean([loss[name] for loss in losses]) for name in ("scaled to now", "forecast"))
    assert split <= 1.05 * forecast
    assert all(loss["scaled to now"] < loss["as if independent"] for loss in losses)


@pytest.mark.parametrize("kind", ["long", "long and short"])
def test_filtered_value_at_risk_is_exceeded_as_often_as_it_says(kind: str) -> None:
    """Promise: filtered 99% VaR of 100 random books lies inside the 95% band of Kupiec's test for 95 of them."""
    days, found = sample_figures.exceeded(kind)
    low, high = kupiec_band(len(days), 0.01)
    counts = found["filtered"].sum(axis=0)
    assert counts.shape == (100,)
    assert ((counts >= low) & (counts <= high)).sum() >= 95


def test_the_forecast_meets_its_bound_and_the_years_it_loses_are_named() -> None:
    """The document names the years; this finds them in its table."""
    rows = re.findall(r"^\| (20\d\d|all) \| [\d,]+ \| (.+) \|$", DOCUMENT, flags=re.MULTILINE)
    losses = {year: [float(cell.strip("*")) for cell in cells.split(" | ")] for year, cells in rows}
    realized, ewma, forecast = losses.pop("all")
    assert forecast <= 0.50
    assert (realized, ewma) == (0.623, 0.556)
    lost = [year for year, (*others, ours) in losses.items() if ours >= min(others)]
    assert lost == ["2022"]
    assert "It loses one year, 2022, to EWMA" in DOCUMENT


def test_the_example_of_a_model_file_is_one(tmp_path: Path) -> None:
    """The model file in the docs can be used as it stands."""
    (example,) = re.findall(r"```toml\n(.*?)```", MODELS, flags=re.DOTALL)
    file = tmp_path / "model.toml"
    file.write_text(example)
    model = model_file.read(str(file))
    assert (model.name, model.method, model.proxies) == ("two-factors", "ols", ("SP500", "MTUM"))
    assert (model.window, model.min_obs) == (SAMPLE_5.window, SAMPLE_5.min_obs)


@pytest.mark.parametrize("model", BUILT_IN.values(), ids=list(BUILT_IN))
def test_the_built_in_models_are_those_of_the_code(model: FactorModel) -> None:
    """The docs list the built-in models as the code has them."""
    (row,) = re.findall(rf"^\| `{model.name}` \| .*\| (.*) \|$", MODELS, flags=re.MULTILINE)
    pairs = {factor.name: " - ".join(filter(None, (factor.proxy, factor.minus))) for factor in model.factors}
    assert dict(text.split(" ", 1) for text in row.split("; ")) == pairs
