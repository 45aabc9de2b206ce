"""Plots, tables and leakage checks of statistics."""

import io
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipeline_assets.statistics import FeatureStatistics
from pipeline_assets.statistics.leakage import suspicious_features
from pipeline_assets.statistics.partial import Partial
from pipeline_assets.statistics.plots import statistics_plots
from pipeline_assets.statistics.summary import histogram, summarise
from pipeline_assets.statistics.table import statistics_table


def statistics(numbers: int = 3, rows: int = 300) -> FeatureStatistics:
    random = np.random.default_rng(0)
    label = (np.arange(rows) % 4 == 0).astype(np.float32)
    columns = {f"n{at}": random.normal(size=rows).astype(np.float32) for at in range(numbers)}
    columns["n0"] = np.full(rows, np.nan, np.float32)
    texts = random.choice(["$a_b$ | <b>", "x" * 90, "", "line\nbreak", None], rows).tolist()
    split = np.array(["train", "train", "validation", "test"])[np.arange(rows) % 4]
    batch = pa.record_batch(
        {
            "_row_id": np.arange(rows) - 5,
            "_split": pa.array(split.tolist()),
            "label": label,
            **columns,
            "text": pa.array(texts, pa.string()),
            "none": pa.nulls(rows, pa.string()),
        }
    )
    partial = Partial(list(columns), ["text", "none"], limit=100, bound=2**64 - 1)
    partial.add_file([batch])
    return summarise(partial, vocabulary=10)


@pytest.mark.parametrize("numbers", [1, 3, 60])
def test_plots_are_png_and_leave_no_figure_open(numbers: int) -> None:
    plots = statistics_plots(statistics(numbers))
    assert set(plots) == {"histograms", "missing"} | ({"correlation"} if numbers > 1 else set())
    import matplotlib.image

    for data in plots.values():
        height, width, _ = matplotlib.image.imread(io.BytesIO(data)).shape
        # Dagster's dialogs cut off what is wider.
        assert 300 < width <= 1000
        assert height > 100
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_the_same_statistics_give_the_same_picture() -> None:
    assert statistics_plots(statistics()) == statistics_plots(statistics())


def test_table_has_one_line_per_feature_whatever_values_hold() -> None:
    lines = statistics_table(statistics()).splitlines()
    for name in ("n0", "n1", "n2", "text", "none", "train", "validation", "test"):
        assert sum(line.startswith(f"| {name} |") for line in lines) == 1
    for block in "\n".join(lines).split("\n\n"):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1
    assert "<b>" not in "\n".join(lines)


def test_whole_numbers_have_an_interval_each() -> None:
    values = np.random.default_rng(1).integers(18, 92, 5000).astype(float)
    found = histogram(values, values > 50)
    assert found.counts == [int((values == at).sum()) for at in range(18, 92)]
    assert sum(found.positives) == (values > 50).sum()


def test_leaks_are_named() -> None:
    data = {**statistics().to_dict(), "single_feature_auc": {"a": 0.98, "b": 0.7, "c": 0.99}}
    leaking = FeatureStatistics.from_dict(data)
    assert list(suspicious_features(leaking, 0.97).items()) == [("c", 0.99), ("a", 0.98)]
