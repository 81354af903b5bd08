"""The external asset `onboardings`: what each onboarding and refresh took. Its plots show the product over time.

Plots of the partitioned assets cannot: Dagster draws all symbols as one line. Not here: keeping a note until Dagster
can be told (`resources.database.onboardings`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.shared.recorder import facts
from resources.database import onboardings
from resources.database.engine import Database

asset = dg.AssetSpec(
    "onboardings",
    group_name="portfolio_risk",
    kinds={"sql"},
    owners=["team:portfolio-risk"],
    description="One event is one onboarding or refresh: how much was there already, calls made and saved, "
    "regressions, rows, seconds by stage. The Plots page shows them over time.",
)


def report(instance: dg.DagsterInstance, database: Database) -> None:
    """Tell Dagster of what has been noted since it was told last, oldest first."""
    with database.read() as connection:
        notes = onboardings.noted(connection)
    for note in notes:
        tell(instance, note.began, note.numbers)
    if notes:
        with database.write() as connection:
            onboardings.settle(connection, notes)


def tell(instance: dg.DagsterInstance, began: float, numbers: Mapping[str, Any]) -> None:
    """Tell Dagster of one that began at a time, seconds since 1970 (UTC)."""
    at = dg.MetadataValue.timestamp(datetime.fromtimestamp(began, UTC))
    instance.report_runless_asset_event(dg.AssetMaterialization(asset.key, metadata={"began": at, **facts(numbers)}))
