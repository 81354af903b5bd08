"""Computing in this process whatever stored portfolios lack; the daemon does it by the sensor (`sensors`).

Here is said what that is. Dagster, which takes a second to import, is needed only if it is something: `blocks` runs it.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import date

from assets.shared.block import Block
from assets.shared.look_back import listed
from resources.database import deletions, onboardings, portfolios
from sigma_dagster.planning.planner import Force, WorkPlan
from sigma_dagster.planning.work import Tally
from sigma_dagster.runs import liveness
from sigma_dagster.services import Services

Say = Callable[[str], None]


def plan(
    services: Services,
    names: Sequence[str] | None,
    as_of: date,
    force: Force = Force(),
    tried: Collection[str] = (),
    watched: Sequence[str] = (),
) -> WorkPlan:
    """Plan for stored portfolios (None: all) and watched symbols; prices of those `tried` are not asked for again."""
    with services.database.read() as connection:
        wanted = portfolios.load(connection, names)
    return services.plan(wanted, as_of, force=force, tried=tried, watched=watched)


def compute(
    services: Services,
    names: Sequence[str] | None,
    as_of: date,
    *,
    force: Force = Force(),
    again: Sequence[Block] = (),
    watched: Sequence[str] = (),
    say: Say,
) -> Tally:
    """Run what the portfolios and the watched symbols lack, block by block, until the plan is empty.

    Before that, the blocks `again`, and those that ask again for prices of which the source itself says that they have
    changed. Prices are asked for once: what rests on those that did not come waits. Raises BlockFailedError for a run
    that failed, after all that can be computed without it.
    """
    began, clock = time.time(), time.perf_counter()
    todo = plan(services, names, as_of, force, watched=watched)
    asked = {key for block in again for key in block.keys}
    changed = [name for name in services.changed(todo.priced) if name not in asked]
    again = [*again, *services.blocks_again(changed, as_of)]
    held = todo.exposures
    tally = Tally(len(held.keys), len(held.keys) - len(held.missing_keys), int(held.asked.sum()))
    if todo.blocks or again or _is_healing_due(services):
        from sigma_dagster.orchestration import blocks

        blocks.run(services, names, as_of, todo, tally, force=force, again=again, watched=watched, say=say)
    taken = tally.took(time.perf_counter() - clock)
    with services.database.write() as connection:
        onboardings.note(connection, began, {"of": listed(names or ["refresh"]), "as_of": as_of.isoformat(), **taken})
    return tally


def _is_healing_due(services: Services) -> bool:
    """Say whether there is something to heal (`runs.heal`), as far as that is known without Dagster."""
    if liveness.left_behind(services):
        return True
    with services.database.read() as connection:
        return deletions.any_noted(connection)
