"""How well epochs are shuffled, for rows that lie on disk sorted by their label: the worst case."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_assets.shards import ShardIndex, ShardReader, shuffle_quality, write_shard
from pipeline_assets.shards.shuffle_quality import class_balance, rank_correlation

WINDOW: dict[str, Any] = {"block_rows": 64, "window_rows": 4096}


def sorted_by_label(folder: Path, rows: int, shards: int = 3, share: float = 0.2) -> Path:
    """Shards whose first rows are all negative, and whose last are all positive."""
    label = (np.arange(rows) >= rows * (1 - share)).astype(np.float32)
    entries = []
    for at, part in enumerate(np.array_split(np.arange(rows), shards)):
        file = f"train/shard-{at:05d}.safetensors"
        entries.append(
            write_shard(
                str(folder / file),
                numeric=part[:, None].astype(np.float32),
                categorical=np.empty((len(part), 0)),
                label=label[part],
                row_id=part,
                file=file,
            )
        )
    index = ShardIndex(numeric=("at",), categorical=(), shards=tuple(entries))
    (folder / "index.json").write_text(json.dumps(index.to_dict()))
    return folder


@pytest.mark.parametrize("rows", [4000, 40_000])
def test_sorted_shards_are_shuffled_as_well_as_any(tmp_path: Path, rows: int) -> None:
    reader = ShardReader(sorted_by_label(tmp_path, rows), "train", **WINDOW)
    measured = [shuffle_quality(reader, 128, seed=seed) for seed in range(5)]
    for quality in measured:
        assert abs(quality.disk_correlation) < 4 * quality.correlation_error
        # Above one window, what moves independently are the blocks.
        moving = rows if rows <= WINDOW["window_rows"] else rows // WINDOW["block_rows"]
        assert abs(quality.epoch_correlation) < 4 / math.sqrt(moving)
    # Taking blocks at random for a window of 4,096 would give 3 for the larger split.
    mean = np.mean([quality.class_balance for quality in measured])
    assert abs(mean - 1) < 4 * measured[0].class_balance_error / math.sqrt(len(measured))


def test_every_window_holds_rows_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    reader = ShardReader(sorted_by_label(tmp_path, 40_000), "train", **WINDOW)
    batches = [batch.rows for batch in reader.batches(4000)]
    assert len(batches) == 10
    for rows in batches:
        positives = float(rows.label.mean())
        assert abs(positives - 0.2) < 0.03
        assert rows.row_id.min() < 1000
        assert rows.row_id.max() > 39_000


def test_positions_are_those_of_the_batches(tmp_path: Path) -> None:
    reader = ShardReader(sorted_by_label(tmp_path, 9001), "train", **WINDOW)
    seen = np.concatenate([batch.rows.row_id for batch in reader.batches(100, seed=3, epoch=1)])
    assert np.array_equal(seen, reader.positions(seed=3, epoch=1))


def test_the_order_within_one_window_stays_what_it_was(tmp_path: Path) -> None:
    # Weights of earlier runs are reproduced only by the order that they were trained in.
    positions = ShardReader(sorted_by_label(tmp_path, 1000), "train").positions(seed=7, epoch=2)
    digest = hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "414ca6171d12c1aa"


def test_measures_tell_good_from_bad() -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(20_000)
    assert rank_correlation(rows, rows) == 1
    assert abs(rank_correlation(rows, rng.permutation(rows))) < 0.03
    label = (rows % 5 == 0).astype(np.float32)
    assert class_balance(label, 100) == 0
    assert class_balance(np.sort(label), 100) > 50
    fair = np.mean([class_balance(rng.permutation(label), 100) for _ in range(30)])
    assert 0.95 < fair < 1.05
    assert math.isnan(class_balance(np.ones(500), 100))
    assert math.isnan(class_balance(label, 20_000))
