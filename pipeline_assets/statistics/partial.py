"""The mergeable result of one file, and its bytes; NumPy and Arrow only, it runs inside tasks.

Read it as: rows and row ids per split over everything; moments, co-moments, distinct counts,
categories and a sample over the training rows. The sample holds the training rows whose hashed row
id is below a bound, so it does not depend on how rows are spread over files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.features.split import SPLITS
from pipeline_assets.statistics.moments import CoMoments, Moments
from pipeline_assets.statistics.sketches import CategoryCounts, Distinct, float_hashes, mix

_MOMENTS = ("count", "mean", "m2", "m3", "m4", "min", "max", "zeros")
_COMOMENTS = ("count", "mean", "m2", "product")


class Partial:
    """Statistics of some of the rows of a feature version."""

    def __init__(
        self, numeric: Sequence[str], categorical: Sequence[str], *, limit: int, bound: int
    ) -> None:
        """Start empty.

        Args:
            numeric: names of the numeric features, in order.
            categorical: names of the categorical features, in order.
            limit: categories kept per feature.
            bound: rows whose hash (uint64) does not exceed this are sampled.
        """
        self.numeric, self.categorical = list(numeric), list(categorical)
        self.limit, self.bound = limit, bound
        empty = np.empty((0, len(self.numeric)))
        self.moments, self.comoments = Moments.of(empty), CoMoments.of(empty)
        self.distinct = [Distinct() for _ in self.numeric]
        self.counts = [CategoryCounts(limit) for _ in self.categorical]
        self.rows = np.zeros((len(SPLITS), 2), dtype=np.int64)  # per split: negative, positive
        self.row_id_sums = np.zeros(len(SPLITS), dtype=np.uint64)
        self.repeated = 0
        self.overlaps = 0
        self._samples = [
            (np.empty(0, np.uint64), np.empty(empty.shape, np.float32), np.empty(0, bool))
        ]

    def columns(self, split: str | None = None) -> list[str]:
        """Columns that `add_file` reads."""
        own = [] if split else ["_split"]
        return ["_row_id", *own, "label", *self.numeric, *self.categorical]

    def add_file(self, batches: Iterable[pa.RecordBatch], split: str | None = None) -> None:
        """Add all rows of one file.

        Rows with equal `_row_id` are looked for within the file: the files of a version are bucketed
        by it, so equal ids never lie in two of them.

        Args:
            batches: the file's rows.
            split: that all of them belong to; `_split` tells by default.

        Raises:
            ValueError: for a split that is none of train, validation, test.
        """
        ids, parts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for batch in batches:
            row_ids, split_codes = self._add(batch, split)
            ids.append(row_ids)
            parts.append(split_codes)
        row_ids, codes = np.concatenate(ids), np.concatenate(parts)
        order = np.lexsort((codes, row_ids))
        row_ids, codes = row_ids[order], codes[order]
        same = row_ids[1:] == row_ids[:-1]
        self.repeated += int(same.sum())
        across = row_ids[1:][same & (codes[1:] != codes[:-1])]
        self.overlaps += len(np.unique(across))

    def _add(self, batch: pa.RecordBatch, of: str | None) -> tuple[np.ndarray, np.ndarray]:
        row_ids = batch["_row_id"].to_numpy()
        split = _codes(batch, of)
        positive = batch["label"].to_numpy(zero_copy_only=False) > 0.5
        np.add.at(self.rows, (split, positive.astype(np.int64)), 1)
        for part in range(len(SPLITS)):
            ids = row_ids[split == part].view(np.uint64)
            # As arrays, since scalars warn where the sum wraps, which is meant here.
            self.row_id_sums[part : part + 1] += ids.sum(keepdims=True)
        train = split == 0
        if train.any():
            self._add_training(batch.filter(pa.array(train)), positive[train], mix(row_ids[train]))
        return row_ids, split.astype(np.int64)

    def _add_training(
        self, batch: pa.RecordBatch, positive: np.ndarray, hashes: np.ndarray
    ) -> None:
        block = np.empty((len(positive), len(self.numeric)), dtype=np.float32)
        for at, name in enumerate(self.numeric):
            block[:, at] = batch[name].to_numpy(zero_copy_only=False)
            column = block[:, at]
            self.distinct[at].update(float_hashes(np.unique(column[~np.isnan(column)])))
        wide = block.astype(np.float64)
        self.moments = self.moments.merge(Moments.of(wide))
        self.comoments = self.comoments.merge(CoMoments.of(wide))
        cell = (hashes & np.uint64(1)).astype(np.int64) * 2 + positive
        for at, name in enumerate(self.categorical):
            _count(self.counts[at], batch[name], cell)
        chosen = hashes <= np.uint64(self.bound)
        self._samples.append((hashes[chosen], block[chosen], positive[chosen]))

    def merge(self, other: Partial) -> None:
        """Add another's rows to these."""
        self.moments = self.moments.merge(other.moments)
        self.comoments = self.comoments.merge(other.comoments)
        for mine, theirs in zip(self.distinct, other.distinct, strict=True):
            mine.update(theirs.hashes)
        for counts, more in zip(self.counts, other.counts, strict=True):
            counts.merge(more)
        self.rows += other.rows
        self.row_id_sums += other.row_id_sums
        self.repeated += other.repeated
        self.overlaps += other.overlaps
        self._samples.extend(other._samples)

    def sample(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return at most `size` sampled training rows, those with the smallest hashes first.

        Returns:
            (hashes uint64 [n], numeric features float32 [n, F], positive bool [n]).
        """
        hashes, block, positive = (
            np.concatenate(parts) for parts in zip(*self._samples, strict=True)
        )
        order = np.argsort(hashes, kind="stable")[:size]
        return hashes[order], block[order], positive[order]

    def to_bytes(self) -> bytes:
        """Return the partial as an NPZ archive without pickled objects."""
        hashes, block, positive = self.sample(2**62)
        header = {
            "numeric": self.numeric,
            "categorical": self.categorical,
            "limit": self.limit,
            "bound": self.bound,
            "repeated": self.repeated,
            "overlaps": self.overlaps,
            "values": [counts.values for counts in self.counts],
            "errors": [counts.error for counts in self.counts],
        }
        arrays = {
            "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            "rows": self.rows,
            "row_id_sums": self.row_id_sums,
            "hashes": hashes,
            "block": block,
            "positive": positive,
            **{f"moments.{name}": getattr(self.moments, name) for name in _MOMENTS},
            **{f"comoments.{name}": getattr(self.comoments, name) for name in _COMOMENTS},
            **{f"distinct.{at}": item.hashes for at, item in enumerate(self.distinct)},
        }
        for at, counts in enumerate(self.counts):
            arrays[f"counts.{at}"] = counts.counts
            arrays[f"missing.{at}"] = counts.missing
            arrays[f"category_distinct.{at}"] = counts.distinct.hashes
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, allow_pickle=False)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Partial:
        """Restore what `to_bytes` wrote."""
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
        header = json.loads(arrays["header"].tobytes())
        names = header["numeric"], header["categorical"]
        partial = cls(*names, limit=header["limit"], bound=header["bound"])
        partial.repeated, partial.overlaps = header["repeated"], header["overlaps"]
        partial.rows, partial.row_id_sums = arrays["rows"], arrays["row_id_sums"]
        partial.moments = Moments(**{name: arrays[f"moments.{name}"] for name in _MOMENTS})
        partial.comoments = CoMoments(**{name: arrays[f"comoments.{name}"] for name in _COMOMENTS})
        partial.distinct = [Distinct(arrays[f"distinct.{at}"]) for at in range(len(names[0]))]
        for at, counts in enumerate(partial.counts):
            counts.update(header["values"][at], arrays[f"counts.{at}"])
            counts.error = header["errors"][at]
            counts.missing = arrays[f"missing.{at}"]
            counts.distinct = Distinct(arrays[f"category_distinct.{at}"])
        partial._samples = [(arrays["hashes"], arrays["block"], arrays["positive"])]
        return partial


def _codes(batch: pa.RecordBatch, of: str | None) -> np.ndarray:
    """Return the position in `SPLITS` of each row's split, int [rows]."""
    names = pa.repeat(of, batch.num_rows) if of else batch["_split"]
    found = pc.call_function("index_in", [names], pc.SetLookupOptions(pa.array(SPLITS)))
    codes = found.fill_null(-1).to_numpy(zero_copy_only=False)
    if (codes < 0).any():
        unknown = names[int(np.argmax(codes < 0))].as_py()
        raise ValueError(f"_split is {unknown!r}; expected one of {', '.join(SPLITS)}")
    return codes


def _count(counts: CategoryCounts, column: pa.Array, cell: np.ndarray) -> None:
    """Add a string column's rows, `cell` int64 [rows] in 0 to 3, to `counts`."""
    encoded = column.dictionary_encode()
    present = column.is_valid().to_numpy(zero_copy_only=False)
    cells = CategoryCounts.CELLS
    counts.missing = counts.missing + np.bincount(cell[~present], minlength=cells)
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)[present].astype(np.int64)
    values = encoded.dictionary.to_pylist()
    table = np.bincount(codes * cells + cell[present], minlength=len(values) * cells)
    counts.update(values, table.reshape(-1, cells))
