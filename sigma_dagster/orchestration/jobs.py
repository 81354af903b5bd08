"""The jobs: one run of a job computes a block of keys of one dimension. Started by planned runs, and by hand."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.catalogue import DIMENSIONS, of_dimension
from sigma_dagster.runs.request import DEFER_TAG, TO_RECONCILE, job_name


def build_jobs() -> list[UnresolvedAssetJobDefinition]:
    """Make the jobs."""
    return [
        dg.define_asset_job(
            job_name(dimension),
            selection=dg.AssetSelection.assets(*(asset.name for asset in of_dimension(dimension))).without_checks(),
            tags={DEFER_TAG: "true", **TO_RECONCILE},
            executor_def=dg.in_process_executor,
            description=f"Compute what is missing in a block of {dimension}s and sessions.",
        )
        for dimension in DIMENSIONS
    ]
