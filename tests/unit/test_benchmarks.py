"""The benchmarks: the committed results have their schema, and methods that are compared compute the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from assets.numerics.constants import BETA_WINDOW
from assets.numerics.factor_windows import factor_windows
from benchmarks import forecasts, portfolios, regressions, report
from benchmarks.__main__ import CASES
from benchmarks.measure import Row, compare, pure
from benchmarks.simulated import simulate, with_gaps

FIELDS = {"case": str, "size": str, "method": str, "cpu_seconds": float, "wall_seconds": float, "sampled": bool}


def test_the_committed_results_follow_the_schema_and_have_ours_in_every_comparison() -> None:
    """The committed measurements have the documented form, and ours in each of them."""
    rows = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    for row in rows:
        assert {name: type(row[name]) for name in FIELDS} == FIELDS
        assert row.keys() - FIELDS.keys() <= {"kb", "stages"}
        assert row["cpu_seconds"] > 0
        assert row["wall_seconds"] > 0
        assert ("kb" in row) == row["case"].startswith("partitions_")
    assert {row["case"] for row in rows} <= CASES.keys()
    measured = {
        (row["case"], row["size"]) for row in rows if row["case"] not in ("ui_statistics", "start")
    }  # compares with nothing
    assert {(row["case"], row["size"]) for row in rows if row["method"] == "ours"} == measured
    assert len({(row["case"], row["size"], row["method"]) for row in rows}) == len(rows)


@pytest.mark.parametrize("sessions", [3, 1])
@pytest.mark.parametrize("method", ["per_date_loop", "rolling_ols", "polars_ols", "lstsq"])
def test_the_methods_of_ols_give_the_same_betas(method: str, sessions: int) -> None:
    """What is compared in speed computes the same betas."""
    if method == "polars_ols":
        pytest.importorskip("polars_ols", reason="installed by make bench")
    panel = simulate(4, sessions, BETA_WINDOW)
    betas = getattr(regressions, method)(panel)
    assert betas.shape == (sessions, 4, 5)
    np.testing.assert_allclose(betas, regressions.ours(panel), rtol=0, atol=1e-12)


def test_a_sample_is_a_part_of_the_same_work() -> None:
    """A sampled method does a part of the very same work."""
    panel = simulate(6, 8, BETA_WINDOW)
    sample = panel.sample(3, 2)
    assert sample.share(panel) == 6 / 48
    np.testing.assert_allclose(regressions.ours(sample), regressions.ours(panel)[-2:, :3], rtol=0, atol=1e-12)


def test_the_methods_of_ridge_give_the_same_betas() -> None:
    """What is compared in speed computes the same ridge betas."""
    panel = simulate(4, 3, BETA_WINDOW)
    np.testing.assert_allclose(regressions.sklearn_ridge(panel), regressions.ours_ridge(panel), rtol=0, atol=1e-12)


def test_the_methods_of_har_give_the_same_forecasts() -> None:
    """What is compared in speed computes the same forecasts."""
    returns = with_gaps(simulate(5, 300, 1), 0.05).returns
    np.testing.assert_allclose(forecasts.pandas_forecast(returns), forecasts.ours(returns), rtol=1e-12)


def test_the_methods_of_portfolio_give_the_same_numbers() -> None:
    """Promise: the loop and ours agree on exposures, HC3 errors, R2, volatility and value at risk."""
    market = portfolios.make_market()
    windows = factor_windows(market.panel.factors, market.panel.targets)
    mine = portfolios.ours(market, market.books[0], windows)
    for own, other in zip(mine, portfolios.loop(market, 3), strict=True):
        np.testing.assert_allclose(own[-3:], other, rtol=1e-8, atol=1e-12)


def test_the_median_of_a_sampled_method_is_scaled_up_and_says_so() -> None:
    """Seconds of a sample are scaled to all of the work, and marked."""
    row, whole = compare("case", "1x1", [pure("sample", lambda: sum(range(10**5)), 0.001), pure("ours", dict)], 3)
    assert row.sampled
    assert row.cpu_seconds > 100 * whole.cpu_seconds
    assert not whole.sampled


def test_results_replace_those_of_the_cases_that_ran_and_keep_the_others(tmp_path: Path) -> None:
    """A run of some cases leaves the results of the others."""
    path = tmp_path / "results.json"
    for row in (Row("ols", "1x1", "old", 1.0, 1.0, False), Row("har", "1x1", "ours", 1.0, 1.0, True, 2.5)):
        report.write([row], path)
    report.write([Row("ols", "1x1", "ours", 2.0, 2.0, False)], path)
    assert [(row["case"], row["method"]) for row in json.loads(path.read_text())] == [("har", "ours"), ("ols", "ours")]
    assert json.loads(path.read_text())[0]["kb"] == 2.5


def test_a_goal_is_judged_by_the_rows_of_its_case_only() -> None:
    """A goal is met or missed by its own case."""
    goal = report.Goal("ols", "5x5", 8, "polars_ols")
    rows = [Row("ols", "5x5", "ours", 1.0, 1.0, False), Row("ols", "5x5", "polars_ols", 9.0, 1.0, False)]
    assert str(goal.judge(rows)).startswith("met")
    assert str(goal.judge([*rows[:1], Row("ols", "5x5", "polars_ols", 7.0, 1.0, False)])).startswith("MISSED")
    assert goal.judge(rows[:1]) is None


def test_a_goal_can_allow_ours_to_take_longer() -> None:
    """A bound on how many times as long as another method ours may take is met from below."""
    goal = report.Goal("write", "5x5", 1.1, "executemany", slower=True)
    other = Row("write", "5x5", "executemany", 1.0, 1.0, False)
    assert str(goal.judge([Row("write", "5x5", "ours", 1.05, 1.0, False), other])).startswith("met")
    assert str(goal.judge([Row("write", "5x5", "ours", 1.2, 1.0, False), other])).startswith("MISSED")
