"""Seconds by stage, as runs report them."""

from time import perf_counter, sleep

import pytest

from assets.shared.work import Stopwatch


def test_stages_add_up_to_no_more_than_the_time() -> None:
    """A stage within another, as prices that are stored while a symbol is asked for, counts once: as its own."""
    stopwatch, start = Stopwatch(), perf_counter()
    with stopwatch("fetch"):
        with stopwatch("write"):
            sleep(0.05)
        with stopwatch("write"), pytest.raises(ValueError, match="late"), stopwatch("fetch"):
            raise ValueError("late")
    taken = perf_counter() - start
    assert sum(stopwatch.seconds.values()) <= taken
    assert stopwatch.seconds["write"] >= 0.05
