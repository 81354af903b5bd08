"""What the definitions of all partitioned assets have in common; the rest stands in the module of each asset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from sqlalchemy import Table

from assets.catalogue import BY_NAME


@dataclass(frozen=True)
class Frame:
    """What every asset is fitted into."""

    partitions: Mapping[str, dg.MultiPartitionsDefinition]  # by the dimension beside the date
    first_date: date  # of the first date partition
    live: bool  # the price source follows the market


def table_asset(
    name: str, frame: Frame, *, description: str, **more: Any
) -> Callable[[Callable[..., dg.MaterializeResult[None]]], dg.AssetsDefinition]:
    """Make the asset of the catalogue from its compute function; `more` goes to `dagster.asset`."""
    entry = BY_NAME[name]
    made: Callable[[Callable[..., dg.MaterializeResult[None]]], dg.AssetsDefinition] = dg.asset(
        name=name,
        description=description,
        partitions_def=frame.partitions[entry.dimension],
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[_dependency(upstream, entry.dimension) for upstream in entry.upstream],
        group_name=entry.group,
        kinds={"sql"},
        owners=[entry.owner],
        code_version="1",
        metadata=column_schema(entry.table),
        **more,
    )
    return made


def column_schema(table: Table) -> dict[str, Any]:
    """Give a table's columns as the metadata by which the UI shows them."""
    columns = [dg.TableColumn(column.name, str(column.type).lower()) for column in table.columns]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _dependency(upstream: str, dimension: str) -> dg.AssetDep:
    """Say that a partition rests on the same session: of the same key, or of all symbols."""
    if upstream not in BY_NAME or BY_NAME[upstream].dimension == dimension:
        return dg.AssetDep(upstream)
    mapping = dg.MultiPartitionMapping(
        {
            BY_NAME[upstream].dimension: dg.DimensionPartitionMapping(dimension, dg.AllPartitionMapping()),
            "date": dg.DimensionPartitionMapping("date", dg.IdentityPartitionMapping()),
        }
    )
    return dg.AssetDep(upstream, partition_mapping=mapping)
