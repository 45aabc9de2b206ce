"""A data-to-model platform made of Dagster software-defined assets.

`MLPipeline` is the component that turns a `defs.yaml` into a use case's assets. It is imported on first
use, so that a bare GPU node can import `pipeline_assets.training` without Dagster.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_assets.orchestration.component import MLPipeline

__all__ = ["MLPipeline"]


def __getattr__(name: str) -> Any:
    if name == "MLPipeline":
        from pipeline_assets.orchestration.component import MLPipeline

        return MLPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
