"""The `tuning` block: which settings are searched, within what, and how much that may cost.

Whether the settings exist and take such values is judged in `search_space`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_assets.spec.duration import Duration
from pipeline_assets.spec.model_base import SpecModel

Kind = Literal["uniform", "loguniform", "integer", "choice"]
KINDS: tuple[Kind, ...] = ("uniform", "loguniform", "integer", "choice")


class Domain(SpecModel):
    """The values that a setting may take; exactly one key is given."""

    uniform: tuple[float, float] | None = None
    """Lowest and highest value, all equally likely at first."""
    loguniform: tuple[float, float] | None = None
    """Lowest and highest value, above 0; all orders of magnitude equally likely at first."""
    integer: tuple[int, int] | None = None
    """Lowest and highest whole number, both included."""
    choice: list[Any] | None = None
    """The values themselves, two at least; a value may be a list, such as the widths of layers."""

    @model_validator(mode="after")
    def _one_of_its_kinds(self) -> "Domain":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(KINDS)} is needed, e.g. uniform: [0, 0.5]; "
                f"given: {', '.join(given) or 'none'}"
            )
        if self.kind == "choice":
            self._check_values()
        else:
            low, high = self.values
            if not low < high:
                raise ValueError(f"{self.kind}: [{low:g}, {high:g}] is no range from low to high")
            if self.kind == "loguniform" and low <= 0:
                raise ValueError(f"loguniform needs a lowest value above 0 (got {low:g})")
        return self

    def _check_values(self) -> None:
        values = self.values
        if len(values) < 2:
            raise ValueError(
                "choice needs two values at least; one belongs to the settings themselves"
            )
        if any(isinstance(value, dict) for value in values):
            raise ValueError("a value of choice is a number, a text, true, false or a list of such")
        if any(value in values[:at] for at, value in enumerate(values)):
            raise ValueError(f"choice names a value twice: {values}")

    @property
    def kind(self) -> Kind:
        """Which key is given."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def values(self) -> Sequence[Any]:
        """Both ends of a range, or all values of a choice."""
        return getattr(self, self.kind)

    def holds(self, value: Any) -> bool:
        """Whether a value is among those that the search may propose."""
        if self.kind == "choice":
            return value in self.values
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.values
        return low <= value <= high and (self.kind != "integer" or isinstance(value, int))


class TrialResources(SpecModel):
    """What one trial gets."""

    cpus: float = Field(default=1, gt=0)
    """Cores; as many threads, one at least."""
    gpus: float = Field(default=0, ge=0)
    """GPUs; a share of one lets several trials share it."""


class Tuning(SpecModel):
    """The search for better settings: the asset `tuning_study`. Trials are judged on validation rows only."""

    space: dict[str, Domain] = Field(min_length=1)
    """Setting (`training.learning_rate`, `model.options.dropout`) to the values that it may take."""
    trials: int = Field(default=50, ge=1)
    """Trials of the study; the first has the settings as they are declared, if these are in the space."""
    search: Literal["optuna", "random"] = "optuna"
    """Who proposes settings: Optuna's tree-structured Parzen estimator, or chance."""
    scheduler: Literal["asha", "none"] = "asha"
    """Who ends trials early: asynchronous successive halving, or nobody."""
    grace_epochs: int = Field(default=1, ge=1)
    """Epochs that every trial may have before `asha` judges it."""
    reduction_factor: float = Field(default=3, gt=1)
    """`asha` lets one in so many go on, at so many times more epochs each time."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at the same time; by default as many as the resources allow."""
    resources: TrialResources = TrialResources()
    """What one trial gets."""
    time_limit: Duration | None = None
    """Wall time of the trials of one execution. What was finished by then is published; the next one goes on."""
    seed: int | None = None
    """Seed of the search; the use case's by default. Trials train with the use case's seed."""
    use_best: bool = False
    """Whether `trained_model` takes the best settings of the published study."""

    @field_validator("time_limit")
    @classmethod
    def _some_time(cls, value: Any) -> Any:
        if value is not None and value.total_seconds() <= 0:
            raise ValueError("a time limit is above zero")
        return value
