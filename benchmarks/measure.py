"""Measuring methods side by side; what a method does stands with its case.

Methods take turns, round by round, so that a slow spell of the machine meets all of them, and the median over the
rounds forgets the first call. Within its turn a method that is over quickly runs a few times, so that it is not billed
for what the one before it left behind in caches and memory. A method too slow to be run whole does a share of the
work, and its seconds are divided by that share: such a row says ``sampled``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

_TURN_SECONDS = 0.5
_RUNS = 5

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
    stages: dict[str, float] | None = None
    """Wall seconds by stage of a run, where a run was made."""


def pure(name: str, work: Work, share: float = 1.0) -> Method:
    """A method that needs no preparation and leaves nothing behind."""
    return Method(name, lambda: nullcontext(work), share)


def compare(case: str, size: str, methods: Sequence[Method], rounds: int = 5) -> Iterator[Row]:
    """Measure the methods in turns; give the medians of CPU time (all threads, user and system) and wall time."""
    seconds: list[list[tuple[float, float]]] = [[] for _ in methods]
    for _ in range(rounds):
        for method, taken in zip(methods, seconds, strict=True):
            taken.append(_turn(method))
    for method, taken in zip(methods, seconds, strict=True):
        cpu, wall = (round(median(times) / method.share, 6) for times in zip(*taken, strict=True))
        yield Row(case, size, method.name, cpu, wall, sampled=method.share < 1)


def _turn(method: Method) -> tuple[float, float]:
    """Give the medians of CPU and wall time of one turn: half a second of it, one run at least and five at most."""
    runs: list[tuple[float, float]] = []
    while not runs or (len(runs) < _RUNS and sum(wall for _, wall in runs) < _TURN_SECONDS):
        with method.ready() as work:
            runs.append(_timed(work))
    cpu, wall = (median(times) for times in zip(*runs, strict=True))
    return cpu, wall


def _timed(work: Work) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall
