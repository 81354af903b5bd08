"""Executing a run's steps in this process: Dagster's own executor, and how a run ends that a signal ended.

Dagster takes an interrupted run for failed unless somebody asked for its end before. Not here: who listens to signals
(`interrupts`), what is run (`runner`).
"""

from collections.abc import Iterator

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from sigma_dagster.runs import interrupts


class _Interruptible(InProcessExecutor):
    """After a signal, says that the run is to end as canceled before Dagster decides how it ended."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute all steps."""
        canceling = False
        try:
            for event in super().execute(plan_context, execution_plan):
                if interrupts.received() and not canceling:
                    canceling = True
                    plan_context.instance.report_run_canceling(plan_context.dagster_run)
                yield event
        except BaseException:
            if interrupts.received() and not canceling:
                plan_context.instance.report_run_canceling(plan_context.dagster_run)
            raise


@dg.executor(name="in_process")
def in_process(_context: dg.InitExecutorContext) -> InProcessExecutor:
    """Execute all steps in the process of the run."""
    return _Interruptible(retries=RetryMode.ENABLED)
