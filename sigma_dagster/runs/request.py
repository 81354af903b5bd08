"""How a block becomes a Dagster run: its config, tags and assets, the same for the command line and the daemon."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sqlalchemy.exc import IntegrityError

from assets.shared.block import Block

#: With this tag Dagster leaves it to the assets to record the partitions: exactly those they wrote.
DEFER_TAG = "dagster/defer_asset_events"

#: A run with this tag may have rows that it did not record: `heal` looks after it once it has ended badly.
_RECONCILE_TAG = "sigma/reconcile"
TO_RECONCILE = {_RECONCILE_TAG: "due"}
RECONCILED = {_RECONCILE_TAG: "done"}

#: The asset whose metadata carry the numbers of the onboarding that asked for the run.
REPORTS_ONBOARDING = "portfolio_factor_exposures"


def job_name(dimension: str) -> str:
    """Name the job that computes blocks of the dimension."""
    return f"{dimension}_block"


def selection(block: Block) -> list[dg.AssetKey]:
    """Give the assets that the run computes."""
    return [dg.AssetKey(step.asset) for step in block.steps]


def run_config(block: Block, onboarding: Mapping[str, Any]) -> dict[str, Any]:
    """Give the run config; `onboarding` are numbers for the metadata of the asset that reports them."""
    configs = block.to_config()
    if REPORTS_ONBOARDING in configs:
        configs[REPORTS_ONBOARDING]["onboarding"] = dict(onboarding)
    # The console logger would print a line an event, on the terminal of `make dev` too.
    return {
        "ops": {asset: {"config": config} for asset, config in configs.items()},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def register(instance: dg.DagsterInstance, block: Block) -> None:
    """Make the block's keys known as partitions."""
    while True:
        known = set(instance.get_dynamic_partitions(block.dimension))
        new = [key for key in block.keys if key not in known]
        if not new:
            return
        # Dagster looks before it inserts: another process may add one of them in between.
        with suppress(IntegrityError):
            instance.add_dynamic_partitions(block.dimension, new)


def partition_tags(instance: dg.DagsterInstance, block: Block) -> dict[str, str]:
    """Give Dagster the block's partitions of the newest session; its keys must be registered.

    It wants some for a run of partitioned assets, and for each step maps all that are named to those upstream: for
    whole blocks that takes longer than everything else. What the run computes stands in its config.
    """
    order = {key: i for i, key in enumerate(instance.get_dynamic_partitions(block.dimension))}
    keys = sorted(block.keys, key=order.__getitem__)
    last = block.last.isoformat()
    return {
        ASSET_PARTITION_RANGE_START_TAG: dg.MultiPartitionKey({"date": last, block.dimension: keys[0]}),
        ASSET_PARTITION_RANGE_END_TAG: dg.MultiPartitionKey({"date": last, block.dimension: keys[-1]}),
    }
