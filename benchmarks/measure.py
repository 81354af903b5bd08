"""Measuring methods side by side; what a method does stands with its case.

Methods take turns: round by round each runs once, so that a slow spell of the machine meets all of them, and the
median over the rounds forgets the first call. A method too slow to be run whole does a share of the work, and its
seconds are divided by that share: such a row says ``sampled``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

Work = Callable[[], object]


@dataclass(frozen=True)
class Method:
    """One way of doing the work of a case."""

    name: str
    ready: Callable[[], AbstractContextManager[Work]]
    """Makes ready for a round, which is not timed, and gives the work that is; cleans up after it."""
    share: float = 1.0
    """Part of the whole that the work is."""


@dataclass(frozen=True)
class Row:
    """What a method took, as in ``results.json``."""

    case: str
    size: str
    method: str
    cpu_seconds: float
    wall_seconds: float
    sampled: bool
    kb: float | None = None
    """KB of disk a partition, where partitions are recorded."""


def pure(name: str, work: Work, share: float = 1.0) -> Method:
    """A method that needs no preparation and leaves nothing behind."""
    return Method(name, lambda: nullcontext(work), share)


def compare(case: str, size: str, methods: Sequence[Method], rounds: int = 5) -> Iterator[Row]:
    """Measure the methods in turns; give the medians of CPU time (all threads, user and system) and wall time."""
    seconds: list[list[tuple[float, float]]] = [[] for _ in methods]
    for _ in range(rounds):
        for method, taken in zip(methods, seconds, strict=True):
            with method.ready() as work:
                taken.append(_timed(work))
    for method, taken in zip(methods, seconds, strict=True):
        cpu, wall = (round(median(times) / method.share, 6) for times in zip(*taken, strict=True))
        yield Row(case, size, method.name, cpu, wall, sampled=method.share < 1)


def _timed(work: Work) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall
