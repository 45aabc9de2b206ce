"""A use case of a few payments a day, in one file per day, with windows of two days."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from pipeline_assets.spec.partitions import partition_keys
from tests.orchestration.conftest import Project, merge
from tests.orchestration.tiny_use_case import ENVIRONMENT, at_home

START = dt.date(2018, 3, 23)
DATA = ("raw", "validated", "rejected", "features", "tensor_shards")
ATTRIBUTES: dict[str, Any] = {
    "time": {"column": "at", "start": START.isoformat(), "end": "2018-12-31"},
    "source": {"uri": "landing/{partition}*.parquet", "format": "parquet"},
    "contract": {
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "int64", "min": 0},
            {"name": "at", "type": "timestamp"},
            {"name": "customer", "type": "string"},
            {"name": "amount", "type": "float64", "min": 0},
            {"name": "fraud", "type": "int32", "allowed": [0, 1]},
        ],
        "table": {"min_rows": 0},
    },
    "features": {
        "label": {"column": "fraud", "positive": 1},
        "columns": [
            {"name": "amount", "kind": "numeric"},
            {"name": "customer", "kind": "categorical"},
        ],
        "rolling": [
            {
                "name": "customer",
                "entity": ["customer"],
                "windows": ["1d", "2d"],
                "aggregations": [{"function": "count"}, {"function": "sum", "of": "amount"}],
            }
        ],
    },
}


def day(number: int) -> str:
    """Key of the `number`-th day, from 0."""
    return (START + dt.timedelta(days=number)).isoformat()


def payments(number: int, rows: int = 40, seed: int = 0) -> pa.Table:
    """Payments of the `number`-th day; another seed gives other amounts."""
    draw = np.random.default_rng([number, seed])
    begin = np.datetime64(day(number), "us")
    return pa.table(
        {
            "id": pa.array(np.arange(rows) + number * 1_000_000),
            "at": pa.array(
                begin + np.sort(draw.integers(0, 86_400_000_000, rows)).astype("timedelta64[us]")
            ),
            "customer": [f"c{value}" for value in draw.integers(0, 8, rows)],
            "amount": draw.gamma(2, 30, rows).round(2),
            "fraud": pa.array((draw.random(rows) < 0.2).astype("int32")),
        }
    )


class TimedProject(Project):
    """The use case in one folder, with what its partitions are."""

    def land(self, number: int, *, rows: int = 40, seed: int = 0, name: str = "") -> Path:
        """Write the file of a day."""
        path = self.home / "landing" / f"{day(number)}{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(payments(number, rows, seed), path)
        return path

    def days(self, first: int, last: int, *, job: str = "data", **options: Any) -> Any:
        """Execute a job for the days from `first` to `last`, both included, in one run."""
        tags = {
            "dagster/asset_partition_range_start": day(first),
            "dagster/asset_partition_range_end": day(last),
        }
        return self.run(job, tags={**tags, **options.pop("tags", {})}, **options)

    def one_day(
        self, number: int, *, job: str = "data", assets: tuple[str, ...] = (), **options: Any
    ) -> Any:
        """Execute a job, or some assets of it, for one day."""
        selection = [dg.AssetKey([self.use_case.name, asset]) for asset in assets] or None
        return self.run(job, partition_key=day(number), asset_selection=selection, **options)

    def published(self, asset: str) -> dict[str, str]:
        """Partition to the data version in the lake."""
        dataset = self.lake.dataset(self.use_case.name, asset)
        return {name: dataset.require(name).data_version for name in dataset.partitions()}

    def recorded(self, asset: str) -> dict[str, str]:
        """Partition to the data version of its last event in Dagster."""
        key = dg.AssetKey([self.use_case.name, asset])
        records = self.instance.fetch_materializations(key, limit=10_000, ascending=True).records
        return {
            str(record.partition_key): (record.event_log_entry.tags or {})["dagster/data_version"]
            for record in records
        }

    def stale(self) -> dict[str, list[str]]:
        """Asset to its stale partitions, as the UI finds them; assets without any left out."""
        graph = self.definitions().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(
            self.instance, graph, LoadingContextForTest(self.instance)
        )
        found: dict[str, list[str]] = {}
        for asset in DATA:
            key = dg.AssetKey([self.use_case.name, asset])
            for partition in sorted(self.recorded(asset)):
                if resolver.get_status(key, partition) == StaleStatus.STALE:
                    found.setdefault(asset, []).append(partition)
        return found

    def all_days(self, first: int, last: int) -> list[str]:
        """Keys of a range."""
        time = self.use_case.time
        assert time is not None
        return partition_keys(time, day(first), day(last))


@contextmanager
def timed_project(
    home: Path, changes: Mapping[str, Any] | None = None, *, days: int = 0
) -> Iterator[TimedProject]:
    """The use case in `home` with the files of the first `days` days."""
    file = home / "defs" / "payments" / "defs.yaml"
    file.parent.mkdir(parents=True)
    document = {"type": "pipeline_assets.MLPipeline", "attributes": ATTRIBUTES}
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    (home / "environment.yaml").write_text(yaml.safe_dump(ENVIRONMENT), encoding="utf-8")
    (home / "dagster").mkdir()
    with at_home(home), dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:
        project = TimedProject(home=home, file=file, instance=instance)
        project.edit(lambda attributes: merge(attributes, dict(changes or {})))
        for number in range(days):
            project.land(number)
        yield project
