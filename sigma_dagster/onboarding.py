"""Bringing a portfolio in, and computing whatever stored portfolios lack: plan, run a block, plan again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from assets import checks
from resources.database import portfolios
from resources.database.portfolios import Lot
from sigma_dagster import liveness, reconcile, risk
from sigma_dagster.build import build_defs
from sigma_dagster.environment import Environment
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.instance import open_instance
from sigma_dagster.planner import Block, Force, WorkPlan
from sigma_dagster.risk import Risk
from sigma_dagster.runner import Runner, StepMetadata

Say = Callable[[str], None]


@dataclass
class Tally:
    """What a computation did; counts of rows are those of `factor_exposure`."""

    held: int = 0  # symbols
    requested: int = 0  # rows
    computed: int = 0  # held symbols with a regression
    regressions_run: int = 0
    records_stored: int = 0
    fetched: set[str] = field(default_factory=set)  # symbols
    held_fetched: int = 0
    api_calls: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"fetch": 0.0, "compute": 0.0, "write": 0.0})

    def add(self, block: Block, held: Sequence[str], metadata: StepMetadata) -> None:
        """Count what a run reported."""
        for step in block.steps:
            reported = metadata[step.asset]
            for stage in self.seconds:
                self.seconds[stage] += reported["seconds"].get(stage, 0.0)
            if step.asset == "daily_prices":
                self.fetched |= set(step.keys)
                self.held_fetched = len(self.fetched & set(held))
                self.api_calls += reported["api_calls"]
            if step.asset == "factor_exposures":
                self.computed = min(self.held, self.computed + reported["symbols_computed"])
                self.regressions_run += reported["computed"]
                self.records_stored += reported["records_stored"]

    def numbers(self) -> dict[str, Any]:
        """Give the counts under their names in JSON and in Dagster's metadata, all but the symbols'."""
        skipped = max(self.requested - self.records_stored, 0)
        asked = self.records_stored + skipped
        return {
            "symbols_fetched": len(self.fetched),
            "api_calls": self.api_calls,
            "api_calls_saved": self.held - self.held_fetched,
            "regressions_run": self.regressions_run,
            "records_stored": self.records_stored,
            "records_skipped_cached": skipped,
            "cache_hit_rate": skipped / asked if asked else 1.0,
        }

    def metadata(self) -> dict[str, Any]:
        """Give what stands in the metadata of `portfolio_factor_exposures`."""
        symbols = {"held": self.held, "computed": self.computed, "cached": self.held - self.computed}
        return {**symbols, **self.numbers(), "seconds": self.seconds}


@dataclass(frozen=True)
class Onboarding:
    """The report of one onboarding."""

    portfolio: str
    as_of: date
    positions: int
    tally: Tally
    seconds: float  # all of it
    risk: Risk

    def to_json(self) -> dict[str, Any]:
        """Give the report under its fixed names."""
        tally, found = self.tally, self.risk
        stages = {name: round(value, 6) for name, value in tally.seconds.items()}
        rest = self.seconds - sum(tally.seconds.values())
        return {
            "portfolio": self.portfolio,
            "as_of": self.as_of.isoformat(),
            "positions": self.positions,
            "symbols": {"held": tally.held, "computed": tally.computed, "cached": tally.held - tally.computed},
            **tally.numbers(),
            "seconds": {"total": round(self.seconds, 6), **stages, "orchestrate": round(rest, 6)},
            "risk": {
                "weight_basis": found.weight_basis,
                "exposures": found.exposures,
                "realized_vol_21d": found.realized_vol_21d,
                "realized_vol_63d": found.realized_vol_63d,
            },
        }


def onboard(
    env: Environment,
    name: str,
    lots: Sequence[Lot],
    equity: float | None,
    as_of: date,
    *,
    force: Force = Force(),
    say: Say,
    started: float,
) -> Onboarding:
    """Store the portfolio and compute what it lacks; `started` is when the command began (time.perf_counter).

    Raises BlockFailedError; the portfolio and whatever was computed before stay.
    """
    with env.database.write() as connection:
        stored = portfolios.store(connection, name, lots, equity, as_of)
    say(f"{'Stored' if stored else 'Known'}: portfolio {name}, {len(lots)} positions")
    tally = compute(env, [name], as_of, force=force, say=say)
    with env.database.read() as connection:
        found = risk.read(connection, name, env.model, as_of)
    if found is None:
        raise BlockFailedError(f"portfolio {name} was replaced or deleted while it was computed: onboard it again")
    return Onboarding(name, as_of, len(lots), tally, time.perf_counter() - started, found)


def plan(env: Environment, names: Sequence[str] | None, as_of: date, force: Force = Force()) -> WorkPlan:
    """Plan for stored portfolios (None: all)."""
    with env.database.read() as connection:
        wanted = portfolios.load(connection, names)
    return env.plan(wanted, as_of, force=force)


def compute(env: Environment, names: Sequence[str] | None, as_of: date, *, force: Force = Force(), say: Say) -> Tally:
    """Run what the portfolios lack, block by block, until the plan is empty."""
    todo = plan(env, names, as_of, force)
    tally = Tally(held=len(todo.exposures.keys), requested=int(todo.exposures.asked.sum()))
    if not todo.blocks and not liveness.left_behind(env.settings.dagster_home):
        return tally
    with open_instance(env.settings) as instance:
        defs = build_defs(env)
        reconcile.heal(instance, defs.resolve_asset_graph(), env)
        runner = Runner(instance, defs, say)
        while todo.blocks:
            dimension = todo.blocks[0].dimension
            finished = _run_all(runner, todo, dimension, tally, say)
            if finished:
                force = _without(force, dimension)
            before, todo = todo, plan(env, names, as_of, force)
            if finished and todo.blocks and todo.blocks[0] == before.blocks[0]:
                raise BlockFailedError(
                    f"the run of {_describe(todo.blocks[0])} succeeded, yet its rows are still missing"
                )
        checks.evaluate(instance, env.database, env.model, live=env.source.latest_session() is None)
    return tally


def _run_all(runner: Runner, todo: WorkPlan, dimension: str, tally: Tally, say: Say) -> bool:
    """Run the plan's blocks of a dimension; False if somebody else did a part, so that the plan is out of date."""
    for block in todo.blocks:
        if block.dimension == dimension:
            if runner.wait_for_others(block):
                return False
            say(f"Computing {_describe(block)}")
            done = runner.run(block, tally.metadata())
            if done is None:
                return False
            tally.add(block, todo.exposures.keys, done)
    return True


def _without(force: Force, dimension: str) -> Force:
    """What was forced is done once its blocks have run."""
    if dimension == "symbol":
        return replace(force, prices=False, symbol_results=False)
    return replace(force, portfolio_results=False)


def _describe(block: Block) -> str:
    what = ", ".join(step.asset for step in block.steps)
    keys = f"{len(block.keys)} {block.dimension}{'' if len(block.keys) == 1 else 's'}"
    return f"{what}: {keys}, sessions {block.first}..{block.last}"
