"""Features: SQL expressions over validated columns, the label, and the split."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.rolling import Rolling


class Feature(SpecModel):
    """One engineered, unscaled column."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Name of the feature."""
    kind: Literal["numeric", "categorical"]
    """Numeric features are float32 with NaN for missing; categorical ones are text, hashed in shards."""
    expression: str | None = None
    """SQL over validated columns; the column of the same name by default."""
    description: str = ""
    """Shown in the UI's column schema."""

    @property
    def sql(self) -> str:
        """The expression, or the quoted name where none is declared."""
        return self.expression if self.expression is not None else f"`{self.name}`"


class Label(SpecModel):
    """What the model predicts."""

    column: str
    """Contract column."""
    positive: str | int | float | bool = 1
    """The value that counts as positive; every other value is negative."""


class Split(SpecModel):
    """Deterministic split by hash of the key: a row's part never depends on other rows' order."""

    train: float = Field(default=0.7, gt=0, lt=1)
    """Share of training rows."""
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Share of validation rows; the rest is the test split."""
    stratify: bool = True
    """Hold the label rate equal between parts, within 1/4096 of the rows."""
    seed: int | None = None
    """Seed of the hash; the use case's seed by default."""

    @model_validator(mode="after")
    def _leaves_a_test_split(self) -> "Split":
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train {self.train} + validation {self.validation} leave no rows for the test split"
            )
        return self


class Features(SpecModel):
    """What goes into the model."""

    columns: list[Feature] = []
    """The features of single rows, in the order of the tensors."""
    label: Label
    """The label."""
    rolling: list[Rolling] = []
    """Rolling-window features of a use case with a `time` block; numeric, after `columns`."""
    carried: list[str] = []
    """Contract columns that go along for slices and business metrics, never into the model."""
    suspicious_auc: float = Field(default=0.97, gt=0.5, le=1)
    """A single feature that separates the classes better than this is reported as a likely leak."""

    @model_validator(mode="after")
    def _has_features(self) -> "Features":
        if not self.columns and not self.rolling:
            raise ValueError("no features: declare `columns`, `rolling` or both")
        return self

    @property
    def numeric(self) -> list[Feature]:
        """Numeric features of single rows in order; the rolling ones follow them, see `numeric_names`."""
        return [feature for feature in self.columns if feature.kind == "numeric"]

    @property
    def rolling_names(self) -> list[str]:
        """Names of the rolling-window features in order."""
        return [name for rolling in self.rolling for name in rolling.feature_names]

    @property
    def numeric_names(self) -> list[str]:
        """Names of all numeric features in the order of the tensors."""
        return [*(feature.name for feature in self.numeric), *self.rolling_names]

    @property
    def columns_along(self) -> list[str]:
        """Columns of the feature table that business metrics are given: carried ones, and single rows' features."""
        return [*self.carried, *(feature.name for feature in self.columns)]

    @property
    def categorical(self) -> list[Feature]:
        """Categorical features in order."""
        return [feature for feature in self.columns if feature.kind == "categorical"]
