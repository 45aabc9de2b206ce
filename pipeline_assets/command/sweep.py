"""`pipeline_assets sweep`: how many rows a second this machine trains a use case, with other settings."""

from pathlib import Path

from pipeline_assets.command.errors import CommandError
from pipeline_assets.command.published import open_lake
from pipeline_assets.command.table import place
from pipeline_assets.command.use_cases import find_use_case
from pipeline_assets.environments import Environment, load_environment
from pipeline_assets.lake import Lake, Version
from pipeline_assets.shards import PartitionShards, compose_index, refer_to_index
from pipeline_assets.spec import UseCase
from pipeline_assets.spec.partitions import key_of_name, partition_name
from pipeline_assets.spec.training_dates import (
    dealt_partitions,
    require_published,
    training_partitions,
)
from pipeline_assets.temporary import temporary_folder
from pipeline_assets.training.config import (
    LaunchConfig,
    ModelConfig,
    PreprocessorConfig,
    TrainingConfig,
    TrainingJob,
)
from pipeline_assets.training.sweep import SECONDS, What, sweep

_FITTED = ("train", "validation")


def sweep_use_case(name: str, what: What = "dataloader", *, seconds: float = SECONDS) -> int:
    """Sweep over what is published of a use case; the lake is only read.

    Of a use case with training dates, the newest one whose statistics are published.

    Raises:
        CommandError: there is no such use case, or nothing of it is published.
        LakeError: its shards or its statistics are not published yet.
        TrainingDateError: partitions of the training date are missing.
        TrainingError: the sweep failed.
        ShardError: the shards cannot be read.
    """
    use_case = find_use_case(name)
    environment = load_environment()
    lake = open_lake(environment)
    with temporary_folder("sweep_shards") as folder:
        sweep(_job(use_case, environment, lake, folder), what, seconds=seconds)
    return 0


def _job(use_case: UseCase, environment: Environment, lake: Lake, folder: Path) -> TrainingJob:
    """The training as the use case and the environment declare it, in a temporary folder."""
    dataset = lake.dataset(use_case.name, "feature_statistics")
    dates = dataset.partitions()
    if not dates:
        raise CommandError(
            f"no feature_statistics of {use_case.name} are published in {place(lake.uri)}; "
            f"`pipeline_assets run {use_case.name}` makes them"
        )
    statistics = dataset.require(max(dates)).read_json("statistics.json")
    return TrainingJob(
        shards=str(_shards(use_case, lake, max(dates), folder / "shards")),
        output=str(folder / "model"),
        checkpoints=str(folder / "checkpoints"),
        seed=use_case.seed,
        model=ModelConfig(
            **use_case.model.model_dump(),
            preprocessor=PreprocessorConfig.from_statistics(
                statistics, max_vocabulary=use_case.model.max_vocabulary
            ),
        ),
        training=TrainingConfig(**use_case.training.model_dump()),
        launch=LaunchConfig(**environment.training.model_dump()),
    )


def _shards(use_case: UseCase, lake: Lake, date: str, folder: Path) -> Path:
    """A local folder with the index of the training set."""
    dataset = lake.dataset(use_case.name, "tensor_shards")
    if use_case.time is None:
        version = dataset.require()
        if version.storage.is_local:
            return version.local_path()
        refer_to_index(folder, version.uri, version.storage_options)
        return folder
    if use_case.time_split is None:
        roles = dealt_partitions(use_case, [key_of_name(p) for p in dataset.partitions()])
    else:
        roles = training_partitions(use_case, key_of_name(date)).roles
    keys = {role: roles[role] for role in _FITTED}
    found = {key: dataset.current(partition_name(key)) for own in keys.values() for key in own}
    versions = {key: version for key, version in found.items() if version is not None}
    require_published(use_case, keys, versions, of=f"the model of {date}", asset="tensor_shards")
    compose_index(
        folder,
        {role: [_part(key, versions[key]) for key in own] for role, own in keys.items()},
    )
    return folder


def _part(key: str, version: Version) -> PartitionShards:
    place = version.local_path() if version.storage.is_local else version.uri
    return PartitionShards(partition_name(key), place, version.storage_options)
