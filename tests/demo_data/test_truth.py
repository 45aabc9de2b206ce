"""True probabilities are found by row id, in little memory."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.demo_data.truth import TrueProbabilities, row_id, true_probabilities
from pipeline_assets.spec import Source


def test_each_row_finds_its_own_and_strangers_none() -> None:
    random = np.random.default_rng(0)
    ids = np.unique(random.integers(-(2**63), 2**63 - 1, 10_000))
    random.shuffle(ids)
    probabilities = random.random(len(ids))
    truth = TrueProbabilities(ids, probabilities)
    some = random.permutation(len(ids))[:100]
    np.testing.assert_array_equal(truth.of(ids[some]), probabilities[some])
    edges = np.array([-(2**63), 2**63 - 1, 0], dtype=np.int64)
    assert np.isnan(truth.of(np.setdiff1d(edges, ids))).all()
    assert np.isnan(TrueProbabilities(ids[:0], probabilities[:0]).of(ids[:3])).all()


def test_truth_files_are_read_into_arrays_not_objects(tmp_path) -> None:
    (tmp_path / "_truth").mkdir()
    rows = 50_000
    for part in range(4):
        keys = np.arange(part * rows, (part + 1) * rows)
        table = pa.table({"id": keys, "probability": keys / 1e6})
        pq.write_table(table, tmp_path / "_truth" / f"part-{part}.parquet")
    source = Source.model_validate({"uri": str(tmp_path), "format": "csv", "demo": {}})
    tracemalloc.start()
    truth = true_probabilities(source)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert truth is not None and len(truth) == 4 * rows
    assert held < 40 * 4 * rows, "bytes, at 16 a row and some more"
    wanted = np.array([row_id([7]), row_id([199_999])])
    np.testing.assert_allclose(truth.of(wanted), [7e-6, 0.199999])
