"""What a source sent, before it is stored: converted, dropped or refused, by name."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from resources import calendar
from resources.sources.base import PriceRow, SourceError
from resources.sources.guard import CheckedRows, RefusedPricesError, check

LAST = date(2022, 12, 28)
DAYS = calendar.last_sessions(5, LAST)
GOOD = PriceRow(LAST, 10.0, 11.0, 9.0, 10.5, 1e6, 0.0, 1.0)


def checked(*rows: Any, completed: date = LAST, today: date = date(2026, 1, 2)) -> CheckedRows:
    return check("vendor", "KO", rows, completed=completed, today=today)


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("close", np.float32(10.5), 10.5),
        ("close", np.float64(10.5), 10.5),
        ("close", Decimal("10.5"), 10.5),
        ("close", 10, 10.0),
        ("volume", np.int64(1_000_000), 1e6),
        ("volume", None, None),
        ("open", None, None),
        ("split", 0, 1.0),
        ("split", 0.0, 1.0),
        ("split", None, 1.0),
        ("split", np.float32(4), 4.0),
        ("dividend", None, 0.0),
        ("dividend", np.int32(0), 0.0),
    ],
)
def test_trap_40_numbers_of_any_kind_become_plain_floats(field: str, value: object, plain: float | None) -> None:
    """numpy scalars and Decimals are floats afterwards; no split, written as 0 or nothing, is 1."""
    ((row,), refused) = (checked(GOOD._replace(**{field: value})).rows, {})
    assert getattr(row, field) == plain
    assert {type(number) for number in row[1:]} <= {float, type(None)}
    assert refused == {}


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (GOOD._replace(close=float("inf")), "inf, but close is a finite number"),
        (GOOD._replace(close=float("nan")), "nan, but close is a finite number"),
        (GOOD._replace(close=np.float64("nan")), "but close is a finite number"),
        (GOOD._replace(close=Decimal("sNaN")), "but close is a finite number"),
        (GOOD._replace(close=10**400), "but close is a finite number"),
        (GOOD._replace(close=None), "None, but a close is greater than 0"),
        (GOOD._replace(close=0.0), "0.0, but a close is greater than 0"),
        (GOOD._replace(close=-1.0), "-1.0, but a close is greater than 0"),
        (GOOD._replace(close="10.5"), "'10.5', but close is a finite number"),
        (GOOD._replace(close=True), "True, but close is a finite number"),
        (GOOD._replace(volume=float("nan")), "nan, but volume is a finite number"),
        (GOOD._replace(high=float("-inf")), "-inf, but high is a finite number"),
        (GOOD._replace(dividend=-0.1), "-0.1, but a dividend is 0 or more"),
        (GOOD._replace(dividend=float("inf")), "inf, but dividend is a finite number"),
        (GOOD._replace(split=-2.0), "-2.0, but a split is greater than 0"),
        (GOOD._replace(split=float("inf")), "inf, but split is a finite number"),
        (GOOD._replace(session=datetime(2022, 12, 28)), "a session is a plain datetime.date"),  # noqa: DTZ001
        (GOOD._replace(session="2022-12-28"), "a session is a plain datetime.date"),
        (GOOD._replace(session=date(2022, 12, 24)), "Saturday 2022-12-24 is no session of XNYS"),
        (GOOD._replace(session=date(2022, 12, 26)), "Monday 2022-12-26 is no session of XNYS"),
        (GOOD._replace(session=date(2031, 1, 2)), "that session is in the future (today is 2026-01-02)"),
        (tuple(GOOD), "every row is a PriceRow"),
    ],
)
def test_trap_40_what_cannot_be_a_price_refuses_the_answer(row: PriceRow, shown: str) -> None:
    """One such row and nothing of the answer is stored; the error says source, symbol, value and rule, and has them."""
    others = [GOOD._replace(session=day) for day in DAYS[:3]]
    with pytest.raises(RefusedPricesError) as refused:
        checked(*others, row)
    text = str(refused.value)
    assert text.startswith("KO")
    assert "'vendor' sent" in text
    assert shown in text
    assert "what is stored is kept" in text
    assert (refused.value.source, refused.value.symbol) == ("vendor", "KO")
    assert isinstance(refused.value, SourceError)


def test_trap_40_a_session_twice_is_refused() -> None:
    """Even with the same numbers: which of two rows is meant is not for us to guess."""
    with pytest.raises(RefusedPricesError, match=r"KO 2022-12-28: .* a session has one row"):
        checked(GOOD, GOOD)


def test_trap_40_the_running_session_is_dropped() -> None:
    """A row of a session that is not complete is no close yet, on whatever day; the rest is taken, in order."""
    rows = [GOOD._replace(session=day) for day in reversed(DAYS)]
    found = checked(*rows, completed=DAYS[-2], today=LAST)
    assert [row.session for row in found.rows] == DAYS[:-1]


def test_rows_before_the_calendar_are_dropped() -> None:
    """Vendors send series since 1962; the calendar begins later."""
    old = GOOD._replace(session=calendar.FIRST_DAY - timedelta(days=40))
    assert checked(old, GOOD).rows == (GOOD,)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"high": 10.4}, "high 10.4 is below open or close, 10.5"),
        ({"high": 9.9, "open": 10.2, "close": 9.8}, "high 9.9 is below open or close, 10.2"),
        ({"low": 10.2}, "low 10.2 is above open or close, 10"),
        ({"high": 10.499999}, ""),
        ({"low": 10.000001}, ""),
        ({"high": None, "low": None}, ""),
    ],
)
def test_a_row_that_contradicts_itself_is_left_out(values: dict[str, float], why: str) -> None:
    """High and low bound open and close, up to rounding; such a row is refused by itself, the others are stored."""
    other = GOOD._replace(session=DAYS[0])
    found = checked(other, GOOD._replace(**values))
    assert found.refused == ({LAST: why} if why else {})
    assert len(found.rows) == (1 if why else 2)
