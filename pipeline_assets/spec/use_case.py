"""A use case: everything that `defs/<use_case>/defs.yaml` declares. Where it runs is in `environments`."""

from typing import Annotated

from pydantic import Field, model_validator

from pipeline_assets.spec.contract import Contract
from pipeline_assets.spec.evaluation import Evaluation
from pipeline_assets.spec.features import Features, Split
from pipeline_assets.spec.joined import JoinedSource, joined_name
from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.monitoring import Monitoring
from pipeline_assets.spec.problems import WrongKey
from pipeline_assets.spec.source import Source
from pipeline_assets.spec.time import PLACEHOLDER, Time, TimeSplit
from pipeline_assets.spec.training import ModelSettings, TrainingSettings
from pipeline_assets.spec.tuning import Tuning


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
    time: Time | None = None
    """Makes raw, validated, rejected, features and tensor_shards partitioned by day or hour."""
    source: Source
    """Raw data."""
    contract: Contract
    """Rules of validated rows."""
    sources: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], JoinedSource] = {}
    """Further sources by name, joined to the rows of `source`, the events."""
    features: Features
    """Features and label."""
    split: Split = Split()
    """Train, validation and test by hash of the key."""
    time_split: TimeSplit | None = None
    """Train, validation and test by time, one model per training date; in place of `split`."""
    model: ModelSettings = ModelSettings()
    """Model."""
    training: TrainingSettings = TrainingSettings()
    """Training."""
    tuning: Tuning | None = None
    """Search for better settings of model and training; none by default."""
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

    @model_validator(mode="after")
    def _time_fits(self) -> "UseCase":
        if self.time is None:
            for key, path, given in (
                ("time_split", ("time_split",), self.time_split is not None),
                ("features.rolling", ("features", "rolling"), bool(self.features.rolling)),
                (
                    f"{PLACEHOLDER} in source.uri",
                    ("source", "uri"),
                    PLACEHOLDER in self.source.uri,
                ),
            ):
                if given:
                    raise WrongKey(*path, message=f"{key} needs a `time` block")
            return self
        if PLACEHOLDER not in self.source.uri:
            raise WrongKey(
                *("source", "uri"),
                message="a use case with a `time` block reads a partition's files: source.uri needs "
                f"{PLACEHOLDER}, e.g. landing/{PLACEHOLDER}*.parquet",
            )
        return self

    @model_validator(mode="after")
    def _training_dates_fit(self) -> "UseCase":
        time = self.time
        if time is None or self.time_split is None or time.partition == "daily":
            return self
        if time.timezone != "UTC":
            raise WrongKey(
                *("time", "timezone"),
                message="time_split of hourly partitions, which are cut in UTC, needs time.timezone UTC, "
                f"not {time.timezone}: training dates begin at midnight there",
            )
        return self

    @model_validator(mode="after")
    def _known_entities_fit(self) -> "UseCase":
        known = self.evaluation.exclude_known
        missing = [name for name in known if name not in self.features.columns_along]
        if missing:
            raise WrongKey(
                *("evaluation", "exclude_known", known.index(missing[0])),
                message=f"{missing[0]!r} does not go along with the features; add it to features.carried",
            )
        if known and self.time_split is None:
            raise WrongKey(
                *("evaluation", "exclude_known"),
                message="evaluation.exclude_known needs a `time_split`: known by when?",
            )
        return self

    @property
    def joined_contract(self) -> Contract:
        """What features are computed from: the contract with the columns of `sources` after its own.

        Without `sources` it is the contract itself. A column of a source whose unmatched events are kept
        may be missing.
        """
        joined = [
            column.model_copy(
                update={
                    "name": joined_name(name, column.name),
                    "nullable": column.nullable or source.unmatched == "keep",
                }
            )
            for name, source in self.sources.items()
            for column in source.columns
        ]
        if not joined:
            return self.contract
        return self.contract.model_copy(update={"columns": [*self.contract.columns, *joined]})

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registry.model_name or self.name

    @property
    def takes_best(self) -> bool:
        """Whether the model is trained with the best settings of the published study."""
        return self.tuning is not None and self.tuning.use_best

    @property
    def split_seed(self) -> int:
        """Seed of the split's hash."""
        return self.seed if self.split.seed is None else self.split.seed
