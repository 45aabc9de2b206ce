"""Where things run: engine, lake, trackers, processes. What is built is in `spec`."""

from pipeline_assets.environments.loader import load_environment
from pipeline_assets.environments.types import (
    AlertSettings,
    EngineSettings,
    Environment,
    InvalidEnvironment,
    LakeSettings,
    MlflowSettings,
    ShardCacheSettings,
    TrainingPlacement,
    TuningPlacement,
)

__all__ = [
    "AlertSettings",
    "EngineSettings",
    "Environment",
    "InvalidEnvironment",
    "LakeSettings",
    "MlflowSettings",
    "ShardCacheSettings",
    "TrainingPlacement",
    "TuningPlacement",
    "load_environment",
]
