"""How much a run did and how long it took, under the names that the metadata of every asset use."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any


class Stopwatch:
    """Seconds spent by stage; those of a stage within another are its own alone, so that all add up to the time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._within = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to the stage."""
        before, self._within = self._within, 0.0
        start = perf_counter()
        try:
            yield
        finally:
            taken = perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + taken - self._within
            self._within = before + taken


def row_counts(stored: int, skipped: int) -> dict[str, Any]:
    """Give the rows that were asked for: stored now, or skipped because they existed.

    The hit rate is the share that was skipped, 1.0 when nothing was missing.
    """
    requested = stored + skipped
    return {
        "requested": requested,
        "records_stored": stored,
        "records_skipped_cached": skipped,
        "cache_hit_rate": skipped / requested if requested else 1.0,
    }
