"""The numbers of a computation: what was asked for, what was stored already, what was done, and what that cost.

Not here: what is to be done (`planner`) and doing it (`sigma_dagster.orchestration`).
"""

from dataclasses import dataclass, field
from typing import Any

from assets.catalogue import BY_NAME
from assets.shared.block import Block
from assets.shared.work import row_counts
from sigma_dagster.planning.planner import WorkPlan

StepMetadata = dict[str, dict[str, Any]]


@dataclass
class Tally:
    """What a computation did; counts of rows are those of `factor_exposure`."""

    held: int = 0  # symbols
    cached: int = 0  # symbols whose rows all existed
    requested: int = 0  # rows
    computed: int = 0  # held symbols with a regression
    regressions_run: int = 0
    records_stored: int = 0
    symbols_fetched: int = 0
    fetched: set[str] = field(default_factory=set)  # symbols that were asked for
    held_fetched: int = 0
    api_calls: int = 0
    corrected: int = 0  # stored prices that are other numbers now
    seconds: dict[str, float] = field(default_factory=lambda: {"fetch": 0.0, "compute": 0.0, "write": 0.0})
    waiting: dict[str, str] = field(default_factory=dict)  # symbols whose prices are not there yet, and why

    def add(self, block: Block, todo: WorkPlan, metadata: StepMetadata) -> None:
        """Count what the run of a plan's block reported."""
        for step in block.steps:
            reported = metadata[step.asset]
            for stage in self.seconds:
                self.seconds[stage] += reported["seconds"].get(stage, 0.0)
            if BY_NAME[step.asset].look_back:
                # Fewer than were asked for, where another run fetched some since the plan was made.
                self.symbols_fetched += reported["symbols_fetched"]
                self.fetched |= {key for key in step.keys if step.force or key in todo.fetch}
                self.held_fetched = len(self.fetched & set(todo.exposures.keys))
                self.api_calls += reported["api_calls"]
                self.corrected += reported["prices_corrected"]
            if step.asset == "factor_exposures":
                self.computed = min(self.held, self.computed + reported["symbols_computed"])
                self.regressions_run += reported["computed"]
                self.records_stored += reported["records_stored"]

    def numbers(self) -> dict[str, Any]:
        """Give the counts under their names in JSON and in Dagster's metadata, all but the symbols'."""
        rows = row_counts(self.records_stored, max(self.requested - self.records_stored, 0))
        return {
            "symbols_fetched": self.symbols_fetched,
            "api_calls": self.api_calls,
            "api_calls_saved": self.held - self.held_fetched,
            "regressions_run": self.regressions_run,
            **{name: rows[name] for name in ("records_stored", "records_skipped_cached", "cache_hit_rate")},
        }

    def took(self, seconds: float) -> dict[str, Any]:
        """Give the counts and the seconds by stage as numbers, which Dagster can plot over time."""
        stages = {**self.seconds, "orchestrate": seconds - sum(self.seconds.values()), "total": seconds}
        counts = {name: value for name, value in self.metadata().items() if name != "seconds"}
        return {**counts, **{f"seconds_{stage}": round(taken, 3) for stage, taken in stages.items()}}

    def metadata(self) -> dict[str, Any]:
        """Give what stands in the metadata of `portfolio_factor_exposures`."""
        symbols = {"held": self.held, "computed": self.computed, "cached": self.cached}
        return {**symbols, **self.numbers(), "seconds": self.seconds}


#: What a step reports of what it left undone, and of rows that it deleted.
_UNPLANNED = ("symbols_late", "symbols_failed", "symbols_left", "prices_corrected", "records_waiting")


def is_as_planned(metadata: StepMetadata) -> bool:
    """Say whether a block came out as the plan has it, so that the blocks after it are still what is missing."""
    return not any(reported.get(name) for reported in metadata.values() for name in _UNPLANNED)


def foreseen(todo: WorkPlan) -> dict[str, Any]:
    """Give the numbers of a plan before it is carried out, all but those that only doing it tells."""
    held = todo.exposures.keys
    tally = Tally(
        held=len(held),
        cached=len(held) - len(todo.exposures.missing_keys),
        requested=int(todo.exposures.asked.sum()),
        computed=len(todo.exposures.missing_keys),
        records_stored=todo.exposures.rows,
        symbols_fetched=len(todo.fetch),
        held_fetched=len(set(todo.fetch) & set(held)),
        api_calls=todo.api_calls,
    )
    return {name: value for name, value in tally.metadata().items() if name not in ("regressions_run", "seconds")}
