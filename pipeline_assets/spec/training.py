"""Model and training settings. Field names equal those of the plain dataclasses in `training.config`."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from pipeline_assets.spec.model_base import SpecModel
from pipeline_assets.spec.problems import WrongKey


class ModelSettings(SpecModel):
    """Which model is trained, and its size."""

    factory: str = "pipeline_assets.training.models.mlp:build"
    """Dotted path `module:function` that builds the torch module from a `ModelConfig`; what it may be made of
    is described in `pipeline_assets.training.models`."""
    options: dict[str, Any] = {}
    """Options of the factory, e.g. `hidden: [128, 64]`, `dropout: 0.1`, `embedding_dim: 8`, `members: 16`."""
    max_vocabulary: int = Field(default=1000, ge=1)
    """Most frequent categories kept per feature; the others share the out-of-vocabulary bucket."""
    task: Literal["binary", "multiclass", "multilabel", "regression"] = "binary"
    """What the label is. A use case is binary: positive or not, as `features.label` says."""

    @field_validator("task")
    @classmethod
    def _is_binary(cls, value: str) -> str:
        if value != "binary":
            raise ValueError(
                f"a use case is evaluated, registered and monitored for binary labels only, not {value}; "
                "training alone takes the others: a TrainingJob (pipeline_assets.training.config) with "
                "model.task, classes or quantiles, on shards made by pipeline_assets.shards.write_shard"
            )
        return value


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
    positive_weight: Annotated[float, Field(gt=0)] | Literal["balanced", "none"] = "none"
    """Weight of positive rows in the loss; `balanced` takes negatives / positives of the training rows.
    Probabilities are corrected for it. Not for focal loss, which has `alpha`."""
    loss: Literal[
        "auto", "binary_cross_entropy", "cross_entropy", "focal", "mse", "huber", "quantile"
    ] = "auto"
    """Loss of a row. `auto` is binary_cross_entropy; focal turns to the rows that are hard to tell, and its
    probabilities are not calibrated. The others are for labels that a use case does not have."""
    loss_options: dict[str, float] = {}
    """Options of the loss. focal: `gamma` (2 by default), `alpha` (weight of positive rows, negative ones
    have 1 - alpha; none by default)."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation score before training stops."""
    monitor: Literal["roc_auc", "average_precision", "log_loss"] = "roc_auc"
    """Validation score that chooses the best epoch."""
    checkpoint_epochs: int = Field(default=1, ge=1)
    """Epochs between checkpoints at the end of an epoch; more where they would take over 2.5 % of the time,
    unless `on_not_finite` is `reload`."""
    checkpoint_seconds: float = Field(default=300.0, ge=0)
    """Seconds between checkpoints in mid-epoch; longer where they would take over 2.5 % of the time."""
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
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    """Number format of a training step's products. Weights, losses and validation stay float32. `tf32` is
    for GPUs and has no effect elsewhere; `float16` scales the loss, and is refused where training runs on
    CPUs."""
    compile: bool = False
    """Compile the network by torch.compile, for the shapes of full batches; the last batch of an epoch,
    which is smaller, and validation run uncompiled. Worth it for many steps: compiling takes from seconds
    to a minute. On CPUs it needs a C++ compiler."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches that a rank's part of a global batch is computed in, where it does not fit in memory.
    The result is the same but for rounding."""
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    """`ddp` keeps the whole network on every rank, `fsdp` (FSDP2) shards weights, gradients and optimiser
    over ranks, for networks that do not fit. The result is the same but for rounding, and so are
    checkpoints and model files."""
    ddp_static_graph: bool = False
    """Tell DDP that every step uses the same parameters, which saves a search; not with accumulation."""
    ddp_bucket_cap_mb: float | None = Field(default=None, gt=0)
    """Size of the buckets that gradients are exchanged in, MiB; torch's default (25) if none."""
    ddp_gradient_as_bucket_view: bool = True
    """Let gradients lie in the buckets, which saves a copy of them."""
    profile: bool = False
    """Measure the training: the shares of data, forward, backward, communication, optimiser, checkpoint and
    validation, the spread of steps over ranks and any straggler, and a trace of a few steps per rank, all
    published with the model. The weights are the same. What it costs is the few steps of the trace."""

    @field_validator("positive_weight", mode="wrap")
    @classmethod
    def _weighs(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            # Of a union it would tell why each of its branches does not hold.
            message = f"{value!r} is neither a number above 0 nor 'balanced' or 'none'"
            raise WrongKey(message=message) from None

    @model_validator(mode="after")
    def _fits_binary_labels(self) -> "TrainingSettings":
        fitting = ("auto", "binary_cross_entropy", "focal")
        if self.loss not in fitting:
            raise WrongKey(
                "loss",
                message=f"loss {self.loss!r} does not fit a binary label; fitting: {', '.join(fitting)}",
            )
        known = ("gamma", "alpha") if self.loss == "focal" else ()
        unknown = [name for name in self.loss_options if name not in known]
        if unknown:
            raise WrongKey(
                "loss_options",
                unknown[0],
                message=f"{unknown[0]!r} is unknown to {self.loss}; known: {', '.join(known) or 'none'}",
            )
        if (
            self.loss_options.get("gamma", 2.0) < 0
            or not 0 < self.loss_options.get("alpha", 0.5) < 1
        ):
            raise WrongKey("loss_options", message="gamma is at least 0, alpha between 0 and 1")
        if self.loss == "focal" and self.positive_weight != "none":
            raise WrongKey(
                "positive_weight",
                message="positive_weight is not for focal loss: set loss_options.alpha instead",
            )
        return self

    @model_validator(mode="after")
    def _can_be_exchanged(self) -> "TrainingSettings":
        if self.ddp_static_graph and self.gradient_accumulation > 1:
            raise WrongKey(
                "ddp_static_graph",
                message="ddp_static_graph and gradient_accumulation above 1 do not go together: a static graph "
                "exchanges gradients in its first backward pass, accumulation only in the last of a batch",
            )
        return self

    @model_validator(mode="after")
    def _micro_batches_have_rows(self) -> "TrainingSettings":
        if self.gradient_accumulation > self.batch_size:
            raise WrongKey(
                "gradient_accumulation",
                message=f"{self.gradient_accumulation} micro-batches of {self.batch_size} rows "
                "(batch_size): some would have none",
            )
        return self

    def without_profile(self) -> "TrainingSettings":
        """The same, not measured: what the weights depend on."""
        return self.model_copy(update={"profile": False})
