"""Running blocks in this process as Dagster runs, on the instance that the UI shows.

A block that a run in progress covers is not started again: whoever comes second waits, and then plans anew.
"""

import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any, TextIO, cast

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import create_execution_plan, execute_run_iterator
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.snap import snapshot_from_execution_plan
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from assets.shared.block import Block
from sigma_dagster.errors import BlockFailedError
from sigma_dagster.planning.work import StepMetadata
from sigma_dagster.runs import claims, interrupts, liveness, request
from sigma_dagster.runs.interrupts import Interrupted
from sigma_dagster.runs.request import job_name
from sigma_dagster.services import Services
from sigma_dagster.settings import PROJECT

#: The code location of workspace.yaml.
LOCATION = "sigma_dagster"


class _WithoutEchoes:
    """The terminal, without the errors that Dagster writes there and raises as well: those of its event log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text.startswith("Exception while writing logger call to event log"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Runner:
    """Runs blocks one after the other."""

    def __init__(
        self, instance: dg.DagsterInstance, services: Services, defs: dg.Definitions, say: Callable[[str], None]
    ) -> None:
        self._instance = instance
        self._services = services
        self._defs = defs
        self._say = say

    def wait_for_others(self, block: Block) -> bool:
        """Wait until no run in progress covers a part of the block; say whether there was one."""
        waited = False
        while others := claims.awaited(self._instance, self._services, block):
            if not waited:
                self._say(f"Waiting for run {others[0][:8]}, which computes a part of this already")
            waited = True
            time.sleep(claims.POLL_SECONDS)
        return waited

    def run(self, block: Block, onboarding: Mapping[str, Any] | None = None) -> StepMetadata | None:
        """Run the block and give each asset's metadata; None if another run claimed it first.

        Raises BlockFailedError.
        """
        request.register(self._instance, block)
        job = self._defs.resolve_job_def(job_name(block.dimension))
        run_id = str(uuid.uuid4())
        with liveness.alive(self._services, run_id):
            if not claims.claim(self._instance, self._services, run_id, block):
                return None
            try:
                run = self._create_run(run_id, job, block, onboarding or {})
                events = self._execute(job, run)
                interrupts.check()
            except Interrupted:
                claims.cancel(self._instance, run_id)
                raise
            if events[-1].event_type != dg.DagsterEventType.RUN_SUCCESS:
                raise BlockFailedError(_failure(events))
        return _metadata(events)

    def _execute(self, job: dg.JobDefinition, run: dg.DagsterRun) -> list[dg.DagsterEvent]:
        """Execute the run; after a signal, say that it is to end as canceled before Dagster decides how it ended."""
        events, canceling = [], False
        with redirect_stderr(cast("TextIO", _WithoutEchoes(sys.stderr))):
            for event in execute_run_iterator(InMemoryJob(job), run, self._instance):
                events.append(event)
                if interrupts.received() and not canceling:
                    self._instance.report_run_canceling(run)
                    canceling = True
        return events

    def _create_run(
        self, run_id: str, job: dg.JobDefinition, block: Block, onboarding: Mapping[str, Any]
    ) -> dg.DagsterRun:
        """Create the run, of the block's assets without their checks (`create_run_for_job` would add them)."""
        selection = set(request.selection(block))
        subset = job.get_subset(asset_selection=selection, asset_check_selection=set())
        tags = request.run_tags(block, onboarding=onboarding, launched_by=request.LAUNCHED_BY_COMMAND)
        config = request.run_config(block)
        plan = create_execution_plan(subset, config, instance_ref=self._instance.get_ref(), tags=tags)
        return self._instance.create_run(
            job_name=job.name,
            run_id=run_id,
            run_config=config,
            status=None,
            tags={**job.run_tags, **tags},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=plan.step_keys_to_execute,
            execution_plan_snapshot=snapshot_from_execution_plan(plan, subset.get_job_snapshot_id()),
            job_snapshot=subset.get_job_snapshot(),
            parent_job_snapshot=subset.get_parent_job_snapshot(),
            asset_selection=selection,
            asset_check_selection=set(),
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=_origin(job.name),
            job_code_origin=None,
            asset_graph=subset.asset_layer.asset_graph,
        )


def _origin(name: str) -> RemoteJobOrigin:
    """Say where workspace.yaml has the job, so that the UI links the run to it and can run it again."""
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=f"{LOCATION}.definitions", working_directory=str(PROJECT)
    )
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), name)


def _metadata(events: Sequence[dg.DagsterEvent]) -> StepMetadata:
    """Read what each asset's step reported."""
    return {
        event.step_key or "": {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in events
        if event.event_type == dg.DagsterEventType.STEP_OUTPUT
    }


def _said(message: str) -> str:
    """Give the message of an exception as Dagster keeps it, without the class where that is one of ours."""
    name, _, text = message.strip().partition(": ")
    return text if name.startswith(("assets.", "resources.", "sigma_dagster.")) else message.strip()


def _failure(events: Sequence[dg.DagsterEvent]) -> str:
    """Say which step failed first, and why, in one line."""
    for event in events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            error = data.error
            while error and error.cause:
                error = error.cause
            told = data.user_failure_data and data.user_failure_data.description
            return f"{event.step_key}: {told or (error and _said(error.message)) or 'failed'}"
    return "the run failed before its first step; its page in the Dagster UI says why"
