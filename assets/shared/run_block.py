"""The block of a run, as its assets read it: from the run config, or from the partitions chosen in the Dagster UI."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
from dagster import AssetExecutionContext

from assets.shared.block import Block, BlockConfigError


class BlockConfig(dg.Config):
    """Run config of every partitioned asset. The planner names the block; in other runs it is the run's partitions."""

    #: Compute and replace what exists as well.
    force: bool = False
    #: The block of a planned run: keys and the first and last session.
    keys: list[str] = []  # noqa: RUF012 - a pydantic field
    first: str = ""
    last: str = ""
    #: The last completed session, as the planner knew it; empty: ask the clock.
    completed: str = ""
    #: What the planner found stored already and therefore left out of this block.
    cached_keys: int = 0
    cached_rows: int = 0


def block_of_run(context: AssetExecutionContext, dimension: str, config: BlockConfig) -> Block:
    """Read the part of a run's block that is this asset's; raises dagster.Failure if the config describes none."""
    asset = context.asset_key.to_user_string()
    if config.keys or config.first or config.last:
        try:
            return Block.from_config({asset: config.model_dump()})
        except BlockConfigError as error:
            raise dg.Failure(f"The run config describes no block: {error}") from None
    start, end = (_partition(context, end) for end in ("start", "end"))
    # Dynamic keys are ordered as they were added, and so are their ranges.
    keys = list(context.instance.get_dynamic_partitions(dimension))
    keys = keys[keys.index(start[dimension]) : keys.index(end[dimension]) + 1]
    return Block.of_keys([asset], keys, date.fromisoformat(start["date"]), date.fromisoformat(end["date"]))


def _partition(context: AssetExecutionContext, end: str) -> Mapping[str, str]:
    partitions = context.assets_def.partitions_def
    if not isinstance(partitions, dg.MultiPartitionsDefinition):
        raise TypeError(f"{context.asset_key.to_user_string()} has no date and key partitions")
    return partitions.get_partition_key_from_str(getattr(context.partition_key_range, end)).keys_by_dimension
