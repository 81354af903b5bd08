"""Running blocks in this process: run one, plan again, until nothing is missing. What is missing, `compute` says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

import dagster as dg

from assets import checks, onboardings, positions
from assets.catalogue import BY_NAME
from assets.shared.block import Block
from assets.shared.look_back import listed
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.compute import Say, plan
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.planning.planner import Force, WorkPlan
from sigma_dagster.planning.work import StepMetadata, Tally, is_as_planned
from sigma_dagster.runs import heal
from sigma_dagster.runs.runner import Runner
from sigma_dagster.services import Services


def run(
    services: Services,
    names: Sequence[str] | None,
    as_of: date,
    todo: WorkPlan,
    tally: Tally,
    *,
    force: Force,
    again: Sequence[Block],
    watched: Sequence[str],
    say: Say,
) -> None:
    """Heal, run the blocks `again`, then those of the plan, and add to the tally what was done; see `compute`."""
    with services.database.write() as connection:
        services.fix_first_date(connection, as_of)
    with open_instance(services.settings) as instance, _checking(services, instance) as ran:
        defs = build_defs(services)
        ran += heal.heal(instance, defs.resolve_asset_graph(), services)
        with services.database.read() as connection:
            positions.report(instance, connection)
        onboardings.report(instance, services.database)
        runner = Runner(instance, services, defs, say)
        tried: set[str] = set()
        failure: BlockFailedError | None = None
        for block in again:
            try:
                _run(runner, block, todo, tally, tried, ran, say)
            except BlockFailedError as error:
                failure = failure or error
        if again:
            todo = plan(services, names, as_of, force, tried, watched)
        while todo.blocks:
            planned, before = todo, len(ran)
            for dimension in dict.fromkeys(block.dimension for block in planned.blocks):
                finished, as_planned = True, False
                try:
                    finished, as_planned = _run_all(runner, planned, dimension, tally, tried, ran, say)
                except BlockFailedError as error:
                    failure = failure or error
                if finished:
                    force = replace(force, done=force.done | {dimension})
                if not as_planned:
                    break  # what rests on it may be other work now
            todo = plan(services, names, as_of, force, tried, watched)
            if finished and todo.blocks and todo.blocks[0] in ran[before:]:
                raise failure or BlockFailedError(
                    f"the run of {_describe(todo.blocks[0])} succeeded, yet its rows are still missing"
                )
        tally.waiting = dict(todo.waiting)
    if failure:
        raise failure
    if tally.waiting:
        say(f"Waiting for prices: {listed([f'{name} ({why})' for name, why in tally.waiting.items()])}")


@contextmanager
def _checking(services: Services, instance: dg.DagsterInstance) -> Iterator[list[Block]]:
    """Collect the blocks that are run; their rows are checked at the end, however it ends."""
    ran: list[Block] = []
    try:
        yield ran
    finally:
        live = services.source.latest_session() is None
        checks.evaluate(instance, services.database, services.model, live=live, blocks=ran)


def _run_all(
    runner: Runner, todo: WorkPlan, dimension: str, tally: Tally, tried: set[str], ran: list[Block], say: Say
) -> tuple[bool, bool]:
    """Run the plan's blocks of a dimension, and say whether all were run, and whether what follows stays as planned.

    Not run are those that come after one of which somebody else did a part: then the plan is out of date. Symbols that
    were asked for are added to `tried`, and blocks to `ran`, whatever became of it. A block that is forced is due
    whatever others did meanwhile: it is run when they have ended, once, and never planned again.
    """
    as_planned = True
    for block in todo.blocks:
        if block.dimension == dimension:
            done = _run(runner, block, todo, tally, tried, ran, say)
            if done is None:
                return False, False
            as_planned = as_planned and is_as_planned(done)
    return True, as_planned


def _run(
    runner: Runner, block: Block, todo: WorkPlan, tally: Tally, tried: set[str], ran: list[Block], say: Say
) -> StepMetadata | None:
    """Run a block and give what it reports; None if somebody else did a part, unless it is forced."""
    forced, done = any(step.force for step in block.steps), None
    while done is None:
        if runner.wait_for_others(block) and not forced:
            return None
        say(f"Computing {_describe(block)}")
        ran.append(block)
        try:
            done = runner.run(block, tally.metadata())
        except BlockFailedError:
            tried.update(_asked(block))
            raise
        if done is None and not forced:
            return None
    tried.update(_asked(block))
    tally.add(block, todo, done)
    return done


def _asked(block: Block) -> list[str]:
    """Name the symbols whose prices the block asks for."""
    return [key for step in block.steps if BY_NAME[step.asset].look_back for key in step.keys]


def _describe(block: Block) -> str:
    what = ", ".join(step.asset for step in block.steps)
    return f"{what}: {block.size}, sessions {block.span}"
