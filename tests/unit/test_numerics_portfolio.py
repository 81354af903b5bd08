"""Positions, weights, exposures and coverage, worked by hand, and the sign and denominator rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assets.numerics.portfolio import Lots, Positions, Weights, expose, value_positions, weigh
from assets.numerics.regression import Quality

SESSIONS = np.arange("2022-01-03", "2022-01-18", dtype="datetime64[D]")  # 15 of them; weekends do not matter here
NOT_YET = np.datetime64("NaT", "D")
A, B, C = 0, 1, 2
Array = NDArray[np.float64]


def make_lots(*rows: dict[str, object], shares_as_of: str = "2022-01-17") -> Lots:
    """Lots from their fields; long-held, open and listed unless said otherwise."""
    usual = {
        "entry_price": 50.0, "entry_date": np.datetime64("2021-01-01"), "exit_date": NOT_YET,
        "shares_as_of": np.datetime64(shares_as_of), "private": False, "cash": False,
    }  # fmt: skip
    full = [{**usual, **row} for row in rows]
    dates = ("entry_date", "exit_date", "shares_as_of")
    return Lots(
        symbol=np.array([row["symbol"] for row in full], dtype=np.int64),
        quantity=np.array([row["quantity"] for row in full], dtype=float),
        entry_price=np.array([row["entry_price"] for row in full], dtype=float),
        **{name: np.array([row[name] for row in full], dtype="datetime64[D]") for name in dates},
        private=np.array([row["private"] for row in full], dtype=bool),
        cash=np.array([row["cash"] for row in full], dtype=bool),
    )


def value(lots: Lots, close: Array, split: Array | None = None, targets: object = (14,)) -> Positions:
    return value_positions(lots, close, np.ones_like(close) if split is None else split, SESSIONS, np.array(targets))


def flat(*prices: float) -> Array:
    """Closes that stay the same."""
    return np.tile(np.array(prices, dtype=float), (15, 1))


def random_lots(seed: int) -> tuple[Lots, Array]:
    rng = np.random.default_rng(seed)
    lots = make_lots(
        *(
            {"symbol": int(s), "quantity": float(q)}
            for s, q in zip(rng.integers(0, 4, 9), rng.normal(0, 100, 9), strict=True)
        )
    )
    return lots, 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (15, 4)), axis=0))


def test_trap_16_lots_of_a_symbol_are_added() -> None:
    """Promise: the second lot does not overwrite the first: 30 + 20 - 10 shares at 10 are 400."""
    lots = make_lots(
        {"symbol": A, "quantity": 30},
        {"symbol": B, "quantity": 5},
        {"symbol": A, "quantity": 20},
        {"symbol": A, "quantity": -10},
    )
    positions = value(lots, flat(10, 100))
    assert positions.value[0] == pytest.approx([400, 500])
    assert weigh(positions).weight[0] == pytest.approx([4 / 9, 5 / 9])


def test_a_neutral_book_is_weighed_by_gross_or_equity_never_by_net() -> None:
    """Promise: 1000 long and 990 short has weights of 1990 gross, or of the given equity, never of the net of 10."""
    lots = make_lots({"symbol": A, "quantity": 100}, {"symbol": B, "quantity": -99})
    positions = value(lots, flat(10, 10))
    by_gross, by_equity = weigh(positions), weigh(positions, equity=500.0)
    assert by_gross.weight[0] == pytest.approx([1000 / 1990, -990 / 1990])
    assert (by_gross.gross[0], by_gross.net[0], by_gross.denominator[0]) == pytest.approx((1990, 10, 1990))
    assert by_equity.weight[0] == pytest.approx([2.0, -1.98])
    assert by_equity.gross_share[0] == pytest.approx(np.abs(by_gross.weight[0]))


def test_market_and_entry_prices_are_told_apart() -> None:
    """Promise: a position without a market price stands at entry, and the row says how much of gross that is."""
    close = flat(10, np.nan, 20)
    lots = make_lots(
        {"symbol": A, "quantity": 10}, {"symbol": B, "quantity": 2}, {"symbol": C, "quantity": -5, "private": True}
    )
    found = weigh(value(lots, close))
    assert (found.weight_basis[0], found.gross[0]) == ("mixed", 100 + 100 + 250)
    assert found.entry_share[0] == pytest.approx(350 / 450)
    assert weigh(value(make_lots({"symbol": A, "quantity": 1}), close)).weight_basis[0] == "market"
    assert weigh(value(make_lots({"symbol": B, "quantity": 1}), close)).weight_basis[0] == "entry"


def test_a_dollar_neutral_pair_of_lots_is_worth_nothing_and_says_so() -> None:
    """Promise: no active lot and lots that cancel are two different reasons, and neither is a division by zero."""
    cancelled = make_lots({"symbol": A, "quantity": 10}, {"symbol": A, "quantity": -10})
    later = make_lots({"symbol": A, "quantity": 10, "entry_date": np.datetime64("2023-01-01")})
    worthless, empty = weigh(value(cancelled, flat(10))), weigh(value(later, flat(10)), equity=100.0)
    assert worthless.reason[0] == "The positions are worth nothing: no denominator for weights"
    assert empty.reason[0] == "No active position"
    assert np.isnan(worthless.weight).all()
    assert np.isnan(empty.weight).all()
    assert (worthless.weight_basis[0], empty.weight_basis[0]) == (None, None)


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_trap_17_flipping_quantities_flips_exposures(seed: int) -> None:
    """Promise: the sign lives in quantity: the short book has the long book's exposures with the other sign."""
    lots, close = random_lots(seed)
    rng = np.random.default_rng(seed)
    fits = rng.normal(size=(1, 4, 3)), rng.normal(size=(1, 4)), np.full((1, 4), 4, np.int8)
    flipped = Lots(**{**vars(lots), "quantity": -lots.quantity})
    long, short = (expose(weigh(value(each, close)), *fits) for each in (lots, flipped))
    assert short.exposure == pytest.approx(-long.exposure, rel=1e-12)
    assert short.market_total == pytest.approx(-long.market_total, rel=1e-12)
    assert short.weight_coverage == pytest.approx(long.weight_coverage)


def test_trap_18_a_missing_beta_is_not_a_beta_of_zero() -> None:
    """Promise: exposures are sums over what is covered, not rescaled, and the row says what share of gross that is."""
    lots = make_lots({"symbol": A, "quantity": 6}, {"symbol": B, "quantity": 3}, {"symbol": C, "quantity": -1})
    weights = weigh(value(lots, flat(10, 10, 10)))
    beta = np.array([[[1.0, 0.5], [2.0, -1.0], [np.nan, np.nan]]])
    quality = np.array([[Quality.FULL_HISTORY, Quality.LIMITED_HISTORY, Quality.FAILED]], dtype=np.int8)
    found = expose(weights, beta, np.array([[1.1, 1.9, np.nan]]), quality)
    assert found.exposure[0] == pytest.approx([0.6 * 1 + 0.3 * 2, 0.6 * 0.5 - 0.3])
    assert found.market_total[0] == pytest.approx(0.6 * 1.1 + 0.3 * 1.9)
    assert found.weight_coverage[0] == pytest.approx(0.9)
    assert found.quality[0] == Quality.LIMITED_HISTORY
    sold = weigh(value(make_lots({"symbol": A, "quantity": 6}), flat(10, 10, 10)))
    assert expose(sold, beta, np.array([[1.1, 1.9, np.nan]]), quality).quality[0] == Quality.FULL_HISTORY
    nothing = expose(weights, beta * np.nan, np.full((1, 3), np.nan), quality)
    assert nothing.reason[0] == "No position has factor exposures"
    assert nothing.weight_coverage[0] == 0.0
    assert nothing.quality[0] == Quality.FAILED
    assert np.isnan(nothing.exposure).all()


def test_trap_22_positions_are_those_of_the_session() -> None:
    """Promise: active from the entry date on and no longer on the exit date, at that session's close."""
    close = np.arange(100.0, 115.0)[:, None]
    lots = make_lots({"symbol": A, "quantity": 2, "entry_date": SESSIONS[3], "exit_date": SESSIONS[6]})
    positions = value(lots, close, targets=[2, 3, 5, 6])
    assert positions.value[:, 0].tolist() == [0.0, 206.0, 210.0, 0.0]
    assert positions.held[:, 0].tolist() == [False, True, True, False]
    assert weigh(positions).reason.tolist() == ["No active position", None, None, "No active position"]


def test_lots_held_from_one_session_to_the_next() -> None:
    """Promise: what was sold or bought on the second session has no part, and values are those of the first."""
    close = np.arange(100.0, 115.0)[:, None]
    lots = make_lots(
        {"symbol": A, "quantity": 2},
        {"symbol": A, "quantity": 4, "exit_date": SESSIONS[6]},
        {"symbol": A, "quantity": 8, "entry_date": SESSIONS[6]},
    )
    found = value_positions(
        lots, close, np.ones_like(close), SESSIONS, np.array([4, 5, 6]), still_held=np.array([5, 6, 7])
    )
    assert found.value[:, 0].tolist() == [6 * 104.0, 2 * 105.0, 10 * 106.0]


def test_a_split_leaves_the_value_of_a_holding_as_it_is() -> None:
    """Promise: 40 shares of the import session were 10 before a 4-for-1 split; the split moves no value."""
    close = np.full((15, 1), 400.0)
    close[5:] = 100.0
    split = np.ones((15, 1))
    split[5] = 4.0
    for shares_as_of, quantity in ((SESSIONS[14], 40.0), (SESSIONS[0], 10.0)):
        lots = make_lots({"symbol": A, "quantity": quantity, "shares_as_of": shares_as_of})
        positions = value(lots, close, split, targets=[0, 4, 5, 14])
        assert positions.value[:, 0].tolist() == [4000.0] * 4
        assert positions.price[:, 0].tolist() == [400.0, 400.0, 100.0, 100.0]


def test_a_close_is_carried_over_a_split_and_grows_stale() -> None:
    """Promise: the last close stands, in shares of today; more than 5 sessions old it is stale, still at market."""
    close = np.full((15, 1), np.nan)
    close[2] = 100.0
    split = np.ones((15, 1))
    split[4] = 2.0
    positions = value(make_lots({"symbol": A, "quantity": 10}), close, split, targets=[2, 4, 7, 8])
    assert positions.price[:, 0].tolist() == [100.0, 50.0, 50.0, 50.0]
    assert positions.value[:, 0].tolist() == [500.0] * 4
    assert positions.stale[:, 0].tolist() == [False, False, False, True]
    found = weigh(positions)
    assert found.stale_share.tolist() == [0, 0, 0, 1]
    assert set(found.weight_basis) == {"market"}


def test_entry_price_stands_until_the_first_close_and_is_in_shares_of_its_session() -> None:
    """Promise: before its first close a position is worth what was paid, whatever splits come after."""
    close = np.full((15, 1), np.nan)
    close[10:] = 30.0
    split = np.ones((15, 1))
    split[8] = 2.0
    positions = value(make_lots({"symbol": A, "quantity": 10, "entry_price": 25.0}), close, split, targets=[0, 9, 10])
    assert positions.value[:, 0].tolist() == [250.0, 250.0, 300.0]
    assert positions.at_entry[:, 0].tolist() == [True, True, False]


def test_private_positions_stay_at_entry_whatever_prices_say() -> None:
    """Promise: a private code that happens to be a ticker is never valued at the ticker's price."""
    positions = value(make_lots({"symbol": A, "quantity": 1, "entry_price": 250_000, "private": True}), flat(10))
    assert (positions.value[0, 0], positions.at_entry[0, 0]) == (250_000, True)
    assert np.isnan(positions.price[0, 0])


def test_cash_is_in_net_but_not_in_gross() -> None:
    """Promise: cash has its given value, no share of gross, no say in weight_basis, and exposures of 0."""
    lots = make_lots({"symbol": A, "quantity": -10}, {"symbol": B, "quantity": 500, "entry_price": 1, "cash": True})
    weights = weigh(value(lots, flat(10, np.nan)), equity=400.0)
    assert (weights.gross[0], weights.net[0]) == (100, 400)
    assert weights.weight[0] == pytest.approx([-0.25, 1.25])
    assert (weights.weight_basis[0], weights.entry_share[0]) == ("market", 0.0)
    quality = np.full((1, 2), Quality.FULL_HISTORY, np.int8)
    found = expose(weights, np.array([[[2.0], [np.nan]]]), np.array([[2.0, np.nan]]), quality)
    assert (found.exposure[0, 0], found.weight_coverage[0]) == pytest.approx((-0.5, 1.0))


def test_nothing_but_cash_is_covered_and_has_no_exposure() -> None:
    """Promise: with equity given, a book of cash is a portfolio with exposure 0, not a failure."""
    weights = weigh(
        value(make_lots({"symbol": A, "quantity": 100, "entry_price": 1, "cash": True}), flat(np.nan)), equity=100.0
    )
    nan = np.full((1, 1), np.nan)
    found = expose(weights, nan[..., None], nan, np.zeros((1, 1), np.int8))
    assert (found.exposure[0, 0], found.weight_coverage[0], found.reason[0]) == (0.0, 1.0, None)


def test_lots_in_shares_of_a_session_outside_the_prices_is_refused() -> None:
    """Promise: splits that were not loaded are not silently taken as none."""
    with pytest.raises(
        ValueError, match=r"shares_as_of of lot 1 must be a session in 2022-01-03\.\.2022-01-17, got 2023-05-05"
    ):
        value(
            make_lots(
                {"symbol": A, "quantity": 1}, {"symbol": A, "quantity": 1, "shares_as_of": np.datetime64("2023-05-05")}
            ),
            flat(10),
        )


@given(seed=st.integers(0, 1000), order=st.permutations(range(9)))
@settings(max_examples=25, deadline=None)
def test_order_of_lots_and_targets_does_not_matter(seed: int, order: list[int]) -> None:
    """Promise: shuffled lots, and one session at a time, give the same weights."""
    lots, close = random_lots(seed)
    shuffled = Lots(**{name: values[order] for name, values in vars(lots).items()})
    batch = weigh(value(lots, close, targets=range(15)))
    assert weigh(value(shuffled, close, targets=range(15))).weight == pytest.approx(batch.weight, rel=1e-9)
    for target in (0, 7, 14):
        assert weigh(value(lots, close, targets=[target])).weight[0] == pytest.approx(batch.weight[target], rel=1e-12)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_scaling_the_whole_book_changes_no_weight(seed: int, scale: float) -> None:
    """Promise: weights are relative: a book of twice everything has the same."""
    lots, close = random_lots(seed)
    bigger = Lots(**{**vars(lots), "quantity": lots.quantity * scale})
    one, other = (weigh(value(each, close)) for each in (lots, bigger))
    assert other.weight == pytest.approx(one.weight, rel=1e-9)
    assert np.abs(one.weight).sum() == pytest.approx(1.0)
    assert isinstance(one, Weights)


def test_a_lot_without_entry_price_counts_at_the_market_only() -> None:
    """G5: price 0 is no value. A at the market; B has no close: one lot at 50, one of nothing; C has nothing at all."""
    lots = make_lots(
        {"symbol": A, "quantity": 2, "entry_price": 0.0},
        {"symbol": B, "quantity": 3, "entry_price": 50.0},
        {"symbol": B, "quantity": 4, "entry_price": 0.0},
        {"symbol": C, "quantity": 5, "entry_price": 0.0},
    )
    found = value(lots, flat(10.0, np.nan, np.nan))
    assert found.value.tolist() == [[20.0, 150.0, 0.0]]
    assert found.at_entry.tolist() == [[False, True, False]]
    assert found.unvalued.tolist() == [[False, True, True]]
    assert weigh(found).weight_basis.tolist() == ["mixed"]
    assert weigh(value(make_lots({"symbol": A, "quantity": 1, "entry_price": 0.0}), flat(np.nan))).reason[0]


def test_a_lot_of_a_single_day_holds_nothing() -> None:
    """G5: closed on the day it was opened, it is active on no session, that day included."""
    day = SESSIONS[14]
    lots = make_lots({"symbol": A, "quantity": 2, "entry_date": day, "exit_date": day}, {"symbol": B, "quantity": 1})
    assert value(lots, flat(10.0, 10.0)).held.tolist() == [[False, True]]
