"""The two jobs: one run computes a block of symbols, the other a block of portfolios."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

#: The assets of each job, by the dimension that its blocks have beside the date.
JOB_ASSETS = {
    "symbol": ("daily_prices", "factor_exposures", "symbol_volatility"),
    "portfolio": ("portfolio_factor_exposures", "portfolio_volatility"),
}

#: With this tag Dagster leaves it to the assets to record the partitions: exactly those they wrote.
DEFER_TAG = "dagster/defer_asset_events"


def job_name(dimension: str) -> str:
    """Name the job that computes blocks of the dimension."""
    return f"{dimension}_block"


def build_jobs() -> list[UnresolvedAssetJobDefinition]:
    """Make the jobs."""
    return [
        dg.define_asset_job(
            job_name(dimension),
            selection=dg.AssetSelection.assets(*assets).without_checks(),
            tags={DEFER_TAG: "true"},
            executor_def=dg.in_process_executor,
            description=f"Compute what is missing in a block of {dimension}s and sessions.",
        )
        for dimension, assets in JOB_ASSETS.items()
    ]
