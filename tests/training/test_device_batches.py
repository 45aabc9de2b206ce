"""Batches that a thread copies ahead, as it does for GPUs, are the batches."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipeline_assets.shards import ShardReader
from pipeline_assets.shards.reader import Batch
from pipeline_assets.training.device_batches import device_batches

CPU = torch.device("cpu")


@pytest.mark.parametrize("ahead", [False, True])
def test_all_batches_come_in_order(make_job, ahead: bool) -> None:  # type: ignore[no-untyped-def]
    reader = ShardReader(make_job().shards, "train")
    expected = list(reader.batches(64))
    found = list(device_batches(reader.batches(64), CPU, ahead=ahead))
    assert [(b.index, b.global_rows) for b in found] == [(k, 64) for k in range(6)] + [(6, 19)]
    for one, other in zip(expected, found, strict=True):
        for host, column, kept in zip(one.rows, other.columns, other.host, strict=True):
            np.testing.assert_array_equal(host, column.numpy())
            np.testing.assert_array_equal(host, kept)


def test_one_batch_is_asked_for_ahead_and_nothing_is_left_running(make_job) -> None:  # type: ignore[no-untyped-def]
    reader = ShardReader(make_job().shards, "train")
    asked = threading.Semaphore(0)

    def counted() -> Iterator[Batch]:
        for batch in reader.batches(64):
            asked.release()
            yield batch

    batches = device_batches(counted(), CPU, ahead=True)
    next(batches)
    assert asked.acquire(timeout=10) and asked.acquire(timeout=10)
    batches.close()  # type: ignore[attr-defined]
    assert not asked.acquire(timeout=0.2)
    assert not [t for t in threading.enumerate() if t.name.startswith(("batches", "shards"))]


def test_an_error_of_the_reader_comes_through() -> None:
    def broken() -> Iterator[Batch]:
        raise OSError("the disk is gone")
        yield

    with pytest.raises(OSError, match="the disk is gone"):
        next(device_batches(broken(), CPU, ahead=True))
