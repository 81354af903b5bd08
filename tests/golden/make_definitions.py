"""Write anew what Dagster shows of the whole project: `python -m tests.golden.make_definitions`, then read the diff."""

import json
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from sigma_dagster.orchestration.build import build_defs
from tests.support.home import Home
from tests.support.sources import LiveSource

FILE = Path(__file__).with_name("definitions.json")


def described(home: Home) -> dict[str, Any]:
    """Assets, partitions, checks, jobs, schedules and sensors over a price source that follows the market."""
    services = home.environment(LiveSource(), start_date="2021-07-20")
    repository = build_defs(services).get_repository_def()
    services.database.engine.dispose()
    graph = repository.asset_graph
    return {
        "assets": {key.to_user_string(): _asset(graph.get(key)) for key in sorted(graph.get_all_asset_keys())},
        "checks": {
            f"{key.asset_key.to_user_string()}: {key.name}": graph.get_check_spec(key).description
            for key in sorted(graph.asset_check_keys)
        },
        "jobs": {
            job.name: {
                "description": job.description,
                "tags": dict(job.tags),
                "assets": sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys),
            }
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
        },
        "schedules": {
            one.name: {
                "description": one.description,
                "cron": one.cron_schedule,
                "timezone": one.execution_timezone,
                "job": one.job_name,
                "status": one.default_status.value,
            }
            for one in repository.schedule_defs
        },
        "sensors": {
            one.name: {
                "description": one.description,
                "jobs": sorted(target.job_name for target in one.targets),
                "seconds": one.minimum_interval_seconds,
                "status": one.default_status.value,
            }
            for one in repository.sensor_defs
        },
    }


def _asset(node: Any) -> dict[str, Any]:
    partitions = node.partitions_def
    schema = node.metadata.get("dagster/column_schema")
    return {
        "description": node.description,
        "group": node.group_name,
        "owners": sorted(node.owners),
        "kinds": sorted(node.kinds),
        "code_version": node.code_version,
        "upstream": sorted(key.to_user_string() for key in node.parent_keys),
        "pools": sorted(node.pools) if partitions else [],
        "partitions": _partitions(partitions),
        "columns": {column.name: column.type for column in schema.columns} if schema else {},
    }


def _partitions(found: Any) -> dict[str, Any] | None:
    if not isinstance(found, dg.MultiPartitionsDefinition):
        return {"dynamic": found.name} if found else None
    dates: Any = found.get_partitions_def_for_dimension("date")
    return {
        "dimensions": sorted(found.partition_dimension_names),
        "first": dates.get_first_partition_key(),
        "schedule": dates.cron_schedule,
        "timezone": dates.timezone,
    }


def text(home: Home) -> str:
    """The file's text."""
    return json.dumps(described(home), indent=2, default=str) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral():
        FILE.write_text(text(Home(Path(folder) / "sigma", {})), encoding="utf-8")
