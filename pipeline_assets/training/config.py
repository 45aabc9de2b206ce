"""What is trained and how: frozen dataclasses with JSON forms. Field names equal those of the spec."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pipeline_assets.option_types import Bounds, Count, NotNegative, Positive, Share
from pipeline_assets.training.job_checking import job_problems

Task = Literal["binary", "multiclass", "multilabel", "regression"]
Loss = Literal["auto", "binary_cross_entropy", "cross_entropy", "focal", "mse", "huber", "quantile"]
Monitor = Literal["roc_auc", "average_precision", "log_loss", "accuracy", "rmse", "mae", "pinball"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
Parallelism = Literal["ddp", "fsdp"]


class TrainingError(Exception):
    """Training cannot start or go on; the message says why and what to do. Never retried blindly."""


class TrainingInterrupted(TrainingError):
    """Training ended for a reason that may pass: run again, it goes on from the last checkpoint."""


@dataclass(frozen=True, kw_only=True)
class NumericFeature:
    """Training statistics of a numeric feature. None (or NaN) where no training row has a value."""

    name: str
    mean: float | None
    std: float | None
    median: float | None
    edges: tuple[float, ...] = ()
    """Ascending quantiles, minimum to maximum, for piecewise-linear embeddings; empty if unknown."""


@dataclass(frozen=True, kw_only=True)
class CategoricalFeature:
    """Vocabulary of a categorical feature."""

    name: str
    vocabulary: tuple[int, ...]
    """int64 hashes of the kept categories; all others share the out-of-vocabulary bucket."""


@dataclass(frozen=True, kw_only=True)
class PreprocessorConfig:
    """Everything the `Preprocessor` knows, in the order of the tensors' columns."""

    numeric: tuple[NumericFeature, ...] = ()
    categorical: tuple[CategoricalFeature, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PreprocessorConfig":
        """From JSON: `{numeric: [{name, mean, std, median}], categorical: [{name, vocabulary}]}`."""
        return cls(
            numeric=tuple(
                NumericFeature(**{**item, "edges": tuple(item.get("edges", ()))})
                for item in data.get("numeric", ())
            ),
            categorical=tuple(
                CategoricalFeature(name=item["name"], vocabulary=tuple(item["vocabulary"]))
                for item in data.get("categorical", ())
            ),
        )

    @classmethod
    def from_statistics(
        cls, statistics: Mapping[str, Any], *, max_vocabulary: int
    ) -> "PreprocessorConfig":
        """From the JSON form of feature statistics (over training rows only).

        Args:
            statistics: `numeric`: [{name, mean, std, min, max, quantiles: {"0.01": …}}] and
                `categorical`: [{name, top: [{hash} or (value, hash, rows)]}], as
                `FeatureStatistics.to_dict()` gives or its JSON holds.
            max_vocabulary: most frequent categories kept per feature.
        """
        numeric = []
        for item in statistics["numeric"]:
            quantiles = sorted((float(key), value) for key, value in item["quantiles"].items())
            edges = [item["min"], *(value for _, value in quantiles), item["max"]]
            known = sorted({float(e) for e in edges if e is not None and math.isfinite(e)})
            numeric.append(
                NumericFeature(
                    name=item["name"],
                    mean=item["mean"],
                    std=item["std"],
                    median=dict(quantiles).get(0.5),
                    edges=tuple(known),
                )
            )
        categorical = [
            CategoricalFeature(
                name=item["name"],
                vocabulary=tuple(
                    int(top["hash"] if isinstance(top, Mapping) else top[1])
                    for top in item["top"][:max_vocabulary]
                ),
            )
            for item in statistics["categorical"]
        ]
        return cls(numeric=tuple(numeric), categorical=tuple(categorical))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a factory gets."""

    factory: str = "pipeline_assets.training.models.mlp:build"
    """Dotted path `module:function(ModelConfig) -> nn.Module`; what it builds is described in `models`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the factory; it refuses those it does not know."""
    max_vocabulary: Count = 1000
    """As in the spec; already applied in `preprocessor`."""
    task: Task = "binary"
    """What the label is: 0 or 1; a class index; 0 or 1 for each of several labels; a number."""
    classes: Count = 2
    """Classes of a multi-class label, labels of a multi-label one; of no meaning otherwise."""
    quantiles: tuple[Annotated[float, Bounds(above=0, below=1)], ...] = ()
    """Quantiles that a regression predicts, ascending, between 0 and 1; none: one value."""
    preprocessor: PreprocessorConfig = PreprocessorConfig()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the outputs for one row: (), (classes,) or (quantiles,)."""
        if self.task in ("multiclass", "multilabel"):
            return (self.classes,)
        return (len(self.quantiles),) if self.quantiles else ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """From JSON."""
        return cls(
            **{
                **data,
                "quantiles": tuple(data.get("quantiles", ())),
                "preprocessor": PreprocessorConfig.from_dict(data.get("preprocessor", {})),
            }
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the model is trained; see `spec.training.TrainingSettings` for each field."""

    max_epochs: Count = 30
    batch_size: Count = 1024
    """Rows of a global batch, over all ranks."""
    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 1e-2
    warmup_share: Share = 0.05
    gradient_clip: Positive = 1.0
    positive_weight: Positive | Literal["balanced", "none"] = "none"
    loss: Loss = "auto"
    loss_options: dict[str, float] = field(default_factory=dict)
    patience: Count = 5
    """Epochs."""
    monitor: Monitor = "roc_auc"
    checkpoint_epochs: Count = 1
    checkpoint_seconds: NotNegative = 300.0
    on_not_finite: Literal["stop", "reload"] = "stop"
    reload_rate_factor: Annotated[float, Bounds(above=0, below=1)] = 0.5
    max_reloads: Count = 3
    on_damaged_shard: Literal["fail", "skip"] = "fail"
    deterministic: bool = True
    precision: Precision = "float32"
    compile: bool = False
    gradient_accumulation: Count = 1
    """Micro-batches of a global batch."""
    parallelism: Parallelism = "ddp"
    ddp_static_graph: bool = False
    ddp_bucket_cap_mb: Positive | None = None
    """MiB; None leaves it to torch."""
    ddp_gradient_as_bucket_view: bool = True
    profile: bool = False

    def shaping(self) -> dict[str, Any]:
        """JSON-safe form of all but what only watches: with or without it the model is the same."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "profile"}


@dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """Processes, from the environment."""

    launcher: Literal["local", "spark"] = "local"
    """torch.distributed.run on this machine, or TorchDistributor in the executors of a Spark cluster."""
    processes: Count | Literal["auto"] = "auto"
    """Ranks on this node; auto: one per GPU, else two. On executors: all ranks."""
    executor_gpus: bool = False
    """On executors: each rank has the GPUs of its task."""
    nnodes: str = "1"
    """Nodes, or "min:max"."""
    rdzv_endpoint: str | None = None
    """host:port of the rendezvous; None for one node."""
    rdzv_backend: str = "c10d"
    max_restarts: Annotated[int, Bounds(at_least=0)] = 0
    """Restarts of all ranks after one has failed, each from the last checkpoint."""
    timeout_seconds: Positive = 600.0
    """Time without progress of any rank of this node after which the training is ended, with stacks."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training, as `launch` reads it from JSON."""

    shards: str
    """Folder with `index.json`: a local path, or any fsspec URI."""
    output: str
    """Folder for the model; files appear there when training has finished (metrics while it runs)."""
    checkpoints: str
    """Folder for checkpoints, kept when the run dies: give the same to its retry."""
    seed: int = 0
    """Initial weights, order of rows and dropout."""
    verify_shards: bool = True
    """Re-hash the shards before training."""
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    launch: LaunchConfig = LaunchConfig()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TrainingJob":
        """From JSON. Raises `TrainingError` for unknown or missing keys and values that do not fit."""
        problems = list(job_problems(data, cls))
        if problems:
            raise TrainingError("training job: " + "\n".join(problems))
        return cls(
            **{
                **data,
                "model": ModelConfig.from_dict(data.get("model", {})),
                "training": TrainingConfig(**data.get("training", {})),
                "launch": LaunchConfig(**data.get("launch", {})),
            }
        )

    @classmethod
    def load(cls, path: str | Path) -> "TrainingJob":
        """Read a JSON file. Raises `TrainingError` where it is no training job."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"training job {path}: {error}") from None
        return cls.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Sixteen hex digits of what all ranks must have been given alike: all but how they are started."""
        common = {key: value for key, value in self.to_dict().items() if key != "launch"}
        return hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()[:16]

    def fingerprint(self, index_hash: str) -> str:
        """Sixteen hex digits of all that shapes the weights; a checkpoint continues only its own."""
        shaping: dict[str, Any] = {
            "index": index_hash,
            "seed": self.seed,
            "model": dataclasses.asdict(self.model),
            "training": self.training.shaping(),
        }
        # When a state is saved changes nothing of it.
        del shaping["training"]["checkpoint_seconds"]
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]
