"""The component: one `defs.yaml` becomes the assets, checks, jobs, schedules and sensors of a use case."""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import BaseModel

from pipeline_assets.features.use_cases import load_checked_use_case
from pipeline_assets.orchestration.attributes import UseCaseAttributes
from pipeline_assets.orchestration.scaffolder import UseCaseScaffolder
from pipeline_assets.spec import UseCase


@dg.scaffold_with(UseCaseScaffolder)
@dataclass
class MLPipeline(dg.Component):
    """Raw files to a registered, monitored model, declared in one YAML file."""

    use_case: UseCase

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The schema for `dg check yaml` and editors."""
        return UseCaseAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "MLPipeline":
        """Read the YAML beside `context`. Raises `SpecError` with file and line for every problem."""
        path = Path(context.path)
        file = path / "defs.yaml" if path.is_dir() else path
        return cls(use_case=load_checked_use_case(file))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All definitions of the use case; resources are shared and live in `defs/resources.py`."""
        # Stage modules are imported here so that `dg list components` stays quick.
        from pipeline_assets.orchestration.definitions import use_case_definitions

        return use_case_definitions(self.use_case)
