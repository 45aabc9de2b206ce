"""A use case: everything that `defs/<use_case>/defs.yaml` declares. Where it runs is in `environments`."""

from pydantic import Field

from pipeline_assets.spec.contract import Contract
from pipeline_assets.spec.evaluation import Evaluation
from pipeline_assets.spec.features import Features, Split
from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.monitoring import Monitoring
from pipeline_assets.spec.source import Source
from pipeline_assets.spec.training import ModelSettings, TrainingSettings


class Registry(SpecModel):
    """Where the model is registered."""

    model_name: str | None = None
    """Registered model name; the use case's name by default."""


class Schedule(SpecModel):
    """When the whole chain runs by itself. Stopped until someone starts it in the UI."""

    cron: str = "0 6 * * 1"
    """Cron expression; Mondays at six by default."""
    timezone: str = "UTC"
    """IANA time zone of the cron expression."""


class UseCase(SpecModel):
    """One use case, from raw files to a registered, monitored model."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Asset key prefix; the folder's name by default."""
    description: str = ""
    """Shown in the UI."""
    owners: list[str] = []
    """E-mail addresses, or `team:name`."""
    tags: dict[str, str] = {}
    """Tags of all assets."""
    seed: int = 0
    """The one seed: split, shuffle, initial weights and bootstrap derive from it."""
    source: Source
    """Raw data."""
    contract: Contract
    """Rules of validated rows."""
    features: Features
    """Features and label."""
    split: Split = Split()
    """Train, validation and test."""
    model: ModelSettings = ModelSettings()
    """Model."""
    training: TrainingSettings = TrainingSettings()
    """Training."""
    evaluation: Evaluation = Evaluation()
    """Evaluation and gate."""
    registry: Registry = Registry()
    """Model registry."""
    monitoring: Monitoring = Monitoring()
    """Monitoring."""
    schedule: Schedule = Schedule()
    """Schedule of the whole chain."""
    retained_versions: int = Field(default=5, ge=1)
    """Published versions kept per asset."""

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registry.model_name or self.name

    @property
    def split_seed(self) -> int:
        """Seed of the split's hash."""
        return self.seed if self.split.seed is None else self.split.seed
