"""After a run that failed or vanished: its rows are committed before they are recorded, so some may lack their record.

The rows are true; the missing records are written in the name of the run.
"""

from typing import Any

import dagster as dg
import numpy as np
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from assets.catalogue import BY_NAME
from assets.shared.block import Block, Step
from assets.shared.look_back import price_sessions
from resources.dagster_storage.event_log import provenance_tags, record_materializations
from resources.database import bulk, portfolios
from sigma_dagster.runs import liveness
from sigma_dagster.runs.claims import block_of, mark_dead
from sigma_dagster.runs.request import DEFER_TAG
from sigma_dagster.services import Services

_DONE_TAG = ".dagster/sigma_reconciled"


def heal(instance: dg.DagsterInstance, graph: AssetGraph, services: Services) -> int:
    """Write the missing records of all runs that ended badly; return how many were missing."""
    home = services.settings.dagster_home
    left = liveness.left_behind(home)
    for run_id in left:
        mark_dead(instance, run_id)
    ended_badly = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
    healed = 0
    for run in instance.get_runs(ended_badly):
        if DEFER_TAG in run.tags and _DONE_TAG not in run.tags:
            healed += _heal(instance, graph, services, run)
            instance.add_run_tags(run.run_id, {_DONE_TAG: "true"})
    for run_id in left:
        liveness.forget(home, run_id)
    return healed


def _heal(instance: dg.DagsterInstance, graph: AssetGraph, services: Services, run: dg.DagsterRun) -> int:
    block = block_of(run, instance)
    if block is None:
        return 0
    healed = 0
    for step in block.steps:
        key = dg.AssetKey(step.asset)
        recorded = instance.get_materialized_partitions(key)
        lost: list[tuple[str, dict[str, Any]]] = [
            (partition, {}) for partition in _rows(services, step, block) if partition not in recorded
        ]
        tags = provenance_tags(instance, graph.get(key), run.run_id)
        healed += record_materializations(instance, run, key, lost, tags=tags)
    return healed


def _rows(services: Services, step: Step, block: Block) -> list[dg.MultiPartitionKey]:
    """Give the partitions of a step that have a row."""
    asset = BY_NAME[step.asset]
    days = price_sessions(block.first, block.last) if asset.look_back else block.sessions
    days = [day for day in days if day >= services.first_date(block.last)]
    with services.database.read() as connection:
        ids: dict[Any, str] = {key: key for key in step.keys}
        if block.dimension == "portfolio":
            ids = {found.id: found.name for found in portfolios.load(connection, step.keys)}
        exists = bulk.present(connection, asset.table, list(ids), days, **asset.fixed(services.model.key))
    names = list(ids.values())
    return [
        dg.MultiPartitionKey({"date": days[j].isoformat(), block.dimension: names[i]}) for i, j in np.argwhere(exists)
    ]
