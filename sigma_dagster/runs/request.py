"""How a block becomes a Dagster run: its config, tags and assets, the same for the command line and the daemon."""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.shared.block import Block
from assets.shared.look_back import listed
from assets.shared.recorder import register_keys
from assets.shared.run_block import FOUND_TAG

#: With this tag Dagster leaves it to the assets to record the partitions: exactly those they wrote.
DEFER_TAG = "dagster/defer_asset_events"

#: Who asked for a run; those of the Dagster UI have no such tag.
LAUNCHED_BY_TAG = "launched_by"
LAUNCHED_BY_COMMAND = "sigma"
LAUNCHED_BY_REPORTS = "sensor portfolio_reports"

#: Run config: the console logger would print a line an event, on the terminal of `make dev` too.
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

#: Of a run's keys in its tags; its config has them all.
_NAMED = 3

#: A run with this tag may have rows that it did not record: `heal` looks after it once it has ended badly.
_RECONCILE_TAG = ".dagster/sigma_reconcile"
TO_RECONCILE = {_RECONCILE_TAG: "due"}
RECONCILED = {_RECONCILE_TAG: "done"}


def job_name(dimension: str) -> str:
    """Name the job that computes blocks of the dimension."""
    return f"{dimension}_block"


def selection(block: Block) -> list[dg.AssetKey]:
    """Give the assets that the run computes."""
    return [dg.AssetKey(step.asset) for step in block.steps]


def run_config(block: Block) -> dict[str, Any]:
    """Give the run config."""
    return {"ops": {asset: {"config": config} for asset, config in block.to_config().items()}, **QUIET}


def run_tags(block: Block, *, onboarding: Mapping[str, Any], launched_by: str) -> dict[str, str]:
    """Give the run's tags: what a person looks for in the list of runs, Dagster's partitions, hidden plumbing.

    `onboarding` are numbers for the metadata of `portfolio_factor_exposures`. The block's keys must be registered.
    """
    found = {
        "cached": {step.asset: [step.cached_keys, step.cached_rows] for step in block.steps},
        "completed": block.completed.isoformat() if block.completed else None,
        "onboarding": dict(onboarding),
    }
    return {
        f"{block.dimension}": listed(list(block.keys), _NAMED),
        "sessions": block.span,
        LAUNCHED_BY_TAG: launched_by,
        FOUND_TAG: json.dumps(found),
        **partition_tags(block),
    }


def register(instance: dg.DagsterInstance, block: Block) -> None:
    """Make the block's keys known as partitions."""
    register_keys(instance, block.dimension, block.keys)


def partition_tags(block: Block) -> dict[str, str]:
    """Give Dagster one of the block's partitions, of the newest session; its key must be registered.

    It wants some for a run of partitioned assets, and for each step maps all that are named to those upstream, which
    takes the square of their number. What the run computes stands in its config.
    """
    one = dg.MultiPartitionKey({"date": block.last.isoformat(), block.dimension: block.keys[0]})
    return {ASSET_PARTITION_RANGE_START_TAG: one, ASSET_PARTITION_RANGE_END_TAG: one}
