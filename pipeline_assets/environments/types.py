"""The types of an environment file. Reading files is in `loader`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class InvalidEnvironment(Exception):
    """An environment that cannot be used; the message names file, key, value and the remedy."""


class Settings(BaseModel):
    """A frozen part of an environment; unknown keys are refused so that a misspelt one is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EngineSettings(Settings):
    """What runs the data code."""

    kind: Literal["sail", "spark", "remote"] = "sail"
    """`sail`: embedded, no Java. `spark`: Apache Spark on this machine. `remote`: a Spark Connect server."""
    remote: str | None = None
    """Spark Connect URL (`sc://host:port`), for `remote`."""
    master: str | None = None
    """Spark master for `spark`; `local[cores]` by default."""
    cores: int | None = Field(default=None, ge=1)
    """Cores of this machine to use, for `sail` and `spark`; all that the process may use by default."""
    conf: dict[str, str] = {}
    """Spark configuration, for `spark` and for the session."""

    @model_validator(mode="after")
    def _remote_has_a_url(self) -> "EngineSettings":
        if self.kind == "remote" and not (self.remote or "").startswith("sc://"):
            raise ValueError(
                f"engine kind remote needs `remote: sc://host:port`, got {self.remote!r}"
            )
        return self


class LakeSettings(Settings):
    """Where versions are published."""

    uri: str = "data/lake"
    """A path (relative to the home) or any fsspec URI."""
    storage_options: dict[str, Any] = {}
    """Options of the fsspec file system. Secrets come from the environment, never from here."""


class MlflowSettings(Settings):
    """Experiment tracking and model registry."""

    tracking_uri: str = "sqlite:///data/mlflow/mlflow.db"
    """MLflow server, or a SQLite file (a relative one is relative to the home)."""
    artifact_location: str | None = "data/mlflow/artifacts"
    """Where models and artefacts go; None leaves it to the server."""


class TrainingPlacement(Settings):
    """Processes of `torch.distributed.run`."""

    launcher: Literal["local", "spark"] = "local"
    """`local`: on this machine, and on others where the launcher is started there. `spark`: in the executors
    of the engine, one task per process, by PySpark's `TorchDistributor`; they must see home and `TMPDIR` at
    the same paths. It has no watchdog: a process that hangs is ended by the time-out of the collectives."""
    processes: int | Literal["auto"] = "auto"
    """Processes per node; `auto` is one per GPU, or two on a machine without. With `spark`, all processes."""
    executor_gpus: bool = False
    """With `spark`: give each process the GPUs of its task (`spark.task.resource.gpu.amount`)."""
    nnodes: str = Field(default="1", pattern=r"^\d+(:\d+)?$")
    """Number of nodes, or `min:max` for elastic runs. The run's log says what to start on the others; home and
    `TMPDIR` must be on a file system that they share."""
    rdzv_endpoint: str | None = None
    """`host:port` where the nodes meet, a free port of one of them; not needed for one node."""
    rdzv_backend: str = "c10d"
    """Rendezvous backend."""
    max_restarts: int = Field(default=0, ge=0)
    """Restarts of the worker group within one launch."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """Seconds without progress of any process of a node after which the training is ended; the stacks of
    all its processes are kept. Also how long nodes wait for each other at the start."""

    @model_validator(mode="after")
    def _nodes_know_where_to_meet(self) -> "TrainingPlacement":
        if int(self.nnodes.rpartition(":")[2]) > 1 and not self.rdzv_endpoint:
            raise ValueError(
                f"nnodes {self.nnodes} needs `rdzv_endpoint: host:port`, where the nodes meet"
            )
        if self.launcher == "spark" and self.processes == "auto":
            raise ValueError("launcher spark needs a number of processes, not auto")
        return self


class TuningPlacement(Settings):
    """Where the trials of a study run."""

    ray_address: str | None = Field(default=None, pattern=r"^[^:/]+:\d+$|^\[[^/]+\]:\d+$")
    """`host:port` of a Ray cluster that this machine belongs to, with a home that all its machines see at the
    same path; None starts Ray on this machine alone."""


class ShardCacheSettings(Settings):
    """Where training keeps shards of a lake on an object store; each node downloads a shard once."""

    folder: str | None = None
    """A folder on a local disk of every node, relative to the home; None for `PIPELINE_SHARD_CACHE`, or the
    user's cache folder."""
    max_gib: float | None = Field(default=None, gt=0)
    """Bound in GiB, least recently used shards go first; None for `PIPELINE_SHARD_CACHE_GIB`, or a share of
    the disk. A training set must fit."""


class AlertSettings(Settings):
    """Where alerts go."""

    channels: list[str] = ["logfile://data/alerts.log"]
    """Apprise URLs; `logfile://path` appends to a local file. Take secrets from the environment."""


class Environment(Settings):
    """Where the platform runs."""

    name: str
    """Name of the environment; the file's by default."""
    home: Path
    """Folder that relative paths refer to."""
    engine: EngineSettings = EngineSettings()
    """Data engine."""
    lake: LakeSettings = LakeSettings()
    """Published data."""
    mlflow: MlflowSettings = MlflowSettings()
    """Tracking and registry."""
    training: TrainingPlacement = TrainingPlacement()
    """Training processes."""
    tuning: TuningPlacement = TuningPlacement()
    """Trials of a search for settings."""
    shard_cache: ShardCacheSettings = ShardCacheSettings()
    """Shards of a lake on an object store."""
    alerts: AlertSettings = AlertSettings()
    """Alerts."""
    executor: Literal["in_process", "multiprocess"] = "in_process"
    """Dagster executor of the jobs. In-process is the quick one on one machine."""

    @model_validator(mode="after")
    def _executors_are_those_of_spark(self) -> "Environment":
        if self.training.launcher == "spark" and self.engine.kind == "sail":
            raise ValueError(
                "training.launcher spark needs executors: engine.kind remote or spark, not sail"
            )
        return self

    def resolve(self, path: str | Path) -> Path:
        """Return a local path, made absolute against the home."""
        return self.home / Path(path).expanduser()

    def locate(self, uri: str) -> str:
        """Return a URI as it is, a local path made absolute against the home."""
        return uri if "://" in uri else str(self.resolve(uri))
