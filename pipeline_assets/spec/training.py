"""Model and training settings. Field names equal those of the plain dataclasses in `training.config`."""

from typing import Any, Literal

from pydantic import Field

from pipeline_assets.spec.model_base import SpecModel


class ModelSettings(SpecModel):
    """Which model is trained, and its size."""

    factory: str = "pipeline_assets.training.models.mlp:build"
    """Dotted path `module:function` that builds the torch module from a `ModelConfig`."""
    options: dict[str, Any] = {}
    """Options of the factory, e.g. `hidden: [128, 64]`, `dropout: 0.1`, `embedding_dim: 8`, `members: 16`."""
    max_vocabulary: int = Field(default=1000, ge=1)
    """Most frequent categories kept per feature; the others share the out-of-vocabulary bucket."""


class TrainingSettings(SpecModel):
    """How the model is trained."""

    max_epochs: int = Field(default=30, ge=1)
    """Epochs at most."""
    batch_size: int = Field(default=1024, ge=1)
    """Rows of a global batch (over all ranks)."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps with linear warm-up; cosine decay follows."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm."""
    positive_weight: float | Literal["balanced", "none"] = "none"
    """Weight of positive rows in the loss; `balanced` takes negatives / positives of the training rows."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation score before training stops."""
    monitor: Literal["roc_auc", "average_precision", "log_loss"] = "roc_auc"
    """Validation score that chooses the best epoch."""
    checkpoint_epochs: int = Field(default=1, ge=1)
    """Epochs between checkpoints at the end of an epoch."""
    checkpoint_seconds: float = Field(default=300.0, ge=0)
    """Seconds between checkpoints in mid-epoch; longer where they would take over 5 % of the time."""
    on_not_finite: Literal["stop", "reload"] = "stop"
    """What a loss or gradient that is NaN or infinite does. `stop` ends the training and names the rows;
    `reload` goes back to the last checkpoint at the end of an epoch (or to the start) and on from there
    with a lower learning rate."""
    reload_rate_factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor of the learning rate at each reload."""
    max_reloads: int = Field(default=3, ge=1)
    """Reloads after which such a loss ends the training nevertheless."""
    on_damaged_shard: Literal["fail", "skip"] = "fail"
    """What a shard does that is missing or not the one in the index. `fail` ends the training and names
    it; `skip` trains without its rows, which are counted in log and model."""
    deterministic: bool = True
    """Deterministic torch algorithms: the same weights for the same inputs, seed and versions."""
