"""`sigma whatif` against onboarding the changed book."""

import json
from typing import Any

import pytest

from tests.support.home import Home, lot


def same(one: Any, other: Any, path: str = "") -> None:
    """Hold plain data against each other: numbers to 1e-12, all else exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for name, value in one.items():
            same(value, other[name], f"{path}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for i, value in enumerate(one):
            same(value, other[i], f"{path}[{i}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-12, abs=1e-12), path
    else:
        assert one == other, path


@pytest.mark.parametrize(
    "quantities", [(100, 200, 50), (-100, -200, -50), (100, -200, 50)], ids=["long", "short", "mixed"]
)
def test_it_equals_onboarding_the_changed_book(home: Home, quantities: tuple[int, int, int]) -> None:
    """Promise: `after` is what `sigma show --json` says of the changed book once it is onboarded, to 1e-12."""
    aapl, ko, xom = quantities
    book = [lot("AAPL", aapl), lot("KO", ko), lot("XOM", xom)]
    home.onboard(book, "book")
    home.onboard([lot("MSFT")], "other")
    before = home.rows()
    asked = home.sigma_here("whatif", "book", "--trade", "MSFT=+50", "--trade", "KO=-20", "--close", "XOM", "--json")
    assert asked.returncode == 0, asked.stderr
    assert home.rows() == before
    answer = json.loads(asked.stdout)
    assert answer.keys() == {"before", "after"}
    assert answer["before"] == json.loads(home.sigma_here("show", "book", "--json").stdout)
    day = "2022-12-28"
    changed = [
        *book[:2],
        lot("XOM", xom, exit=day),
        lot("MSFT", 50, entry=day),
        lot("KO", -20, entry=day),
    ]
    home.onboard(changed, "book")
    same(answer["after"], json.loads(home.sigma_here("show", "book", "--json").stdout))
