"""The table of `sigma show`: 0 is a number, what is not known is a dash, and each caveat is said when it applies."""

import json
from dataclasses import replace
from datetime import date
from io import StringIO

import pytest

from assets.numerics.value_at_risk import LOSSES, Exceedances
from sigma_dagster.analysis.risk import Position, Risk, RiskSplit
from sigma_dagster.cli import render_risk
from sigma_dagster.cli.output import Terminal

NOTHING = Risk(
    portfolio="p",
    as_of=date(2022, 12, 28),
    factor_model="m@1",
    reason="No active position",
    **dict.fromkeys(("weight_basis", "weight_coverage", "entry_share", "stale_share", "gross", "net", "denominator")),  # type: ignore[arg-type]
    market_total=None,
    exposures={"market": None, "low_volatility": None},
    standard_errors={"market": None, "low_volatility": None},
    r_squared=None,
    quality=None,
    **dict.fromkeys(("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d", "forecast_model")),  # type: ignore[arg-type]
    **dict.fromkeys(("vol_trend", "vol_trend_p", "vol_percentile", "return_coverage")),  # type: ignore[arg-type]
    low_coverage=False,
    **dict.fromkeys(LOSSES),  # type: ignore[arg-type]
    exceedances={name: Exceedances(0, 0, 0.0, 0, 0) for name in ("var_95_1d", "var_99_1d")},
    risk_split=RiskSplit({"market": None, "low_volatility": None}, None, {}),
    split_vol=None,
    risk_split_equal_weighted=RiskSplit({"market": None, "low_volatility": None}, None, {}),
    split_vol_equal_weighted=None,
    split_ratio=None,
    diversifiable_share=None,
    positions=(),
)
ZERO = replace(
    NOTHING,
    reason=None,
    **dict.fromkeys(("weight_coverage", "entry_share", "stale_share", "gross", "net", "denominator"), 0.0),  # type: ignore[arg-type]
    market_total=0.0,
    exposures={"market": 0.0, "low_volatility": -0.0},
    standard_errors={"market": 0.0, "low_volatility": 0.0},
    r_squared=0.0,
    **dict.fromkeys(("realized_vol_21d", "realized_vol_63d", "ewma_vol", "forecast_vol_21d"), 0.0),  # type: ignore[arg-type]
    vol_percentile=0.0,
    return_coverage=1.0,
    **dict.fromkeys(LOSSES, 0.0),  # type: ignore[arg-type]
    risk_split=RiskSplit({"market": 0.0, "low_volatility": 0.0}, 0.0, {"A": 0.0}),
    split_ratio=1.0,
    positions=(Position("A", "public", 0.0, "market", "full_history", 0, 0.0),),
)


def printed(found: Risk) -> list[str]:
    out = StringIO()
    render_risk.risk(Terminal(file=out), found)
    return out.getvalue().splitlines()


def line(found: Risk, start: str) -> list[str]:
    (one,) = (text for text in printed(found) if text.startswith(start))
    return one[len(start) :].split()


def test_trap_31_zero_is_a_number_and_unknown_is_a_dash() -> None:
    """On the terminal 0 is a number and unknown is a dash."""
    assert line(NOTHING, "market, in total") == ["-"]
    assert line(ZERO, "market, in total") == ["0.000"]
    assert line(NOTHING, "low volatility") == ["-", "-", "-"]
    assert line(ZERO, "low volatility") == ["0.000", "0.000", "0.0%"]
    assert line(NOTHING, "forecast, next 21 sessions") == ["-"]
    assert line(ZERO, "forecast, next 21 sessions") == ["0.0%"]
    for label in ("value at risk, by the volatility of now", "... as in the last 252", "... normal, with the forecast"):
        assert line(NOTHING, label)[-4:] == ["-"] * 4
        assert line(ZERO, label)[-4:] == ["0.00%", "$0", "0.00%", "$0"]
    assert line(ZERO, "expected shortfall, worst 2.5%") == ["0.00%", "$0"]
    assert line(ZERO, "A ") == ["0.0%", "market", "0.0%", "full", "history", "0", "0.0%"]


def test_trap_31_zero_and_unknown_are_different_in_json() -> None:
    """In JSON 0 is a number and unknown is null."""
    nothing, zero = (json.loads(json.dumps(found.to_json(), allow_nan=False)) for found in (NOTHING, ZERO))
    for name in ("market_total", "realized_vol_21d", "r_squared", "var_95_1d", "var_95_1d_usd", "weight_coverage"):
        assert (nothing[name], zero[name]) == (None, 0.0), name
    assert (nothing["exposures"]["market"], zero["exposures"]["market"]) == (None, 0.0)


def test_why_nothing_is_known_is_said() -> None:
    """A missing number comes with its reason."""
    lines = printed(NOTHING)
    assert "Not known: No active position" in lines
    assert not any("99% value" in text for text in lines)
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(("ratio", "said"), [(0.69, True), (0.70, False), (1.30, False), (1.31, True), (None, False)])
def test_a_split_far_from_what_was_realized_is_said(ratio: float | None, said: bool) -> None:
    """A split that misses the realized variance is said."""
    lines = printed(replace(ZERO, split_ratio=ratio))
    assert any("make the split another book than the returns" in text for text in lines) is said


@pytest.mark.parametrize(("share", "said"), [(0.69, True), (0.70, False), (2.0, False), (None, False)])
def test_positions_that_move_together_are_said(share: float | None, said: bool) -> None:
    """Promise: specific risk that positions share is no matter of diversification, and a line says so."""
    lines = printed(replace(ZERO, diversifiable_share=share))
    assert any("move together in a way the factors do not see" in text for text in lines) is said


def test_exceedances_are_counted_beside_what_is_expected() -> None:
    """Promise: how often more was lost than said, the number to expect and its band; a count outside gets a line."""
    counted = {"var_95_1d": Exceedances(252, 14, 12.6, 7, 19), "var_99_1d": Exceedances(252, 7, 2.52, 1, 6)}
    found = replace(ZERO, exceedances=counted)
    assert line(found, "95% value at risk, 252 sessions compared") == ["14", "12.6", "7", "to", "19"]
    assert line(found, "99% value at risk, 252 sessions compared") == ["7", "2.5", "1", "to", "6"]
    (note,) = (text for text in printed(found) if "outside the 95% band" in text)
    assert note == "99% value at risk was exceeded 7 times, outside the 95% band 1 to 6"
    assert not any("sessions compared" in text for text in printed(ZERO))


def test_coverage_is_said_beside_the_headline() -> None:
    """Promise: under 100% the second line says of what the numbers are, in percent and dollars."""
    found = replace(
        ZERO, gross=1000.0, denominator=1000.0, low_coverage=True, weight_coverage=0.72, return_coverage=0.815
    )
    (one,) = (text for text in printed(found)[:2] if text.startswith("Exposures cover"))
    assert one.endswith("72.0% of value; volatility and losses are of the 81.5% with returns, $815")
    assert len(one) <= 100
    assert any(text.startswith("Low coverage") for text in printed(found))
    whole = printed(replace(found, low_coverage=False, weight_coverage=1.0, return_coverage=1.0))
    assert not any(text.startswith(("Exposures cover", "Low coverage")) for text in whole)


def test_dollars_are_of_what_the_rate_is_a_share_of() -> None:
    """Promise: a loss of 4% of the covered $300 is $12, with equity too, on the screen and in JSON."""
    for gross, denominator in ((1000.0, 1000.0), (5000.0, 1000.0)):
        found = replace(ZERO, gross=gross, denominator=denominator, return_coverage=0.3, var_99_1d=0.04)
        assert found.to_json()["covered_value"] == pytest.approx(300)
        assert found.to_json()["var_99_1d_usd"] == pytest.approx(12)
        assert line(found, "value at risk, by the volatility of now")[-2:] == ["4.00%", "$12"]


def test_a_private_position_is_not_taken_for_the_public_one() -> None:
    """Promise: one symbol held as both is two lines that can be told apart."""
    both = (Position("KO", "public", 0.6, "market", "full_history", 252, 0.5),)
    both += (Position("KO", "private", 0.4, "entry", None, None, None),)
    found = replace(ZERO, positions=both)
    assert ["private" in text for text in printed(found) if text.startswith("KO")] == [False, True]
    assert [one["asset_class"] for one in found.to_json()["positions"]] == ["public", "private"]


def test_prices_that_are_not_the_markets_of_the_day_are_said() -> None:
    """Values at entry or stale prices are said with their shares."""
    (value,) = (text for text in printed(replace(ZERO, entry_share=0.1, stale_share=0.25)) if text.startswith("Value"))
    assert value.endswith("10.0% at entry prices, 25.0% at stale prices")


def test_weights_by_equity_say_what_they_are_shares_of() -> None:
    """With an equity, the page says that weights are shares of it."""
    (value,) = (
        text for text in printed(replace(ZERO, gross=900.0, net=-50.0, denominator=1000.0)) if text.startswith("Value")
    )
    assert value == "Value: gross $900, net -$50, weights are shares of the equity, $1,000"


def test_many_positions_are_cut_and_counted() -> None:
    """A long list of positions is cut, and the rest counted."""
    many = tuple(Position(f"S{i}", "public", 0.01, "market", "full_history", 252, 0.5) for i in range(1200))
    lines = printed(replace(ZERO, positions=many))
    assert sum(text.startswith("S") for text in lines) == 25
    assert "... and 1,175 smaller positions; --json has all" in lines


#: The README's my.csv: AAPL at $15,081, a private loft at $250,000.
MINE = replace(
    ZERO,
    **dict.fromkeys(("gross", "net", "denominator"), 265_081.0),  # type: ignore[arg-type]
    **dict.fromkeys(("weight_coverage", "return_coverage"), 15_081 / 265_081),  # type: ignore[arg-type]
    weight_basis="mixed",
    exposures={"market": 0.066, "low_volatility": 0.0},
    var_95_1d=0.0375,
)


def test_dollars_are_the_rate_times_the_value_it_is_a_rate_of() -> None:
    """D1: $15,081 of stock at 3.75% can lose $566, whatever stands beside it; by equity, the covered part of it."""
    assert MINE.covered_value == pytest.approx(15_081)
    assert MINE.in_dollars("var_95_1d") == pytest.approx(0.0375 * 15_081)
    assert line(MINE, "value at risk, by the volatility of now")[:2] == ["3.75%", "$566"]
    leveraged = replace(MINE, denominator=1_000.0, return_coverage=0.5)
    assert leveraged.in_dollars("var_95_1d") == pytest.approx(0.0375 * 500)
    assert MINE.to_json()["covered_value"] == pytest.approx(15_081)


def test_a_screen_says_of_what_its_rates_are_shares() -> None:
    """D1: coverage stands below the headline, and exposures are given of the whole and of the covered part."""
    said = "Exposures cover 5.7% of value; volatility and losses are of the 5.7% with returns, $15,081"
    assert printed(MINE)[1] == said
    assert line(MINE, "market ") == ["0.066", "0.000", "0.0%", f"{0.066 * 265_081 / 15_081:.3f}"]
    whole = printed(replace(MINE, weight_coverage=1.0, return_coverage=1.0))
    assert not any("cover" in text for text in whole)


def test_positions_without_a_value_are_named() -> None:
    """G5: a lot with neither a market price nor an entry price is listed, since weights leave it out."""
    gift = replace(ZERO.positions[0], symbol="GIFT", price_basis="none", unvalued=True)
    assert any(text.startswith("Not valued: GIFT") for text in printed(replace(ZERO, positions=(gift,))))
