"""How a block becomes a Dagster run: its config, tags and assets, the same for the command line and the daemon."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sqlalchemy.exc import IntegrityError

from sigma_dagster.planner import Block, Step


def selection(block: Block) -> list[dg.AssetKey]:
    """Give the assets that the run computes."""
    return [dg.AssetKey(step.asset) for step in block.steps]


def run_config(block: Block, onboarding: Mapping[str, Any]) -> dict[str, Any]:
    """Give the run config; `onboarding` are numbers for the metadata of `portfolio_factor_exposures`."""
    ops = {step.asset: {"config": _step_config(block, step, onboarding)} for step in block.steps}
    # The console logger would print a line an event, on the terminal of `make dev` too.
    return {"ops": ops, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _step_config(block: Block, step: Step, onboarding: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "force": step.force,
        "keys": list(step.keys),
        "first": block.first.isoformat(),
        "last": block.last.isoformat(),
        "cached_keys": step.cached_keys,
        "cached_rows": step.cached_rows,
    }
    return {**config, "onboarding": onboarding} if step.asset == "portfolio_factor_exposures" else config


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
