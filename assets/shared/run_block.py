"""The block of a run, as its assets read it: from the run config, or from the partitions chosen in the Dagster UI.

Here too: what the planner found stored and left out, which travels in a tag of the run that the UI hides.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import dagster as dg
from dagster import AssetExecutionContext
from pydantic import Field

from assets.catalogue import BY_NAME
from assets.shared.block import Block, BlockConfigError

#: JSON: by asset the keys and rows that were stored already, and the numbers of the onboarding that asked for the run.
FOUND_TAG = ".dagster/sigma_found"

#: Of a run from the launchpad without a partition and without keys.
NOTHING_CHOSEN_TAG = ".dagster/sigma_nothing_chosen"


class BlockConfig(dg.Config):
    """Run config of every partitioned asset. Without keys, the block is the partitions that were chosen."""

    force: bool = Field(default=False, description="Compute and replace what exists as well.")
    # A list of strings, which `Block` checks: Dagster would, key by key, at every step and for all assets of the run.
    keys: Any = Field(default=[], description="The keys of a block, such as [AAPL, MSFT]; none: the chosen partitions.")
    first: str = Field(default="", description="The block's first session, YYYY-MM-DD; none: the first partition.")
    last: str = Field(default="", description="The block's last session, YYYY-MM-DD; none: the last partition.")
    whole: bool = Field(
        default=False, description="Prices: ask for all that is stored of a symbol, and compare; with force."
    )
    source: str = Field(
        default="",
        description="Prices: ask this source of SIGMA_PRICE_SOURCES; none: the one that a symbol's prices came from.",
    )


def block_of_run(context: AssetExecutionContext, config: BlockConfig) -> Block:
    """Read the part of a run's block that is this asset's; raises dagster.Failure if there is none."""
    asset = context.asset_key.to_user_string()
    dimension = BY_NAME[asset].dimension
    if config.keys or config.first or config.last:
        ends = {"first": config.first or _dates(context).get_first_partition_key()}
        ends["last"] = config.last or _dates(context).get_last_partition_key()
        try:
            return Block.from_config({asset: {**config.model_dump(), **ends}})
        except BlockConfigError as error:
            raise dg.Failure(f"The run config describes no block: {error}", allow_retries=False) from None
    if NOTHING_CHOSEN_TAG in context.run.tags:
        raise dg.Failure(
            f"Nothing is chosen: choose partitions of {asset} (Materialize), or fill in ops: {asset}: config: keys: "
            f"with the {dimension} keys to compute",
            allow_retries=False,
        )
    start, end = (_partition(context, end) for end in ("start", "end"))
    # Dynamic keys are ordered as they were added, and so are their ranges.
    keys = list(context.instance.get_dynamic_partitions(dimension))
    keys = keys[keys.index(start[dimension]) : keys.index(end[dimension]) + 1]
    return Block.of_keys([asset], keys, date.fromisoformat(start["date"]), date.fromisoformat(end["date"]))


class Found(NamedTuple):
    """What the planner found stored and left out of a block."""

    keys: int
    rows: int
    completed: date | None  # the last completed session, as the planner knew it


def found_before(context: AssetExecutionContext) -> Found:
    """Give what of this asset the planner left out."""
    found = _found(context)
    keys, rows = found.get("cached", {}).get(context.asset_key.to_user_string(), (0, 0))
    completed = found.get("completed")
    return Found(keys, rows, date.fromisoformat(completed) if completed else None)


def onboarding_numbers(context: AssetExecutionContext) -> dict[str, Any]:
    """Give the numbers of the onboarding that asked for the run."""
    return dict(_found(context).get("onboarding", {}))


def _found(context: AssetExecutionContext) -> dict[str, Any]:
    return dict(json.loads(context.run.tags.get(FOUND_TAG, "{}")))


def _partitions(context: AssetExecutionContext) -> dg.MultiPartitionsDefinition:
    partitions = context.assets_def.partitions_def
    if not isinstance(partitions, dg.MultiPartitionsDefinition):
        raise TypeError(f"{context.asset_key.to_user_string()} has no date and key partitions")
    return partitions


def _dates(context: AssetExecutionContext) -> Any:
    return _partitions(context).get_partitions_def_for_dimension("date")


def _partition(context: AssetExecutionContext, end: str) -> Mapping[str, str]:
    key = getattr(context.partition_key_range, end)
    return _partitions(context).get_partition_key_from_str(key).keys_by_dimension
