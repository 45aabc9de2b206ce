"""Writes shards: one safetensors file from arrays, or all shards of a version as engine tasks.

The engine is reached only through methods of the DataFrame that is passed in, so that this package
needs no engine where it only reads. Data never passes through the driver: it gets one row per file.
"""

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from pipeline_assets.shards.errors import ShardError
from pipeline_assets.shards.index import (
    INDEX_FILE,
    SPLITS,
    UNDIVIDED,
    Shard,
    ShardIndex,
)

if TYPE_CHECKING:
    import pyarrow as pa

_KNOWN = (*SPLITS, UNDIVIDED)
_RESULT = (
    "file string, split string, rows bigint, bytes bigint, sha256 string, "
    "row_id_sum bigint, label_sum double"
)


def write_shard(
    path: str,
    *,
    numeric: np.ndarray,
    categorical: np.ndarray,
    label: np.ndarray,
    row_id: np.ndarray,
    file: str | None = None,
    split: str = "train",
    storage_options: dict[str, Any] | None = None,
) -> Shard:
    """Write one shard, rows in the order given, and return its index entry.

    A local file appears whole or not at all; on an object store it is a single put.

    Args:
        path: local path or fsspec URI of the file.
        numeric: float32 [rows, F], NaN for missing.
        categorical: int64 [rows, C], hashes, 0 for missing.
        label: float32 [rows], or [rows, labels] where the index names labels.
        row_id: int64 [rows].
        file: path relative to the index; the file's name by default.
        split: train, validation or test.
        storage_options: of fsspec.

    Raises:
        ShardError: shapes that do not agree, or a label that is not finite.
    """
    arrays = {
        "numeric": np.ascontiguousarray(numeric, dtype=np.float32),
        "categorical": np.ascontiguousarray(categorical, dtype=np.int64),
        "label": np.ascontiguousarray(label, dtype=np.float32),
        "row_id": np.ascontiguousarray(row_id, dtype=np.int64),
    }
    rows = len(arrays["row_id"])
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(shape[0] != rows for shape in shapes.values()) or any(
        arrays[name].ndim != 2 for name in ("numeric", "categorical")
    ):
        raise ShardError(f"arrays of one shard do not agree: {shapes}")
    finite = np.isfinite(arrays["label"])
    bad = np.flatnonzero(~(finite.all(axis=1) if finite.ndim == 2 else finite))
    if len(bad):
        raise ShardError(
            f"{len(bad)} of {rows} labels are missing or not finite, "
            f"first at row_id {arrays['row_id'][bad[0]]}"
        )
    content = save(arrays)
    _put(path, content, storage_options)
    return Shard(
        file=file if file is not None else path.rsplit("/", 1)[-1],
        split=split,
        rows=rows,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        row_id_sum=int(arrays["row_id"].sum(dtype=np.int64)),
        label_sum=float(arrays["label"].sum(dtype=np.float64)),
    )


def write_shards(
    features: Any,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    staged: Any,
    buckets: int,
    undivided: bool = False,
) -> ShardIndex:
    """Write the shards of a features table, one per split and bucket, and `index.json`.

    Args:
        features: engine DataFrame with `_row_id` int64, `_split` string, `label` float32, and the
            features: numeric ones float32 with NaN for missing, categorical ones string with null.
        numeric: names of the numeric features, in tensor order.
        categorical: names of the categorical features, in tensor order.
        staged: a staged version of the lake (`uri`, `storage_options`, `write_json`).
        buckets: files per split; take it from the row count alone (`bucket_count`), so that the
            same rows give the same files on every machine.
        undivided: the table has no `_split`: all rows go into the split `all`.

    Raises:
        ShardError: a label is missing or a split has another name than train, validation or test.
    """
    # Split as text of fixed meaning; categories hashed by the engine, whose xxhash64 of a null is
    # its seed: missing must be 0.
    quoted = [f"CAST(`{name}` AS FLOAT) AS `n{at}`" for at, name in enumerate(numeric)]
    hashed = [
        f"CASE WHEN `{name}` IS NULL THEN CAST(0 AS BIGINT) ELSE xxhash64(`{name}`) END AS `c{at}`"
        for at, name in enumerate(categorical)
    ]
    table = features.selectExpr(
        f"CAST(pmod(`_row_id`, {buckets}) AS INT) AS `_bucket`",
        f"'{UNDIVIDED}' AS `_split`" if undivided else "`_split`",
        "`_row_id`",
        "CAST(`label` AS FLOAT) AS `label`",
        *quoted,
        *hashed,
    ).repartition(buckets, "_bucket")
    task = _task(staged.uri, staged.storage_options, len(numeric), len(categorical))
    written = table.mapInArrow(task, _RESULT).collect()
    shards = sorted(
        (Shard(**row.asDict()) for row in written), key=lambda s: (_KNOWN.index(s.split), s.file)
    )
    index = ShardIndex(numeric=tuple(numeric), categorical=tuple(categorical), shards=tuple(shards))
    staged.write_json(INDEX_FILE, index.to_dict())
    return index


def _task(
    uri: str, storage_options: dict[str, Any] | None, numeric: int, categorical: int
) -> "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]":
    def write(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        found = [batch for batch in batches if batch.num_rows]
        if not found:
            return
        table = pa.Table.from_batches(found)
        shards = _write_table(table, uri, storage_options, numeric, categorical)
        yield pa.RecordBatch.from_pylist([dataclasses.asdict(shard) for shard in shards])

    return write


def _write_table(
    table: "pa.Table",
    uri: str,
    storage_options: dict[str, Any] | None,
    numeric: int,
    categorical: int,
) -> Iterable[Shard]:
    """Write each (split, bucket) of a task's rows. A task may hold several buckets, each whole."""
    split = table.column("_split").combine_chunks()
    codes = split.dictionary_encode()
    unknown = sorted(set(codes.dictionary.to_pylist()) - set(_KNOWN), key=str)
    if unknown or split.null_count:
        raise ShardError(f"rows of unknown split {unknown}; known are {', '.join(SPLITS)}")
    names = codes.dictionary.to_pylist()
    code = codes.indices.to_numpy(zero_copy_only=False)
    bucket = table.column("_bucket").to_numpy()
    row_id = table.column("_row_id").to_numpy()
    label = table.column("label").to_numpy()  # nulls become NaN, which write_shard refuses
    values = _stack([table.column(f"n{at}").to_numpy() for at in range(numeric)], len(row_id), "f4")
    hashes = _stack(
        [table.column(f"c{at}").to_numpy() for at in range(categorical)], len(row_id), "i8"
    )
    # The engine returns rows in any order; this one is canonical. Ties of row_id (two keys of one
    # hash) are ordered by content.
    ties = [hashes[:, at] for at in range(categorical)] + [values[:, at] for at in range(numeric)]
    order = np.lexsort([*ties, label, row_id, code, bucket])
    groups = bucket[order].astype(np.int64) * len(names) + code[order]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    for rows in np.split(order, starts[1:]):
        name = names[code[rows[0]]]
        file = f"{name}/shard-{bucket[rows[0]]:05d}.safetensors"
        yield write_shard(
            f"{uri.rstrip('/')}/{file}",
            numeric=values[rows],
            categorical=hashes[rows],
            label=label[rows],
            row_id=row_id[rows],
            file=file,
            split=name,
            storage_options=storage_options,
        )


def _stack(columns: list[np.ndarray], rows: int, dtype: str) -> np.ndarray:
    matrix = np.empty((rows, len(columns)), dtype=dtype)
    for at, column in enumerate(columns):
        matrix[:, at] = column
    return matrix


def _put(path: str, content: bytes, storage_options: dict[str, Any] | None) -> None:
    if "://" in path and not path.startswith("file://"):
        import fsspec

        with fsspec.open(path, "wb", **(storage_options or {})) as file:
            file.write(content)  # pyright: ignore[reportAttributeAccessIssue]
        return
    target = Path(path.removeprefix("file://"))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".shard-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
