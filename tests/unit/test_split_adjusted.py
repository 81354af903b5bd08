"""Prices that a vendor has adjusted for splits come back as traded."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.sources.split_adjusted import Told, as_traded

DAY = date(2020, 1, 1)


def day(n: int) -> date:
    return DAY + timedelta(days=n)


def told(prices: list[float], splits: dict[int, float]) -> list[Told]:
    """Raw prices as a vendor tells them: in shares of the last day."""
    rows = []
    for n, price in enumerate(prices):
        later = 1.0
        for at, split in splits.items():
            later *= split if at > n else 1.0
        rows.append(Told(day(n), price / later, price / later, price / later, price / later, 1000.0 * later))
    return rows


def test_a_split_by_hand() -> None:
    """4 for 1 on the third day, and a dividend of 0.82 before it, told as 0.205 (Apple, August 2020)."""
    rows = [Told(day(0), None, None, None, 110.0, 400.0), Told(day(1), None, None, None, 111.0, 400.0)]
    rows.append(Told(day(2), None, None, None, 129.04, 100.0))
    found = as_traded(rows, {day(1): 0.205, day(2): 0.5}, {day(2): 4.0})
    assert [(row.close, row.volume, row.dividend, row.split) for row in found] == [
        (440.0, 100.0, 0.0, 1.0),
        (444.0, 100.0, 0.82, 1.0),
        (129.04, 100.0, 0.5, 4.0),
    ]


@given(
    st.lists(st.integers(100, 9_999_999).map(lambda cents: cents / 100), min_size=1, max_size=12),
    st.dictionaries(st.integers(0, 14), st.sampled_from([2.0, 1.5, 0.1, 20.0, 7.0, 1.046]), max_size=4),
)
def test_every_price_comes_back(prices: list[float], splits: dict[int, float]) -> None:
    """Whatever the splits, before the first row, on a row, or after the last one."""
    found = as_traded(told(prices, splits), {}, {day(at): split for at, split in splits.items()})
    assert [row.close for row in found] == prices
    assert [row.open for row in found] == prices
    assert [row.volume for row in found] == pytest.approx([1000.0] * len(prices))
    assert [row.split for row in found] == [splits.get(n, 1.0) for n in range(len(prices))]


@given(st.lists(st.floats(1, 1000), min_size=2, max_size=8), st.sampled_from([2.0, 10.0, 0.25]))
def test_a_later_split_changes_no_row(prices: list[float], split: float) -> None:
    """What was stored stays valid when the vendor restates all of its history."""
    rounded = [round(price, 2) for price in prices]
    before = as_traded(told(rounded, {}), {}, {})
    n = len(rounded)
    after = as_traded(told(rounded, {n: split}), {}, {day(n): split})
    assert [row._replace(volume=None) for row in after] == [row._replace(volume=None) for row in before]
