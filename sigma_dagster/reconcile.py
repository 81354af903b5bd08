"""After a run that failed or vanished: its rows are committed before they are recorded, so some may lack their record.

The rows are true; the missing records are written in the name of the run.
"""

from typing import Any

import dagster as dg
import numpy as np
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from sqlalchemy import Table

from assets.inputs import price_sessions
from resources import calendar
from resources.dagster_storage.event_log import provenance_tags, record_materializations
from resources.database import bulk, portfolios
from resources.database.tables import (
    daily_price,
    factor_exposure,
    portfolio_factor_exposure,
    portfolio_volatility,
    symbol_volatility,
)
from sigma_dagster import liveness
from sigma_dagster.claims import Claim, claim_of, mark_dead
from sigma_dagster.environment import Environment
from sigma_dagster.jobs import DEFER_TAG, JOB_ASSETS

_DONE_TAG = "sigma/reconciled"

_TABLES: dict[str, Table] = {
    "daily_prices": daily_price,
    "factor_exposures": factor_exposure,
    "symbol_volatility": symbol_volatility,
    "portfolio_factor_exposures": portfolio_factor_exposure,
    "portfolio_volatility": portfolio_volatility,
}


def heal(instance: dg.DagsterInstance, graph: AssetGraph, env: Environment) -> int:
    """Write the missing records of all runs that ended badly; return how many were missing."""
    home = env.settings.dagster_home
    left = liveness.left_behind(home)
    for run_id in left:
        mark_dead(instance, run_id)
    ended_badly = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
    healed = 0
    for run in instance.get_runs(ended_badly):
        if DEFER_TAG in run.tags and _DONE_TAG not in run.tags:
            healed += _heal(instance, graph, env, run)
            instance.add_run_tags(run.run_id, {_DONE_TAG: "true"})
    for run_id in left:
        liveness.forget(home, run_id)
    return healed


def _heal(instance: dg.DagsterInstance, graph: AssetGraph, env: Environment, run: dg.DagsterRun) -> int:
    claim = claim_of(run, instance)
    if claim is None:
        return 0
    healed = 0
    for name in JOB_ASSETS[claim.dimension]:
        if name not in claim.assets:
            continue
        key = dg.AssetKey(name)
        recorded = instance.get_materialized_partitions(key)
        lost: list[tuple[str, dict[str, Any]]] = [
            (partition, {}) for partition in _rows(env, name, claim) if partition not in recorded
        ]
        tags = provenance_tags(instance, graph.get(key), run.run_id)
        healed += record_materializations(instance, run, key, lost, tags=tags)
    return healed


def _rows(env: Environment, name: str, claim: Claim) -> list[dg.MultiPartitionKey]:
    """Give the partitions of the claim that have a row."""
    table = _TABLES[name]
    fixed: dict[str, Any] = {"model": env.model.key} if "model" in table.c else {}
    if name == "daily_prices":
        days = price_sessions(claim.first, claim.last)
    else:
        days = calendar.sessions(claim.first, claim.last)
    days = [day for day in days if day >= env.settings.start_date]
    with env.database.read() as connection:
        ids: dict[Any, str] = {key: key for key in claim.keys}
        if claim.dimension == "portfolio":
            ids = {found.id: found.name for found in portfolios.load(connection, claim.keys)}
        exists = bulk.present(connection, table, list(ids), days, **fixed)
    names = list(ids.values())
    return [
        dg.MultiPartitionKey({"date": days[j].isoformat(), claim.dimension: names[i]}) for i, j in np.argwhere(exists)
    ]
