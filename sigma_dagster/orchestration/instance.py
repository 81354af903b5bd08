"""The Dagster instance that the command line and `make dev` share: its dagster.yaml, and opening it."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from resources.dagster_storage.tables import EVENTS, RUNS, SCHEDULES, TwoVersionsError, repair_sqlite
from sigma_dagster.errors import BrokenHomeError, WorkersError
from sigma_dagster.settings import BROKER_URL, Settings

#: Runs are processes, and each is busy: more at once than cores only take memory.
_CONCURRENT_RUNS = 2
#: Runs that are sent for each that is executed: a worker that ends one has the next at hand.
_SENT = 2
#: For a worker, which may be busy with another block. Dagster counts from the moment that the run is sent.
_SECONDS_TO_START = 3600

#: Folder, name and tables of Dagster's SQLite files.
_FILES = (("history", "runs", RUNS), ("schedules", "schedules", SCHEDULES), ("event_log", "event_log", EVENTS))


def prepare(settings: Settings) -> Path:
    """Write the instance's dagster.yaml where it is not up to date; return its folder (DAGSTER_HOME).

    Raises WorkersError.
    """
    if settings.to_workers and not find_spec("dagster_celery"):
        raise WorkersError(f"{BROKER_URL} is set, and the packages of workers are missing: make install-workers")
    home = settings.dagster_home
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)
    text = "# Written by sigma; changes are lost.\n" + yaml.safe_dump(_config(settings), sort_keys=False)
    target = home / "dagster.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(target)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance, its databases made if need be; use it as a context manager.

    Raises BrokenHomeError, WorkersError.
    """
    try:
        return dg.DagsterInstance.from_config(str(prepare(settings)))
    except TwoVersionsError as error:
        raise BrokenHomeError(f"{error}. This repairs it and keeps everything: sigma repair") from error


def repair(settings: Settings) -> list[Path]:
    """Make Dagster's files whole that two processes made at the same time; return those that are there."""
    files = {settings.dagster_home / folder / f"{name}.db": group for folder, name, group in _FILES}
    found = [path for path in files if path.exists()]
    for path in found:
        repair_sqlite(path, files[path])
    return found


def _config(settings: Settings) -> dict[str, Any]:
    return {
        **_common(settings),
        **(_on_workers(settings) if settings.to_workers else _on_this_host()),
    }


def _on_this_host() -> dict[str, Any]:
    """Give how runs are executed: each by a process that the daemon's code server starts."""
    return {
        # Of the runs that the daemon starts, one at a time asks the price source.
        "concurrency": _concurrency(_CONCURRENT_RUNS, at_the_source=1),
        # A run whose process never came up is given up; whether it lives later is for `liveness` to say.
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 180, "poll_interval_seconds": 10},
        "run_retries": _retries(1),
    }


def _on_workers(settings: Settings) -> dict[str, Any]:
    """Give how runs are executed: by the workers of the broker. The same for the daemon and for every worker."""
    address = {"env": settings.broker_variable}
    return {
        "run_launcher": {
            "module": "sigma_dagster.runs.launcher",
            "class": "WorkerLauncher",
            "config": {"broker": address, "backend": address, "config_source": _CELERY},
        },
        # Providers' limits are kept by the database, for all hosts together (`quota`).
        "concurrency": _concurrency(_SENT * settings.worker_slots, at_the_source=_SENT * settings.worker_slots),
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": _SECONDS_TO_START,
            "cancel_timeout_seconds": 30,
            "poll_interval_seconds": 5,
            "max_resume_run_attempts": 0,
        },
        "run_retries": _retries(2),
    }


#: A worker that is busy must not reserve the next block while another idles; and nothing but JSON crosses the broker.
#: A run that is sent waits a minute for the broker: one that failed would be asked for again only after some.
_CELERY = {
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "broker_connection_retry_on_startup": True,
    "task_publish_retry_policy": {"max_retries": 60, "interval_start": 1, "interval_step": 0, "interval_max": 1},
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
}


def _concurrency(runs: int, *, at_the_source: int) -> dict[str, Any]:
    return {
        "runs": {"max_concurrent_runs": runs},
        "pools": {"granularity": "run", "default_limit": at_the_source},
    }


def _retries(most: int) -> dict[str, Any]:
    return {"enabled": True, "max_retries": most, "retry_on_asset_or_op_failure": False}


def _common(settings: Settings) -> dict[str, Any]:
    return {
        **(_postgres(settings) if settings.dagster_database_url else _sqlite(settings.dagster_home)),
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(settings.dagster_home)},
        },
        # Nothing of ours prints, and capturing starts four processes a run.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
            "config": {},
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator.queued_run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 1},
        },
        # Of runs that were started in the UI: Dagster writes each of its events to the terminal at DEBUG.
        "python_logs": {"python_log_level": "INFO"},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def _sqlite(home: Path) -> dict[str, Any]:
    def storage(module: str, name: str, folder: str) -> dict[str, Any]:
        return {"module": module, "class": name, "config": {"base_dir": str(home / folder)}}

    return {
        "run_storage": storage("resources.dagster_storage.runs_sqlite", "SqliteRuns", "history"),
        "schedule_storage": storage("resources.dagster_storage.runs_sqlite", "SqliteSchedules", "schedules"),
        "event_log_storage": storage("resources.dagster_storage.event_log", "SqliteEventLog", "event_log"),
    }


def _postgres(settings: Settings) -> dict[str, Any]:
    def storage(module: str, name: str) -> dict[str, Any]:
        # The URL, or the path of the file that holds it: neither it nor a password in it is written there.
        return {
            "module": module,
            "class": name,
            "config": {"postgres_url": {"env": settings.dagster_database_variable}},
        }

    return {
        "run_storage": storage("resources.dagster_storage.runs_postgres", "PostgresRuns"),
        "schedule_storage": storage("resources.dagster_storage.runs_postgres", "PostgresSchedules"),
        "event_log_storage": storage("resources.dagster_storage.event_log_postgres", "PostgresEventLog"),
    }
