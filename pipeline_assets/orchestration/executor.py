"""Executors that first end the runs whose process is gone: a step that waits for their slot can not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.orchestration.abandoned import end_abandoned_runs, mark_machine
from pipeline_assets.orchestration.resources import environment_of

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig


def executor_of() -> dg.ExecutorDefinition:
    """The executor that the environment asks for, after a look for abandoned runs."""
    if environment_of("").executor == "in_process":
        return _after_a_look(dg.in_process_executor)
    return _after_a_look(dg.multiprocess_executor)


def _after_a_look(definition: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor, by name and configuration."""
    create = definition.executor_creation_fn
    assert create is not None
    return dg.ExecutorDefinition(
        name=definition.name,
        config_schema=definition.config_schema.as_field(),
        requirements=definition.get_requirements,
        executor_creation_fn=lambda context: _AfterALook(create(context)),
        description=definition.description,
    )


class _AfterALook(dg.Executor):
    """Runs in the process of the run, before any of its steps asks for a slot."""

    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> "RetryMode":
        return self._executor.retries

    @property
    def step_dependency_config(self) -> "StepDependencyConfig":
        return self._executor.step_dependency_config

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        mark_machine(plan_context.instance, plan_context.run_id)
        for run_id in end_abandoned_runs(plan_context.instance, marked=True):
            plan_context.log.warning(
                f"run {run_id} was killed: it is marked as failed, and its slots in pools are free"
            )
        yield from self._executor.execute(plan_context, execution_plan)
