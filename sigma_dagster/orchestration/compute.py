"""Computing in this process whatever stored portfolios lack: plan, run a block, plan again.

The daemon's way to the same end is the sensor (`sensors`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

from assets import checks, positions
from assets.shared.block import Block
from resources.database import portfolios
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.orchestration.build import build_defs
from sigma_dagster.orchestration.instance import open_instance
from sigma_dagster.planning.planner import Force, WorkPlan
from sigma_dagster.planning.work import Tally
from sigma_dagster.runs import heal, liveness
from sigma_dagster.runs.runner import Runner
from sigma_dagster.services import Services

Say = Callable[[str], None]


def plan(services: Services, names: Sequence[str] | None, as_of: date, force: Force = Force()) -> WorkPlan:
    """Plan for stored portfolios (None: all)."""
    with services.database.read() as connection:
        wanted = portfolios.load(connection, names)
    return services.plan(wanted, as_of, force=force)


def compute(services: Services, names: Sequence[str] | None, as_of: date, *, force: Force = Force(), say: Say) -> Tally:
    """Run what the portfolios lack, block by block, until the plan is empty."""
    todo = plan(services, names, as_of, force)
    tally = Tally(held=len(todo.exposures.keys), requested=int(todo.exposures.asked.sum()))
    if not todo.blocks and not liveness.left_behind(services.settings.dagster_home):
        return tally
    with services.database.write() as connection:
        services.fix_first_date(connection, as_of)
    with open_instance(services.settings) as instance:
        defs = build_defs(services)
        heal.heal(instance, defs.resolve_asset_graph(), services)
        with services.database.read() as connection:
            positions.report(instance, portfolios.load(connection))
        runner = Runner(instance, defs, say)
        ran: list[Block] = []
        while todo.blocks:
            dimension = todo.blocks[0].dimension
            finished = _run_all(runner, todo, dimension, tally, say, ran)
            if finished:
                force = replace(force, done=force.done | {dimension})
            before, todo = todo, plan(services, names, as_of, force)
            if finished and todo.blocks and todo.blocks[0] == before.blocks[0]:
                raise BlockFailedError(
                    f"the run of {_describe(todo.blocks[0])} succeeded, yet its rows are still missing"
                )
        checks.evaluate(
            instance, services.database, services.model, live=services.source.latest_session() is None, blocks=ran
        )
    return tally


def _run_all(runner: Runner, todo: WorkPlan, dimension: str, tally: Tally, say: Say, ran: list[Block]) -> bool:
    """Run the plan's blocks of a dimension and add them to `ran`.

    False if somebody else did a part, so that the plan is out of date.
    """
    for block in todo.blocks:
        if block.dimension == dimension:
            if runner.wait_for_others(block):
                return False
            say(f"Computing {_describe(block)}")
            done = runner.run(block, tally.metadata())
            if done is None:
                return False
            tally.add(block, todo, done)
            ran.append(block)
    return True


def _describe(block: Block) -> str:
    what = ", ".join(step.asset for step in block.steps)
    return f"{what}: {block.size}, sessions {block.span}"
